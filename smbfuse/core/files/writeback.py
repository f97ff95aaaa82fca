"""Writes that wait: under an exclusive or batch oplock what a program writes is sent later, joined and several at once.

Nobody can miss it meanwhile, since whoever opens the file makes the server ask for the oplock, and we write before we
answer. The bounds: `AGE` for time, `FILE_LIMIT` and `LIMIT` for memory; behind them writers wait.

A write that fails is told once to everyone who has the file open by the next fsync(2) or close(2), and by the next
write before that; and its data are dropped, as Linux does: kept, they would fill the memory of a machine whose server
has no space left.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.client.sizes import pieces
from smbfuse.core.errno_map import as_oserror
from smbfuse.core.files.dirty import Dirty, Piece
from smbfuse.errors import SmbfuseError

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.settle import Settler
    from smbfuse.wire.codec import Buffer

log: Final = logging.getLogger(__name__)

AGE: Final = 0.5
"""Seconds after which data are sent at the latest: by then stat(2) on other machines shows the size."""
FULL: Final = 1 << 20
"""Bytes of a file that are enough to begin sending."""
FILE_LIMIT: Final = 8 << 20
"""Bytes of one file that may wait."""
LIMIT: Final = 64 << 20
"""Bytes of all files that may wait."""
AT_ONCE: Final = 32
"""Requests under way for that: the window keeps places for what programs wait for."""

Send = Callable[["Inode", int, memoryview], Awaitable[None]]
"""Writes at an offset of a file; raises SmbfuseError or OSError."""


@dataclass(slots=True)
class Failure:
    """A write that failed. `number` grows, so that a handle can tell new ones from those it was told of."""

    number: int
    error: SmbfuseError | OSError
    heard: bool = False
    """Whether any program was told."""

    def told(self) -> OSError:
        """To be raised, each time anew: a traceback belongs to one task."""
        self.heard = True
        if isinstance(self.error, SmbfuseError):
            return as_oserror(self.error, "write")
        return OSError(self.error.errno, self.error.strerror)


@dataclass(slots=True, eq=False)
class _File:
    waiting: Dirty = field(default_factory=Dirty)
    sending: Dirty = field(default_factory=Dirty)
    taken: int = 0
    """How many writes were entered,"""
    sent: int = 0
    """and how many of them have been sent, well or not."""
    since: float = 0.0
    """When the oldest of those that wait was entered."""
    running: bool = False
    progress: trio.Event = field(default_factory=trio.Event)
    """Set, and replaced by another, when something was sent."""

    @property
    def size(self) -> int:
        return self.waiting.size + self.sending.size


class WriteBack:
    """The waiting data of one mount."""

    def __init__(self, settler: Settler, send: Send, write_size: Callable[[], int]) -> None:
        self._settler = settler
        self._send = send
        self._write_size = write_size
        self._files: dict[Inode, _File] = {}
        self._failures: dict[Inode, Failure] = {}
        self._numbers = itertools.count(1)
        self._places = trio.CapacityLimiter(AT_ONCE)
        self._total = 0
        self._aging = False
        self.written = 0
        """Bytes that the server has taken so far."""

    def __contains__(self, inode: Inode) -> bool:
        """Whether data of this file wait."""
        return inode in self._files

    @property
    def inodes(self) -> list[Inode]:
        """All files with waiting data."""
        return list(self._files)

    def waiting(self, inode: Inode) -> int:
        """Bytes of this file that the server has not taken."""
        file = self._files.get(inode)
        return 0 if file is None else file.size

    def end(self, inode: Inode) -> int:
        """The size that the file has at least, with what waits."""
        file = self._files.get(inode)
        return 0 if file is None else max(file.waiting.end, file.sending.end)

    def overlaps(self, inode: Inode, start: int, end: int) -> bool:
        """Whether bytes of this range wait."""
        file = self._files.get(inode)
        return file is not None and (file.waiting.overlaps(start, end) or file.sending.overlaps(start, end))

    async def take(self, inode: Inode, start: int, data: Buffer) -> None:
        """Keep what was written. Returns at once, unless too much waits already."""
        file = self._files.setdefault(inode, _File())
        if not file.waiting:
            file.since = trio.current_time()
        before = file.waiting.size
        file.waiting.put(start, data)
        file.taken += 1
        self._total += file.waiting.size - before
        if not self._aging:
            self._aging = True
            self._settler.soon(self._age)
        if file.size >= FULL:
            self._start(inode, file)
        while file.size > FILE_LIMIT or (self._total > LIMIT and file.size):
            self._start(inode, file)
            await file.progress.wait()

    async def _age(self) -> None:
        """Send what has waited long enough, as long as anything waits."""
        try:
            while self._files:
                await trio.sleep(AGE / 2)
                due = trio.current_time() - AGE / 2
                for inode, file in list(self._files.items()):
                    if file.waiting and file.since <= due:
                        self._start(inode, file)
        finally:
            self._aging = False

    async def write_back(self, inode: Inode) -> None:
        """Return when all that was taken until now has been sent; what failed is for `failure` to tell."""
        file = self._files.get(inode)
        if file is None:
            return
        wanted = file.taken
        while file.sent < wanted:
            self._start(inode, file)
            await file.progress.wait()

    def _start(self, inode: Inode, file: _File) -> None:
        if not file.running:
            file.running = True
            self._settler.soon(partial(self._run, inode, file))

    async def _run(self, inode: Inode, file: _File) -> None:
        """Send what waits, in rounds: what overlaps must not be under way at once."""
        try:
            while file.waiting:
                file.sending, file.waiting, taken = file.waiting, Dirty(), file.taken
                await self._send_all(inode, file.sending)
                self._total -= file.sending.size
                file.sending, file.sent = Dirty(), taken
                progress, file.progress = file.progress, trio.Event()
                progress.set()
        finally:
            file.running = False
            if not file.size:
                self._files.pop(inode, None)

    async def _send_all(self, inode: Inode, dirty: Dirty) -> None:
        size = self._write_size()
        async with trio.open_nursery() as nursery:
            for run in dirty.runs(size):
                for start, length in pieces(len(run.data), size):
                    await self._places.acquire_on_behalf_of(place := object())
                    nursery.start_soon(
                        self._send_piece, inode, Piece(run.start + start, run.data[start : start + length]), place
                    )

    async def _send_piece(self, inode: Inode, piece: Piece, place: object) -> None:
        try:
            await self._send(inode, piece.start, piece.data)
            self.written += len(piece.data)
        except (SmbfuseError, OSError) as exc:
            log.debug("writing %d bytes at %d failed: %s", len(piece.data), piece.start, exc)
            self._failures[inode] = Failure(next(self._numbers), exc)
        finally:
            self._places.release_on_behalf_of(place)

    # --- failures

    def failure(self, inode: Inode, told: int) -> Failure | None:
        """What went wrong since the failure with the number `told`."""
        failure = self._failures.get(inode)
        return failure if failure is not None and failure.number > told else None

    def newest(self, inode: Inode) -> int:
        """The number of its last failure: of no concern to who opens the file now."""
        failure = self._failures.get(inode)
        return 0 if failure is None else failure.number

    def forget(self, inode: Inode) -> SmbfuseError | OSError | None:
        """Nobody has the file open any more. Returns what no program was told of."""
        failure = self._failures.pop(inode, None)
        return None if failure is None or failure.heard else failure.error
