"""A pyfuse3 file system with all of `smbfuse.fuse.extra`'s operations, for its tests. Run as a program:

    python -m tests.fuse.extra MOUNTPOINT PORT MODE

It connects to PORT on loopback and speaks in lines there, as tiny.py does: `mounted`, then `NAME NUMBER...` for each
further request that comes and `NAME NUMBER... ->` when it ends; `flush`, `release`, `read` and `write` with the lock
owner; for `count`, how many further requests are unanswered; for `passed`, which operations the kernel passes. MODE
says which those are to be and who answers them: all; background (all, with figures for background requests); unlocked
(all but locks); default (as that, by ExtraOperations itself); absent (no native module); unserved (all, by nobody);
raising (all, by a callback that fails); dropping (all, by a callback that forgets them).

The files: `data` and `other` hold 1 MiB each; `wrong` gets nonsense for answers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from math import inf

if __name__ == "__main__" and sys.argv[3] == "absent":
    sys.modules["smbfuse.fuse._native"] = None  # type: ignore[assignment]  # makes its import fail

from smbfuse.fuse import native
from smbfuse.fuse.extra import ALL, LOCKS, ExtraOperations, Lock, passed, prepare, serve
from smbfuse.fuse.interrupts import Interrupts

# isort: split
# The package goes first, as it must wherever pyfuse3 is used.
import pyfuse3
import trio

SIZE = 1 << 20
NAMES = {2: b"data", 3: b"other", 4: b"wrong"}
WRONG = 4
BACKGROUND = (40, 30)

Line = trio.MemorySendChannel[bytes]


def attributes(inode: int) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(inode)
    entry.st_mode = pyfuse3.ModeT((stat.S_IFREG if inode in NAMES else stat.S_IFDIR) | 0o777)
    entry.st_size = SIZE
    entry.entry_timeout = entry.attr_timeout = 0
    return entry


class Locks:
    """Who holds what of one file: exclusive locks, by owner. Whole ranges only, as the tests set and end them."""

    def __init__(self) -> None:
        self.held: list[tuple[int, Lock]] = []
        self.changed = trio.Event()

    def conflict(self, owner: int, lock: Lock) -> Lock | None:
        return next(
            (held for who, held in self.held if who != owner and held.start <= lock.end and lock.start <= held.end),
            None,
        )

    def end(self, owner: int, lock: Lock) -> None:
        """Unlock everything of the owner's within `lock`."""
        self.held = [
            (who, held) for who, held in self.held if who != owner or held.start < lock.start or held.end > lock.end
        ]
        self.changed.set()
        self.changed = trio.Event()

    async def set(self, owner: int, lock: Lock, sleep: bool) -> None:
        if lock.type == fcntl.F_UNLCK:
            return self.end(owner, lock)
        while self.conflict(owner, lock):
            if not sleep:
                raise BlockingIOError(errno.EAGAIN, "locked")
            await self.changed.wait()
        self.held.append((owner, lock))


class Further(ExtraOperations):
    """Says what comes, and answers."""

    def __init__(self, say: Line) -> None:
        self._say = say
        self.posix = {inode: Locks() for inode in NAMES}
        self.flocks = {inode: Locks() for inode in NAMES}

    def say(self, name: str, *numbers: int) -> None:
        self._say.send_nowait(" ".join([name, *map(str, numbers)]).encode())

    async def getlk(self, inode: int, fh: int, lock_owner: int, lock: Lock) -> Lock:
        self.say("getlk", inode, fh, lock_owner, lock.type, lock.start, lock.end, lock.pid)
        if inode == WRONG:
            return Lock(77, 5, 3)
        return self.posix[inode].conflict(lock_owner, lock) or Lock(fcntl.F_UNLCK, 0)

    async def setlk(self, inode: int, fh: int, lock_owner: int, lock: Lock, sleep: bool, pid: int) -> None:
        numbers = (inode, fh, lock_owner, lock.type, lock.start, lock.end, pid, int(sleep))
        self.say("setlk", *numbers)
        if inode == WRONG:
            raise KeyError("on purpose")
        await self.posix[inode].set(lock_owner, lock, sleep)

    async def flock(self, inode: int, fh: int, lock_owner: int, operation: int) -> None:
        self.say("flock", inode, fh, lock_owner, operation)
        if inode == WRONG:
            raise OSError(errno.EINTR, "nobody interrupted it")
        kind = fcntl.F_UNLCK if operation & fcntl.LOCK_UN else fcntl.F_WRLCK
        await self.flocks[inode].set(lock_owner, Lock(kind, 0), sleep=not operation & fcntl.LOCK_NB)

    async def copy_file_range(
        self, inode_in: int, fh_in: int, off_in: int, inode_out: int, fh_out: int, off_out: int, length: int, flags: int
    ) -> int:
        self.say("copy_file_range", inode_in, fh_in, off_in, inode_out, fh_out, off_out, length, flags)
        return length + 1 if inode_in == WRONG else length - 1

    async def lseek(self, inode: int, fh: int, offset: int, whence: int) -> int:
        self.say("lseek", inode, fh, offset, whence)
        if inode == WRONG:
            return -5 if whence == os.SEEK_HOLE else "far"  # type: ignore[return-value]  # the point
        if offset >= SIZE:
            raise OSError(errno.ENXIO, "behind the end")
        return offset + 1000

    async def fallocate(self, inode: int, fh: int, mode: int, offset: int, length: int) -> None:
        self.say("fallocate", inode, fh, mode, offset, length)
        if inode == WRONG:
            raise OSError(99999, "no errno")
        if mode & 0x10:  # FALLOC_FL_ZERO_RANGE
            raise OSError(errno.EOPNOTSUPP, "not this")


