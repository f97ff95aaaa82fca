"""Slow, silent and dead servers, told apart by an echo; oplock breaks; signatures. All times are the mock clock's."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.client.connection import Connection
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.errors import ConnectionLost, RequestTimeout
from smbfuse.wire.const import (
    FILE_OPEN_IF,
    NT_CREATE_REQUEST_OPBATCH,
    OPLOCK_BATCH,
    OPLOCK_LEVEL_II,
    OPLOCK_NONE,
    SMB_COM_CLOSE,
    SMB_COM_ECHO,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_TRANSACTION2,
)
from smbfuse.wire.filelevels import Fea, FeaList, FileAllInfo
from smbfuse.wire.files import NtCreateAndXRequest, NtCreateAndXResponse
from tests.client.support import PASSWORD, READ_WRITE, assert_idle, opened, tree_of
from tests.fakes import script
from tests.fakes.auth import OneUser
from tests.fakes.exchange import Exchange
from tests.fakes.offer import SIGNING_ENABLED, Offer
from tests.fakes.server import FakeServer
from tests.support.logguard import LogGuard

HELLO = ServerPath("\\hello.txt")


async def ask(tree: Tree) -> None:
    await tree.query_path(HELLO, FileAllInfo)


# --- liveness


async def test_silent_server_is_asked_once_and_then_dead(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.on(script.dropped)
    begun = trio.current_time()
    with pytest.raises(ConnectionLost, match=r"the server has been silent for 2[0-9] s"):
        await ask(tree)
    assert 20 <= trio.current_time() - begun <= 23
    assert server.tap.requests["ECHO"] == 1


async def test_nothing_more_is_begun_while_all_ends() -> None:
    """A request that is abandoned at the very end may have been answered: what it opened would be closed."""
    for _ in range(10):  # tasks take turns by chance
        async with trio.open_nursery() as nursery:
            connection = (await tree_of(FakeServer(), nursery)).session.connection

            async def closes(connection: Connection = connection) -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        for _ in range(10):
                            connection.spawn(trio.lowlevel.checkpoint)
                            await trio.lowlevel.checkpoint()

            nursery.start_soon(closes)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


async def test_slow_server_that_answers_echoes_lives(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.delayed(55), command=SMB_COM_TRANSACTION2)
    begun = trio.current_time()
    await ask(tree)
    assert trio.current_time() - begun == pytest.approx(55)
    assert 3 <= server.tap.requests["ECHO"] <= 6
    assert_idle(tree)


async def test_server_that_answers_others_is_not_asked(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.delayed(50), command=SMB_COM_TRANSACTION2)
    async with trio.open_nursery() as askers:
        askers.start_soon(ask, tree)
        for _ in range(16):
            await trio.sleep(3)
            await ask(tree)
    assert server.tap.requests["ECHO"] == 0


async def test_idle_connection_is_left_alone(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    await trio.sleep(10_000)
    assert server.tap.requests["ECHO"] == 0
    await ask(tree)
    server.script.once(script.delayed(9), command=SMB_COM_TRANSACTION2)
    await ask(tree)
    assert server.tap.requests["ECHO"] == 0, "the silence of the idle time counts"


@pytest.mark.parametrize("seconds", [35, 59])
async def test_server_without_place_for_an_echo_gets_a_requests_whole_time(
    nursery: trio.Nursery, autojump_clock: MockClock, seconds: float
) -> None:
    """With MaxMpxCount of 1 nothing may be asked meanwhile; 35 s is how long it may wait for another's oplock."""
    server = FakeServer(offer=Offer(max_mpx_count=1))
    tree = await tree_of(server, nursery)
    server.script.once(script.delayed(seconds), command=SMB_COM_TRANSACTION2)
    await ask(tree)
    assert server.tap.most_in_flight == 1


async def test_dead_server_without_place_for_an_echo_is_given_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=1))
    tree = await tree_of(server, nursery)
    server.script.on(script.dropped)
    with pytest.raises((RequestTimeout, ConnectionLost)):
        await ask(tree)
    await trio.sleep(5)
    with pytest.raises(ConnectionLost, match="silent for 6"):
        await ask(tree)


