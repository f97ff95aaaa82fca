"""The requests of `extra.py`, answered by the file system. One call of it per method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smbfuse.core.calls.locks import FileLock
from smbfuse.fuse.extra import ExtraOperations, Lock

if TYPE_CHECKING:
    from smbfuse.core.calls.filesystem import FileSystem


class PassedOperations(ExtraOperations):
    """What the native module passes on."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files

    async def getlk(self, inode: int, fh: int, lock_owner: int, lock: Lock) -> Lock:
        found = await self._files.getlk(inode, fh, lock_owner, _file_lock(lock))
        return Lock(found.type, found.start, found.end, found.pid)

    async def setlk(self, inode: int, fh: int, lock_owner: int, lock: Lock, sleep: bool, pid: int) -> None:
        await self._files.setlk(inode, fh, lock_owner, _file_lock(lock), sleep, pid)

    async def flock(self, inode: int, fh: int, lock_owner: int, operation: int) -> None:
        await self._files.flock(inode, fh, lock_owner, operation)

    async def copy_file_range(
        self, inode_in: int, fh_in: int, off_in: int, inode_out: int, fh_out: int, off_out: int, length: int, flags: int
    ) -> int:
        return await self._files.copy_file_range(fh_in, off_in, fh_out, off_out, length)

    async def lseek(self, inode: int, fh: int, offset: int, whence: int) -> int:
        return await self._files.lseek(fh, offset, whence)

    async def fallocate(self, inode: int, fh: int, mode: int, offset: int, length: int) -> None:
        await self._files.fallocate(fh, mode, offset, length)


def _file_lock(lock: Lock) -> FileLock:
    return FileLock(lock.type, lock.start, lock.end, lock.pid)
