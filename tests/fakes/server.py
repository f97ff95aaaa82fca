"""A scriptable SMB1 server, for what Samba cannot be made to do.

Built from the same declarations as the client, the other direction of each. Kept honest by running the same tests over
it and over smbd (tests/client/test_common.py). Serves any number of clients over sockets: a socketpair for tests with
a mock clock, or a loopback port for real mounts (`python -m tests.fakes` by hand, `background.py` from tests).
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from tests.fakes.connection import FakeConnection
from tests.fakes.exchange import Exchange
from tests.fakes.offer import Offer
from tests.fakes.script import Script
from tests.fakes.volume import Volume
from tests.samba.content import FILES, PRESENT_FILES, SNAPSHOT_FILES


@dataclass
class Share:
    """What can be connected to."""

    name: str
    volume: Volume


@dataclass
class Tap:
    """Counts requests. The names are those of Exchange.name."""

    requests: Counter[str] = field(default_factory=Counter)
    undecodable: list[str] = field(default_factory=list)
    """Messages that were none, with the reason; the connection was closed then."""
    in_flight: int = 0
    """Requests without an answer, scripts that never give one left out once they end."""
    most_in_flight: int = 0

    def count(self, exchange: Exchange) -> None:
        self.requests[exchange.name] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def merge(self, exchange: Exchange) -> None:
        """A transaction in parts is one request, which was counted when its first part came."""
        self.requests[exchange.name] -= 1

    def answered(self, exchange: Exchange) -> None:
        self.in_flight -= 1

    @property
    def total(self) -> int:
        return self.requests.total()

    def clear(self) -> None:
        self.requests.clear()
        self.most_in_flight = self.in_flight


def standard_shares() -> list[Share]:
    """As `tests.samba.content.standard_shares`: `share`, and `snaps` with two snapshots."""
    return [
        Share("share", Volume(FILES)),
        Share("snaps", Volume(PRESENT_FILES, SNAPSHOT_FILES)),
    ]


class FakeServer:
    """The server. Change `offer`, `script` and the shares' volumes at any time."""

    def __init__(
        self, *, offer: Offer | None = None, shares: list[Share] | None = None, files: Mapping[str, bytes] | None = None
    ) -> None:
        """`files` stands for one share named `share` with this content."""
        self.offer: Offer = offer or Offer()
        made = [Share("share", Volume(files))] if files is not None else shares or standard_shares()
        self.shares = {share.name.upper(): share for share in made}
        self.script = Script()
        self.tap = Tap()
        self.connections: list[FakeConnection] = []

    @property
    def volume(self) -> Volume:
        """Of the first share."""
        return next(iter(self.shares.values())).volume

    @property
    def last(self) -> FakeConnection:
        """The connection made last."""
        return self.connections[-1]

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one client until it hangs up."""
        connection = FakeConnection(self, stream)
        self.connections.append(connection)
        await connection.serve()

    def connect(self, nursery: trio.Nursery) -> socket.socket:
        """The client's end of a new connection, which is served in `nursery`."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        nursery.start_soon(self.serve_stream, stream)
        return theirs

    async def listen(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve a loopback port, which is what the task's start gives."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self.serve_stream, listeners)
            task_status.started(port)
