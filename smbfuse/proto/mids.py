"""Multiplex identifiers: which are in use, and what is next. [MS-CIFS] 3.2.4.1.5, 2.2.3.1 MID.

0xFFFF is the mark of the server's own oplock breaks and is never given out; 0 is left to the negotiation, because old
clients used it for everything and some servers treat it so.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from smbfuse.errors import LocalProtocolError

OPLOCK_BREAK_MID: Final = 0xFFFF
_FIRST: Final = 1
_LAST: Final = 0xFFFE

T = TypeVar("T")


class MidTable(Generic[T]):
    """Requests that wait for an answer, by MID. A MID comes free only when the answer came or the connection ended."""

    __slots__ = ("_next", "pending")

    def __init__(self) -> None:
        self.pending: dict[int, T] = {}
        self._next = _FIRST

    def add(self, item: T) -> int:
        """Enter `item` under a MID that nothing waits on."""
        if len(self.pending) > _LAST - _FIRST:
            raise LocalProtocolError("all MIDs are in use")
        mid = self._next
        while mid in self.pending:
            mid = mid + 1 if mid < _LAST else _FIRST
        self._next = mid + 1 if mid < _LAST else _FIRST
        self.pending[mid] = item
        return mid
