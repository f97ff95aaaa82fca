"""What is known of a file: the server's metadata in one form, and how it looks to programs.

`Attributes` is what the server said, `Stat` what a program sees after the mount's policy (owner, modes) was applied.
Times are nanoseconds since 1970; sizes are bytes.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from smbfuse.wire.const import (
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    UNIX_TYPE_BLKDEV,
    UNIX_TYPE_CHARDEV,
    UNIX_TYPE_DIR,
    UNIX_TYPE_FIFO,
    UNIX_TYPE_FILE,
    UNIX_TYPE_SOCKET,
    UNIX_TYPE_SYMLINK,
)
from smbfuse.wire.text import filetime_to_ns

if TYPE_CHECKING:
    from smbfuse.settings import MountSettings
    from smbfuse.wire.unixlevels import FileUnixBasic

IO_REPARSE_TAG_SYMLINK: Final = 0xA000_000C
"""[MS-FSCC] 2.1.2.1."""
LARGEST: Final = (1 << 63) - 1
"""Bytes of the largest file that Linux knows."""
BLOCK: Final = 512
"""Unit of st_blocks."""


@dataclass(slots=True)
class Attributes:
    """Metadata of one file as its server tells it. None: the server does not tell."""

    kind: int
    """S_IFREG, S_IFDIR, ..."""
    size: int
    allocated: int
    """Bytes on the server's disk."""
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int | None = None
    file_id: int = 0
    """The server's number of the file; 0: it has none."""
    permissions: int | None = None
    st_uid: int | None = None
    st_gid: int | None = None
    nlink: int = 1
    rdev: int = 0
    dos: int | None = None
    """ext_file_attributes: FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_HIDDEN, ..."""
    new: bool = False
    """Whether it was made by the request that is answered so: then it is no file that was known before."""

    @property
    def is_dir(self) -> bool:
        return self.kind == stat.S_IFDIR


def without_privileges(mode: int) -> int:
    """What a change of a file by others than the superuser leaves of its mode: as local file systems have it."""
    return mode & ~(stat.S_ISUID | stat.S_ISGID)


def alike(before: Attributes, now: Attributes) -> bool:
    """Whether these may be of one file, on a server without file ids: of one kind, and made at the same time.

    Servers that do not tell when a file was made (UNIX extensions do not, but tell ids) are judged by size and time of
    writing, which a write of ours that nobody answered may have changed: then it counts as another.
    """
    if before.kind != now.kind:
        return False
    if before.btime_ns is not None and now.btime_ns is not None:
        return before.btime_ns == now.btime_ns
    return (before.size, before.mtime_ns) == (now.size, now.mtime_ns)


class Stat(NamedTuple):
    """What stat(2) answers, but for the inode number."""

    mode: int
    nlink: int
    st_uid: int
    st_gid: int
    rdev: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Owner(NamedTuple):
    """User and group of a file to be made; None leaves them to the server."""

    st_uid: int | None = None
    st_gid: int | None = None


ANYBODY: Final = Owner()


