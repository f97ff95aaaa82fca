"""Open files: create, read, write, flush, close. The rest of the file system is `vfs.py`.

As long as no oplock is held nothing of a file's data stays here: a read goes to the server, a write is there when it
returns. So fsync has the server's disk left to ask for, and close nothing.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from smbfuse.core.anycase import AnyCase
from smbfuse.core.attrs import ANYBODY, Owner
from smbfuse.core.backend import Change
from smbfuse.core.extents import ExtentCalls
from smbfuse.core.handles import FileHandle
from smbfuse.core.vfs import Entry, system_call
from smbfuse.core.xattrs import XattrCalls
from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED
from smbfuse.wire.filelevels import FileBasicInfo
from smbfuse.wire.text import ns_to_filetime

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.inodes import Inode
    from smbfuse.core.opens import SharedOpen
    from smbfuse.wire.codec import Buffer


def _modes(flags: int) -> tuple[bool, bool]:
    """(read, write) of open(2)'s flags."""
    mode = flags & os.O_ACCMODE
    return mode != os.O_WRONLY, mode != os.O_RDONLY


class FileSystem(AnyCase, XattrCalls, ExtentCalls):
    """A mounted share with its open files."""

    @system_call
    async def open(self, number: int, flags: int) -> int:
        """Open a file that is there; returns a handle number. O_TRUNC may come with it."""
        inode = self.inodes.get(number)
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            self.check_writable(inode)
        if flags & os.O_TRUNC:
            return await self.change(lambda: self._open_truncated(inode, flags), undo=self._unwanted_handle)
        return await self._open(inode, flags)

    async def _open(self, inode: Inode, flags: int) -> int:
        read, write = _modes(flags)
        share = await self.opens.acquire(inode, read, write or bool(flags & os.O_TRUNC), self.opener(inode))
        return self._add(inode, share, flags)

    async def _open_truncated(self, inode: Inode, flags: int) -> int:
        before = self.cache.attributes(inode)
        number = await self._open(inode, flags)
        change = self._dated(Change(size=0), before)
        done = False
        try:
            share = self.handles.file(number).share
            await share.use(lambda file: self.backend.change(self.path(inode), file, change, before))
            self._note_times(inode, change)
            done = True
        finally:
            self.cache.changed(inode)
            if not done:
                self._unwanted_handle(number)
        return number

    def _add(self, inode: Inode, share: SharedOpen, flags: int) -> int:
        read, write = _modes(flags)
        return self.handles.add(FileHandle(inode, share, write, bool(flags & os.O_APPEND), read))

    def _unwanted_handle(self, number: int) -> None:
        """The kernel was not told of this handle, so it will not release it."""
        handle = self.handles.pop(number)
        if isinstance(handle, FileHandle):
            file = self.opens.release(handle.inode, handle.share)
            if file is not None:
                file.close_soon()
            self.inodes.close(handle.inode)

    @system_call
    async def create(
        self, parent_number: int, raw_name: bytes, permissions: int, flags: int, caller: Owner = ANYBODY
    ) -> tuple[int, Entry]:
        """Create a file, or open the one that is there unless O_EXCL says no; returns a handle number and the entry."""
        parent, name, path = self._target(parent_number, raw_name)
        read, write = _modes(flags)
        exclusive, truncate = bool(flags & os.O_EXCL), bool(flags & os.O_TRUNC)
        write = write or truncate
        owner = self.owners.of_new(caller, parent.attrs)
        asked = self.cache.now()

        async def work() -> tuple[int, Entry]:
            file, attrs = await self.backend.create(path, read, write, permissions, exclusive, truncate, owner)
            with file.kept():
                new = Change.to(permissions, owner) if file.created else None
                entry = await self._made(parent, name, attrs, asked, new)
                inode = self.inodes.get(entry.number)
                if truncate:
                    self.cache.changed(inode)  # it may have been there before
                share = await self.opens.adopt(inode, file, read, write)
            return self._add(inode, share, flags), entry

        return await self._change_names(parent, work, self._unwanted_file)

    def _unwanted_file(self, created: tuple[int, Entry]) -> None:
        number, entry = created
        self._unwanted_handle(number)
        self._unwanted(entry)

    @system_call
    async def mknod(self, parent_number: int, raw_name: bytes, mode: int, rdev: int, caller: Owner = ANYBODY) -> Entry:
        """Make a file without opening it; device nodes, FIFOs and sockets where the server has them."""
        parent, name, path = self._target(parent_number, raw_name)
        owner, permissions = self.owners.of_new(caller, parent.attrs), stat.S_IMODE(mode)
        asked = self.cache.now()

        async def work() -> Entry:
            attrs = None
            if stat.S_ISREG(mode):
                file, attrs = await self.backend.create(path, False, True, permissions, True, False, owner)
                await file.close()
            else:
                await self.backend.make_node(path, mode, rdev, owner)
            return await self._made(parent, name, attrs, asked, Change.to(permissions, owner))

        return await self._change_names(parent, work, self._unwanted)

    @system_call
    async def read(self, handle_number: int, offset: int, size: int) -> Buffer:
        """Up to `size` bytes; fewer at the end of the file only."""
        return await self.by_fid(self.handles.file(handle_number), lambda file: file.read(offset, size))

    @system_call
    async def write(self, handle_number: int, offset: int, data: Buffer) -> int:
        """Write all of `data`; the server has it when this returns."""
        handle = self.handles.file(handle_number)
        try:
            if handle.append:
                await self._append(handle, offset, data)
            else:
                await self.write_by_fid(handle, offset, data)
        finally:
            self.wrote(handle.inode)
        return len(data)

    async def _append(self, handle: FileHandle, offset: int, data: Buffer) -> None:
        """Write at the end that the server has: the kernel's idea of it is older than another machine's append.

        The kernel lets one write of an inode through at a time, so appends of this machine never mix.
        """
        end = (await handle.share.use(self.backend.stat_open)).size
        await self.write_by_fid(handle, max(offset, end), data)

    @system_call
    async def flush(self, handle_number: int, lock_owner: int = 0) -> None:
        """One close(2) of a file, by the process that the kernel calls `lock_owner` where locks are concerned.

        0 where that is not known, and no locks are passed either. All its writes are at the server already.
        """
        handle = self.handles.file(handle_number)
        if lock_owner:
            await self.release_owner(handle, lock_owner)

    @system_call
    async def fsync(self, handle_number: int) -> None:
        """Have the server bring the data to its disk: whoever wrote them, and whenever (sync(1) of a file)."""
        handle = self.handles.file(handle_number)
        writing = self.opens.of(handle.inode, write=True)
        if writing is not None:
            await writing.use(_flush)
        elif not (self.read_only or handle.inode.snapshot):
            await self._flush_by_reader(handle)

    async def _flush_by_reader(self, handle: FileHandle) -> None:
        """By a FID for reading, which smbd takes. Windows wants one for writing; who gets none has written nothing."""
        try:
            await handle.share.use(_flush)
            return
        except StatusError as exc:
            if exc.status != STATUS_ACCESS_DENIED:
                raise
        try:
            own = await self.backend.open(self.path(handle.inode), read=False, write=True)
        except StatusError as exc:
            if exc.status not in (STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED):
                raise
            return
        try:
            await own.flush()
        finally:
            own.close_soon()

    @system_call
    async def release(self, handle_number: int) -> None:
        """The last close of an open file."""
        handle = self.handles.pop(handle_number)
        if not isinstance(handle, FileHandle):
            return
        try:
            with self.closing.of(handle.inode):
                await self._close(handle)
            if self.opens.of(handle.inode) is None:
                await self.silly.closed(handle.inode)
        finally:
            if handle.write:
                self.cache.changed(handle.inode)  # servers set the time of writing when a file is closed
            self.inodes.close(handle.inode)

    async def _close(self, handle: FileHandle) -> None:
        try:
            await self.release_locks(handle)
            await handle.share.back()
        finally:
            file = self.opens.release(handle.inode, handle.share)
        if file is not None:
            await self._close_dated(handle, file)

    async def _close_dated(self, handle: FileHandle, file: OpenFile) -> None:
        others = self.opens.of(handle.inode) is not None
        written_ns = self.write_times.closing(handle.inode) if handle.share.write or not others else None
        try:
            if written_ns is not None and handle.share.write and not handle.share.lost:
                await file.tree.set_file(file.fid, FileBasicInfo(last_write_time=ns_to_filetime(written_ns)))
        finally:
            await file.close()

    async def close_all(self) -> None:
        """Close what is still open, at the end of the mount."""
        for file in self.opens.files():
            await file.close()
        await self.silly.end()


async def _flush(file: OpenFile) -> None:
    await file.flush()
