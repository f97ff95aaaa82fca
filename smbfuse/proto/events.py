"""What the engine makes of a message that came in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from smbfuse.errors import RemoteProtocolError, StatusError
from smbfuse.ntstatus import is_error
from smbfuse.wire.names import command_name

if TYPE_CHECKING:
    from smbfuse.proto.reassembly import Transaction
    from smbfuse.wire.codec import Body, Buffer
    from smbfuse.wire.header import Header

B = TypeVar("B", bound="Body")


@dataclass(slots=True)
class Response:
    """The whole answer to a request of ours. `status` is NTSTATUS, DOS errors folded in."""

    owner: Any
    """What the request was started with."""
    mid: int
    status: int
    header: Header
    members: list[tuple[int, Body]]
    raw: Buffer
    """The message as it came, for the one place that checks a signature later (session setup)."""
    transaction: Transaction | None = None

    def check(self, subject: str = "") -> None:
        """Raise StatusError if the server said no. `subject` (a path) goes into the text."""
        if is_error(self.status):
            raise StatusError(self.status, command_name(self.header.command), subject)

    def body(self, made: type[B], index: int = 0) -> B:
        """The member's body, which must be of this class; RemoteProtocolError where the server sent another."""
        if index < len(self.members) and isinstance(self.members[index][1], made):
            return self.members[index][1]  # type: ignore[return-value] # just checked
        raise RemoteProtocolError(f"answer to {command_name(self.header.command)} has not the form {made.__name__}")


@dataclass(slots=True)
class Interim:
    """The server took the first part of a long request: send the rest."""

    mid: int


@dataclass(slots=True)
class OplockBreak:
    """The server takes an oplock back. [MS-CIFS] 3.2.5.42. It may come before the answer that gave the oplock."""

    tid: int
    fid: int
    level: int
    """What remains: 0 none, 1 level II."""


@dataclass(slots=True)
class Unsolicited:
    """An answer that nobody waits for: late beyond its connection's memory, or nonsense. Dropped and counted."""

    mid: int
    command: int


@dataclass(slots=True)
class MorePartsFollow:
    """A part of a transaction that is not complete yet."""

    mid: int


Event = Response | Interim | OplockBreak | Unsolicited | MorePartsFollow
