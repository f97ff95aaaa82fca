"""Opens with a chained read, and servers that will not have them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse import ntstatus as nt
from smbfuse.client.openfile import OpenFile
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.errors import RequestTimeout, StatusError
from smbfuse.wire.codec import AndXBody
from smbfuse.wire.const import (
    FILE_OPEN,
    FILE_READ_DATA,
    OPLOCK_BATCH,
    SMB_COM_CLOSE,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
)
from smbfuse.wire.frame import RawBody
from tests.client.support import assert_idle, tree_of
from tests.fakes import script
from tests.fakes.exchange import Action, Exchange, Reply
from tests.fakes.server import FakeServer

HELLO = ServerPath("\\hello.txt")
CONTENT = b"hello world"


async def with_head(tree: Tree, path: ServerPath = HELLO) -> OpenFile:
    file, _ = await tree.create(path, access=FILE_READ_DATA, disposition=FILE_OPEN, oplock=OPLOCK_BATCH, head=4096)
    return file


async def cost(tree: Tree) -> tuple[int, OpenFile]:
    """Requests of an open with a head, and the file."""
    statistics = tree.session.connection.statistics
    before = statistics.requests
    file = await with_head(tree)
    return statistics.requests - before, file


def is_chain(exchange: Exchange) -> bool:
    return len(exchange.message.members) > 1


async def without_read(exchange: Exchange) -> None:
    """The first request of the chain is done, and nothing is said of the other."""
    reply = exchange.perform()
    await exchange.answer(Reply(reply.bodies[:1]))


async def nameless(exchange: Exchange) -> None:
    """As smbd 4.17 when the chained read fails: the open is done, and the answer is nobody's."""
    exchange.perform()
    frame = exchange.frames(Reply([RawBody()], nt.STATUS_INTERNAL_ERROR))[0]
    frame[4], frame[30:32] = SMB_COM_CLOSE, b"\xfe\xca"
    await exchange.send(frame)


async def read_refused(exchange: Exchange) -> None:
    """As Windows when another client has locked the start of the file."""
    opened = exchange.perform().bodies[0]
    assert isinstance(opened, AndXBody)
    opened.andx_command = SMB_COM_READ_ANDX
    await exchange.answer(Reply([opened, RawBody()], nt.STATUS_FILE_LOCK_CONFLICT))


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(files={"hello.txt": CONTENT})


async def test_one_request(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    requests, file = await cost(tree)
    assert requests == 1
    assert bytes(file.head or b"") == CONTENT
    assert bytes(await file.read(0, 100)) == CONTENT
    assert_idle(tree)


@pytest.mark.parametrize(
    ("action", "first", "second"),
    [(without_read, 1, 1), (read_refused, 1, 1), (script.refused(nt.STATUS_NOT_SUPPORTED), 2, 1), (nameless, 2, 1)],
)
async def test_whatever_becomes_of_the_read_the_file_is_open(
    server: FakeServer, nursery: trio.Nursery, action: Action, first: int, second: int
) -> None:
    """Once where that is known by the answer; a server that takes no chains is not asked for them again."""
    tree = await tree_of(server, nursery)
    server.script.on(action, command=SMB_COM_NT_CREATE_ANDX, where=is_chain)
    for requests in (first, second):
        asked, file = await cost(tree)
        assert asked == requests
        assert file.head is None
        assert bytes(await file.read(0, 100)) == CONTENT
        await file.close()
    assert tree.opens == {}


async def test_what_fails_without_the_read_too_is_an_error(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    server.script.on(script.refused(nt.STATUS_INVALID_PARAMETER), command=SMB_COM_NT_CREATE_ANDX, times=2)
    with pytest.raises(StatusError):
        await with_head(tree)
    requests, file = await cost(tree)
    assert requests == 1
    assert file.head is not None, "that was not for the chain"


async def test_a_refusal_with_the_words_of_an_answer_opens_nothing(server: FakeServer, nursery: trio.Nursery) -> None:
    """Only behind an open that was done is there a second answer."""

    async def wordy(exchange: Exchange) -> None:
        await exchange.answer(Reply(exchange.perform().bodies[:1], nt.STATUS_ACCESS_DENIED))

    tree = await tree_of(server, nursery)
    server.script.once(wordy, command=SMB_COM_NT_CREATE_ANDX)
    with pytest.raises(StatusError):
        await with_head(tree)
    assert tree.opens == {}


async def test_a_chain_that_is_answered_after_all_leaves_nothing_open(
    server: FakeServer, nursery: trio.Nursery
) -> None:
    """The spoiled answer was another chain's. Nobody can tell."""
    tree = await tree_of(server, nursery)
    late = trio.Event()
    server.script.once(script.held(late), command=SMB_COM_NT_CREATE_ANDX)
    server.script.once(nameless, command=SMB_COM_NT_CREATE_ANDX)
    files = []

    async def open_one() -> None:
        files.append(await with_head(tree))

    async with trio.open_nursery() as callers:
        callers.start_soon(open_one)
        await wait_all_tasks_blocked()
        callers.start_soon(open_one)
    assert len(files) == 2
    late.set()
    await wait_all_tasks_blocked()
    assert {file.fid for file in files} == set(tree.opens)
    assert len(server.last.opens) == 2 + 1, "one is open at the server that it never told us of"


async def test_one_that_is_not_answered_ends_in_time(
    server: FakeServer, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    tree = await tree_of(server, nursery)
    server.script.once(script.dropped, command=SMB_COM_NT_CREATE_ANDX)
    with pytest.raises(RequestTimeout):
        await with_head(tree)


async def test_who_leaves_gets_no_file(server: FakeServer, nursery: trio.Nursery) -> None:
    """Also where the open was done and the read was not."""
    tree = await tree_of(server, nursery)
    late = trio.Event()

    async def refused_late(exchange: Exchange) -> None:
        exchange.perform()
        await late.wait()
        await read_refused(exchange)

    server.script.once(refused_late, command=SMB_COM_NT_CREATE_ANDX)
    async with trio.open_nursery() as callers:
        callers.start_soon(with_head, tree)
        await wait_all_tasks_blocked()
        callers.cancel_scope.cancel()
    late.set()
    await wait_all_tasks_blocked()
    assert tree.opens == {}
    assert server.last.opens == {}
    assert_idle(tree)
