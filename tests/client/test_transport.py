"""The byte stream: frames whatever the cuts, sent whole and in order whatever the other side does."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import aclosing

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from smbfuse.client.transport import Transport, connect
from smbfuse.errors import ConnectError, ConnectionLost, RemoteProtocolError
from smbfuse.wire.frame import transport_length

KEEPALIVE = b"\x85\0\0\0"


def frame(size: int, seed: int = 0) -> bytes:
    return random.Random(seed or size).randbytes(size)


def on_wire(*frames: bytes) -> bytes:
    return b"".join(transport_length(len(one)) + one for one in frames)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours, for the transport to be made in the test, and the peer's."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def take(transport: Transport, count: int) -> list[bytes]:
    taken: list[bytes] = []
    with trio.fail_after(5):
        async with aclosing(transport.frames()) as frames:
            async for one in frames:
                taken.append(bytes(one))
                if len(taken) == count:
                    break
    return taken


# --- receiving


SHORT = [frame(32), frame(33), frame(100)]
SHORT_WIRE = on_wire(SHORT[0]) + KEEPALIVE + on_wire(SHORT[1]) + KEEPALIVE * 2 + on_wire(SHORT[2])


@pytest.mark.parametrize("cut", range(1, len(SHORT_WIRE)))
async def test_cut_anywhere(ends: tuple[socket.socket, socket.socket], cut: int) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    got: list[bytes] = []

    async def read() -> None:
        got.extend(await take(transport, 3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        theirs.send(SHORT_WIRE[:cut])
        await wait_all_tasks_blocked()
        theirs.send(SHORT_WIRE[cut:])
    assert got == SHORT


async def test_byte_by_byte(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    got: list[bytes] = []

    async def read() -> None:
        got.extend(await take(transport, 3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for index in range(len(SHORT_WIRE)):
            theirs.send(SHORT_WIRE[index : index + 1])
            await trio.testing.wait_all_tasks_blocked()
    assert got == SHORT


@pytest.mark.parametrize("seed", range(20))
async def test_frames_of_all_sizes_in_chunks_of_all_sizes(ends: tuple[socket.socket, socket.socket], seed: int) -> None:
    """Around the buffer's size (64 KiB), the size of frames with a buffer of their own (8 KiB), and far above."""
    generator = random.Random(seed)
    sizes = [32, 8 * 1024, 8 * 1024 + 1, 65_528, 65_532, 65_533, 65_536, 65_537, 200_000, 1_100_000]
    frames = [frame(generator.choice(sizes + [generator.randrange(32, 9000)] * 10), seed * 100 + i) for i in range(40)]
    wire = on_wire(*frames)
    ours, theirs = ends
    transport = Transport(ours)

    async def send() -> None:
        peer = trio.socket.from_stdlib_socket(theirs)
        at = 0
        while at < len(wire):
            at += await peer.send(wire[at : at + generator.choice([1, 3, 1000, 70_000, 500_000])])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await take(transport, len(frames)) == frames


async def test_frames_are_not_overwritten_by_later_ones(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    frames = [frame(20_000, seed) for seed in range(1, 9)]
    kept = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)).send_all, on_wire(*frames))
        async with aclosing(transport.frames()) as incoming:
            async for one in incoming:
                kept.append(one)
                if len(kept) == len(frames):
                    break
    assert [bytes(one) for one in kept] == frames


@pytest.mark.parametrize("size", [100, 50_000])
async def test_frame_cut_by_the_end(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    theirs.send(on_wire(frame(size))[: size // 2])
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLost, match="the server closed the connection"):
        await take(transport, 1)


@pytest.mark.parametrize(
    "head",
    [b"SSH-", b"HTTP", b"\0\0\0\0", b"\0\0\0\x1f", b"\x85\0\0\x01", b"\x82\0\0\0", b"\xffSMB", b"\0\x80\0\0"],
)
async def test_transport_header_that_is_none(ends: tuple[socket.socket, socket.socket], head: bytes) -> None:
    ours, theirs = ends
    transport = Transport(ours, max_frame=0x7F_FFFF)
    theirs.send(head + bytes(100))
    with pytest.raises(RemoteProtocolError, match=f"not an SMB message: the transport header is {head.hex(' ')}"):
        await take(transport, 1)


async def test_flood_of_keepalives_lets_others_run(ends: tuple[socket.socket, socket.socket]) -> None:
    """Data that is there at once is no reason to keep deadlines waiting."""
    ours, _theirs = ends
    transport = Transport(ours)
    chunk = KEEPALIVE * 10_000

    class Endless:
        """A socket from which bytes can always be read."""

        def __init__(self, sock: socket.socket) -> None:
            self.fileno = sock.fileno

        def recv_into(self, into: memoryview) -> int:
            count = min(len(into) // 4 * 4, len(chunk))
            into[:count] = chunk[:count]
            return count

    transport._sock = Endless(ours)  # type: ignore[assignment] # what the transport uses of one
    with trio.move_on_after(0.05) as scope:
        async with aclosing(transport.frames()) as frames:
            async for _ in frames:
                pytest.fail("a keep-alive is no frame")
    assert scope.cancelled_caught


# --- sending


async def test_sent_whole_and_in_order_to_a_peer_that_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport = Transport(ours)
    frames = [frame(generator, generator) for generator in itertools.chain(range(32, 60), [100_000, 40, 70_000, 33])]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.run_writer)
        for one in frames:
            half = len(one) // 2
            transport.send([transport_length(len(one)), one[:half], bytearray(one[half:])])
        await wait_all_tasks_blocked()
        peer = Transport(theirs)
        assert await take(peer, len(frames)) == frames
        nursery.cancel_scope.cancel()


async def test_thousands_of_small_parts(ends: tuple[socket.socket, socket.socket]) -> None:
    """More than the kernel takes in one call, also when closing."""
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport = Transport(ours)
    frames = [frame(40, seed) for seed in range(1, 3001)]
    got: list[bytes] = []

    async def read() -> None:
        got.extend(await take(Transport(theirs), len(frames)))

    for one in frames:
        transport.send([transport_length(40), one[:20], one[20:]])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await transport.aclose()
    assert got == frames


async def test_empty_payload(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    transport.send([transport_length(40), frame(40), b""])
    transport.send([transport_length(41), frame(41)])
    assert await take(Transport(theirs), 2) == [frame(40), frame(41)]


async def test_sending_to_who_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    theirs.close()
    with pytest.raises(ConnectionLost, match="connection lost while sending"):
        transport.send([frame(32)])


async def test_close_ends_the_reader(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    transport = Transport(ours)

    async def read() -> None:
        with pytest.raises(ConnectionLost):
            await take(transport, 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        transport.close()


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(
    ends: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    ours, _ = ends
    transport = Transport(ours)
    transport.send([frame(5_000_000)])
    started = trio.current_time()
    await transport.aclose()
    assert trio.current_time() - started <= 1


# --- connecting


async def test_refused_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectError, match=f"cannot connect to 127.0.0.1 port {port}: Connection refused"):
            await connect("name", "127.0.0.1", port, 5)


async def test_unknown_host() -> None:
    with pytest.raises(ConnectError, match=r"cannot find a host named no-such-host\.invalid"):
        await connect("no-such-host.invalid", None, 445, 5)


async def test_host_that_does_not_answer() -> None:
    """A listener whose queue is full does not answer: the timeout ends it."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        first.connect(("127.0.0.1", port))
        with pytest.raises(ConnectError, match=f"127.0.0.1 port {port} does not answer within 0.3 s"):
            await connect("127.0.0.1", None, port, 0.3)
