"""pyfuse3's operations: one call of the file system per method, no decisions.

Around each of them stands the guard of `guard.py`. Requests that pyfuse3 does not know are in `extra.py`.
"""

from __future__ import annotations

import errno
import functools
import stat
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, RequestContext, SetattrFields, StatvfsData

from smbfuse.core.server.attrs import Owner
from smbfuse.core.server.backend import Change
from smbfuse.fuse import native
from smbfuse.fuse.guard import guarded
from smbfuse.fuse.interrupts import USUAL, WRITING

if TYPE_CHECKING:
    from smbfuse.core.calls.filesystem import FileSystem, Opened
    from smbfuse.core.calls.vfs import Entry
    from smbfuse.fuse.interrupts import Interrupts, Manner

P = ParamSpec("P")
T = TypeVar("T")

BLOCK_SIZE: Final = 1 << 20
"""st_blksize: what programs read and write at a time if they ask; cifs.ko says the same."""
NAME_MAX: Final = 255


Handler = Callable[Concatenate["Operations", P], Coroutine[Any, Any, T]]


def handler(method: Handler[P, T], manner: Manner = USUAL) -> Handler[P, T]:
    """The guard around a request of pyfuse3's."""

    @functools.wraps(method)
    async def wrapped(self: Operations, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await guarded(method.__name__, self.interrupts.guard(manner), method(self, *args, **kwargs))

    return wrapped


def attributes(entry: Entry) -> EntryAttributes:
    """pyfuse3's form of an entry. Its own default timeouts of 300 s are never left in place."""
    made = EntryAttributes()
    made.st_ino = pyfuse3.InodeT(entry.number)
    made.entry_timeout = entry.entry_timeout
    made.attr_timeout = entry.attr_timeout
    if entry.stat is None:
        return made
    shown = entry.stat
    made.st_mode = pyfuse3.ModeT(shown.mode)
    made.st_nlink = shown.nlink
    made.st_uid = shown.st_uid
    made.st_gid = shown.st_gid
    made.st_rdev = shown.rdev
    made.st_size = shown.size
    made.st_blksize = BLOCK_SIZE
    made.st_blocks = shown.blocks
    made.st_atime_ns = shown.atime_ns
    made.st_mtime_ns = shown.mtime_ns
    made.st_ctime_ns = shown.ctime_ns
    return made


def change_of(attr: EntryAttributes, fields: SetattrFields, times_now: int) -> Change:
    """What a setattr request asks for; `times_now` is `native.current_times_now`'s."""
    atime_now, mtime_now = bool(times_now & native.ATIME_NOW), bool(times_now & native.MTIME_NOW)
    return Change(
        size=attr.st_size if fields.update_size else None,
        permissions=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
        st_uid=attr.st_uid if fields.update_uid else None,
        st_gid=attr.st_gid if fields.update_gid else None,
        atime_ns=attr.st_atime_ns if fields.update_atime and not atime_now else None,
        mtime_ns=attr.st_mtime_ns if fields.update_mtime and not mtime_now else None,
        atime_now=atime_now,
        mtime_now=mtime_now,
    )


def caller(ctx: RequestContext) -> Owner:
    """Whose request it is."""
    return Owner(ctx.uid, ctx.gid)


def _kills() -> bool:
    """Whether the request under way takes privileges from its file; to be called before the first `await`."""
    return native.current_kills_privileges() != 0


class Operations(pyfuse3.Operations):
    """The kernel's requests on one mount. `started` is set when the kernel has greeted us."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, files: FileSystem, interrupts: Interrupts) -> None:
        super().__init__()
        self.files = files
        self.interrupts = interrupts
        self.started = trio.Event()

    def init(self) -> None:
        self.started.set()

    # --- names and attributes

    @handler
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        entry = await self.files.lookup(parent_inode, name)
        if entry.number == 0 and entry.entry_timeout <= 0:
            raise FUSEError(errno.ENOENT)
        return attributes(entry)

    @handler
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        self.files.forget(list(inode_list))

    @handler
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return attributes(await self.files.getattr(inode))

    @handler
    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        change, kills = change_of(attr, fields, native.current_times_now()), _kills()
        return attributes(await self.files.setattr(inode, change, kills))

    @handler
    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return await self.files.readlink(inode)

    @handler
    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        return attributes(await self.files.mknod(parent_inode, name, mode, rdev, caller(ctx)))

    @handler
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        return attributes(await self.files.mkdir(parent_inode, name, stat.S_IMODE(mode), caller(ctx)))

    @handler
    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self.files.unlink(parent_inode, name)

    @handler
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self.files.rmdir(parent_inode, name)

    @handler
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        return attributes(await self.files.symlink(parent_inode, name, target, caller(ctx)))

    @handler
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        await self.files.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags)

    @handler
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        return attributes(await self.files.link(inode, new_parent_inode, new_name))

    # --- extended attributes

    @handler
    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        return await self.files.listxattr(inode)

    @handler
    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        return await self.files.getxattr(inode, name)

    @handler
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        await self.files.setxattr(inode, name, value)

    @handler
    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        await self.files.removexattr(inode, name)

    @handler
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        space = await self.files.statfs()
        made = StatvfsData()
        made.f_bsize = BLOCK_SIZE
        made.f_frsize = space.unit
        made.f_blocks = space.total
        made.f_bfree = space.free
        made.f_bavail = made.f_favail = space.available
        made.f_files = space.nodes
        made.f_ffree = made.f_favail = space.free_nodes
        made.f_namemax = NAME_MAX
        return made

    # --- files

    @handler
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return _opened(await self.files.open(inode, flags, _kills()))

    @handler
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        opened, entry = await self.files.create(parent_inode, name, stat.S_IMODE(mode), flags, caller(ctx), _kills())
        return _opened(opened), attributes(entry)

    @handler
    async def read(self, fh: int, off: int, size: int) -> bytes:
        return await self.files.read(fh, off, size)  # type: ignore[return-value] # any buffer will do

    @partial(handler, manner=WRITING)
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return await self.files.write(fh, off, buf, _kills(), native.current_writes_pages() != 0)

    @partial(handler, manner=WRITING)
    async def flush(self, fh: int) -> None:
        await self.files.flush(fh, native.current_lock_owner())

    @handler
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self.files.fsync(fh)

    @handler
    async def release(self, fh: int) -> None:
        await self.files.release(fh)

    # --- directories

    @handler
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return await self.files.opendir(inode)

    @handler
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        def emit(name: bytes, entry: Entry, offset: int) -> bool:
            return pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), attributes(entry), offset)

        await self.files.readdir(fh, start_id, emit)

    @handler
    async def releasedir(self, fh: int) -> None:
        await self.files.releasedir(fh)

    @handler
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Names are the server's as soon as a change of them is answered."""


def _opened(opened: Opened) -> FileInfo:
    """Nothing is left to pyfuse3's defaults, which let pages outlive the open file always."""
    return FileInfo(fh=pyfuse3.FileHandleT(opened.number), direct_io=opened.direct, keep_cache=opened.keep_pages)
