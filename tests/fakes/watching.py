"""The fake server's change notification: a test says what happened, and who asks is told. [MS-CIFS] 3.3.5.59.4."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from smbfuse import ntstatus as nt
from smbfuse.wire.chains import pack_entries
from smbfuse.wire.const import NT_TRANSACT_NOTIFY_CHANGE, SMB_COM_NT_TRANSACT
from smbfuse.wire.filelevels import FileNotify
from smbfuse.wire.frame import RawBody
from smbfuse.wire.trans import NtTransactRequest, NtTransactResponse
from smbfuse.wire.trans2 import NotifyChangeSetup
from tests.fakes.exchange import Exchange, Reply
from tests.fakes.server import FakeServer


@dataclass(eq=False)
class Watched:
    """One request that waits for something to happen."""

    exchange: Exchange
    setup: NotifyChangeSetup
    answer: trio.Event = field(default_factory=trio.Event)
    reply: Reply | None = None

    def tell(self, *events: tuple[int, str], status: int = 0) -> None:
        """Answer it: (FILE_ACTION, name) each."""
        entries = pack_entries([FileNotify(action=action, file_name=name) for action, name in events], align=4)
        self.reply = Reply([NtTransactResponse(parameters=entries)], status)
        self.answer.set()

    def refuse(self, status: int) -> None:
        """Answer it by an error, or by a status without any data."""
        self.reply = Reply([RawBody()], status)
        self.answer.set()


class Watching:
    """Takes the server's NT_TRANSACT_NOTIFY_CHANGE. `trees`: whether directories are watched with all below them."""

    def __init__(self, server: FakeServer, *, trees: bool = True) -> None:
        self.trees = trees
        self.requests = 0
        self._send, self._waiting = trio.open_memory_channel[Watched](100)
        server.script.on(self._take, command=SMB_COM_NT_TRANSACT, where=_is_notify)

    async def next(self) -> Watched:
        """The next request that asks for changes and is not refused."""
        with trio.fail_after(20):
            return await self._waiting.receive()

    async def _take(self, exchange: Exchange) -> None:
        self.requests += 1
        body = exchange.message.body
        assert isinstance(body, NtTransactRequest)
        setup = NotifyChangeSetup.unpack(body.setup)
        if setup.watch_tree and not self.trees:
            await exchange.answer(Reply([RawBody()], nt.STATUS_NOT_SUPPORTED))
            return
        watched = Watched(exchange, setup)
        self._send.send_nowait(watched)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancelled, watched)
            await watched.answer.wait()
            nursery.cancel_scope.cancel()
        await exchange.answer(watched.reply)

    async def _cancelled(self, watched: Watched) -> None:
        await watched.exchange.connection.wait_cancelled(watched.exchange.mid)
        watched.refuse(nt.STATUS_CANCELLED)


def _is_notify(exchange: Exchange) -> bool:
    body = exchange.message.body
    return isinstance(body, NtTransactRequest) and body.function == NT_TRANSACT_NOTIFY_CHANGE
