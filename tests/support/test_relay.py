"""The relay: a fault that does not happen proves nothing, and one that happens by itself proves the wrong thing."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from smbfuse.wire.const import SMB_COM_ECHO, SMB_COM_READ_ANDX
from tests.support.processes import eventually
from tests.support.relay import TO_SERVER, Relay

LIMIT = 20.0


def message(text: str = "", *, command: int = SMB_COM_READ_ANDX, size: int = 0) -> bytes:
    body = b"\xffSMB" + bytes([command]) + text.encode().ljust(size, b".")
    return len(body).to_bytes(4, "big") + body


class Server:
    """Accepts; each connection is for the test to speak through."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepted: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                client.settimeout(LIMIT)
                self._sockets.append(client)
                self._accepted.put(client)

    def accepted(self) -> socket.socket:
        """The next connection."""
        return self._accepted.get(timeout=LIMIT)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *self._sockets):
            one.close()
        self._thread.join(LIMIT)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with Relay(server.port) as made:
        yield made


@contextlib.contextmanager
def pair(relay: Relay, server: Server) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's connection, and the server's end of it."""
    with socket.create_connection(("127.0.0.1", relay.port), timeout=LIMIT) as client:
        yield client, server.accepted()


def received(end: socket.socket, size: int) -> bytes:
    """`size` bytes, or what came until the end of the stream."""
    got = bytearray()
    while len(got) < size and (more := end.recv(size - len(got))):
        got += more
    return bytes(got)


def passes(near: socket.socket, far: socket.socket, text: str = "through") -> bool:
    """Whether messages pass both ways."""
    sent = message(text)
    near.sendall(sent)
    there = received(far, len(sent))
    far.sendall(sent)
    return there == sent == received(near, len(sent))


def test_bytes_and_ends_of_streams_pass(relay: Relay, server: Server) -> None:
    large = message(size=1 << 20)
    with pair(relay, server) as (client, far):
        for cut in (1, 3, 4, 5, 100):  # headers in parts, too
            client.sendall(large[:cut])
            client.sendall(large[cut:] + message("more"))
            assert received(far, len(large)) == large
            assert received(far, len(message("more"))) == message("more")
        client.sendall(large[:77])
        client.shutdown(socket.SHUT_WR)
        assert received(far, 1000) == large[:77]
        far.sendall(large)
        far.close()
        assert received(client, 1 << 21) == large
    eventually(lambda: relay.status().open == 0, LIMIT, "the relay lets go of it")
    status = relay.status()
    assert (status.accepted, status.to_client) == (1, len(large))
    assert status.to_server == 5 * len(large + message("more")) + 77


def test_a_delay_takes_time(server: Server) -> None:
    with Relay(server.port, delay=0.05) as relay, pair(relay, server) as (client, far):
        for _ in range(3):
            begin = time.monotonic()
            assert passes(client, far)
            assert time.monotonic() - begin >= 0.1


def test_a_delay_limits_no_throughput(relay: Relay, server: Server) -> None:
    """All can be under way at once."""
    relay.delay(3600.0, 0.0)
    block = message(size=1 << 20)
    with pair(relay, server) as (client, far):
        for _ in range(128):
            client.sendall(block)
        far.sendall(message("hello"))
        assert received(client, len(message("hello"))) == message("hello")
    assert relay.status().to_server == 0


def test_a_throttle_takes_time(relay: Relay, server: Server) -> None:
    relay.throttle(None, 1e6)
    block = message(size=300_000)
    with pair(relay, server) as (client, far):
        begin = time.monotonic()
        far.sendall(block)
        assert received(client, len(block)) == block
        assert time.monotonic() - begin >= 0.25


@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
def test_cut(relay: Relay, server: Server, reset: bool) -> None:
    with pair(relay, server) as (client, far), pair(relay, server) as (other, far_other):
        assert passes(client, far)
        assert relay.cut(reset=reset) == 2
        for end in (client, far, other, far_other):
            with pytest.raises(ConnectionResetError) if reset else contextlib.nullcontext():
                assert end.recv(1) == b""
        with pair(relay, server) as (again, far_again):
            assert passes(again, far_again)


def test_the_server_need_not_know_of_a_cut(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (client, far):
        assert passes(client, far)
        relay.cut(server_too=False)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        far.settimeout(0.05)
        far.sendall(message("are you there?"))
        with pytest.raises(TimeoutError):
            far.recv(1)
        assert relay.status().open == 1


def test_cut_after_so_many_bytes(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (client, far):
        relay.cut_after(1000, reset=False)
        far.sendall(message(size=600) * 3)
        assert received(client, 5000) == (message(size=600) * 3)[:1000]
        assert far.recv(1) == b""
    with pair(relay, server) as (client, far):
        relay.cut_after(10, TO_SERVER, reset=False)
        client.sendall(message(size=600))
        assert received(far, 5000) == message(size=600)[:10]


def test_cut_at_a_request(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (client, far):
        relay.cut_at_request(SMB_COM_ECHO, 2, reset=False)
        echo = message("echo", command=SMB_COM_ECHO)
        client.sendall(echo + message("read") + echo + message("never seen"))
        assert received(far, 1000) == echo + message("read")


def test_cut_at_an_answer(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (client, far):
        relay.cut_at_answer(SMB_COM_ECHO, reset=False)
        client.sendall(message("done", command=SMB_COM_ECHO))
        assert received(far, len(message("done"))) == message("done", command=SMB_COM_ECHO)
        far.sendall(message("other") + message("done", command=SMB_COM_ECHO))
        assert received(client, 1000) == message("other")


def test_truncate(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (client, far):
        client.sendall(message("begun")[:5])
        assert received(far, 5) == message("begun")[:5]
        relay.truncate(7, way=TO_SERVER)
        client.sendall(message("begun")[5:] + message("shortened") + message("whole"))
        expected = message("begun")[5:] + b"\0\0\0\7" + message("shortened")[4:11] + message("whole")
        assert received(far, len(expected)) == expected


def test_reorder(relay: Relay, server: Server) -> None:
    relay.reorder(3, patience=3600)
    one, two, three, four, five = map(message, ("one", "two", "three", "four", "five"))
    with pair(relay, server) as (client, far):
        for answer in (one, two, three, four, five):
            far.sendall(answer)
        assert received(client, len(one + two + three)) == three + two + one
        relay.heal()
        assert received(client, len(four + five)) == five + four
        relay.reorder(3, patience=0.01)
        far.sendall(one)
        assert received(client, len(one)) == one


def test_freeze_holds_back(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (client, far):
        relay.freeze()
        client.sendall(message("one"))
        far.sendall(message("two"))
        for end in (client, far):
            end.settimeout(0.05)
            with pytest.raises(TimeoutError):
                end.recv(1)
            end.settimeout(LIMIT)
        relay.thaw()
        assert received(far, len(message("one"))) == message("one")
        assert received(client, len(message("two"))) == message("two")


def test_black_hole_swallows(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (used, far_used), pair(relay, server) as (idle, far_idle):
        relay.black_hole()
        used.sendall(message("lost"))
        with pair(relay, server) as (new, far_new):
            far_new.sendall(message("lost"))
            for end in (used, far_used, new, far_new):
                end.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    end.recv(1)
        relay.heal()
        assert passes(idle, far_idle)
        far_used.sendall(message("lost too"))
        with pytest.raises(TimeoutError):
            used.recv(1)
        with pair(relay, server) as (again, far_again):
            assert passes(again, far_again)


def test_refuse(relay: Relay, server: Server) -> None:
    with pair(relay, server) as (client, far):
        relay.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", relay.port), timeout=LIMIT)
        assert passes(client, far)
        relay.heal()
        with pair(relay, server) as (again, far_again):
            assert passes(again, far_again)


def test_without_a_server_connections_are_reset(relay: Relay, server: Server) -> None:
    server.close()
    with (
        pytest.raises(ConnectionResetError),  # there may be time for it before connect(2) looks
        socket.create_connection(("127.0.0.1", relay.port), timeout=LIMIT) as client,
    ):
        client.recv(1)
    assert relay.status().open == 0


def test_commands_that_fail_say_so(relay: Relay) -> None:
    relay.refuse()
    with socket.create_server(("127.0.0.1", relay.port)), pytest.raises(RuntimeError, match="in use"):
        relay.heal()
