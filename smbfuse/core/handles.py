"""Open files and directories: what a file handle of the kernel stands for."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.attrs import Attributes
    from smbfuse.core.inodes import Inode


@dataclass(slots=True, eq=False)
class FileHandle:
    """One open(2). The FID is its own as yet; sharing it among handles comes with the oplocks."""

    inode: Inode
    file: OpenFile
    write: bool


@dataclass(slots=True, eq=False)
class DirHandle:
    """One opendir(3). The listing is taken when reading begins and stays, so that offsets mean the same all along."""

    inode: Inode
    entries: list[tuple[str, Attributes]] = field(default_factory=list)
    taken: bool = False
    asked: float = 0.0
    """When the question was sent that the entries answer."""


H = TypeVar("H", FileHandle, DirHandle)


class HandleTable:
    """Numbers that the kernel holds for open files and directories."""

    def __init__(self) -> None:
        self._handles: dict[int, FileHandle | DirHandle] = {}
        self._next = 1
        self._files: dict[Inode, list[FileHandle]] = {}

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, handle: FileHandle | DirHandle) -> int:
        """A number for the handle, never used before."""
        number = self._next
        self._next += 1
        self._handles[number] = handle
        handle.inode.handles += 1
        if isinstance(handle, FileHandle):
            self._files.setdefault(handle.inode, []).append(handle)
        return number

    def file(self, number: int) -> FileHandle:
        """The open file. OSError(EBADF) if there is none."""
        handle = self._handles.get(number)
        if not isinstance(handle, FileHandle):
            raise OSError(errno.EBADF, "not an open file")
        return handle

    def directory(self, number: int) -> DirHandle:
        """The open directory. OSError(EBADF) if there is none."""
        handle = self._handles.get(number)
        if not isinstance(handle, DirHandle):
            raise OSError(errno.EBADF, "not an open directory")
        return handle

    def pop(self, number: int) -> FileHandle | DirHandle | None:
        """Forget the number. The caller tells the inode table (`InodeTable.close`)."""
        handle = self._handles.pop(number, None)
        if isinstance(handle, FileHandle):
            siblings = self._files[handle.inode]
            siblings.remove(handle)
            if not siblings:
                del self._files[handle.inode]
        return handle

    def of(self, inode: Inode, *, writable: bool = False) -> FileHandle | None:
        """Some handle by which this file is open (for writing), if any."""
        return next((h for h in self._files.get(inode, ()) if h.write or not writable), None)

    def files(self) -> list[FileHandle]:
        """All open files."""
        return [handle for handles in self._files.values() for handle in handles]
