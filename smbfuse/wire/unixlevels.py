"""Levels of the CIFS UNIX extensions: files, paths, searches and file systems.

No document of Microsoft's has them: layouts are those of the captures (Samba 4.17.12, smbclient, cifs.ko 6.1).
Times are FILETIMEs, sizes bytes. Samba knows the file levels only after SMB_SET_CIFS_UNIX_INFO.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from smbfuse.wire import const
from smbfuse.wire.codec import U8, U16, U32, U64, Rest, TextZUnaligned, WireStruct, length_of, wire
from smbfuse.wire.writer import Tail

_KEEP = const.UNIX_NO_CHANGE_64


@wire
class FileUnixBasic(WireStruct):
    """SMB_QUERY_FILE_UNIX_BASIC, also set. The defaults leave everything as it is."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_UNIX_BASIC
    end_of_file: U64 = _KEEP
    number_of_bytes: U64 = _KEEP
    """Allocated on disk."""
    last_status_change: U64 = _KEEP
    last_access_time: U64 = _KEEP
    last_modification_time: U64 = _KEEP
    uid: U64 = _KEEP
    gid: U64 = _KEEP
    file_type: U32 = 0xFFFF_FFFF
    device_major: U64 = 0
    device_minor: U64 = 0
    unique_id: U64 = 0
    """Inode number."""
    permissions: U64 = _KEEP
    number_of_links: U64 = 0


Basic = Annotated[FileUnixBasic, Tail("struct", made=FileUnixBasic)]


@wire
class UnixBirth(WireStruct):
    """What FileUnixInfo2 adds to FileUnixBasic. The flags' numbers are the EXT_ ones of the extension."""

    create_time: U64 = _KEEP
    file_flags: U32 = 0
    file_flags_mask: U32 = 0


@wire
class FileUnixInfo2(WireStruct):
    """SMB_QUERY_FILE_UNIX_INFO2, also set: UNIX_BASIC with creation time and inode flags (capture 06e)."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_UNIX_INFO2
    basic: Basic
    birth: Annotated[UnixBirth, Tail("struct", made=UnixBirth)]


@wire
class FindFileUnix(WireStruct):
    """SMB_FIND_FILE_UNIX, one entry of a chain (capture 07b)."""

    LEVEL: ClassVar[int] = const.SMB_FIND_FILE_UNIX
    next_entry_offset: U32 = 0
    resume_key: U32 = 0
    basic: Basic
    file_name: TextZUnaligned


@wire
class FileUnixLink(WireStruct):
    """SMB_QUERY_FILE_UNIX_LINK: target of a symbolic link, read or made."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_UNIX_LINK
    target: TextZUnaligned


@wire
class FileUnixHlink(WireStruct):
    """SMB_SET_FILE_UNIX_HLINK: makes the path of the parameters another name of the path here."""

    LEVEL: ClassVar[int] = const.SMB_SET_FILE_UNIX_HLINK
    target: TextZUnaligned


@wire
class PosixLock(WireStruct):
    """SMB_POSIX_LOCK, set by FID. The answer to a lock with POSIX_LOCK_FLAG_WAIT comes when it is had (06b)."""

    LEVEL: ClassVar[int] = const.SMB_POSIX_LOCK
    lock_type: U16
    lock_flags: U16 = 0
    pid: U32
    offset: U64
    length: U64


@wire
class PosixOpenRequest(WireStruct):
    """SMB_POSIX_PATH_OPEN: data of the request. `permissions` are those of a file to be made."""

    LEVEL: ClassVar[int] = const.SMB_POSIX_PATH_OPEN
    oplock_flags: U32 = 0
    open_flags: U32
    permissions: U64 = 0
    information_level: U16 = const.SMB_QUERY_FILE_UNIX_BASIC


@wire
class PosixOpenResponse(WireStruct):
    """SMB_POSIX_PATH_OPEN: data of the answer; `info` is what `information_level` says, mostly a FileUnixBasic."""

    oplock_flags: U16
    fid: U16
    create_action: U32
    information_level: U16
    reserved: U16 = 0
    info: Rest = b""

    def basic(self) -> FileUnixBasic | None:
        """Attributes of the file, None where another level (or none) was returned."""
        wanted = self.information_level == const.SMB_QUERY_FILE_UNIX_BASIC
        return FileUnixBasic.unpack(self.info) if wanted else None


@wire
class PosixUnlink(WireStruct):
    """SMB_POSIX_PATH_UNLINK: file or directory, by the POSIX_UNLINK_ constants."""

    LEVEL: ClassVar[int] = const.SMB_POSIX_PATH_UNLINK
    target: U16


@wire
class PosixAce(WireStruct):
    """One entry of a POSIX ACL on the wire. `identifier` is a uid or gid, all ones where the tag needs none."""

    tag: U8
    permissions: U8
    identifier: U64


@wire
class PosixAcl(WireStruct):
    """SMB_QUERY_POSIX_ACL, also set. A set with a count of POSIX_ACL_KEEP leaves that list."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_POSIX_ACL
    version: U16 = 1
    access_count: U16
    default_count: U16
    entries: Rest = b""

    def aces(self) -> tuple[PosixAce, ...]:
        """All entries, first the access ones, then those of the default ACL. Raises WireError."""
        size = PosixAce.SIZE
        return tuple(PosixAce.unpack(self.entries, pos) for pos in range(0, len(self.entries), size))


@wire
class CifsUnixInfo(WireStruct):
    """SMB_QUERY_CIFS_UNIX_INFO and SMB_SET_CIFS_UNIX_INFO, of the file system."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_CIFS_UNIX_INFO
    major_version: U16 = 1
    minor_version: U16 = 0
    capabilities: U64


@wire
class PosixFsInfo(WireStruct):
    """SMB_QUERY_POSIX_FS_INFO: what statvfs needs."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_POSIX_FS_INFO
    optimal_transfer_size: U32
    block_size: U32
    total_blocks: U64
    blocks_available: U64
    user_blocks_available: U64
    total_file_nodes: U64
    free_file_nodes: U64
    fs_identifier: U64


@wire
class PosixId(WireStruct):
    """A group number in PosixWhoami."""

    identifier: U64


def _posix_id(_: WireStruct) -> type[PosixId]:
    return PosixId


@wire
class PosixWhoami(WireStruct):
    """SMB_QUERY_POSIX_WHOAMI. `sids` is raw: the list of the groups' SIDs."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_POSIX_WHOAMI
    flags: U32
    """SMB_WHOAMI_GUEST, where `mask` says so."""
    mask: U32
    uid: U64
    gid: U64
    number_of_groups: U32 = length_of("groups")
    number_of_sids: U32
    sids_size: U32 = length_of("sids")
    reserved: U32 = 0
    groups: Annotated[tuple[PosixId, ...], Tail("items", made=_posix_id)] = ()
    sids: Annotated[bytes, Tail("counted")] = b""
