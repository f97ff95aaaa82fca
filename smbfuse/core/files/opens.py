"""FIDs shared among the handles of a file: one open per inode and access, not one per open(2).

In SMB1 oplocks and byte-range locks belong to a FID, so a second open of our own would break our own oplock and be
kept out by our own locks. A handle therefore holds a share in a FID; when more access is wanted than the FID has, a
wider one takes its place under all the handles, and only where the server refuses that do two stand beside each other.
A FID may also be given back for a while, where the server does nothing as long as the file is open (`OpenTable.aside`),
and all of them go with a lost connection. So nobody keeps a FID: what is done by one is done in `SharedOpen.use`, which
opens the file anew where that is needed, and does again what a lost connection has ended.

With a batch oplock a FID stays open when its last handle is closed: opening the file again then costs nothing. Such an
idle FID goes when it was long unused, when there are too many, when the server takes the oplock back, and before the
file is renamed or deleted.
"""

from __future__ import annotations

import errno
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from smbfuse.client.treeconnect import Tries
from smbfuse.errors import ConnectionLost, SmbfuseError, StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED, STATUS_SHARING_VIOLATION
from smbfuse.wire.const import OPLOCK_NONE

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.cache.inodes import Inode

log: Final = logging.getLogger(__name__)

T = TypeVar("T")

Opener = Callable[[bool, bool], Awaitable["OpenFile"]]
"""Opens the file at the server for (reading, writing)."""

Retake = Callable[["OpenFile", "OpenFile"], Awaitable[None]]
"""Takes what hung on a FID that is gone by the one that was opened in its place; raises if it cannot be had."""

_REFUSED: Final = frozenset({STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED, STATUS_SHARING_VIOLATION})
"""How a server refuses access that we wanted in advance; what the program asked for may be had all the same."""


@dataclass(slots=True, eq=False)
class SharedOpen:
    """A FID and what it may be used for. `file` changes when another takes its place: look at it anew each time."""

    file: OpenFile
    read: bool
    write: bool
    users: int = 0
    """Handles that have a share; 0: idle."""
    renewable: bool = False
    """Whether the FID came with an oplock: if that is broken, a new FID may bring another."""
    contested: bool = False
    """Whether another machine has made the server take an oplock back, and there was none since."""
    lost: str = ""
    """Why there is no FID any more, and never will be again."""
    revive: Callable[[], Awaitable[None]] | None = None
    """Opens the file anew where the FID is gone. ConnectionLost if there is no connection for that."""
    _away: trio.Event | None = None
    """Set when the FID that was given back has been replaced, or is lost."""
    _uses: int = 0
    _unused: trio.Event | None = None

    async def back(self) -> None:
        """Wait while the FID is given back."""
        while self._away is not None:
            await self._away.wait()

    async def use(self, work: Callable[[OpenFile], Awaitable[T]]) -> T:
        """Do `work` by the FID, which stays until it is done. OSError(ESTALE) if it is lost.

        It is done once more if its connection is lost meanwhile: so it must be something that may be done twice.
        """
        tries = Tries()
        while True:
            await self.back()
            if self.lost:
                raise OSError(errno.ESTALE, self.lost)
            if self.file.gone and self.revive is not None:
                await self.revive()
                continue
            try:
                return await self._use(work)
            except ConnectionLost as exc:
                await self.file.tree.try_again(exc, tries)

    async def _use(self, work: Callable[[OpenFile], Awaitable[T]]) -> T:
        self._uses += 1
        file = self.file
        try:
            with file.used():
                return await work(file)
        finally:
            self._uses -= 1
            if not self._uses and self._unused is not None:
                self._unused.set()

    async def give_back(self) -> None:
        """Close the FID when it is not in use any more; who wants to use it waits for `replace` or `lose`."""
        self._away = trio.Event()
        if self._uses:
            self._unused = trio.Event()
            await self._unused.wait()
            self._unused = None
        await self.file.close(quiet=True)

    def replace(self, file: OpenFile) -> None:
        """Go on by this FID."""
        self.file = file
        self._return()

    def keep(self) -> None:
        """Go on without a FID for now."""
        self._return()

    def lose(self, why: str) -> None:
        """There is no FID to go on by."""
        self.lost = why
        self._return()

    def _return(self) -> None:
        away, self._away = self._away, None
        if away is not None:
            away.set()

    def covers(self, read: bool, write: bool) -> bool:
        """Whether a handle that wants this may share it."""
        return self.read >= read and self.write >= write and not self.lost