async def test_answers_again_after_a_silence(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    for _ in range(3):
        server.script.once(script.delayed(17), command=SMB_COM_TRANSACTION2)
        server.script.once(script.delayed(5), command=SMB_COM_ECHO)
        await ask(tree)
        await trio.sleep(30)
    assert server.tap.requests["ECHO"] == 3
    assert_idle(tree)


# --- oplock breaks


async def open_for_batch(tree: Tree) -> int:
    """FID of an open that asks for a batch oplock, which the tree's own create does not do yet."""
    response = await tree.request(
        NtCreateAndXRequest(
            flags=NT_CREATE_REQUEST_OPBATCH,
            desired_access=READ_WRITE,
            share_access=7,
            create_disposition=FILE_OPEN_IF,
            file_name="\\hello.txt",
        )
    )
    answer = response.body(NtCreateAndXResponse)
    tree.opened(answer.fid, HELLO, answer.oplock_level)
    return answer.fid


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("before", [True, False], ids=["before the answer", "after it"])
async def test_break_is_acknowledged(nursery: trio.Nursery, level: int, before: bool) -> None:
    server = FakeServer(offer=Offer(oplocks=True))
    tree = await tree_of(server, nursery)
    server.script.once(script.breaking(level=level, before=before), command=SMB_COM_NT_CREATE_ANDX)
    fid = await open_for_batch(tree)
    await wait_all_tasks_blocked()
    assert server.last.acknowledged == [(fid, level)]
    assert tree.session.connection.statistics.breaks == 1
    assert_idle(tree)


async def test_break_is_acknowledged_while_the_window_is_full(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(oplocks=True, max_mpx_count=1))
    tree = await tree_of(server, nursery)
    fid = await open_for_batch(tree)
    server.script.once(script.dropped)
    async with trio.open_nursery() as askers:
        askers.start_soon(ask, tree)
        await wait_all_tasks_blocked()
        await server.last.break_oplock(fid)
        await wait_all_tasks_blocked()
        assert server.last.acknowledged == [(fid, 0)]
        askers.cancel_scope.cancel()


async def test_break_of_an_unknown_file_is_kept_in_bounds(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    for fid in range(1000, 2000):
        await server.last.break_oplock(fid)
    await ask(tree)
    assert len(tree.at._early_breaks) <= 50
    assert server.last.acknowledged == []


async def test_break_that_comes_early_is_heard_whatever_came_before(nursery: trio.Nursery) -> None:
    """A server that tells of files that we never had does not keep us from hearing of those that we have."""
    server = FakeServer(offer=Offer(oplocks=True))
    tree = await tree_of(server, nursery)
    for fid in range(1000, 1100):
        await server.last.break_oplock(fid)
    server.script.once(script.breaking(before=True), command=SMB_COM_NT_CREATE_ANDX)
    fid = await open_for_batch(tree)
    await wait_all_tasks_blocked()
    assert server.last.acknowledged == [(fid, 0)]
    assert tree.opens[fid].oplock == OPLOCK_NONE


async def test_break_that_crosses_with_a_close_is_not_another_files(nursery: trio.Nursery) -> None:
    """Servers give the numbers of closed files out again: such a break is answered by the close, and nothing else."""
    server = FakeServer(offer=Offer(oplocks=True, max_mpx_count=10))
    tree = await tree_of(server, nursery)
    for _ in range(20):
        fid = await open_for_batch(tree)
        async with trio.open_nursery() as both:
            both.start_soon(tree.opens[fid].close)
            both.start_soon(server.last.break_oplock, fid)
        server.last.new_ids = itertools.count(fid)
        assert server.last.acknowledged == []
        assert await open_for_batch(tree) == fid
        await wait_all_tasks_blocked()
        assert server.last.acknowledged == []
        assert tree.opens[fid].oplock == OPLOCK_BATCH
        await tree.opens[fid].close()
    server.script.once(script.breaking(before=True), command=SMB_COM_NT_CREATE_ANDX)
    fid = await open_for_batch(tree)
    await wait_all_tasks_blocked()
    assert server.last.acknowledged == [(fid, 0)]


async def test_break_right_behind_the_answer_to_a_close_is_of_the_next_file(nursery: trio.Nursery) -> None:
    """Of one that got the number again, before the answer to its open is here."""
    server = FakeServer(offer=Offer(oplocks=True))
    tree = await tree_of(server, nursery)
    fid = await open_for_batch(tree)

    async def closed_and_broken(exchange: Exchange) -> None:
        await exchange.answer()
        server.last.new_ids = itertools.count(fid)
        await server.last.break_oplock(fid)

    server.script.once(closed_and_broken, command=SMB_COM_CLOSE)
    await tree.opens[fid].close()
    assert await open_for_batch(tree) == fid
    await wait_all_tasks_blocked()
    assert server.last.acknowledged == [(fid, 0)]


async def test_close_does_not_wait_for_what_went_with_the_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The read of a killed program is under way, and a rename waits for the file to be closed: both are over then."""
    server = FakeServer(files={"hello.txt": b"hello"})
    tree = await tree_of(server, nursery)
    file = await opened(tree, HELLO.text)
    server.script.on(script.dropped, command=SMB_COM_READ_ANDX)
    with trio.move_on_after(1):
        await file.read(0, 10)
    async with trio.open_nursery() as waiting:
        waiting.start_soon(partial(file.close, quiet=True))
        await wait_all_tasks_blocked()
        begun = trio.current_time()
        tree.at.lose("the cable")
    assert trio.current_time() == begun


async def test_break_that_is_told_again_and_again_is_heard_once(nursery: trio.Nursery) -> None:
    """Else a server could keep us busy with ever more tasks for one file."""
    server = FakeServer(offer=Offer(oplocks=True))
    tree = await tree_of(server, nursery)
    fid = await open_for_batch(tree)
    heard: list[int | None] = []
    file = tree.at.opens[fid]
    file.on_break = lambda: heard.append(file.breaking)
    for level in (1, 1, 0, 1, 0, 0):
        await server.last.break_oplock(fid, level)
    await wait_all_tasks_blocked()
    assert heard == [OPLOCK_LEVEL_II, OPLOCK_NONE]
    assert tree.session.connection.statistics.breaks == 6


# --- signatures


def signing_server() -> FakeServer:
    return FakeServer(
        offer=Offer(security_mode=SIGNING_ENABLED, oplocks=True, acceptor=lambda: OneUser("tester", PASSWORD))
    )


async def test_signed_work(nursery: trio.Nursery) -> None:
    """Everything that counts numbers: requests, answers out of order, breaks, secondaries, cancelled callers."""
    server = signing_server()
    server.offer.max_buffer_size = 4356
    tree = await tree_of(server, nursery)
    assert tree.session.limits.signing
    fid = await open_for_batch(tree)
    await server.last.break_oplock(fid)
    file = await opened(tree, "\\new")
    await file.write(0, bytes(range(256)) * 400)
    server.script.on(script.reordered(3, lambda batch: batch[::-1]), command=SMB_COM_TRANSACTION2, times=3)
    async with trio.open_nursery() as askers:
        for _ in range(3):
            askers.start_soon(ask, tree)
    feas = FeaList(feas=tuple(Fea(name=f"A{index}", value=bytes(900)) for index in range(20)))
    with pytest.raises(Exception, match="STATUS_INVALID_LEVEL"):
        await tree.set_path(HELLO, feas)
    with trio.move_on_after(0):
        await ask(tree)
    assert bytes(await file.read(0, 200_000)) == bytes(range(256)) * 400
    await file.close()
    await tree.session.connection.echo()
    assert server.last.wrong_signatures == 0
    assert server.last.acknowledged == [(fid, 0)]
    assert server.last.signer is not None


async def test_wrong_signature_ends_the_connection(nursery: trio.Nursery, log_guard: LogGuard) -> None:
    log_guard.expect("the answer to TRANSACTION2 has a wrong signature")
    server = signing_server()
    tree = await tree_of(server, nursery)
    await ask(tree)
    server.script.once(script.changed(script.badly_signed))
    with pytest.raises(ConnectionLost, match="the answer to TRANSACTION2 has a wrong signature"):
        await ask(tree)


async def test_changed_answer_ends_the_connection(nursery: trio.Nursery, log_guard: LogGuard) -> None:
    log_guard.expect("has a wrong signature")
    server = signing_server()
    tree = await tree_of(server, nursery)

    def flip(frame: bytearray) -> None:
        frame[-1] ^= 1

    server.script.once(script.changed(flip))
    with pytest.raises(ConnectionLost, match="wrong signature"):
        await ask(tree)


async def test_unsigned_answer_ends_the_connection(nursery: trio.Nursery, log_guard: LogGuard) -> None:
    log_guard.expect("has a wrong signature")
    server = signing_server()
    tree = await tree_of(server, nursery)

    async def unsigned(exchange: Exchange) -> None:
        exchange.number = None
        await exchange.answer()

    server.script.once(unsigned)
    with pytest.raises(ConnectionLost, match="wrong signature"):
        await ask(tree)
