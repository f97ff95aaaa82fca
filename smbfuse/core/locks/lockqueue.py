"""Who waits for which lock of ours: in the order of arrival as far as that is known to end, and never in a circle.

What may live here: waiting for locks that this machine's own processes hold. Other machines' are the server's business.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from smbfuse.core.locks.locktable import LockTable, Span

COURTESY: Final = 0.5
"""Seconds for which those who have waited longer go first, though nobody is in our way."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A lock that somebody wants, of the kind and file that `table` is for."""

    table: LockTable
    owner: int
    span: Span
    detect: bool = True
    """Whether to be told of a deadlock: fcntl(2) looks for them, flock(2) does not."""
    changed: trio.Event = field(default_factory=trio.Event)

    def holders(self) -> set[int]:
        """Who holds what is in the way."""
        return {conflict.owner for conflict in self.table.conflicts(self.owner, self.span)}


class LockQueue:
    """All waiters of a mount, longest waiting first."""

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    def __len__(self) -> int:
        return len(self._waiters)

    @contextmanager
    def place(self, waiter: Waiter) -> Iterator[None]:
        """A place in the queue for the length of the block: until the lock is had, or nobody wants it any more."""
        self._waiters.append(waiter)
        try:
            yield
        finally:
            self._waiters.remove(waiter)
            self.wake(waiter.table)

    def wake(self, table: LockTable) -> None:
        """Locks have gone from the table: let who waits for them look again."""
        for waiter in self._waiters:
            if waiter.table is table:
                waiter.changed.set()

    async def turn(self, waiter: Waiter) -> None:
        """Wait until nobody is in the way, nor has waited longer for what is. OSError(EDEADLK) if that cannot come.

        The latter is waited for `COURTESY` seconds at most: who waits longer may do so for another machine, and that
        in turn for us.
        """
        polite_until = trio.current_time() + COURTESY
        while True:
            holders = waiter.holders()
            if waiter.detect and any(self._depends(holder, waiter.owner) for holder in holders):
                raise OSError(errno.EDEADLK, "each waits for a lock that the other holds")
            if not holders and (trio.current_time() >= polite_until or not self._behind(waiter)):
                return
            waiter.changed = trio.Event()
            with trio.move_on_at(math.inf if holders else polite_until):
                await waiter.changed.wait()

    def _behind(self, waiter: Waiter) -> bool:
        """Whether another has waited longer for what is in the way; one that waits for us goes not before us."""
        for earlier in self._waiters:
            if earlier is waiter:
                return False
            rival = earlier.table is waiter.table and earlier.owner != waiter.owner
            if rival and earlier.span.conflicts(waiter.span) and not self._depends(earlier.owner, waiter.owner):
                return True
        return False

    def _depends(self, owner: int, on: int) -> bool:
        """Whether `owner` waits for a lock that `on` holds, or for one who does."""
        seen: set[int] = set()
        ahead = [owner]
        while ahead:
            found = ahead.pop()
            if found in seen:
                continue
            seen.add(found)
            for waiter in self._waiters:
                if waiter.owner == found:
                    ahead += waiter.holders()
        return on in seen - {owner}
