"""Byte-range locks: fcntl(2) and flock(2) among our own processes, and towards other machines.

The server sees one FID and one PID for all of this mount. So who holds what among our processes is decided here, in
tables, and the server holds the union. A lock is had when both agree.

fcntl and flock locks are independent of each other on Linux. At the server a flock is a lock of one byte where no file
has data (`FileLocks.union`), which fcntl locks never touch: a lock to the end of the file stops before it. Clients
that make a flock a lock of the whole file (cifs.ko) include that byte, so theirs and ours do exclude each other. The
byte after it is for who makes a shared lock exclusive (`MandatoryLocks`).

Where a server refuses one FID that may do all (write-only files, say), a file has two, and mandatory locks held by the
one keep the other from reading and writing: EACCES, also on this machine.

The kernel's page cache is dropped when the server gives us a lock: what another machine wrote under its lock must be
seen under ours.
"""

from __future__ import annotations

import errno
import fcntl
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from smbfuse.client.openfile import Wait
from smbfuse.client.treeconnect import Tries
from smbfuse.core.calls.revival import Revival
from smbfuse.core.calls.vfs import Vfs, system_call
from smbfuse.core.locks.lockqueue import LockQueue, Waiter
from smbfuse.core.locks.locktable import END, LockTable, Mode, Ranges, Span
from smbfuse.core.locks.serverlocks import CONFLICT, MandatoryLocks, PosixLocks, ServerLocks
from smbfuse.errors import ConnectionLost, StatusError
from smbfuse.ntstatus import STATUS_FILE_LOCK_CONFLICT
from smbfuse.wire.const import CAP_LARGE_FILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.handles import FileHandle
    from smbfuse.core.files.opens import Retake, SharedOpen
    from smbfuse.wire.codec import Buffer

log: Final = logging.getLogger(__name__)

T = TypeVar("T")

SLICE: Final = 2.0
"""Seconds for which the server is asked to wait at a time."""
SHORT_SLICE: Final = 0.1
"""The same where others of ours want to change locks of the file: one request at a time is under way for it."""
PACE: Final = 0.25
"""Seconds between two tries where the server cannot be made to wait."""
WAITING_SHARE: Final = 4
"""One of so many places of the MaxMpxCount window may be taken by waits for locks."""
_END_32: Final = 1 << 32
"""END for servers with 32-bit ranges."""
FCNTL: Final = "fcntl"
FLOCK: Final = "flock"
"""The kinds of locks."""

_MODES: Final = {fcntl.F_RDLCK: Mode.SHARED, fcntl.F_WRLCK: Mode.EXCLUSIVE, fcntl.F_UNLCK: Mode.NONE}
_TYPES: Final = {mode: kind for kind, mode in _MODES.items()}
_FLOCK_MODES: Final = {fcntl.LOCK_SH: Mode.SHARED, fcntl.LOCK_EX: Mode.EXCLUSIVE, fcntl.LOCK_UN: Mode.NONE}
_WHOLE: Final = partial(Span, 0, END)


@dataclass(frozen=True, slots=True)
class FileLock:
    """A lock as fcntl(2) has it: F_RDLCK, F_WRLCK or F_UNLCK on the bytes from `start` to `end`, both included."""

    type: int
    start: int
    end: int = END - 1
    pid: int = 0

    @property
    def span(self) -> Span:
        """OSError(EINVAL) for what is no lock."""
        if self.type not in _MODES or not 0 <= self.start <= self.end < END:
            raise OSError(errno.EINVAL, "not a lock")
        return Span(self.start, self.end + 1, _MODES[self.type])


@dataclass(slots=True, eq=False)
class FileLocks:
    """All locks of one file. Whoever changes anything here holds `mutex`."""

    inode: Inode
    tables: dict[str, LockTable] = field(default_factory=lambda: {FCNTL: LockTable(), FLOCK: LockTable()})
    end: int = END
    """One more than the last byte that can be locked at the server."""
    pids: dict[int, int] = field(default_factory=dict)
    """Which process an owner of the fcntl table is."""
    share: SharedOpen | None = None
    """The FID by which the server holds the locks, ours as long as there are any."""
    server: ServerLocks | None = None
    mutex: trio.Lock = field(default_factory=trio.Lock)
    renewals: int = 0
    """How often the server has given us a lock; what was cached before is dropped `renewed` times."""
    renewed: int = 0
    renewing: trio.Lock = field(default_factory=trio.Lock)
    waiting: Wait | None = None
    """The request that waits at the server, by whoever holds `mutex`."""
    users: int = 0

    @property
    def flock_byte(self) -> int:
        """Up to here fcntl locks are the server's business; the byte that stands for flock is this one."""
        return self.end - 2

    def union(self) -> Ranges:
        """What the server is to hold."""
        found = self.tables[FCNTL].union()
        found.set(Span(self.flock_byte, END, Mode.NONE))
        for span in self.tables[FLOCK].union():
            found.set(Span(self.flock_byte, self.flock_byte + 1, span.mode))
        return found

    def union_with(self, waiter: Waiter) -> Ranges:
        """What the server is to hold if the waiter gets its lock. Nobody is told that it has it meanwhile."""
        before = waiter.table.of(waiter.owner)
        waiter.table.set(waiter.owner, waiter.span)
        try:
            return self.union()
        finally:
            waiter.table.replace(waiter.owner, before)


