"""Which structure travels under which information level: one table for each subcommand family.

The numbers themselves stand at the classes; here only who may be asked for, set, searched by.
"""

from __future__ import annotations

from typing import Final

from smbfuse.wire import const
from smbfuse.wire import filelevels as files
from smbfuse.wire import findlevels as find
from smbfuse.wire import fslevels as fs
from smbfuse.wire import unixlevels as unix
from smbfuse.wire.codec import WireStruct


def _table(*classes: type[WireStruct]) -> dict[int, type[WireStruct]]:
    numbers = ("LEVEL", "PASSTHROUGH")
    return {getattr(made, number): made for made in classes for number in numbers if hasattr(made, number)}


FIND: Final = _table(
    find.FileDirectoryInfo,
    find.FileFullDirectoryInfo,
    find.FileNamesInfo,
    find.FileBothDirectoryInfo,
    find.FileIdFullDirectoryInfo,
    find.FileIdBothDirectoryInfo,
    unix.FindFileUnix,
)
"""Entries of a search's answer; always a chain."""

QUERY: Final = _table(
    files.FileBasicInfo,
    files.FileStandardInfo,
    files.FileInternalInfo,
    files.FileEaInfo,
    files.FileAccessInfo,
    files.FileNameInfo,
    files.FileAltNameInfo,
    files.FileAllInfo,
    files.FileStreamInfo,
    files.FilePositionInfo,
    files.FileModeInfo,
    files.FileAlignmentInfo,
    files.FileCompressionInfo,
    files.FileNetworkOpenInfo,
    files.FileAttributeTagInfo,
    files.FeaList,
    unix.FileUnixBasic,
    unix.FileUnixInfo2,
    unix.FileUnixLink,
    unix.PosixAcl,
) | {const.SMB_INFO_QUERY_EAS_FROM_LIST: files.FeaList}
"""Answers to QUERY_FILE_INFORMATION and QUERY_PATH_INFORMATION; FileStreamInfo is a chain."""

SET: Final = _table(
    files.FileBasicInfo,
    files.FileDispositionInfo,
    files.FileAllocationInfo,
    files.FileEndOfFileInfo,
    files.FileRenameInformation,
    unix.FileUnixBasic,
    unix.FileUnixInfo2,
    unix.FileUnixLink,
    unix.FileUnixHlink,
    unix.PosixAcl,
    unix.PosixLock,
    unix.PosixOpenRequest,
    unix.PosixUnlink,
) | {
    const.SMB_INFO_SET_EAS: files.FeaList,
    const.SMB_INFO_PASSTHROUGH + const.FILE_LINK_INFORMATION: files.FileRenameInformation,
}
"""Data of SET_FILE_INFORMATION and SET_PATH_INFORMATION."""

QUERY_FS: Final = _table(
    fs.FsAllocationInfo,
    fs.FsVolumeInfoOld,
    fs.FsVolumeInfo,
    fs.FsSizeInfo,
    fs.FsFullSizeInfo,
    fs.FsDeviceInfo,
    fs.FsAttributeInfo,
    unix.CifsUnixInfo,
    unix.PosixFsInfo,
    unix.PosixWhoami,
)
"""Answers to QUERY_FS_INFORMATION."""

SET_FS: Final = _table(unix.CifsUnixInfo)
"""Data of SET_FS_INFORMATION."""
