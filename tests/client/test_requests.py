"""Many requests on one connection: order, the window, deadlines, cancellation, and the end of all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse import ntstatus as nt
from smbfuse.client.connection import MAX_UNSOLICITED
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.client.window import Window
from smbfuse.errors import ConnectionLost, RemoteProtocolError, RequestTimeout, StatusError, WireError
from smbfuse.wire import const
from smbfuse.wire.const import (
    FILE_OPEN,
    SMB_COM_CLOSE,
    SMB_COM_ECHO,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_TRANSACTION2,
    TRANS2_FIND_FIRST2,
)
from smbfuse.wire.filelevels import Fea, FeaList, FileAllInfo
from smbfuse.wire.findlevels import FileIdFullDirectoryInfo
from smbfuse.wire.setup import EchoResponse
from tests.client.support import READ_WRITE, assert_idle, opened, tree_of
from tests.fakes import script
from tests.fakes.exchange import Action, Exchange
from tests.fakes.offer import Offer
from tests.fakes.server import FakeServer
from tests.proto.support import answer
from tests.support.logguard import LogGuard

HELLO = ServerPath("\\hello.txt")


async def ask(tree: Tree) -> None:
    await tree.query_path(HELLO, FileAllInfo)


async def settle() -> None:
    """Until everything that can happen has happened."""
    for _ in range(3):
        await wait_all_tasks_blocked()


# --- order


@pytest.mark.parametrize(
    "order",
    [
        lambda all_: all_[::-1],
        lambda all_: random.Random(5).sample(all_, len(all_)),
    ],
)
async def test_answers_in_any_order(
    nursery: trio.Nursery, order: Callable[[list[Exchange]], Sequence[Exchange]]
) -> None:
    content = random.Random(2).randbytes(40_000)
    server = FakeServer(files={"file": content})
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\file")
    server.script.on(script.reordered(40, order), command=SMB_COM_READ_ANDX)
    found: dict[int, bytes] = {}

    async def one(index: int) -> None:
        found[index] = bytes(await file.read(index * 1000, 1000))

    async with trio.open_nursery() as readers:
        for index in range(40):
            readers.start_soon(one, index)
    assert b"".join(found[index] for index in range(40)) == content
    assert_idle(tree)


async def test_unasked_answers_are_dropped_and_counted(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.preceded_by(*(answer(mid, EchoResponse()) for mid in (40_000, 40_001, 0xFFFF))))
    await ask(tree)
    assert tree.session.connection.statistics.unsolicited == 3
    assert_idle(tree)


async def test_a_flood_of_unasked_answers_ends_it(nursery: trio.Nursery, log_guard: LogGuard) -> None:
    log_guard.expect(f"more than {MAX_UNSOLICITED} answers that nobody asked for")
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.preceded_by(*[answer(40_000, EchoResponse())] * (MAX_UNSOLICITED + 1)))
    with pytest.raises(ConnectionLost, match="more than 1000 answers"):
        await ask(tree)


async def test_answer_under_another_mid_is_nobodys(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.changed(script.with_mid(50_000)))
    with pytest.raises(RequestTimeout):
        await ask(tree)
    await ask(tree)


# --- the window


@pytest.mark.parametrize("max_mpx", [1, 2, 3, 8, 50])
async def test_never_more_than_the_server_allows(nursery: trio.Nursery, max_mpx: int) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=max_mpx))
    tree = await tree_of(server, nursery)
    release = trio.Event()
    server.script.on(script.held(release))
    async with trio.open_nursery() as askers:
        for _ in range(120):
            askers.start_soon(ask, tree)
        await settle()
        reserved = tree.session.connection.window.reserved
        assert server.tap.in_flight == max_mpx - reserved
        assert reserved == (0 if max_mpx == 1 else max(1, max_mpx // 8))
        release.set()
    assert server.tap.most_in_flight <= max_mpx
    assert_idle(tree)


async def test_urgent_requests_pass_data(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=8))
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\hello.txt")
    server.script.on(script.dropped, command=SMB_COM_TRANSACTION2)
    async with trio.open_nursery() as askers:
        for _ in range(30):
            askers.start_soon(ask, tree)
        await settle()
        with trio.fail_after(5):
            await file.close()
            await tree.session.connection.echo()
        assert server.last.opens == {}
        askers.cancel_scope.cancel()


async def test_urgent_ones_that_wait_go_first(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=1))
    tree = await tree_of(server, nursery)
    release = trio.Event()
    order: list[str] = []

    async def noted(exchange: Exchange) -> None:
        order.append(exchange.name)
        await release.wait()
        await exchange.answer()

    server.script.on(noted)
    async with trio.open_nursery() as askers:
        for _ in range(3):
            askers.start_soon(ask, tree)
        await settle()
        askers.start_soon(tree.session.connection.echo)
        await settle()
        release.set()
    assert order == ["TRANSACTION2/5", "ECHO", "TRANSACTION2/5", "TRANSACTION2/5"]


async def test_places_are_given_in_order_of_arrival() -> None:
    window = Window(limit=1)
    await window.acquire()
    order: list[int] = []

    async def wait(index: int) -> None:
        await window.acquire()
        order.append(index)
        window.release()

    async with trio.open_nursery() as nursery:
        for index in range(5):
            nursery.start_soon(wait, index)
            await wait_all_tasks_blocked()
        window.release()
    assert order == [0, 1, 2, 3, 4]
    assert window.used == 0


async def test_who_is_cancelled_while_waiting_takes_no_place() -> None:
    window = Window(limit=1)
    await window.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(window.acquire)
        nursery.start_soon(window.acquire, True)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert window.used == 1
    window.release()
    assert window.try_acquire()
    assert not window.try_acquire()


# --- deadlines


async def test_deadline_keeps_the_mid_until_the_answer(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery, request_timeout=7.0, echo_interval=100.0)
    connection = tree.session.connection
    release = trio.Event()
    server.script.once(script.held(release))
    begun = trio.current_time()
    with pytest.raises(RequestTimeout, match="no answer to TRANSACTION2 within 7 s"):
        await ask(tree)
    assert trio.current_time() - begun == pytest.approx(7.0)
    (mid,) = connection.engine.mids.pending
    assert connection.window.used == 1
    for _ in range(300):
        await connection.echo()
    assert list(connection.engine.mids.pending) == [mid]
    release.set()
    await settle()
    assert_idle(tree)
    assert connection.statistics.late == 1


async def test_deadline_counts_the_wait_for_a_place(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=1))
    tree = await tree_of(server, nursery, request_timeout=30.0, echo_interval=100.0)
    server.script.on(script.dropped)
    begun = trio.current_time()
    async with trio.open_nursery() as askers:

        async def one() -> None:
            with pytest.raises(RequestTimeout):
                await ask(tree)

        for _ in range(5):
            askers.start_soon(one)
    assert trio.current_time() - begun == pytest.approx(30.0)
    assert server.tap.requests["TRANSACTION2/5"] == 1
    assert not tree.session.connection.window._waiting


# --- cancellation


async def everything(tree: Tree) -> None:
    """One of each kind of request, and what is left behind if it is stopped anywhere in it."""
    file = await opened(tree, "\\hello.txt")
    try:
        await file.read(0, 200_000)
        await file.write(0, bytes(100_000))
        await ask(tree)
        search = tree.search(ServerPath("\\*"), FileIdFullDirectoryInfo)
        try:
            await search.next_page()
        finally:
            await search.close()
    finally:
        await file.close()


@pytest.mark.parametrize("kind", ["answered at once", "answered late", "answered in the moment of the cancellation"])
async def test_cancelled_anywhere_nothing_is_left(nursery: trio.Nursery, kind: str, autojump_clock: MockClock) -> None:
    """Cancel at the first, second, ... request that the server sees, until the work is done before that."""
    server = FakeServer()
    tree = await tree_of(server, nursery)
    tree.session.connection.window.limit = 6
    for stop_at in range(1, 100):
        scope = trio.CancelScope()
        seen = 0

        async def action(exchange: Exchange, stop_at: int = stop_at, scope: trio.CancelScope = scope) -> None:
            nonlocal seen
            seen += 1
            mine = seen
            if kind == "answered at once":
                await exchange.answer()
            if mine == stop_at:
                scope.cancel()
            if kind == "answered late":
                await trio.sleep(0.5)
            if kind != "answered at once":
                await exchange.answer()

        server.script.clear()
        server.script.on(action)
        with scope:
            await everything(tree)
        await trio.sleep(5)
        assert_idle(tree)
        assert server.last.opens == {}, f"cancelled at request {stop_at}: a FID stays open"
        assert server.last.searches == {}, f"cancelled at request {stop_at}: a search stays open"
        assert tree.opens == {}
        if not scope.cancelled_caught:
            break
    else:
        pytest.fail("never done")
    assert stop_at > 5


async def test_an_answer_in_the_very_tick_of_the_cancellation_is_late(nursery: trio.Nursery) -> None:
    """The caller is cancelled, but did not run yet, when the reader has its answer: the open is to be closed."""
    server = FakeServer()
    tree = await tree_of(server, nursery)
    connection = tree.session.connection
    scope = trio.CancelScope()
    answered = connection._answered

    def cancel_first(response: object) -> None:
        scope.cancel()
        answered(response)  # type: ignore[arg-type] # handed through

    connection._answered = cancel_first  # type: ignore[method-assign] # to be there in that tick
    with scope:
        await opened(tree, "\\hello.txt")
    connection._answered = answered  # type: ignore[method-assign]
    assert scope.cancelled_caught
    await settle()
    assert server.tap.requests["CLOSE"] == 1
    assert server.last.opens == {}
    assert_idle(tree)


async def test_late_open_is_closed(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    release = trio.Event()
    server.script.once(script.held(release), command=SMB_COM_NT_CREATE_ANDX)
    with trio.move_on_after(0):
        await opened(tree, "\\hello.txt")
    await settle()
    assert server.last.opens == {}
    release.set()
    await settle()
    assert server.tap.requests["CLOSE"] == 1
    assert server.last.opens == {}
    assert_idle(tree)


async def test_late_refusal_is_not_closed(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    with trio.move_on_after(0):
        await opened(tree, "\\missing", disposition=FILE_OPEN)
    await settle()
    assert server.tap.requests["CLOSE"] == 0
    assert_idle(tree)


async def test_late_search_is_closed(nursery: trio.Nursery) -> None:
    server = FakeServer(files={f"file with a long name {index:050}": b"" for index in range(1000)})
    tree = await tree_of(server, nursery)
    release = trio.Event()
    server.script.once(script.held(release), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_FIND_FIRST2)
    with trio.move_on_after(0):
        await tree.search(ServerPath("\\*"), FileIdFullDirectoryInfo).next_page()
    release.set()
    await settle()
    assert server.tap.requests["FIND_CLOSE2"] == 1
    assert server.last.searches == {}
    assert_idle(tree)


async def test_close_is_sent_though_its_caller_left_while_the_window_was_full(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=1))
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\hello.txt")
    release = trio.Event()
    server.script.once(script.held(release))
    async with trio.open_nursery() as others:
        others.start_soon(ask, tree)
        await settle()
        with trio.move_on_after(0):
            await file.close()
        assert SMB_COM_CLOSE not in [p.command for p in tree.session.connection.engine.mids.pending.values()]
        release.set()
    await settle()
    assert server.last.opens == {}
    assert_idle(tree)


async def test_what_cannot_be_written_leaves_nothing(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    tree.session.connection.engine.flags2 &= ~const.SMB_FLAGS2_UNICODE
    with pytest.raises(WireError):
        await tree.delete(ServerPath("\\日本"))
    assert_idle(tree)


# --- transactions in parts, over the wire


@pytest.mark.parametrize("order", [lambda frames: frames, lambda frames: frames[::-1]])
async def test_search_in_many_parts(nursery: trio.Nursery, order: Callable[[list[bytearray]], list[bytearray]]) -> None:
    names = [f"file {index}" for index in range(500)]
    server = FakeServer(files=dict.fromkeys(names, b""))
    tree = await tree_of(server, nursery)
    server.script.on(script.parted(500, order), command=SMB_COM_TRANSACTION2)
    search = tree.search(ServerPath("\\*"), FileIdFullDirectoryInfo)
    found = [entry.file_name for entry in await search.next_page()]
    assert found == [".", "..", *names]
    assert_idle(tree)


async def test_long_request_goes_in_secondaries(nursery: trio.Nursery) -> None:
    """What the fake makes of it does not matter: it sees the whole only if all parts came."""
    server = FakeServer(offer=Offer(max_buffer_size=2000))
    tree = await tree_of(server, nursery)
    seen: list[tuple[bytes, bytes] | None] = []

    async def look(exchange: Exchange) -> None:
        seen.append(exchange.transaction)
        await exchange.answer()

    server.script.on(look, command=SMB_COM_TRANSACTION2)
    feas = FeaList(feas=tuple(Fea(name=f"A{index}", value=bytes([index]) * 900) for index in range(20)))
    with pytest.raises(StatusError) as caught:
        await tree.set_path(HELLO, feas)
    assert caught.value.status == nt.STATUS_INVALID_LEVEL
    first, whole = seen
    assert first is None
    assert whole is not None
    assert whole[1] == feas.pack()
    assert_idle(tree)


# --- the end


@pytest.mark.parametrize(
    "end",
    [
        script.disconnected,
        script.cut_after(3),
        script.cut_after(20),
        script.cut_after(40),
    ],
)
async def test_lost_connection_is_told_to_all_that_wait(nursery: trio.Nursery, end: Action) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=4))
    tree = await tree_of(server, nursery)
    told: list[ConnectionLost] = []
    lost: list[ConnectionLost] = []
    connection = tree.session.connection
    connection.on_lost = lost.append
    server.script.on(script.dropped, command=SMB_COM_TRANSACTION2)
    server.script.on(end, command=SMB_COM_ECHO)

    async def one() -> None:
        with pytest.raises(ConnectionLost) as caught:
            await ask(tree)
        told.append(caught.value)

    async with trio.open_nursery() as askers:
        for _ in range(20):
            askers.start_soon(one)
        await settle()
        with pytest.raises(ConnectionLost, match="the server closed the connection"):
            await connection.echo()
    assert len(told) == 20
    assert len({id(error) for error in told}) == 20, "one exception is shared by several tasks"
    assert lost == [connection.lost]
    assert_idle(tree)
    with pytest.raises(ConnectionLost):
        await ask(tree)
    assert_idle(tree)


NONSENSE = {
    "a frame of noise": script.replaced(random.Random(1).randbytes(64)),
    "bytes that are no frame": script.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a message shorter than a header": script.replaced(b"\xffSMB" + bytes(20)),
    "a length that is too short": script.misannounced(-7),
    "an SMB2 message": script.replaced(b"\xfeSMB" + bytes(60)),
    "a cut body": script.changed(lambda frame: frame[:40]),
    "a ByteCount beyond the end": script.changed(lambda frame: frame[:-10]),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_ends_the_connection_with_a_line_in_the_log(
    nursery: trio.Nursery, nonsense: Action, caplog: pytest.LogCaptureFixture
) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(nonsense)
    with pytest.raises(ConnectionLost, match="the server broke the protocol"), trio.fail_after(5):
        await ask(tree)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("the server broke the protocol: ")
    assert record.exc_info is None
    assert_idle(tree)


async def test_a_length_that_is_too_long_swallows_what_follows(
    nursery: trio.Nursery, autojump_clock: MockClock, log_guard: LogGuard
) -> None:
    log_guard.expect("not an SMB message: the transport header is 53 4d 42 2b")
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.misannounced(5))
    begun = trio.current_time()
    await ask(tree)  # complete when the answer to the echo comes, of which it takes the first five bytes
    assert trio.current_time() - begun >= tree.session.settings.echo_interval
    with pytest.raises(ConnectionLost, match="not an SMB message"):
        await ask(tree)


async def test_search_that_does_not_go_on(nursery: trio.Nursery) -> None:
    """A server that ignores where to resume gives the first page again and again."""
    server = FakeServer(files={f"file with a long name {index:050}": b"" for index in range(1000)})
    tree = await tree_of(server, nursery)

    async def again(exchange: Exchange) -> None:
        (state,) = server.last.searches.values()
        state.left[:] = [*pages[0], *state.left]
        await exchange.answer()

    search = tree.search(ServerPath("\\*"), FileIdFullDirectoryInfo)
    first = await search.next_page()
    pages = [[(entry.file_name, server.volume.root) for entry in first]]
    server.script.on(again, command=SMB_COM_TRANSACTION2)
    with pytest.raises(RemoteProtocolError, match="without giving new names"):
        await search.next_page()
    assert server.tap.requests["FIND_CLOSE2"] == 1


async def test_read_answered_with_more_than_was_asked_for(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\hello.txt", access=READ_WRITE)

    async def more(exchange: Exchange) -> None:
        exchange.message.members[0][1].max_count_low = 20  # type: ignore[attr-defined] # a READ_ANDX
        await exchange.answer()

    server.script.on(more, command=SMB_COM_READ_ANDX)
    with pytest.raises(RemoteProtocolError, match="answered with 20 bytes, 5 were asked for"):
        await file.read(0, 5)
