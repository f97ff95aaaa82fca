"""Open files and directories: what a file handle of the kernel stands for."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.opens import SharedOpen
    from smbfuse.core.server.attrs import Attributes


Place = tuple[str, "Attributes"] | None
"""An entry of a listing: name and attributes. None: the name is gone, and its place stays empty."""


@dataclass(slots=True, eq=False)
class FileHandle:
    """One open(2): a share in a FID."""

    inode: Inode
    share: SharedOpen
    write: bool
    """Whether the program may write by it; the FID may be able to do more."""
    append: bool = False
    read: bool = True
    """Whether the program may read by it."""
    direct: bool = False
    """O_DIRECT: nothing waits."""
    told: int = 0
    """The number of the last failure of a waiting write that its program was told of by fsync or close,"""
    told_by_write: int = 0
    """and by a write."""
    lock_owners: set[int] = field(default_factory=set)
    """Who has locked something by it and not closed it since."""

    @property
    def file(self) -> OpenFile:
        """The FID to use now."""
        return self.share.file


@dataclass(slots=True, eq=False)
class DirHandle:
    """One opendir(3). The listing is taken when reading begins and stays, so that offsets mean the same all along."""

    inode: Inode
    entries: list[Place] = field(default_factory=list)
    taken: bool = False
    outdated: bool = False
    """Whether others changed names since it was taken."""
    asked: float = 0.0
    """When the question was sent that the entries answer."""
    version: int = 0
    """The number of the last change before that (MetaCache.changes)."""
    gone: set[str] = field(default_factory=set)
    """Names that we took away since, as the server compares them."""


class HandleTable:
    """Numbers that the kernel holds for open files and directories."""

    def __init__(self) -> None:
        self._handles: dict[int, FileHandle | DirHandle] = {}
        self._listings: dict[Inode, list[DirHandle]] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, handle: FileHandle | DirHandle) -> int:
        """A number for the handle, never used before."""
        number = self._next
        self._next += 1
        self._handles[number] = handle
        handle.inode.handles += 1
        if isinstance(handle, DirHandle):
            self._listings.setdefault(handle.inode, []).append(handle)
        return number

    def file(self, number: int) -> FileHandle:
        """The open file. OSError(EBADF) if there is none."""
        handle = self._handles.get(number)
        if not isinstance(handle, FileHandle):
            raise OSError(errno.EBADF, "not an open file")
        return handle

    def of(self, inode: Inode) -> Iterator[FileHandle]:
        """All open files of an inode."""
        return (handle for handle in self._handles.values() if handle.inode is inode and isinstance(handle, FileHandle))

    def directory(self, number: int) -> DirHandle:
        """The open directory. OSError(EBADF) if there is none."""
        handle = self._handles.get(number)
        if not isinstance(handle, DirHandle):
            raise OSError(errno.EBADF, "not an open directory")
        return handle

    def left(self, directory: Inode, name: str) -> None:
        """A name (as the server compares it) was taken away from a directory that programs may be reading."""
        for handle in self._listings.get(directory, ()):
            handle.gone.add(name)

    def outdated(self, directory: Inode) -> None:
        """Others changed names in a directory that programs may be reading."""
        for handle in self._listings.get(directory, ()):
            handle.outdated = True

    def pop(self, number: int) -> FileHandle | DirHandle | None:
        """Forget the number. The caller tells the inode table (`InodeTable.close`)."""
        handle = self._handles.pop(number, None)
        if isinstance(handle, DirHandle):
            readers = self._listings[handle.inode]
            readers.remove(handle)
            if not readers:
                del self._listings[handle.inode]
        return handle
