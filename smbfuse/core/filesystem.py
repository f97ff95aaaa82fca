"""Open files: create, read, write, flush, close. The rest of the file system is `vfs.py`.

As long as no oplock is held nothing of a file's data stays here: a read goes to the server, a write is there when it
returns. So fsync has the server's disk left to ask for, and close nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from smbfuse.core.handles import FileHandle
from smbfuse.core.vfs import Entry, Vfs, system_call
from smbfuse.wire.filelevels import FileEndOfFileInfo

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.inodes import Inode
    from smbfuse.wire.codec import Buffer


def _modes(flags: int) -> tuple[bool, bool]:
    """(read, write) of open(2)'s flags."""
    mode = flags & os.O_ACCMODE
    return mode != os.O_WRONLY, mode != os.O_RDONLY


class FileSystem(Vfs):
    """A mounted share with its open files."""

    @system_call
    async def open(self, number: int, flags: int) -> int:
        """Open a file that is there; returns a handle number. O_TRUNC may come with it."""
        inode = self.inodes.get(number)
        read, write = _modes(flags)
        if write or flags & os.O_TRUNC:
            self.check_writable(inode)
        path = self.path(inode)
        if not flags & os.O_TRUNC:
            return self._add(inode, await self.backend.open(path, read, write), write)
        file = await self.change(lambda: self._open_truncated(inode, read), undo=lambda late: late.close_soon())
        return self._add(inode, file, True)

    async def _open_truncated(self, inode: Inode, read: bool) -> OpenFile:
        file = await self.backend.open(self.path(inode), read, True)
        done = False
        try:
            await file.tree.set_file(file.fid, FileEndOfFileInfo(end_of_file=0))
            done = True
        finally:
            self.cache.changed(inode)
            if not done:
                file.close_soon()
        return file

    def _add(self, inode: Inode, file: OpenFile, write: bool) -> int:
        return self.handles.add(FileHandle(inode, file, write))

    @system_call
    async def create(self, parent_number: int, raw_name: bytes, permissions: int, flags: int) -> tuple[int, Entry]:
        """Create a file, or open the one that is there unless O_EXCL says no; returns a handle number and the entry."""
        parent, name, path = self._target(parent_number, raw_name)
        read, write = _modes(flags)
        exclusive, truncate = bool(flags & os.O_EXCL), bool(flags & os.O_TRUNC)
        write = write or truncate
        asked = self.cache.now()

        async def work() -> tuple[int, Entry]:
            file, attrs = await self.backend.create(path, read, write, permissions, exclusive, truncate)
            entry = await self._made(parent, name, attrs, asked)
            inode = self.inodes.get(entry.number)
            if truncate:
                self.cache.changed(inode)  # it may have been there before
            return self._add(inode, file, write), entry

        return await self._change_names(parent, work, self._unwanted_file)

    def _unwanted_file(self, created: tuple[int, Entry]) -> None:
        number, entry = created
        handle = self.handles.pop(number)
        if isinstance(handle, FileHandle):
            handle.file.close_soon()
            self.inodes.close(handle.inode)
        self._unwanted(entry)

    @system_call
    async def mknod(self, parent_number: int, raw_name: bytes, mode: int) -> Entry:
        """Make a regular file without opening it; other kinds are not to be had yet."""
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, "only regular files")
        parent, name, path = self._target(parent_number, raw_name)
        asked = self.cache.now()

        async def work() -> Entry:
            file, attrs = await self.backend.create(path, False, True, stat.S_IMODE(mode), True, False)
            await file.close()
            return await self._made(parent, name, attrs, asked)

        return await self._change_names(parent, work, self._unwanted)

    @system_call
    async def read(self, handle_number: int, offset: int, size: int) -> Buffer:
        """Up to `size` bytes; fewer at the end of the file only."""
        return await self.handles.file(handle_number).file.read(offset, size)

    @system_call
    async def write(self, handle_number: int, offset: int, data: Buffer) -> int:
        """Write all of `data`; the server has it when this returns."""
        handle = self.handles.file(handle_number)
        try:
            await handle.file.write(offset, data)
        finally:
            self.cache.changed(handle.inode)
        return len(data)

    @system_call
    async def flush(self, handle_number: int) -> None:
        """One close(2) of a file: all its writes are at the server already."""
        self.handles.file(handle_number)

    @system_call
    async def fsync(self, handle_number: int) -> None:
        """Have the server bring the data to its disk."""
        handle = self.handles.file(handle_number)
        if handle.write:
            await handle.file.flush()

    @system_call
    async def release(self, handle_number: int) -> None:
        """The last close of an open file."""
        handle = self.handles.pop(handle_number)
        if isinstance(handle, FileHandle):
            try:
                await handle.file.close()
            finally:
                if handle.write:
                    self.cache.changed(handle.inode)  # servers set the time of writing when a file is closed
                self.inodes.close(handle.inode)

    async def close_all(self) -> None:
        """Close what is still open, at the end of the mount."""
        for handle in self.handles.files():
            await handle.file.close()
