"""Servers that leave out what the documents ask for, and that all others put up with."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from smbfuse import ntstatus as nt
from smbfuse.client.shares import tree_connect
from smbfuse.client.tree import ServerPath
from smbfuse.errors import ConnectionLost, StatusError
from smbfuse.wire.const import (
    FILE_OPEN,
    SMB_COM_CLOSE,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_TREE_CONNECT_ANDX,
)
from smbfuse.wire.setup import TreeConnectAndXRequest
from tests.client.support import READ_WRITE, logged_on, opened, tree_of
from tests.fakes import script
from tests.fakes.exchange import Action, Exchange
from tests.fakes.server import FakeServer
from tests.support.logguard import LogGuard

NONE = ServerPath("\\none")


def cut(size: int) -> Action:
    """The answer has no more bytes than that; its header has 32."""
    return script.changed(lambda frame: frame[:size])


async def test_half_of_byte_count(nursery: trio.Nursery) -> None:
    server = FakeServer(files={"a": b"a"})
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\a")
    server.script.once(cut(34), command=SMB_COM_CLOSE)
    await file.close()
    assert tree.session.connection.lost is None


@pytest.mark.parametrize("size", [32, 33, 34])
async def test_errors_without_words_and_bytes(nursery: trio.Nursery, size: int) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(cut(size), command=SMB_COM_NT_CREATE_ANDX)
    with pytest.raises(StatusError) as caught:
        await tree.create(NONE, access=READ_WRITE, disposition=FILE_OPEN)
    assert caught.value.status == nt.STATUS_OBJECT_NAME_NOT_FOUND
    assert tree.session.connection.lost is None


@pytest.mark.parametrize(("command", "size"), [(SMB_COM_CLOSE, 33), (SMB_COM_CLOSE, 32), (SMB_COM_READ_ANDX, 34)])
async def test_what_should_say_something_and_does_not(
    nursery: trio.Nursery, log_guard: LogGuard, command: int, size: int
) -> None:
    log_guard.expect("the server broke the protocol")
    server = FakeServer(files={"a": b"a"})
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\a")
    server.script.once(cut(size), command=command)
    with suppress(ConnectionLost):
        await (file.close() if command == SMB_COM_CLOSE else file.read(0, 1))
    assert tree.session.connection.lost is not None


async def test_a_warning_in_the_place_of_a_file(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.refused(nt.STATUS_STOPPED_ON_SYMLINK), command=SMB_COM_NT_CREATE_ANDX)
    with pytest.raises(StatusError) as caught:
        await tree.create(NONE, access=READ_WRITE, disposition=FILE_OPEN)
    assert caught.value.status == nt.STATUS_STOPPED_ON_SYMLINK


@pytest.mark.parametrize(("name", "sent"), [("data", "DATA"), ("Büro", "BÜRO"), ("Straße", "STRAßE"), ("ŉ", "ŉ")])
async def test_share_names_keep_what_grows_in_upper_case(nursery: trio.Nursery, name: str, sent: str) -> None:
    """Straße is another share than STRASSE."""
    server = FakeServer()
    session = await logged_on(server, nursery)
    asked: list[str] = []

    async def note(exchange: Exchange) -> None:
        request = exchange.message.body
        assert isinstance(request, TreeConnectAndXRequest)
        asked.append(request.path)
        await exchange.answer()

    server.script.once(note, command=SMB_COM_TREE_CONNECT_ANDX)
    with suppress(StatusError):  # it has no such share
        await tree_connect(session, name)
    assert asked == [f"\\\\FAKE\\{sent}"]