@dataclass(frozen=True, slots=True)
class OwnerPolicy:
    """Who owns what, with which permissions, where the server does not say or shall not be asked."""

    st_uid: int
    st_gid: int
    force_uid: bool
    force_gid: bool
    file_mode: int
    dir_mode: int
    give_to_caller: bool
    """Whether what is made belongs to who makes it here (setuids), and not to the user who logged on."""

    @classmethod
    def of(cls, mount: MountSettings) -> OwnerPolicy:
        """The policy that the mount options ask for."""
        return cls(
            mount.st_uid,
            mount.st_gid,
            mount.force_uid,
            mount.force_gid,
            mount.file_mode,
            mount.dir_mode,
            mount.setuids,
        )

    def of_new(self, caller: Owner, directory: Attributes | None) -> Owner:
        """Whom something belongs to that `caller` makes in this directory.

        Where the directory hands its group on (S_ISGID) the server sees to that.
        """
        if not self.give_to_caller:
            return ANYBODY
        handed_on = directory is not None and (directory.permissions or 0) & stat.S_ISGID
        return Owner(caller.st_uid, None if handed_on else caller.st_gid)

    def permissions(self, attrs: Attributes) -> int:
        """Permission bits. Without UNIX extensions the read-only attribute takes the write bits of a file away.

        Not of a directory: there Windows uses the attribute as a mark for the Explorer, and it forbids nothing.
        """
        if attrs.permissions is not None:
            return attrs.permissions
        if attrs.is_dir:
            return self.dir_mode
        if attrs.kind == stat.S_IFLNK:
            return 0o777
        read_only = attrs.dos is not None and attrs.dos & FILE_ATTRIBUTE_READONLY
        return self.file_mode & ~0o222 if read_only else self.file_mode

    def stat(self, attrs: Attributes) -> Stat:
        """How `attrs` look to programs."""
        told_uid = None if self.force_uid else attrs.st_uid
        told_gid = None if self.force_gid else attrs.st_gid
        return Stat(
            mode=attrs.kind | self.permissions(attrs),
            nlink=max(attrs.nlink, 1),  # some servers say 0
            st_uid=self.st_uid if told_uid is None else told_uid,
            st_gid=self.st_gid if told_gid is None else told_gid,
            rdev=attrs.rdev,
            size=attrs.size,
            blocks=-(-attrs.allocated // BLOCK),
            atime_ns=attrs.atime_ns,
            mtime_ns=attrs.mtime_ns,
            ctime_ns=attrs.ctime_ns,
        )


class NtTimes(Protocol):
    """What every NT structure with metadata has, under the names of the information levels."""

    last_access_time: int
    last_write_time: int
    last_change_time: int
    end_of_file: int
    allocation_size: int
    ext_file_attributes: int


def _ns(filetime: int, written: int, mtime_ns: int) -> int:
    """A time of a file that was written then. Most are the same: as one object they take up to 96 bytes less."""
    return mtime_ns if filetime == written else filetime_to_ns(filetime)


def from_nt(info: NtTimes, created: int, *, file_id: int = 0, nlink: int = 1) -> Attributes:
    """Attributes from an entry of a listing, a query or the answer to an open. `created` is a FILETIME.

    FAT servers have no times of access and change and send 0 for them: the time of writing stands in.
    """
    dos = info.ext_file_attributes
    written = info.last_write_time
    mtime_ns = filetime_to_ns(written)
    # In the entries of a search the size of EAs is the tag of a reparse point, [MS-FSCC] 2.4.14.
    is_link = bool(dos & FILE_ATTRIBUTE_REPARSE_POINT) and getattr(info, "ea_size", 0) == IO_REPARSE_TAG_SYMLINK
    is_dir = bool(dos & FILE_ATTRIBUTE_DIRECTORY) and not is_link
    return Attributes(
        kind=stat.S_IFLNK if is_link else stat.S_IFDIR if is_dir else stat.S_IFREG,
        size=0 if is_dir else min(info.end_of_file, LARGEST),
        allocated=info.allocation_size,
        atime_ns=_ns(info.last_access_time or written, written, mtime_ns),
        mtime_ns=mtime_ns,
        ctime_ns=_ns(info.last_change_time or written, written, mtime_ns),
        btime_ns=_ns(created, written, mtime_ns) if created else None,
        file_id=file_id,
        nlink=nlink,
        dos=dos,
    )


def count_links(listing: Collection[Attributes]) -> None:
    """See from a whole directory what NT searches do not tell: that two of its names are one file."""
    seen = Counter(attrs.file_id for attrs in listing if attrs.file_id and not attrs.is_dir)
    if len(seen) == seen.total():
        return
    for attrs in listing:
        if not attrs.is_dir:
            attrs.nlink = max(attrs.nlink, seen[attrs.file_id])


_UNIX_KINDS: Final = {
    UNIX_TYPE_FILE: stat.S_IFREG,
    UNIX_TYPE_DIR: stat.S_IFDIR,
    UNIX_TYPE_SYMLINK: stat.S_IFLNK,
    UNIX_TYPE_CHARDEV: stat.S_IFCHR,
    UNIX_TYPE_BLKDEV: stat.S_IFBLK,
    UNIX_TYPE_FIFO: stat.S_IFIFO,
    UNIX_TYPE_SOCKET: stat.S_IFSOCK,
}
UNIX_KINDS: Final = {kind: number for number, kind in _UNIX_KINDS.items()}
"""S_IFREG, S_IFDIR, ... to the file_type of the UNIX extensions."""


def from_unix(info: FileUnixBasic) -> Attributes:
    """Attributes from the UNIX extensions, which tell everything but the time of creation."""
    written = info.last_modification_time
    mtime_ns = filetime_to_ns(written)
    return Attributes(
        kind=_UNIX_KINDS.get(info.file_type, stat.S_IFREG),
        size=min(info.end_of_file, LARGEST),
        allocated=info.number_of_bytes,
        atime_ns=_ns(info.last_access_time, written, mtime_ns),
        mtime_ns=mtime_ns,
        ctime_ns=_ns(info.last_status_change, written, mtime_ns),
        file_id=info.unique_id,
        permissions=info.permissions & 0o7777,
        st_uid=info.uid & 0xFFFF_FFFF,
        st_gid=info.gid & 0xFFFF_FFFF,
        nlink=info.number_of_links,
        rdev=os.makedev(info.device_major & 0xFFF, info.device_minor & 0xFFFFF),
    )