class Files(pyfuse3.Operations):
    def __init__(self, further: Further) -> None:
        super().__init__()
        self._further = further
        self._opened: dict[int, int] = {}

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        for inode, known in NAMES.items():
            if known == name:
                return attributes(inode)
        raise pyfuse3.FUSEError(errno.ENOENT)

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return attributes(inode)

    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        self._further.say("setattr", native.current_lock_owner())
        return attributes(inode)

    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        fh = max(self._opened, default=100) + 1
        self._opened[fh] = inode
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(fh), direct_io=True, keep_cache=False)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        self._further.say("read", native.current_lock_owner())
        return bytes(max(0, min(size, SIZE - off)))

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        self._further.say("write", native.current_lock_owner())
        return len(buf)

    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        owner = native.current_lock_owner()
        self._further.say("flush", fh, owner)
        self._further.posix[self._opened[fh]].end(owner, Lock(fcntl.F_UNLCK, 0))

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        owner = native.current_lock_owner()
        self._further.say("release", fh, owner)
        self._further.flocks[self._opened[fh]].end(owner, Lock(fcntl.F_UNLCK, 0))

    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        """Nothing to do."""


async def answer_line(stream: trio.SocketStream, further: Further) -> None:
    """Do what the test asks for on the line; its end is the end of the mount."""
    async for chunk in stream:
        for word in chunk.split():
            if word == b"count":
                further.say("count", native.pending_requests())
            elif word == b"passed":
                further.say(" ".join(["passed", *sorted(passed())]))
    pyfuse3.terminate()


async def send_lines(stream: trio.SocketStream, lines: trio.MemoryReceiveChannel[bytes]) -> None:
    async for line in lines:
        await stream.send_all(line + b"\n")


def prepare_for(mode: str) -> None:
    wanted = ALL - LOCKS if mode in ("unlocked", "default") else ALL
    if mode == "background":
        prepare(wanted, max_background=BACKGROUND[0], congestion_threshold=BACKGROUND[1])
    else:
        prepare(wanted)


def fail(name: str, token: int, numbers: tuple[int, ...]) -> None:
    raise RuntimeError("on purpose")


def forget(name: str, token: int, numbers: tuple[int, ...]) -> None:
    """And let the caller wait."""


FAULTS = {"unserved": None, "raising": fail, "dropping": forget}


async def main(*arguments: str) -> None:
    mountpoint, port, mode = arguments
    interrupts = Interrupts()
    stream = await trio.open_tcp_stream("127.0.0.1", int(port))
    say, lines = trio.open_memory_channel[bytes](inf)
    native.mend(interrupts.interrupt)
    sys.unraisablehook = lambda info: say.send_nowait(b"unraisable %a" % info.exc_value)
    further = Further(say)
    prepare_for(mode)
    pyfuse3.init(Files(further), mountpoint, {*pyfuse3.default_options, "fsname=extra"})
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_line, stream, further)
            nursery.start_soon(send_lines, stream, lines)
            nursery.start_soon(interrupts.watch)
            if mode in FAULTS:
                native.set_request_callback(FAULTS[mode])
            else:
                await nursery.start(serve, ExtraOperations() if mode == "default" else further, interrupts)
            say.send_nowait(b"mounted")
            await pyfuse3.main()
            nursery.cancel_scope.cancel()
    finally:
        pending = native.pending_requests()
        pyfuse3.close()
    assert pending == (mode == "dropping")
    assert not native.pending_requests()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
