"""A file that is open at the server: its FID, reads and writes in pieces. [MS-CIFS] 3.2.4.12, 3.2.4.14, 3.2.4.15."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.client.ahead import Ahead
from smbfuse.client.sizes import LARGE_READ, LOW, pieces
from smbfuse.errors import ConnectionLost, RemoteProtocolError, SmbfuseError, StatusError
from smbfuse.ntstatus import STATUS_END_OF_FILE, STATUS_INVALID_PARAMETER, is_error
from smbfuse.wire.const import (
    BREAK_TO_LEVEL_II,
    BREAK_TO_NONE,
    CAP_LARGE_FILES,
    LOCKING_ANDX_LARGE_FILES,
    LOCKING_ANDX_OPLOCK_RELEASE,
    LOCKING_ANDX_READ_WRITE_LOCK,
    LOCKING_ANDX_SHARED_LOCK,
    OPLOCK_LEVEL_II,
    OPLOCK_NONE,
    POSIX_LOCK_FLAG_WAIT,
    POSIX_LOCK_TYPE_UNLOCK,
)
from smbfuse.wire.files import (
    CloseRequest,
    FlushRequest,
    ReadAndXRequest,
    ReadAndXResponse,
    WriteAndXRequest,
    WriteAndXResponse,
)
from smbfuse.wire.locking import LockingAndXRequest, LockingRange32, LockingRange64
from smbfuse.wire.trans2 import SetFileParameters
from smbfuse.wire.unixlevels import PosixLock

if TYPE_CHECKING:
    from smbfuse.client.tree import Tree
    from smbfuse.client.treeconnect import TreeConnect
    from smbfuse.proto.events import Response
    from smbfuse.wire.codec import Body, Buffer


_POSIX_OWNERS: Final = 0x1_0000
"""Owners of POSIX locks are numbered from here on: no PID of 16 bits is among them."""

_TRY: Final = 0.02
"""Seconds after which a request that shall not wait is ended if it does: smbd 4.17 lets a second try for what another
holds lie for its `lock spin time` of 200 ms, and so all tries between 0xEF000000 and 2**63."""

Span = tuple[int, int]
"""Bytes of a file: the first, and the one after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChange:
    """One LOCKING_ANDX. `on_late` is called when the locks are granted after whoever asked has left."""

    unlocks: tuple[Span, ...] = ()
    locks: tuple[Span, ...] = ()
    shared: bool = False
    on_late: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PosixLockChange:
    """One SMB_POSIX_LOCK; `lock_type` is a POSIX_LOCK_TYPE. `on_late` as in LockChange."""

    span: Span
    lock_type: int
    on_late: Callable[[], None] | None = None


class Wait:
    """That a lock is waited for at the server, for so many seconds; `stop` ends it sooner, from another task.

    0 seconds: a try, which no server is to wait for.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.under_way = trio.Event()
        """Set when the request is on its way."""
        self._cancel: Callable[[], None] | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the wait: the request is answered soon, with the lock or without. May be called at any time."""
        self._stopped = True
        if self._cancel is not None:
            self._cancel()

    def sent(self, cancel: Callable[[], None]) -> None:
        """The request is on its way; `cancel` sends NT_CANCEL."""
        self._cancel = cancel
        self.under_way.set()
        if self._stopped:
            cancel()

    async def stop_in_time(self, over: trio.Event) -> None:
        """Stop when the seconds have passed, unless it is over: locks of the UNIX extensions have no time limit."""
        await self.under_way.wait()
        with trio.move_on_after(self.seconds or _TRY):
            await over.wait()
            return
        self.stop()

    def ended(self) -> None:
        """The answer is here."""
        self._cancel = None
        self.under_way.set()


