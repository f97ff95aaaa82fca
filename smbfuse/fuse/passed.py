"""The requests of `extra.py` that the file system answers: locks. One call of the file system per method."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pyfuse3
import trio

from smbfuse.core.locks import FileLock
from smbfuse.fuse.extra import ExtraOperations, Lock

if TYPE_CHECKING:
    from smbfuse.core.filesystem import FileSystem


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


def _file_lock(lock: Lock) -> FileLock:
    return FileLock(lock.type, lock.start, lock.end, lock.pid)


async def drop_pages(number: int) -> None:
    """Make the kernel forget data and attributes of an inode.

    In a thread: the kernel waits for reads of the same pages, which are ours to answer.
    """
    with contextlib.suppress(OSError):  # the kernel does not know the inode (any more)
        await trio.to_thread.run_sync(partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(number), attr_only=False))
