"""A tiny pyfuse3 file system whose files take their time, for the tests of this directory. Run as a program:

    python -m tests.fuse.tiny MOUNTPOINT PORT CURE BUSY

It connects to PORT on loopback and speaks in lines there: `mounted`, `begun FILE` when a read or write begins, `pong`
for each `ping`, `asked for NAME` of xattrs; it ends when the connection does. CURE says what keeps its event loop from
standing still: native, raising (native, with a callback that fails after its work), timer or none. BUSY is how many
seconds at a time the loop is kept from looking for events (0: not at all).
"""

from __future__ import annotations

import errno
import stat
import sys
import time
from math import inf
from typing import NamedTuple

if __name__ == "__main__" and sys.argv[3] in ("timer", "none"):
    sys.modules["smbfuse.fuse._native"] = None  # type: ignore[assignment]  # makes its import fail

from smbfuse.fuse import native
from smbfuse.fuse.interrupts import Interrupts

# isort: split
# The package goes first, as it must wherever pyfuse3 is used.
import pyfuse3
import trio

DATA = b"the data\n"


class File(NamedTuple):
    name: bytes
    seconds: float
    direct_io: bool


FILES = {
    pyfuse3.InodeT(2): File(b"endless", inf, direct_io=True),
    pyfuse3.InodeT(3): File(b"endless-cached", inf, direct_io=False),
    pyfuse3.InodeT(4): File(b"slow", 0.3, direct_io=True),
    pyfuse3.InodeT(5): File(b"quick", 0.0, direct_io=False),
}


def attributes(inode: pyfuse3.InodeT) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode
    entry.st_mode = pyfuse3.ModeT((stat.S_IFREG if inode in FILES else stat.S_IFDIR) | 0o777)
    entry.st_size = len(DATA)
    entry.entry_timeout = entry.attr_timeout = 0
    return entry


class Tiny(pyfuse3.Operations):
    def __init__(self, interrupts: Interrupts, say: trio.MemorySendChannel[bytes]) -> None:
        super().__init__()
        self._interrupts = interrupts
        self._say = say
        self.ended = trio.Event()

    async def _take_time(self, inode: pyfuse3.InodeT) -> None:
        file = FILES[inode]
        with self._interrupts.guard():
            self._say.send_nowait(b"begun " + file.name)
            with trio.move_on_after(file.seconds):
                await self.ended.wait()
            return
        raise pyfuse3.FUSEError(errno.EINTR)

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        for inode, file in FILES.items():
            if file.name == name:
                return attributes(inode)
        raise pyfuse3.FUSEError(errno.ENOENT)

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return attributes(inode)

    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), direct_io=FILES[inode].direct_io, keep_cache=False)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        await self._take_time(pyfuse3.InodeT(fh))
        return DATA[off : off + size]

    async def getxattr(self, inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        self._say.send_nowait(b"asked for " + name)
        raise pyfuse3.FUSEError(errno.ENODATA)

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        await self._take_time(pyfuse3.InodeT(fh))
        return len(buf)


async def answer_pings(stream: trio.SocketStream, say: trio.MemorySendChannel[bytes], tiny: Tiny) -> None:
    async for chunk in stream:
        for _ in range(chunk.count(b"\n")):
            say.send_nowait(b"pong")
    tiny.ended.set()
    pyfuse3.terminate()


async def send_lines(stream: trio.SocketStream, lines: trio.MemoryReceiveChannel[bytes]) -> None:
    async for line in lines:
        await stream.send_all(line + b"\n")


async def stay_busy(seconds: float) -> None:
    """Let time pass between the look for events and their handling, as work of other tasks does."""
    while True:
        time.sleep(seconds)  # noqa: ASYNC251  # blocking the loop is the point
        await trio.lowlevel.checkpoint()


def mend(cure: str, interrupts: Interrupts, say: trio.MemorySendChannel[bytes]) -> None:
    def fail(unique: int) -> None:
        interrupts.interrupt(unique)
        raise RuntimeError("on purpose")

    sys.unraisablehook = lambda info: say.send_nowait(b"unraisable %a" % info.exc_value)
    if cure != "none":
        native.mend(fail if cure == "raising" else interrupts.interrupt)
    mended = cure in ("native", "raising")
    assert mended == native.AVAILABLE, native.REASON


async def main(*arguments: str) -> None:
    mountpoint, port, cure, busy = arguments
    interrupts = Interrupts()
    stream = await trio.open_tcp_stream("127.0.0.1", int(port))
    say, lines = trio.open_memory_channel[bytes](inf)
    mend(cure, interrupts, say)
    tiny = Tiny(interrupts, say)
    pyfuse3.init(tiny, mountpoint, {*pyfuse3.default_options, "fsname=tiny"})
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_pings, stream, say, tiny)
            nursery.start_soon(send_lines, stream, lines)
            nursery.start_soon(interrupts.watch)
            if float(busy):
                nursery.start_soon(stay_busy, float(busy))
            say.send_nowait(b"mounted")
            await pyfuse3.main()
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
