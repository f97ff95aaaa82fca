"""How many requests may be under way: the server's MaxMpxCount. [MS-CIFS] 2.2.4.52.2, 3.2.4.1.5.

Some places are reserved for what must never wait behind data: oplock acknowledgements, echoes and closes. What no
program waits for (read-ahead, writes that waited) leaves a few more to the others, and goes last. A place comes free
when the answer came, not when its caller left, because until then the server still works on it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import trio

LEFT_TO_OTHERS: Final = 4
"""Places that unhurried requests leave free, where there are four times as many."""


@dataclass(slots=True)
class Window:
    """Places for requests. `limit` is set by the negotiation; until then one request at a time."""

    limit: int = 1
    used: int = 0
    _waiting: deque[trio.lowlevel.Task] = field(default_factory=deque)
    _urgent: deque[trio.lowlevel.Task] = field(default_factory=deque)
    _unhurried: deque[trio.lowlevel.Task] = field(default_factory=deque)

    @property
    def reserved(self) -> int:
        """Places that only urgent requests may take: an eighth, one at least where there are two."""
        return min(max(self.limit // 8, 1), self.limit - 1)

    @property
    def unhurried(self) -> int:
        """Places that unhurried requests may take."""
        usual = self.limit - self.reserved
        return usual - min(usual // 4, LEFT_TO_OTHERS)

    def _free(self, urgent: bool = False, unhurried: bool = False) -> bool:
        if unhurried:
            return self.used < self.unhurried
        return self.used < (self.limit if urgent else self.limit - self.reserved)

    async def acquire(self, urgent: bool = False, unhurried: bool = False) -> None:
        """Take a place, in order of arrival. Cancelled, it has taken none. A checkpoint only if it waits."""
        queue = self._urgent if urgent else self._unhurried if unhurried else self._waiting
        if not queue and self._free(urgent, unhurried):
            self.used += 1
            return
        task = trio.lowlevel.current_task()
        queue.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            queue.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)  # `release` has counted the place already

    def try_acquire(self, urgent: bool = True) -> bool:
        """Take a place that is free now, and that nobody waits for, or say no."""
        if self._free(urgent):
            self.used += 1
            return True
        return False

    def release(self) -> None:
        """Give a place back, to whoever waits longest."""
        self.used -= 1
        self.admit()

    def admit(self) -> None:
        """Let in whom the limit allows now."""
        for queue, urgent, unhurried in (
            (self._urgent, True, False),
            (self._waiting, False, False),
            (self._unhurried, False, True),
        ):
            while queue and self._free(urgent, unhurried):
                self.used += 1
                trio.lowlevel.reschedule(queue.popleft())