@dataclass(slots=True, eq=False)
class _FileOpens:
    shared: list[SharedOpen] = field(default_factory=list)
    lock: trio.Lock = field(default_factory=trio.Lock)
    """Held while a FID is asked for, so that two handles opened at once do not get two."""
    waiting: int = 0
    """Who holds the lock or waits for it: the entry is theirs, too."""


class OpenTable:
    """Which inodes are open at the server, and by which FIDs. `may_idle`: whether one without handles stays open."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._opens: dict[Inode, _FileOpens] = {}
        self._idle: OrderedDict[SharedOpen, tuple[Inode, float]] = OrderedDict()
        """FIDs that nobody uses, and since when: the one idle longest first."""
        self._clock = clock
        self.may_idle: Callable[[Inode, SharedOpen], bool] = lambda inode, share: False
        self.idled: Callable[[], None] = lambda: None
        """Called when a FID has become idle: who bounds their number and age."""
        self.entered: Callable[[Inode, SharedOpen], None] = lambda inode, share: None
        """Called when a FID has come into use."""
        self.moving: Callable[[Inode, OpenFile, OpenFile], Awaitable[None]] | None = None
        """Called before a wider FID takes another's place: what hangs on the FID itself is to be moved."""
        self.pausing: Callable[[Inode], AbstractAsyncContextManager[Retake]] | None = None
        """Entered before FIDs are given back: nothing is to be asked by them until the end of it."""
        self.reopener: Callable[[Inode], Opener] | None = None
        """Opens a file again whose FID is gone, if it is the same file."""
        self.apart: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] = lambda work: work()
        """Does what must not stop half way, whoever waits for it."""
        self._exchange = trio.Lock()

    def __len__(self) -> int:
        return sum(len(opens.shared) for opens in self._opens.values())

    def of(self, inode: Inode, *, write: bool = False) -> SharedOpen | None:
        """Some FID of this file (for writing), if it is open."""
        opens = self._opens.get(inode)
        if opens is None:
            return None
        return next((share for share in opens.shared if share.write >= write and not share.lost), None)

    def shares(self, inode: Inode) -> list[SharedOpen]:
        """All FIDs of this file, idle ones too."""
        opens = self._opens.get(inode)
        return [] if opens is None else opens.shared

    def in_use(self, inode: Inode) -> bool:
        """Whether a program has the file open."""
        return any(share.users for share in self.shares(inode))

    def inodes(self) -> list[Inode]:
        """All inodes with a FID."""
        return [inode for inode, opens in self._opens.items() if opens.shared]

    def files(self) -> list[OpenFile]:
        """All FIDs."""
        return [share.file for opens in self._opens.values() for share in opens.shared]

    async def acquire(self, inode: Inode, read: bool, write: bool, opener: Opener) -> SharedOpen:
        """A share in a FID that may be used so; `opener` asks for one if there is none. Cancelled, it takes none."""
        await self.revive(inode)
        async with self._alone(inode) as opens:
            share = _covering(opens, read, write)
            if share is None:
                share = await self._open(inode, opens, read, write, opener)
            self._take(share)
            return share

    @asynccontextmanager
    async def _alone(self, inode: Inode) -> AsyncIterator[_FileOpens]:
        """Nobody else asks for FIDs of this file, or gives them back."""
        opens = self._opens.setdefault(inode, _FileOpens())
        opens.waiting += 1
        try:
            async with opens.lock:
                yield opens
        finally:
            opens.waiting -= 1
            self._drop_empty(inode, opens)

    async def _open(self, inode: Inode, opens: _FileOpens, read: bool, write: bool, opener: Opener) -> SharedOpen:
        """A FID that covers what the others do too, if the server gives it; else just what is asked for."""
        await self._close_idle(inode, opens)  # a second open would break the oplock of the first
        if opens.shared:
            wide_read = read or any(share.read for share in opens.shared)
            wide_write = write or any(share.write for share in opens.shared)
            try:
                return await self._put(inode, opens, await opener(wide_read, wide_write), wide_read, wide_write)
            except StatusError as exc:
                if exc.status not in _REFUSED or (wide_read, wide_write) == (read, write):
                    raise
        return await self._put(inode, opens, await opener(read, write), read, write)

    async def adopt(self, inode: Inode, file: OpenFile, read: bool, write: bool) -> SharedOpen:
        """A share in a FID that was just made, by creating the file; it may have been open already."""
        async with self._alone(inode) as opens:
            share = _covering(opens, read, write)
            if share is None or share.file.gone:
                share = await self._put(inode, opens, file, read, write)
            else:
                file.close_soon()
            self._take(share)
            return share

    def _take(self, share: SharedOpen) -> None:
        share.users += 1
        self._idle.pop(share, None)

    async def _put(self, inode: Inode, opens: _FileOpens, file: OpenFile, read: bool, write: bool) -> SharedOpen:
        """Enter a new FID, in the place of one that it covers."""
        narrower = next((s for s in opens.shared if read >= s.read and write >= s.write and not s.lost), None)
        if narrower is None:
            share = SharedOpen(file, read, write)
            if self.reopener is not None:
                share.revive = partial(self._revive_share, inode, share)
            opens.shared.append(share)
            self.entered(inode, share)
            return share
        if self.moving is not None:
            with trio.CancelScope(shield=True):  # half moved it would be in nobody's account; it does not last
                await self.moving(inode, narrower.file, file)
        narrower.file.close_when_idle()
        narrower.file, narrower.read, narrower.write = file, read, write
        self.entered(inode, narrower)
        return narrower

    async def renew(self, inode: Inode, share: SharedOpen, opener: Opener) -> None:
        """Open the file once more, for an oplock that was lost. StatusError."""
        async with self._alone(inode) as opens:
            if share in opens.shared and not share.lost:
                file = await opener(share.read, share.write)
                await self._put(inode, opens, file, share.read, share.write)

    def release(self, inode: Inode, share: SharedOpen) -> OpenFile | None:
        """A handle gives its share back. Returns the FID if nobody uses it any more and it is to be closed."""
        share.users -= 1
        if share.users:
            return None
        if self.may_idle(inode, share):
            self._idle[share] = inode, self._clock()
            self.idled()
            return None
        self._remove(inode, share)
        return share.file

    def _remove(self, inode: Inode, share: SharedOpen) -> None:
        self._idle.pop(share, None)
        opens = self._opens[inode]
        opens.shared.remove(share)
        if not opens.shared:
            inode.pages_hold = False  # from here on nobody tells us of changes
        self._drop_empty(inode, opens)

    # --- idle FIDs

    @property
    def idle(self) -> int:
        """How many there are."""
        return len(self._idle)

    async def drop_idle(self, inode: Inode) -> bool:
        """Close the FIDs of this file that nobody uses. Whether there is none left."""
        if inode not in self._opens:
            return True
        async with self._alone(inode) as opens:
            await self._close_idle(inode, opens)
            return not opens.shared

    async def drop_unused(self, inode: Inode, share: SharedOpen) -> bool:
        """Close this FID if it is an idle one. Whoever asks for another may wait for just that: so not after him."""
        if share not in self._idle:
            return False
        self._remove(inode, share)
        await share.file.close()
        return True

    async def _close_idle(self, inode: Inode, opens: _FileOpens) -> None:
        while idle := next((share for share in opens.shared if share in self._idle), None):
            self._remove(inode, idle)
            await idle.file.close()

    async def trim(self, count: int, age: float) -> None:
        """Leave at most `count` idle FIDs, none of them idle for more than `age` seconds."""
        while self._idle:
            inode, since = next(iter(self._idle.values()))
            if len(self._idle) <= count and since + age > self._clock():
                return
            await self.drop_idle(inode)

    # --- giving back for a while

    @asynccontextmanager
    async def aside(self, inodes: Iterable[Inode], reopen: Callable[[Inode], Opener]) -> AsyncIterator[None]:
        """Have no FIDs of these files for the time of the block; at its end all are opened anew by `reopen`.

        What wants to use one waits meanwhile. One that is not to be had again is lost, which a line in the log tells.
        Not to be cancelled half way: for changes that run as tasks of the mount.
        """
        async with self._exchange, AsyncExitStack() as held:  # one at a time: each needs several files for itself
            for inode in inodes:
                opens = await held.enter_async_context(self._alone(inode))
                retake = await held.enter_async_context(self._paused(inode))
                await self._close_idle(inode, opens)
                inode.pages_hold = False
                for share in opens.shared[:]:
                    held.push_async_callback(self._restore_if_connected, inode, share, reopen(inode), retake)
                    await share.give_back()
            yield

    @asynccontextmanager
    async def _paused(self, inode: Inode) -> AsyncIterator[Retake | None]:
        if self.pausing is None:
            yield None
            return
        async with self.pausing(inode) as retake:
            yield retake

    async def _restore_if_connected(
        self, inode: Inode, share: SharedOpen, reopen: Opener, retake: Retake | None
    ) -> None:
        with suppress(ConnectionLost):  # then it is for whoever uses it next
            await self._restore(inode, share, reopen, retake)

    async def _restore(self, inode: Inode, share: SharedOpen, reopen: Opener, retake: Retake | None) -> None:
        old = share.file
        if not share.users:  # closed meanwhile
            share.lose("closed")
            return
        try:
            new = await reopen(share.read, share.write)
            with new.kept():
                if retake is not None:
                    await retake(old, new)
        except ConnectionLost:
            share.keep()
            raise
        except (SmbfuseError, OSError) as exc:
            log.warning("%s is lost to those who have it open: %s", old.path, exc)
            share.lose("the file could not be opened again after it had to be closed")
        else:
            share.replace(new)
            self.entered(inode, share)

    # --- lost connections

    def disconnected(self) -> None:
        """All FIDs are gone, and what the server has promised with them. Idle ones are not missed."""
        for inode, opens in list(self._opens.items()):
            inode.pages_hold = False
            for share in opens.shared[:]:
                share.file.oplock, share.file.breaking, share.renewable = OPLOCK_NONE, None, False
                if share in self._idle:
                    self._remove(inode, share)

    async def revive(self, inode: Inode) -> None:
        """Open anew what programs have open of this file and is gone. ConnectionLost if there is no connection."""
        if any(share.file.gone and not share.lost for share in self.shares(inode)):
            await self.apart(partial(self._revive, inode))

    async def _revive_share(self, inode: Inode, share: SharedOpen) -> None:
        await self.apart(partial(self._revive, inode))
        if share not in self.shares(inode):
            share.lose("closed")

    async def _revive(self, inode: Inode) -> None:
        async with self._alone(inode) as opens:
            gone = [share for share in opens.shared if share.file.gone and not share.lost]
            if not gone or self.reopener is None:
                return
            async with self._paused(inode) as retake:
                for share in gone:
                    await self._restore(inode, share, self.reopener(inode), retake)

    def _drop_empty(self, inode: Inode, opens: _FileOpens) -> None:
        if not opens.shared and not opens.waiting:
            self._opens.pop(inode, None)


def _covering(opens: _FileOpens, read: bool, write: bool) -> SharedOpen | None:
    return next((share for share in opens.shared if share.covers(read, write)), None)
