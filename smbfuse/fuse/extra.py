"""The kernel's requests that stock pyfuse3 does not know: locks, copy_file_range, lseek, fallocate.

The native module hands over each request as a token and numbers; here it becomes a call of `ExtraOperations` in a task
of its own, and what that returns or raises becomes the answer. Every request is answered exactly once: by the call, by
the guard around it, or with ENOTCONN where the task is cancelled because the mount ends.

What may live here: that translation. What a lock is held against may not: that is `core/`'s. Without the native module
nothing here is ever called and the kernel does what it does by itself: locks are local to this machine, a file has no
holes, copies are made by reading and writing, and space is not allocated ahead.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

import trio
from pyfuse3 import FUSEError

from smbfuse.fuse import native
from smbfuse.fuse.guard import guarded
from smbfuse.fuse.interrupts import AT_ONCE, RELEASING, USUAL, Interrupts, Manner, Operation

TO_EOF: Final = (1 << 63) - 1
"""`Lock.end` of a lock that reaches to the end of the file, wherever that will be."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A byte-range lock as the kernel has it.

    `type` is F_RDLCK, F_WRLCK or F_UNLCK of fcntl(2); `start` and `end` are the first and the last byte. `pid` is the
    process's that sets it or, in getlk's answer, that holds it (0: none of this machine's); in getlk's question 0.
    """

    type: int
    start: int
    end: int = TO_EOF
    pid: int = 0


def _not_implemented() -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


class ExtraOperations:
    """What a file system may do beyond pyfuse3's operations. All raise OSError.

    `fh` is what open returned. `lock_owner` is an opaque number: a process's, or an open file's for flock(2) and for
    F_OFD_SETLK; `native.current_lock_owner` gives it in flush and release. The kernel unlocks nothing by itself:

    - flush ends the owner's POSIX locks on the inode, whichever `fh` they were set through;
    - release of an `fh` ends what was locked through it and is still there: flock(2) and open-file-description locks.
    """

    async def getlk(self, inode: int, fh: int, lock_owner: int, lock: Lock) -> Lock:
        """F_GETLK: a lock of somebody else's that keeps `lock` from being set, or one of type F_UNLCK.

        To the caller ENOSYS is an error like others (it does not make the kernel do it itself): whether locks are
        passed at all is decided before the mount, by `prepare`.
        """
        _not_implemented()

    async def setlk(self, inode: int, fh: int, lock_owner: int, lock: Lock, sleep: bool, pid: int) -> None:
        """F_SETLK, F_SETLKW with `sleep`; `pid` is `lock.pid`. F_UNLCK as `lock.type` unlocks, with `pid` 0.

        Without `sleep` a conflict is EAGAIN. With it, any signal cancels the call at once; the kernel then repeats the
        request where the signal's handler wants that (SA_RESTART). Not to raise EINTR itself. ENOSYS: see `getlk`.
        """
        _not_implemented()

    async def flock(self, inode: int, fh: int, lock_owner: int, operation: int) -> None:
        """flock(2) with LOCK_SH, LOCK_EX or LOCK_UN; without LOCK_NB in it as `setlk` with `sleep`."""
        _not_implemented()

    async def copy_file_range(
        self, inode_in: int, fh_in: int, off_in: int, inode_out: int, fh_out: int, off_out: int, length: int, flags: int
    ) -> int:
        """Copy up to `length` bytes and return how many; 0 at the end of the file.

        EOPNOTSUPP and EXDEV: the kernel copies by reading and writing, this time; ENOSYS: from now on.
        """
        _not_implemented()

    async def lseek(self, inode: int, fh: int, offset: int, whence: int) -> int:
        """The next data (SEEK_DATA) or hole (SEEK_HOLE) from `offset` on; ENXIO from the end of the file on.

        ENOSYS: from now on every file is all data to the kernel. Other uses of lseek(2) it answers itself.
        """
        _not_implemented()

    async def fallocate(self, inode: int, fh: int, mode: int, offset: int, length: int) -> None:
        """fallocate(2); the kernel passes FALLOC_FL_KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE in `mode` and no others.

        EOPNOTSUPP: this cannot be done (posix_fallocate(3) then writes zeroes); ENOSYS: never ask again.
        """
        _not_implemented()


async def _getlk(operations: ExtraOperations, token: int, inode: int, fh: int, owner: int, *lock: int) -> None:
    found = await operations.getlk(inode, fh, owner, Lock(*lock))
    native.reply_lock(token, found.type, found.start, found.end, found.pid)


async def _setlk(operations: ExtraOperations, token: int, inode: int, fh: int, owner: int, *numbers: int) -> None:
    *lock, sleep = numbers
    asked = Lock(*lock)
    await operations.setlk(inode, fh, owner, asked, bool(sleep), asked.pid)
    native.reply_err(token, 0)


async def _flock(operations: ExtraOperations, token: int, *numbers: int) -> None:
    await operations.flock(*numbers)
    native.reply_err(token, 0)


async def _copy_file_range(operations: ExtraOperations, token: int, *numbers: int) -> None:
    count = await operations.copy_file_range(*numbers)
    *_, length, _flags = numbers
    if count > length:
        raise ValueError(f"{count} bytes copied where {length} were asked for")
    native.reply_write(token, count)


async def _lseek(operations: ExtraOperations, token: int, *numbers: int) -> None:
    native.reply_lseek(token, await operations.lseek(*numbers))


async def _fallocate(operations: ExtraOperations, token: int, *numbers: int) -> None:
    await operations.fallocate(*numbers)
    native.reply_err(token, 0)


_ANSWERS: Final[dict[str, Callable[..., Awaitable[None]]]] = {
    "getlk": _getlk,
    "setlk": _setlk,
    "flock": _flock,
    "copy_file_range": _copy_file_range,
    "lseek": _lseek,
    "fallocate": _fallocate,
}
"""How each operation is called and answered, by the native module's names."""

ALL: Final = frozenset(_ANSWERS)
LOCKS: Final = frozenset({"getlk", "setlk", "flock"})
"""What goes together: with half of them a program's locks would be kept in two places."""
EXTENTS: Final = ALL - LOCKS
"""What is about ranges of bytes."""

_MOST_BACKGROUND: Final = 0xFFFF
"""FUSE_INIT has 16 bits for it."""


def _manner(name: str, numbers: tuple[int, ...]) -> Manner:
    """How a request ends. One that waits for another process loses nothing when it is repeated later."""
    if name == "setlk":
        _inode, _fh, _owner, kind, *_range_and_pid, sleep = numbers
        waits, unlocks = bool(sleep), kind == fcntl.F_UNLCK
    elif name == "flock":
        waits, unlocks = not numbers[-1] & fcntl.LOCK_NB, bool(numbers[-1] & fcntl.LOCK_UN)
    else:
        return USUAL
    return RELEASING if unlocks else AT_ONCE if waits else USUAL


def prepare(wanted: Iterable[str], *, max_background: int = 0, congestion_threshold: int = 0) -> None:
    """Say what the next mount is to pass; to be called before `pyfuse3.init`.

    `wanted` are names out of `ALL`; for the others the kernel does as if pyfuse3 were alone. `max_background` is how
    many requests of the kernel's own (read-ahead, above all) may be under way at once, `congestion_threshold` from how
    many on it holds them back; 0 leaves the kernel's figures (12 and 9). Raises ValueError for other names and numbers.
    """
    if not all(0 <= figure <= _MOST_BACKGROUND for figure in (max_background, congestion_threshold)):
        raise ValueError(f"background requests are counted up to {_MOST_BACKGROUND}")
    native.configure_session(tuple(wanted), max_background, congestion_threshold)


def passed() -> frozenset[str]:
    """What of that the kernel does pass on this mount, once it has greeted it (`Operations.init`).

    Empty without the native module, or where pyfuse3 goes past it.
    """
    return frozenset(native.passed_operations())


async def serve(
    operations: ExtraOperations,
    interrupts: Interrupts,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the requests by `operations` until cancelled; to be started (`nursery.start`) before `pyfuse3.main`.

    When it is cancelled, requests under way are answered with ENOTCONN; that is to happen before `pyfuse3.close`.
    """
    async with trio.open_nursery() as nursery:
        native.set_request_callback(_Dispatcher(nursery, operations, interrupts).take)
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            native.set_request_callback(None)


class _Dispatcher:
    def __init__(self, nursery: trio.Nursery, operations: ExtraOperations, interrupts: Interrupts) -> None:
        self._nursery = nursery
        self._operations = operations
        self._interrupts = interrupts

    def take(self, name: str, token: int, numbers: tuple[int, ...]) -> None:
        """Called by the native module in the middle of pyfuse3's work: only a task may take its time."""
        operation = self._interrupts.guard(_manner(name, numbers))
        self._nursery.start_soon(self._answer, name, token, numbers, operation, name=name)

    async def _answer(self, name: str, token: int, numbers: tuple[int, ...], operation: Operation) -> None:
        error = errno.ENOTCONN
        try:
            await guarded(name, operation, _ANSWERS[name](self._operations, token, *numbers))
        except FUSEError as exc:
            error = _presentable(exc.errno, operation)
        finally:
            native.reply_err(token, error)  # nothing if the call has answered


def _presentable(error: int, operation: Operation) -> int:
    """An errno that the kernel knows what to do with.

    EINTR without a signal would reach the program as errno 512: the kernel means to repeat the system call, and only a
    signal makes it. Numbers that are no errno it would not take at all.
    """
    if error == errno.EINTR and not operation.by_interrupt:
        return errno.EIO
    return error if error in errno.errorcode else errno.EIO
