"""What the kernel tries a second time, opens above all, as the file has lost the name by which a program asked for it.

The kernel asks for a file by the number that it took for a name. If another has come to stand there meanwhile, the
answer is ESTALE, upon which the kernel looks the name up anew and tries once more; but once only. A program that was
not scheduled between these two would be told ESTALE if the file has been replaced again, which no local file system
does: configuration that is replaced all the time is read all the time. So the second lookup opens the file itself, and
holds it until the kernel's open has come: then its name may go. Nothing of the kind costs anything before an ESTALE.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.errors import SmbfuseError

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode, InodeTable

HOLD: Final = 1.0
"""Seconds within which the kernel looks again, if it does, and opens what it has found."""


async def _nobody(*_: object) -> int:
    return 0


class SecondTries:
    """Of one mount."""

    def __init__(
        self,
        inodes: InodeTable,
        soon: Callable[[Callable[[], Awaitable[object]]], None],
        clock: Callable[[], float],
    ) -> None:
        self.hold: Callable[[Inode, int], Awaitable[int]] = _nobody
        """Opens a file, as the access mode of open(2) says, and tells a handle..."""
        self.let_go: Callable[[int], Awaitable[object]] = _nobody
        """... which this closes."""
        self._inodes = inodes
        self._soon = soon
        self._clock = clock
        self._opening: dict[Inode, int] = {}
        """Files that are being opened, and how."""
        self._expected: dict[tuple[int, str], list[tuple[float, int]]] = {}
        """Directory and name of what was refused: until when it may be tried again, each time, and how to open it."""
        self._held: dict[Inode, list[trio.Event]] = {}
        """Files that we hold, each time until the kernel's open has come."""

    @contextmanager
    def opening(self, inode: Inode, mode: int) -> Iterator[None]:
        """An open of the kernel's, for the block."""
        self._opening[inode] = mode
        try:
            yield
        finally:
            self._opening.pop(inode, None)
            if inode in self._held:
                self._came(inode)

    def refused(self, inode: Inode) -> None:
        """The kernel is told ESTALE: whatever it wants of the file, it begins anew, by the name."""
        now = self._clock()
        self._expected = {place: left for place, tries in self._expected.items() if (left := _of_now(tries, now))}
        for place in self._inodes.places(inode):
            self._expected.setdefault(place, []).append((now + HOLD, self._opening.get(inode, os.O_RDONLY)))

    def _came(self, inode: Inode) -> None:
        events = self._held[inode]
        events.pop(0).set()
        if not events:
            del self._held[inode]

    async def looked_up(self, place: tuple[int, str], inode: Inode) -> bool:
        """Hold the file that the kernel is told of, if it will open that. False if it is there no more: look again."""
        tries = self._expected.pop(place, None)
        if tries is None:
            return True
        tries = _of_now(tries, self._clock())
        if not tries or inode.kind != stat.S_IFREG:
            return True
        until, mode = tries.pop(0)
        if tries:
            self._expected[place] = tries
        try:
            with trio.move_on_after(HOLD):
                self._keep(inode, await self.hold(inode, mode))
        except (OSError, SmbfuseError) as exc:
            if not isinstance(exc, OSError) or exc.errno != errno.ESTALE:
                return True  # the kernel's own open is told of it
            self._expected[place] = [(until, mode), *tries]
            return False
        return True

    def _keep(self, inode: Inode, handle: int) -> None:
        came = trio.Event()
        self._held.setdefault(inode, []).append(came)
        self._soon(partial(self._end, inode, came, handle))

    async def _end(self, inode: Inode, came: trio.Event, handle: int) -> None:
        with trio.move_on_after(HOLD):
            await came.wait()
        if not came.is_set():
            self._held[inode].remove(came)
            if not self._held[inode]:
                del self._held[inode]
        await self.let_go(handle)


def _of_now(tries: list[tuple[float, int]], now: float) -> list[tuple[float, int]]:
    return [(until, mode) for until, mode in tries if until > now]
