"""Sessions with the fake server over a socketpair, where a mock clock can jump, and what several tests ask of them."""

from __future__ import annotations

from typing import Any

import trio

from smbfuse.client.connection import Connection
from smbfuse.client.openfile import OpenFile
from smbfuse.client.session import Session
from smbfuse.client.shares import connect_tree
from smbfuse.client.transport import Transport
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.settings import Credentials, Secret, ServerSettings
from smbfuse.wire.const import FILE_OPEN_IF, FILE_READ_DATA, FILE_WRITE_DATA
from tests.fakes.server import FakeServer

PASSWORD = "correct horse 1"
READ_WRITE = FILE_READ_DATA | FILE_WRITE_DATA | 0x0180


def settings(**changes: Any) -> ServerSettings:  # noqa: ANN401 - fields of ServerSettings
    """Settings for the fake server; it lets anybody in."""
    given: dict[str, Any] = {
        "host": "fake",
        "share": "share",
        "credentials": Credentials(username="tester", password=Secret(PASSWORD)),
        "unix_extensions": False,
    }
    return ServerSettings(**(given | changes))


async def connected(server: FakeServer, nursery: trio.Nursery, **changes: Any) -> Session:  # noqa: ANN401
    """A connection on which nothing was said yet, as a session's first state."""
    chosen = settings(**changes)
    connection = Connection(
        Transport(server.connect(nursery)),
        pid=0x1_2345,
        timeout=chosen.request_timeout,
        echo_interval=chosen.echo_interval,
        patient=chosen.hard,
    )
    await nursery.start(connection.run)
    return Session(connection, chosen)


async def logged_on(server: FakeServer, nursery: trio.Nursery, **changes: Any) -> Session:  # noqa: ANN401
    session = await connected(server, nursery, **changes)
    await session.log_on(await session.negotiate())
    return session


async def tree_of(server: FakeServer, nursery: trio.Nursery, **changes: Any) -> Tree:  # noqa: ANN401
    """The share `share`."""
    return await connect_tree(await logged_on(server, nursery, **changes), "share")


async def opened(tree: Tree, path: str, *, access: int = READ_WRITE, disposition: int = FILE_OPEN_IF) -> OpenFile:
    file, _ = await tree.create(ServerPath(path), access=access, disposition=disposition)
    return file


def assert_idle(tree: Tree) -> None:
    """No MID, place or task is left over from any request."""
    connection = tree.session.connection
    assert connection.engine.mids.pending == {}
    assert connection.window.used == 0
    assert not connection.window._waiting
    assert not connection.window._urgent
