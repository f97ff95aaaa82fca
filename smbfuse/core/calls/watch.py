"""Has the server watch for changes that others make, and passes on what it tells.

The mounted directory is watched with all below it. Where a server refuses that, directories in use are watched one by
one, as many as have room: each watch takes one of the requests that may be under way (MaxMpxCount) for as long as it
lasts, and all together take a small share. A server that watches nothing is let be; then what is known lasts as long as
it does anyway: watching only ever makes that shorter.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.client.notify import DirectoryWatch, Event
from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_NOT_IMPLEMENTED, STATUS_SMB_BAD_COMMAND

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.calls.vfs import Vfs

log: Final = logging.getLogger(__name__)

REST: Final = 0.02
"""Seconds from one answer to the next request: what happens meanwhile comes together, and costs one request."""
SHARE: Final = 8
"""One place in so many is for watches, of those that MaxMpxCount gives."""

_UNKNOWN: Final = frozenset({STATUS_NOT_IMPLEMENTED, STATUS_SMB_BAD_COMMAND})
"""How a server says that it knows of no watching (smbd with `change notify = no` by the first)."""

Tell = Callable[["Inode", list[Event]], None]


class Watch:
    """The watches of one mount. `tell` gets what happened, by directory watched.

    `doubt` is told of a tree that is watched from now on: of what changed there before nobody told.
    """

    def __init__(self, files: Vfs, tell: Tell, doubt: Callable[[Inode], None]) -> None:
        self._files = files
        self._tell = tell
        self._doubt = doubt
        self._watches: OrderedDict[Inode, DirectoryWatch] = OrderedDict()
        """Directories watched, the one used last at the end."""
        self._opening: set[Inode] = set()
        self._subtree = True
        self._ended = False

    @property
    def room(self) -> int:
        """How many watches there may be."""
        limits = self._files.backend.tree.session.limits
        return 0 if self._ended or self._files.cache.lifetime <= 0 else int(limits.max_mpx_count) // SHARE

    @property
    def watched(self) -> list[Inode]:
        """Directories that the server watches."""
        return [directory for directory, watch in self._watches.items() if watch.begun]

    @property
    def asking(self) -> int:
        """How many requests the server has of them now: between an answer and the next request, one less."""
        return sum(watch.asking for watch in self._watches.values())

    def start(self) -> None:
        """Begin, in the background."""
        if self.room:
            self._files.soon(partial(self._begin, self._files.inodes.root))

    def used(self, directory: Inode) -> None:
        """A directory was listed: if the server watches no trees, it is watched by itself."""
        if directory in self._watches:
            self._watches.move_to_end(directory)
        elif not (self._subtree or directory.snapshot or directory in self._opening) and self.room:
            self._files.soon(partial(self._begin, directory))

    async def leave(self, directory: Inode) -> None:
        """It is to be renamed or removed: no FID of it, nor of one below, may stay open."""
        for inode in [inode for inode in self._watches if self._files.inodes.is_below(inode, directory)]:
            await self._watches.pop(inode).end()

    async def end(self) -> None:
        """End all, at the end of the mount."""
        self._ended = True
        while self._watches:
            await self._watches.popitem()[1].end()

    async def _begin(self, directory: Inode) -> None:
        self._opening.add(directory)
        try:
            path = self._files.path(directory)
            watch = await DirectoryWatch.open(self._files.backend.tree, path, subtree=self._subtree)
        finally:
            self._opening.discard(directory)
        # A directory by itself was listed a moment ago: to doubt that would cost a question about each of its files.
        watch.on_begun = partial(self._doubt, directory) if self._subtree else watch.on_begun
        self._watches[directory] = watch
        while len(self._watches) > self.room:
            await self._watches.popitem(last=False)[1].end()
        if not watch.ending:
            await self._follow(directory, watch)

    async def _follow(self, directory: Inode, watch: DirectoryWatch) -> None:
        """Pass on what happens until the server or we end the watch."""
        served = False
        try:
            self._files.echoes.armed = True
            while True:
                events = await watch.events()
                if watch.ending:
                    return
                served = True
                self._tell(directory, events)
                await trio.sleep(REST)
        except StatusError as exc:
            if not watch.ending:
                log.debug("the server does not watch directory %d: %s", directory.number, exc)
                self._files.soon(watch.end)
                self._refused(exc.status, served)
        finally:
            if self._watches.get(directory) is watch:
                del self._watches[directory]
            self._files.echoes.armed = bool(self._watches)

    def _refused(self, status: int, served: bool) -> None:
        """It watches no trees, or nothing at all, if it never did."""
        self._ended = self._ended or status in _UNKNOWN or not (served or self._subtree)
        self._subtree = False