@dataclass(slots=True, eq=False)
class OpenFile:
    """One FID, which is used on the tree connect that it came from only. `path` is only for messages."""

    tree: Tree
    at: TreeConnect
    fid: int
    path: str
    oplock: int = OPLOCK_NONE
    """What the server has granted, and not taken back yet; changed by whoever answers breaks."""
    breaking: int | None = None
    """The level to which the server wants the oplock broken, from its notice until the answer."""
    on_break: Callable[[], None] | None = None
    """Told of a break's notice, by the reader: not to wait. Without it nothing is kept, and breaks settled at once."""
    head: Buffer | None = None
    """What the file begins with, if that came with the open: good as long as the oplock is."""
    closed: bool = False
    busy: int = 0
    """How many are at work with it."""
    _close_next: bool = False
    _due: int = 0
    """Reads and writes whose answers are to come, also those whose callers are gone."""
    _quiet: trio.Event | None = None
    """Set when none is due any more, for a close that waits for that."""

    @property
    def gone(self) -> bool:
        """Whether the FID stands for nothing any more: closed, or lost with its connection."""
        return self.closed or self.at.lost

    @contextmanager
    def used(self) -> Iterator[None]:
        """It is not closed by `close_when_idle` while the block runs: its number might soon be another file's."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            self._idle()

    # --- reading

    async def read(self, offset: int, size: int, *, ahead: bool = False) -> Buffer:
        """Up to `size` bytes from `offset`; fewer only at the end of the file. Cancelled, it leaves nothing behind.

        `ahead`: no program waits for it, so it lets what is waited for go first.
        """
        with self.used():
            return await self._read_pieces(offset, size, ahead)

    async def _read_pieces(self, offset: int, size: int, ahead: bool) -> Buffer:
        parts = pieces(size, self.at.sizes.read)
        if len(parts) == 1:
            return await self._read_piece(offset, size, ahead)
        found: list[Buffer] = [b""] * len(parts)

        async def one(index: int, start: int, length: int) -> None:
            found[index] = await self._read_piece(offset + start, length, ahead)

        await _all(one, [(index, *part) for index, part in enumerate(parts)])
        return _joined(found, parts)

    async def _read_piece(self, offset: int, size: int, ahead: bool) -> Buffer:
        """One piece, asked for again where the server answers short before the end of the file."""
        data = await self._read_once(offset, size, ahead)
        if not data or len(data) == size:
            return data
        found = bytearray(data)
        while len(found) < size:
            more = await self._read_once(offset + len(found), size - len(found), ahead)
            if not more:
                break
            found += more
        return found

    async def _read_once(self, offset: int, size: int, ahead: bool) -> Buffer:
        """What one request gives. One of more than 16 bits may be taken for one of fewer, or of nothing at all."""
        if size <= LOW or self.at.reads_large:
            return await self._ask_for(offset, size, ahead)
        try:
            data = await self._ask_for(offset, size, ahead)
        except StatusError as exc:
            if exc.status != STATUS_INVALID_PARAMETER:
                raise
            data = b""
        if len(data) > LOW:
            self.at.reads_large = True
        if data:
            return data
        data = await self._ask_for(offset, LARGE_READ, ahead)  # nothing was there, or nothing was understood
        if data:
            self.at.read_less()
        return data

    async def _ask_for(self, offset: int, size: int, ahead: bool) -> Buffer:
        response = await self._transfer(
            ReadAndXRequest(
                fid=self.fid,
                offset_low=offset & 0xFFFF_FFFF,
                offset_high=offset >> 32,
                max_count_low=size & 0xFFFF,
                max_count_high=size >> 16,
                min_count=0,
            ),
            ahead,
        )
        if response.status == STATUS_END_OF_FILE:
            return b""
        response.check(self.path)
        data = response.body(ReadAndXResponse).data
        if len(data) > size:
            raise RemoteProtocolError(f"READ_ANDX was answered with {len(data)} bytes, {size} were asked for")
        return data

    # --- writing

    async def write(self, offset: int, data: Buffer) -> None:
        """Write all of `data`. When this returns the server has it; a cancelled write may have been done in part."""
        with self.used():
            await self._write_pieces(offset, memoryview(data))

    async def _write_pieces(self, offset: int, view: memoryview) -> None:
        parts = pieces(len(view), self.at.sizes.write)
        if len(parts) == 1:
            await self._write_piece(offset, view)
            return

        async def one(start: int, length: int) -> None:
            await self._write_piece(offset + start, view[start : start + length])

        await _all(one, list(parts))

    async def _write_piece(self, offset: int, view: memoryview) -> None:
        while view:
            count = await self._write_once(offset, view)
            view, offset = view[count:], offset + count

    async def _write_once(self, offset: int, view: memoryview) -> int:
        response = await self._transfer(
            WriteAndXRequest(
                fid=self.fid, offset_low=offset & 0xFFFF_FFFF, offset_high=offset >> 32, remaining=0, data=view
            )
        )
        response.check(self.path)
        answer = response.body(WriteAndXResponse)
        count = answer.count_low | answer.count_high << 16
        if count > len(view):
            raise RemoteProtocolError(f"WRITE_ANDX of {len(view)} bytes was answered with {count}")
        if count == 0:
            raise OSError(errno.ENOSPC, "the server wrote nothing and gave no reason")
        return count

    async def _transfer(self, body: Body, unhurried: bool = False) -> Response:
        """A read or write, of which account is kept until it is answered, whoever waits for that."""
        sent = over = False

        def out(_: Callable[[], None]) -> None:
            nonlocal sent
            sent = True

        self._due += 1
        try:
            response = await self.tree.request(
                body, unhurried=unhurried, on_late=self._answered, on_sent=out, at=self.at
            )
            over = True
            return response
        except ConnectionLost:
            over = True
            raise
        finally:
            if over or not sent:
                self._answered()

    def _answered(self, _: Response | None = None) -> None:
        self._due -= 1
        if not self._due and self._quiet is not None:
            self._quiet.set()

    async def flush(self) -> None:
        """Have the server put the file's data on its disk. [MS-CIFS] 2.2.4.6."""
        (await self.tree.request(FlushRequest(fid=self.fid), at=self.at)).check(self.path)

    # --- locks

    async def lock(self, change: LockChange, wait: Wait | None = None) -> None:
        """SMB_COM_LOCKING_ANDX: first the unlocks, then the locks, all of them or none. [MS-CIFS] 2.2.4.32.

        The unlocks are done also where the locks are refused. A lock belongs to this FID and our PID, and an unlock
        must name just what one lock named. StatusError: FILE_LOCK_CONFLICT, LOCK_NOT_GRANTED.
        """
        if wait is None and change.locks:
            wait = Wait(0)
        made = LockingRange64 if self.at.session.limits.has(CAP_LARGE_FILES) else LockingRange32
        kind = LOCKING_ANDX_LARGE_FILES if made is LockingRange64 else 0
        pid = self.at.session.connection.engine.pid & 0xFFFF  # that of reads and writes, which the server compares
        request = LockingAndXRequest(
            fid=self.fid,
            lock_type=kind | (LOCKING_ANDX_SHARED_LOCK if change.shared else LOCKING_ANDX_READ_WRITE_LOCK),
            timeout=0 if wait is None else round(wait.seconds * 1000),
            unlocks=tuple(made(pid=pid, offset=start, length=end - start) for start, end in change.unlocks),
            locks=tuple(made(pid=pid, offset=start, length=end - start) for start, end in change.locks),
        )
        response = await self._locked(partial(self.tree.request, request, at=self.at), wait, change.on_late)
        response.check(self.path)

    async def posix_lock(self, change: PosixLockChange, wait: Wait | None = None) -> None:
        """A lock of the UNIX extensions: POSIX's own semantics, one owner for all that use this FID.

        The owner is named by a number of the FID's own: smbd (4.17 and master) counts locks by it without regard to the
        file, and a server process ends with a failed assertion when one owner lets go of the second of two files.
        The server has no limit for how long it waits: `wait` is ended by NT_CANCEL. StatusError as `lock`.
        """
        if wait is None and change.lock_type != POSIX_LOCK_TYPE_UNLOCK:
            wait = Wait(0)
        flags = POSIX_LOCK_FLAG_WAIT if wait is not None and wait.seconds else 0
        data = self._posix_lock(change.lock_type, change.span, flags).pack()
        parameters = SetFileParameters(fid=self.fid, information_level=PosixLock.LEVEL)
        response = await self._locked(partial(self.tree.trans2, parameters, data, at=self.at), wait, change.on_late)
        response.check(self.path)

    async def query_posix_lock(self, lock_type: int, span: Span) -> PosixLock:
        """What keeps this FID from such a lock of the UNIX extensions; POSIX_LOCK_TYPE_UNLOCK if nothing does.

        The owner is the other FID's number for it, or 0xFFFFFFFF for a process on the server.
        """
        return await self.tree.query_file(self, PosixLock, asked=self._posix_lock(lock_type, span).pack())

    def _posix_lock(self, lock_type: int, span: Span, flags: int = 0) -> PosixLock:
        start, end = span
        owner = _POSIX_OWNERS + self.fid
        return PosixLock(lock_type=lock_type, lock_flags=flags, pid=owner, offset=start, length=end - start)

    async def _locked(
        self, request: Callable[..., Awaitable[Response]], wait: Wait | None, on_late: Callable[[], None] | None
    ) -> Response:
        def late(response: Response) -> None:
            if on_late is not None and not is_error(response.status):
                on_late()

        if wait is None:
            return await request(on_late=late)
        connection = self.at.session.connection
        timeout = wait.seconds + connection.timeout
        over = trio.Event()
        connection.spawn(wait.stop_in_time, over)
        try:
            return await request(on_late=late, timeout=timeout, on_sent=wait.sent)
        finally:
            wait.ended()
            over.set()

    # --- the end

    async def close(self, *, quiet: bool = False) -> None:
        """Close the FID. A cancelled close is sent all the same. `quiet`: return only when it is closed.

        Not while reads or writes of killed callers are under way: smbd 4.17.12 crashes on the close of a FID whose
        reads it has in its hands (close_file_free called from an immediate event, of a FID that is gone).
        """
        if self.closed:
            return
        self.closed = True
        self.at.closed(self)
        if not self._due:
            await self._close()
            return
        self._quiet = trio.Event()
        # It ends with the connection, which takes the FID with it: nobody says then that the answers will not come.
        closing = Ahead(partial(self._close_when_quiet, self._quiet))
        if closing.begin(self.at.session.connection) and quiet:
            with suppress(ConnectionLost):
                await closing.answer()

    async def _close_when_quiet(self, quiet: trio.Event) -> None:
        await quiet.wait()
        await self._close()

    async def _close(self) -> None:
        """A FID that went with its connection is closed: servers see to that. [MS-CIFS] 3.3.6.1."""
        with suppress(ConnectionLost):
            request = CloseRequest(fid=self.fid)
            answered = partial(self.at.close_answered, self.fid)
            response = await self.tree.request(request, urgent=True, surely=True, on_answer=answered, at=self.at)
            response.check(self.path)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Close it again if the block fails: then nobody will know of it."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self.close_soon()

    def close_when_idle(self) -> None:
        """Close in the background as soon as nobody is at work with it: another FID takes over."""
        self._close_next = True
        self._idle()

    def _idle(self) -> None:
        if self._close_next and not self.busy:
            self.close_soon()

    def close_soon(self) -> None:
        """Close in the background: for the end of a longer operation, whose own outcome is what counts."""
        self.at.session.connection.spawn(self.close)

    # --- the oplock

    def broken(self, level: int) -> None:
        """The server's notice: of the oplock remains `level` (OPLOCK_NONE, OPLOCK_LEVEL_II). [MS-CIFS] 3.2.5.42."""
        if self.oplock in (OPLOCK_NONE, level) or (self.breaking is not None and self.breaking <= level):
            return
        self.breaking = level if self.breaking is None else min(self.breaking, level)
        if self.on_break is not None:
            self.on_break()
        else:
            self.settle_break()

    def settle_break(self) -> None:
        """What the oplock protected is written and forgotten: give it back, as far as the server wants it.

        There is no answer to that. Of level II nothing is given back: the server only tells that it is gone.
        """
        level, self.breaking = self.breaking, None
        if level is None or self.closed:
            return
        held, self.oplock = self.oplock, level
        if held != OPLOCK_LEVEL_II:
            wanted = BREAK_TO_LEVEL_II if level == OPLOCK_LEVEL_II else BREAK_TO_NONE
            body = LockingAndXRequest(fid=self.fid, lock_type=LOCKING_ANDX_OPLOCK_RELEASE, new_oplock_level=wanted)
            self.at.session.connection.send_unanswered(body, tid=self.at.tid, uid=self.at.session.uid)


async def _all(work: Callable[..., Awaitable[None]], arguments: list[tuple[int, ...]]) -> None:
    """Run `work` for each at once; the first error is raised as itself, after all have ended."""
    errors: list[Exception] = []

    async def guarded(values: tuple[int, ...]) -> None:
        try:
            await work(*values)
        except (OSError, SmbfuseError) as exc:
            errors.append(exc)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for values in arguments:
            nursery.start_soon(guarded, values)
    if errors:
        raise errors[0]


def _joined(found: list[Buffer], parts: list[tuple[int, int]]) -> Buffer:
    """The pieces up to the first short one: what is behind it belongs to a file that is changing under our hands."""
    whole = bytearray()
    for data, (_, length) in zip(found, parts, strict=True):
        whole += data
        if len(data) < length:
            break
    return whole
