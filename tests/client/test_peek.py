"""Looks at files in passing: what comes of them, and that nothing stays open or waits."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse import ntstatus as nt
from smbfuse.client.openfile import LockChange
from smbfuse.client.peek import Peek, Peeks
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.errors import ConnectionLost
from smbfuse.wire.codec import AndXBody
from smbfuse.wire.const import SMB_COM_CLOSE, SMB_COM_NT_CREATE_ANDX, SMB_COM_READ_ANDX
from smbfuse.wire.frame import RawBody
from tests.client.support import assert_idle, opened, tree_of
from tests.client.test_samba import MakeSmbd, log_on
from tests.fakes import script
from tests.fakes.exchange import Action, Exchange, Reply
from tests.fakes.server import FakeServer
from tests.samba.smbd import Share

HELLO = ServerPath("\\hello.txt")
CONTENT = b"hello world"


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(files={"hello.txt": CONTENT})


async def peeks_of(tree: Tree) -> Peeks:
    """They are there when there is a tree connect for them, which the first one asks for."""
    peeks = Peeks(tree)
    assert peeks.look(HELLO, 4096) is None
    await wait_all_tasks_blocked()
    await tree.session.connection.echo()  # which is answered after what was asked before
    await wait_all_tasks_blocked()
    return peeks


def looked(peeks: Peeks, path: ServerPath = HELLO) -> Peek:
    peek = peeks.look(path, 4096)
    assert peek is not None
    return peek


async def test_one_message_that_leaves_nothing_open(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    peeks = await peeks_of(tree)
    before = tree.session.connection.statistics.requests
    peek = looked(peeks)
    assert peek.data is None
    await wait_all_tasks_blocked()
    assert tree.session.connection.statistics.requests == before + 1
    assert tree.session.connection.statistics.late == 0
    assert peek.data is not None
    assert bytes(peek.data) == CONTENT
    assert peek.found is not None
    assert peek.found.end_of_file == len(CONTENT)
    assert server.last.opens == {}
    assert_idle(tree)


async def test_its_answer_is_there_when_that_of_the_next_request_is(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    peek = looked(await peeks_of(tree))
    file = await opened(tree, HELLO.text)
    assert peek.data is not None
    await file.close()


async def test_of_what_is_not_there_nothing_comes(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    peek = looked(await peeks_of(tree), ServerPath("\\none"))
    await wait_all_tasks_blocked()
    assert peek.found is None
    assert peek.data is None
    assert tree.chains
    assert_idle(tree)


async def short(exchange: Exchange) -> None:
    """A server that does the first request of a chain and forgets the rest."""
    del exchange.message.members[1:]
    await exchange.answer()


async def read_only(exchange: Exchange) -> None:
    """One that does not close."""
    del exchange.message.members[2:]
    await exchange.answer()


async def unreadable(exchange: Exchange) -> None:
    """As Windows where another client has locked the start of the file."""
    del exchange.message.members[1:]
    opened = exchange.perform().bodies[0]
    assert isinstance(opened, AndXBody)
    opened.andx_command = SMB_COM_READ_ANDX
    await exchange.answer(Reply([opened, RawBody()], nt.STATUS_FILE_LOCK_CONFLICT))


@pytest.mark.parametrize(("action", "data"), [(short, False), (read_only, True), (unreadable, False)])
async def test_what_the_server_leaves_open_is_closed(
    server: FakeServer, nursery: trio.Nursery, action: Action, data: bool
) -> None:
    tree = await tree_of(server, nursery)
    peeks = await peeks_of(tree)
    server.script.once(action, command=SMB_COM_NT_CREATE_ANDX)
    peek = looked(peeks)
    await wait_all_tasks_blocked()
    assert (peek.data is not None) == (peek.found is not None) == data
    assert server.last.opens == {}
    assert_idle(tree)


async def test_a_server_that_never_answers_costs_a_place_and_no_wait(
    server: FakeServer, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    tree = await tree_of(server, nursery)
    peeks = await peeks_of(tree)
    server.script.once(script.dropped, command=SMB_COM_NT_CREATE_ANDX)
    peek = looked(peeks)
    file = await opened(tree, HELLO.text)
    assert peek.data is None
    await file.close()
    assert tree.session.connection.window.used == 1


async def test_there_is_no_look_when_all_places_are_taken(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    peeks = await peeks_of(tree)
    window = tree.session.connection.window
    window.limit = 1
    answered = trio.Event()
    server.script.once(script.held(answered), command=SMB_COM_NT_CREATE_ANDX)
    nursery.start_soon(opened, tree, HELLO.text)
    await wait_all_tasks_blocked()
    assert peeks.look(HELLO, 4096) is None
    answered.set()
    await wait_all_tasks_blocked()
    assert peeks.look(HELLO, 4096) is not None


async def test_there_is_no_look_at_a_lost_server(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    peeks = await peeks_of(tree)
    looked(peeks)
    tree.session.connection.fail(ConnectionLost("unplugged"))
    assert peeks.look(HELLO, 4096) is None
    assert_idle(tree)


async def test_a_nameless_answer_ends_all_looks(server: FakeServer, nursery: trio.Nursery) -> None:
    async def nameless(exchange: Exchange) -> None:
        frame = exchange.frames(Reply([RawBody()], nt.STATUS_INTERNAL_ERROR))[0]
        frame[4], frame[30:32] = SMB_COM_CLOSE, b"\xfe\xca"
        await exchange.send(frame)

    tree = await tree_of(server, nursery)
    peeks = await peeks_of(tree)
    server.script.once(nameless, command=SMB_COM_NT_CREATE_ANDX)
    peek = looked(peeks)
    await wait_all_tasks_blocked()
    assert peek.data is None
    assert not tree.chains
    assert tree.session.connection.statistics.by_command["TREE_DISCONNECT"] == 1
    assert peeks.look(HELLO, 4096) is None


async def test_smbd(make_smbd: MakeSmbd, tmp_path: Path, nursery: trio.Nursery) -> None:
    """Of a file that another client has locked nothing stays open, though smbd lets go of its FID."""
    (tmp_path / "file").write_bytes(CONTENT)
    server = make_smbd([Share(name="share", path=tmp_path)])
    tree = await connect_tree(await log_on(server, nursery), "share")
    peeks, path = await peeks_of(tree), ServerPath("\\file")
    peek = looked(peeks, path)
    file = await opened(tree, path.text)
    assert peek.data is not None
    assert bytes(peek.data) == CONTENT
    await file.close()
    other = await connect_tree(await log_on(server, nursery), "share")
    theirs = await opened(other, path.text)
    await theirs.lock(LockChange(locks=((0, 4),)))
    peek = looked(peeks, path)
    with trio.fail_after(10):
        await (await opened(tree, path.text)).close()
        await tree.session.connection.echo()  # what was said before it is done
    assert peek.data is None
    assert not tree.chains
    await theirs.close()
    await other.delete(path)
    assert not (tmp_path / "file").exists()
