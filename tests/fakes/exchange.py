"""A request on its way through the fake server, and what a script may do with it.

An action is an async function of one Exchange; without one the server does `await exchange.answer()`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smbfuse.wire.codec import Body, Buffer
from smbfuse.wire.const import SMB_COM_TRANSACTION2
from smbfuse.wire.frame import Message
from smbfuse.wire.names import command_name

if TYPE_CHECKING:
    from tests.fakes.connection import FakeConnection


@dataclass
class Reply:
    """An answer before it is bytes."""

    bodies: list[Body]
    status: int = 0
    tid: int | None = None
    uid: int | None = None


@dataclass(eq=False)
class Exchange:
    """One request. `number` is the signing number of its answer, None where nothing is signed."""

    connection: FakeConnection
    message: Message
    number: int | None = None
    subcommand: int | None = None
    """Of TRANSACTION2: TRANS2_FIND_FIRST2, ..."""
    transaction: tuple[bytes, bytes] | None = None
    """Parameters and data of the whole transaction, if it is one."""
    _reply: Reply | None = field(default=None, repr=False)

    @property
    def command(self) -> int:
        return self.message.header.command

    @property
    def mid(self) -> int:
        return self.message.header.mid

    @property
    def name(self) -> str:
        """READ_ANDX, or TRANSACTION2/5 for a subcommand."""
        name = command_name(self.command)
        return f"{name}/{self.subcommand}" if self.command == SMB_COM_TRANSACTION2 else name

    def perform(self) -> Reply:
        """Do what is asked, once."""
        if self._reply is None:
            self._reply = self.connection.perform(self)
        return self._reply

    async def answer(self, reply: Reply | None = None) -> None:
        """Do what is asked (if no reply is given) and send the answer."""
        for frame in self.frames(reply):
            await self.send(frame)

    def frames(self, reply: Reply | None = None, room: int | None = None) -> list[bytearray]:
        """The answer as messages, several if it is a transaction that is larger than `room` bytes."""
        return self.connection.encode(self, reply or self.perform(), room)

    async def send(self, frame: Buffer) -> None:
        """Send one message; the transport's length comes in front."""
        await self.connection.send(frame)


Action = Callable[[Exchange], Awaitable[None]]
