"""When our writes took place, until the server says so.

A POSIX program sees the new time of change right after its write. An NT server tells it up to 2 s later (Samba) or
at the close (Windows), and not at all once a time was set while the file was open: smbd 4.17 then even takes the new
time back at the close. So the time that the server must have had at our last write stands in until the server's own is
there; and what a program was told (or the server would take back) is set for good before the close. Only the server's
clock is shown, never ours: programs compare times of files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.server.attrs import Attributes


@dataclass(slots=True)
class _Times:
    written_ns: int | None = None
    """Our last write, by the server's clock; None: there was none since the time was last set."""
    told: bool = False
    """Whether somebody saw this time before the server knew it."""
    pinned: bool = False
    """Whether the time was set while the file was open: writes do not move it any more."""


class WriteTimes:
    """Of the files that we have open. `now` is the server's clock, in nanoseconds since 1970.

    `late`: whether the server tells the time of a write late, and sets it again at the close.
    """

    def __init__(self, now: Callable[[], int], *, late: bool = True) -> None:
        self._now = now
        self._late = late
        self._times: dict[Inode, _Times] = {}

    def __len__(self) -> int:
        return len(self._times)

    def wrote(self, inode: Inode) -> int:
        """Data or size were changed; returns when, by the server's clock."""
        times = self._times.setdefault(inode, _Times())
        times.written_ns = self._now()
        return times.written_ns

    def changed(self, inode: Inode) -> None:
        """The server has changed data or size, and dated the file."""
        if self._late:
            self.wrote(inode)
        else:
            self._times.pop(inode, None)  # an older time is not to be set at the close

    def tell(self, inode: Inode) -> None:
        """A program is told the time, which from the cache is that of our last write."""
        times = self._times.get(inode)
        if times is not None and times.written_ns is not None:
            times.told = True

    def was_set(self, inode: Inode) -> None:
        """A program set the time of an open file."""
        if self._late:
            self._times[inode] = _Times(pinned=True)
        else:
            self._times.pop(inode, None)

    def corrected(self, inode: Inode, attrs: Attributes) -> Attributes:
        """The server's answer, with the time of our last write if the server does not know it yet."""
        times = self._times.get(inode)
        if times is None or times.written_ns is None or attrs.mtime_ns >= times.written_ns:
            return attrs
        times.told = True
        return replace(attrs, mtime_ns=times.written_ns, ctime_ns=max(attrs.ctime_ns, times.written_ns))

    def closing(self, inode: Inode) -> int | None:
        """The file is about to be closed: the time to be set before, if any."""
        times = self._times.pop(inode, None)
        return times.written_ns if times is not None and (times.told or times.pinned) else None
