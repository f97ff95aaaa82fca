"""Clocks: this machine's that nobody sets, and the server's, as far as its answers let us reckon it.

Programs compare times of files, so what they call "now" has to be the server's now, and no earlier than what the server
has dated before. It tells its time when a connection begins, in an answer that was under way for a while: by as much we
reckon it too late. A new file is dated by the server itself, so each can show that its clock is further than we took it
for; or that somebody has set it, which NAS without a battery do some time after they were started.
"""

from __future__ import annotations

import time
from typing import Final

GRAIN_NS: Final = 2 * 10**9
"""The coarsest grain of a server's time stamps (FAT), and more than its clock may be misjudged by."""
_FINE_NS: Final = 10**7
"""Whole multiples of this (10 ms, FAT's time of creation) may be rounded, and so later than it was."""


def since_boot_ns() -> int:
    """A clock that nobody sets, and that goes on while this machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def seconds_asleep() -> float:
    """For how long this machine has been suspended since it was started: trio's clock stands still then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class ServerClock:
    """In nanoseconds since 1970. That ours may be set does not matter."""

    def __init__(self) -> None:
        self._ahead_ns = 0
        """By how much it is ahead of the time since this machine was started."""

    def now_ns(self) -> int:
        """What it shows now, at least; 100 ns are its tick: in between it would tell times that no server keeps."""
        return (since_boot_ns() + self._ahead_ns) // 100 * 100

    def shows(self, now_ns: int) -> None:
        """The server said so just now."""
        self._ahead_ns = now_ns - since_boot_ns()

    def dated(self, told_ns: int, since_ns: int) -> None:
        """The server dated something so, by its own clock, at some time since this clock showed `since_ns`."""
        if told_ns <= 0:
            return  # it told no time
        rounded = GRAIN_NS if told_ns % _FINE_NS == 0 else 0
        if told_ns > self.now_ns() + rounded or told_ns < since_ns - GRAIN_NS:
            self.shows(told_ns)