async def _nothing(_: int) -> None:
    """No page cache to be dropped."""


class LockCalls(Vfs):
    """The system calls for locks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Vfs's own
        super().__init__(*args, **kwargs)
        self._locks: dict[Inode, FileLocks] = {}
        self._queue = LockQueue()
        self._moving: dict[Inode, trio.Event] = {}
        self._waiting = 0
        """How many requests wait at the server now."""
        self.opens.moving = self._move_locks
        self.opens.pausing = self._locks_aside
        self.revival = Revival(self, self._settler)

    @property
    def locked(self) -> Collection[Inode]:
        """Files with locks, or with somebody who wants one."""
        return self._locks.keys()

    # --- system calls

    @system_call
    async def getlk(self, number: int, fh: int, owner: int, lock: FileLock) -> FileLock:
        """F_GETLK: a lock that is in the way of `lock`, or one of type F_UNLCK.

        The pid is 0 for another machine's. Without UNIX extensions of such a lock only is known that it is there: it
        is told with the bytes that were asked for. Bytes that we hold shared are not looked at for other machines'
        shared locks then: that would need our own to be given up.
        """
        handle, span = self.handles.file(fh), lock.span
        with self._used(handle.inode) as locks:
            found = next(locks.tables[FCNTL].conflicts(owner, span), None)
            if found is not None:
                return _told(found.span, locks.pids.get(found.owner, 0))
            theirs = await self._settled(locks, partial(self._probe, locks, handle, span))
        return FileLock(fcntl.F_UNLCK, lock.start, lock.end) if theirs is None else _told(theirs, 0)

    @system_call
    async def setlk(self, number: int, fh: int, owner: int, lock: FileLock, sleep: bool, pid: int) -> None:
        """F_SETLK, and F_SETLKW with `sleep`. OSError: EAGAIN, EDEADLK, ENOLCK. A cancelled one has changed nothing."""
        handle, span = self.handles.file(fh), lock.span
        with self._used(handle.inode) as locks:
            if not span.mode:
                await self._unlock(locks, locks.tables[FCNTL], owner, span)
                return
            handle.lock_owners.add(owner)
            locks.pids[owner] = pid
            await self._lock(locks, handle, Waiter(locks.tables[FCNTL], owner, span), sleep)

    @system_call
    async def flock(self, number: int, fh: int, owner: int, operation: int) -> None:
        """flock(2). OSError: EAGAIN, EBADF where the server gives exclusive locks only to who may write."""
        handle = self.handles.file(fh)
        mode = _FLOCK_MODES.get(operation & ~fcntl.LOCK_NB)
        if mode is None:
            raise OSError(errno.EINVAL, "not an operation of flock")
        with self._used(handle.inode) as locks:
            table = locks.tables[FLOCK]
            if mode != Mode.SHARED and _WHOLE(mode) not in table.of(owner):
                # flock(2): an upgrade is not atomic; the old lock goes first, also where the new one is not had.
                await self._unlock(locks, table, owner, _WHOLE(Mode.NONE))
            if mode:
                handle.lock_owners.add(owner)
                waiter = Waiter(table, owner, _WHOLE(mode), detect=False)
                await self._lock(locks, handle, waiter, not operation & fcntl.LOCK_NB)

    async def release_owner(self, handle: FileHandle, owner: int) -> None:
        """close(2) of any descriptor of a file ends all fcntl locks that the process has on it."""
        if handle.inode in self._locks:
            for other in self.handles.of(handle.inode):
                other.lock_owners.discard(owner)
            await self._drop(handle.inode, {owner}, (FCNTL,))

    async def release_locks(self, handle: FileHandle) -> None:
        """The last close of an open file ends what it holds itself: flock, and locks of the open file description."""
        owners, handle.lock_owners = handle.lock_owners, set()
        await self._drop(handle.inode, owners, (FCNTL, FLOCK))

    # --- taking

    async def _lock(self, locks: FileLocks, handle: FileHandle, waiter: Waiter, sleep: bool) -> None:
        if not sleep:
            if not await self._try(locks, handle, waiter, None):
                raise OSError(errno.EAGAIN, "locked by another")
            return
        wait = None
        with self._queue.place(waiter):
            while True:
                await self._queue.turn(waiter)
                started = trio.current_time()
                if await self._try(locks, handle, waiter, wait):
                    return
                if not waiter.holders():
                    await trio.sleep_until(started + (PACE if wait else 0))
                wait = Wait(SLICE)

    async def _try(self, locks: FileLocks, handle: FileHandle, waiter: Waiter, wait: Wait | None) -> bool:
        """Take the lock if nobody is in the way. Left by a cancelled caller, it is given back."""

        def undo(before: Ranges | None) -> None:
            if before is not None:
                self._settler.soon(partial(self._put_back, locks.inode, waiter, before))

        try:
            return await self._settled(locks, partial(self._take, locks, handle, waiter, wait), undo) is not None
        finally:
            if wait is not None:
                wait.stop()

    async def _take(self, locks: FileLocks, handle: FileHandle, waiter: Waiter, wait: Wait | None) -> Ranges | None:
        """Try to get the lock. Returns what its owner held before, None where another's lock is in the way."""
        share = await self._acquire(locks, handle, waiter.span.mode)
        async with self._alone(locks, wait):
            server = await self._hold_open(locks, share)
            if waiter.holders():
                return None
            table, before, old = waiter.table, waiter.table.of(waiter.owner), locks.union()
            wanted = locks.union_with(waiter)
            if not await server.change(wanted, old, wait if wait and wait.seconds else None):
                return None
            table.set(waiter.owner, waiter.span)
            self._queue.wake(table)  # the owner may have had more there
            if not old.covers(wanted):
                locks.renewals += 1
        await self._renew(locks)
        return before

    async def _renew(self, locks: FileLocks) -> None:
        """Under a new lock at the server nothing counts that was learned without it.

        Not while others are kept from the locks: pages that are to go are written first, and writes may need them.
        """
        async with locks.renewing:
            while locks.renewed < locks.renewals:
                locks.renewed = locks.renewals
                self.cache.changed(locks.inode)
                await self.forget_data(locks.inode)

    async def _put_back(self, inode: Inode, waiter: Waiter, before: Ranges) -> None:
        """Undo a lock whose caller has left, unless all that its owner had is gone meanwhile."""
        with self._used(inode) as locks:
            async with self._alone(locks, None):
                if not waiter.table.of(waiter.owner):
                    return
                for span in [waiter.span._replace(mode=Mode.NONE), *before.overlapping(waiter.span)]:
                    waiter.table.set(waiter.owner, span)
                self._queue.wake(waiter.table)
                await self._match(locks)

    async def _probe(self, locks: FileLocks, handle: FileHandle, span: Span) -> Span | None:
        """What another machine has that keeps us from locking so, of the bytes that fcntl locks are for."""
        share = await self._acquire(locks, handle, Mode.NONE)
        async with self._alone(locks, None):
            server = await self._hold_open(locks, share)
            asked = span._replace(end=min(span.end, locks.flock_byte))
            found = await server.in_the_way(asked) if asked.start < asked.end else None
        return found._replace(end=END) if found is not None and found.end >= locks.flock_byte else found

    # --- giving back

    async def _unlock(self, locks: FileLocks, table: LockTable, owner: int, span: Span) -> None:
        async def work() -> None:
            async with self._alone(locks, None):
                table.set(owner, span._replace(mode=Mode.NONE))
                self._queue.wake(table)
                await self._match(locks)

        if table.of(owner).overlapping(span):
            await self._settled(locks, work)

    async def _drop(self, inode: Inode, owners: set[int], kinds: tuple[str, ...]) -> None:
        """Take all locks of these kinds from the owners."""
        locks = self._locks.get(inode)
        if locks is None:
            return
        tables = [locks.tables[kind] for kind in kinds]

        async def work() -> None:
            async with self._alone(locks, None):
                for table in tables:
                    for owner in owners:
                        table.drop(owner)
                    self._queue.wake(table)
                await self._match(locks)

        if any(table.of(owner) for table in tables for owner in owners):
            await self._settled(locks, work)

    async def _match(self, locks: FileLocks) -> None:
        """Let the server hold what the tables say."""
        if locks.server is not None and locks.server.held != (wanted := locks.union()):
            await locks.server.change(wanted, wanted)

    async def _resync(self, locks: FileLocks) -> None:
        """A lock was granted after its request's deadline; perhaps the last other lock is gone meanwhile."""
        async with self._alone(locks, None):
            await self._match(locks)

    # --- keeping

    @contextmanager
    def _used(self, inode: Inode) -> Iterator[FileLocks]:
        """The file's locks, kept while somebody uses them or holds any."""
        locks = self._locks.setdefault(inode, FileLocks(inode))
        locks.users += 1
        try:
            yield locks
        finally:
            locks.users -= 1
            if not locks.users and not any(locks.tables.values()):
                del self._locks[inode]
                if locks.share is not None:
                    self._release_share(inode, locks.share)

    async def _settled(
        self, locks: FileLocks, work: Callable[[], Awaitable[T]], undo: Callable[[T], None] | None = None
    ) -> T:
        """Do `work` on the locks, which stay the file's until it has ended, whoever waits for it.

        It is done again if its connection is lost: with that all locks are gone, and are taken again before.
        """
        kept = ExitStack()
        kept.enter_context(self._used(locks.inode))

        async def whole() -> T:
            tries = Tries()
            with kept:
                while True:
                    try:
                        return await work()
                    except ConnectionLost as exc:
                        await self.backend.tree.try_again(exc, tries)
                        await self.opens.revive(locks.inode)

        return await self.change(whole, undo, grace=0)  # a wait for a lock is to end at once

    @asynccontextmanager
    async def _alone(self, locks: FileLocks, wait: Wait | None) -> AsyncIterator[None]:
        """Nobody else changes the file's locks. One that waits at the server makes room, unless we want to wait too."""
        if wait is None and locks.waiting is not None:
            locks.waiting.stop()
        async with locks.mutex:
            if wait is None:
                yield
                return
            wait.seconds = self._patience(locks)
            waits = bool(wait.seconds)
            locks.waiting = wait
            self._waiting += waits
            try:
                yield
            finally:
                locks.waiting = None
                self._waiting -= waits

    def _patience(self, locks: FileLocks) -> float:
        """For how many seconds the server may wait: not at all if enough places of the window are taken by that."""
        places = self.backend.tree.session.limits.max_mpx_count // WAITING_SHARE
        if self._waiting >= places:
            return 0.0
        return SHORT_SLICE if locks.mutex.statistics().tasks_waiting else SLICE

    # --- the FID

    def _access(self, mode: Mode) -> tuple[bool, bool]:
        """(read, write) that a FID must have for such a lock.

        The UNIX extensions want what fcntl(2) wants of a descriptor, but flock(2) does not.
        """
        posix = self.backend.posix_locks
        return posix and mode == Mode.SHARED, posix and mode == Mode.EXCLUSIVE

    async def _hold_open(self, locks: FileLocks, share: SharedOpen) -> ServerLocks:
        """Let the locks have a share in a FID for as long as there are any; `share` is one that would do."""
        if locks.server is None:
            kind = PosixLocks if self.backend.posix_locks else MandatoryLocks
            locks.end = END if share.file.at.session.limits.has(CAP_LARGE_FILES) else _END_32
            locks.server = kind(share.file, locks.end, lambda: self._settler.soon(partial(self._resync, locks)))
            locks.share = share
            return locks.server
        if locks.share is not None and self.backend.posix_locks and not locks.share.covers(share.read, share.write):
            await locks.server.move(share.file, locks.union())
            locks.share, share = share, locks.share
        self._release_share(locks.inode, share)
        return locks.server

    async def _acquire(self, locks: FileLocks, handle: FileHandle, mode: Mode) -> SharedOpen:
        """A share in a FID that can hold such a lock, and those that are there. OSError(EBADF) if that is refused.

        The first is to be one for reading and writing if it can be had: no wider one will take its place then, and
        have to get its locks where another machine waits for them.
        """

        opener = self.opener(handle.inode)
        if locks.share is None and not self.read_only:
            try:
                return await self.opens.acquire(handle.inode, True, True, opener)
            except StatusError as exc:
                log.debug("no FID for reading and writing: %s", exc)
        wanted = [(handle.share.read, handle.share.write), self._access(mode)]
        if locks.share is not None:
            wanted.append((locks.share.read, locks.share.write))
        read, write = (any(each) for each in zip(*wanted, strict=True))
        try:
            return await self.opens.acquire(handle.inode, read, write, opener)
        except StatusError as exc:
            raise OSError(errno.EBADF, f"no FID for the lock: {exc}") from exc

    def _release_share(self, inode: Inode, share: SharedOpen) -> None:
        file = self.opens.release(inode, share)
        if file is not None:
            file.close_soon()

    async def _move_locks(self, inode: Inode, old: OpenFile, new: OpenFile) -> None:
        """A wider FID takes the place of the one that holds the locks."""
        locks = self._locks.get(inode)
        if locks is None:
            return
        done = self._moving[inode] = trio.Event()
        try:
            async with self._alone(locks, None):
                if locks.server is not None and locks.server.file is old:
                    await locks.server.move(new, locks.union())
        finally:
            del self._moving[inode]
            done.set()

    @asynccontextmanager
    async def _locks_aside(self, inode: Inode) -> AsyncIterator[Retake]:
        """Ask nothing by the FIDs of this file, which are to be given back; the locks go with them."""
        locks = self._locks.get(inode)
        async with self._alone(locks, None) if locks is not None else nullcontext():

            async def retake(old: OpenFile, new: OpenFile) -> None:
                if locks is not None and locks.server is not None and locks.server.file is old:
                    await locks.server.retake(new, locks.union())

            yield retake

    async def by_fid(self, handle: FileHandle, work: Callable[[OpenFile], Awaitable[T]]) -> T:
        """Read or write by the handle's FID; again where our own lock was in the way, on its move to another FID."""
        file = handle.file
        try:
            return await handle.share.use(work)
        except StatusError as exc:
            if exc.status not in CONFLICT:
                raise
            moving = self._moving.get(handle.inode)
            if moving is not None:
                await moving.wait()
            if handle.file is file:
                raise
        return await handle.share.use(work)

    async def write_by_fid(self, handle: FileHandle, offset: int, data: Buffer) -> None:
        """Write by the handle's FID, also where mandatory locks of our own are in the way.

        A shared one keeps even its holder from writing ([MS-CIFS] 2.2.4.32.1), which POSIX's does not, and the kernel
        writes mapped files by whole pages.
        """
        try:
            await self.by_fid(handle, lambda file: file.write(offset, data))
        except StatusError as exc:
            locks = self._locks.get(handle.inode)
            if exc.status not in CONFLICT or locks is None or not isinstance(locks.server, MandatoryLocks):
                raise
            whole = Span(offset, offset + len(data), Mode.EXCLUSIVE)
            around = partial(self._write_around, locks, locks.server, handle, whole, memoryview(data))
            await self._settled(locks, around)

    async def _write_around(
        self, locks: FileLocks, server: MandatoryLocks, handle: FileHandle, whole: Span, data: memoryview
    ) -> None:
        """Write what is not locked shared, and of the rest only what would change: under an exclusive lock for that."""

        async def write(span: Span) -> None:
            await file.write(span.start, data[span.start - whole.start : span.end - whole.start])

        async def changes(span: Span) -> bool:
            found = await file.read(span.start, span.end - span.start)
            return bytes(found) != data[span.start - whole.start : span.end - whole.start]

        async with self._alone(locks, None):
            file = handle.file  # who holds the locks alone keeps the FIDs from being given back
            shared = [span for span in server.held.overlapping(whole) if span.mode == Mode.SHARED]
            free = Ranges([whole])
            for span in shared:
                free.set(span._replace(mode=Mode.NONE))
            for part in free:
                await write(part)
            await self._write_locked(server, [span for span in shared if await changes(span)], write)

    async def _write_locked(
        self, server: MandatoryLocks, spans: list[Span], write: Callable[[Span], Awaitable[None]]
    ) -> None:
        if not spans:
            return
        held = server.held
        exclusive = held.copy()
        for span in spans:
            exclusive.set(span._replace(mode=Mode.EXCLUSIVE))
        if not await server.change(exclusive, held):
            raise StatusError(STATUS_FILE_LOCK_CONFLICT, "WRITE_ANDX", server.file.path)
        try:
            for span in spans:
                await write(span)
        finally:
            await server.change(held, held)


def _told(span: Span, pid: int) -> FileLock:
    return FileLock(_TYPES[span.mode], span.start, span.end - 1, pid)
