"""Entries of the FIND levels. [MS-CIFS] 2.2.8.1, [MS-SMB] 2.2.8.1; the UNIX one is in `unixlevels.py`.

Times are FILETIMEs (`text.filetime_to_ns`), sizes bytes. `chains.iter_entries` walks an answer's data.
"""

from __future__ import annotations

from typing import ClassVar

from smbfuse.wire import const
from smbfuse.wire.codec import U8, U16, U32, U64, Raw24, Text, WireStruct, length_of, wire


@wire
class FileDirectoryInfo(WireStruct):
    """SMB_FIND_FILE_DIRECTORY_INFO: [MS-CIFS] 2.2.8.1.4."""

    LEVEL: ClassVar[int] = const.SMB_FIND_FILE_DIRECTORY_INFO
    next_entry_offset: U32 = 0
    file_index: U32 = 0
    creation_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    end_of_file: U64
    allocation_size: U64
    ext_file_attributes: U32
    file_name_length: U32 = length_of("file_name")
    file_name: Text


@wire
class FileFullDirectoryInfo(WireStruct):
    """SMB_FIND_FILE_FULL_DIRECTORY_INFO: [MS-CIFS] 2.2.8.1.5."""

    LEVEL: ClassVar[int] = const.SMB_FIND_FILE_FULL_DIRECTORY_INFO
    next_entry_offset: U32 = 0
    file_index: U32 = 0
    creation_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    end_of_file: U64
    allocation_size: U64
    ext_file_attributes: U32
    file_name_length: U32 = length_of("file_name")
    ea_size: U32 = 0
    file_name: Text


@wire
class FileNamesInfo(WireStruct):
    """SMB_FIND_FILE_NAMES_INFO: [MS-CIFS] 2.2.8.1.6."""

    LEVEL: ClassVar[int] = const.SMB_FIND_FILE_NAMES_INFO
    next_entry_offset: U32 = 0
    file_index: U32 = 0
    file_name_length: U32 = length_of("file_name")
    file_name: Text


@wire
class FileBothDirectoryInfo(WireStruct):
    """SMB_FIND_FILE_BOTH_DIRECTORY_INFO: [MS-CIFS] 2.2.8.1.7.

    `short_name` is the raw field, of which the first `short_name_length` bytes count, in the message's character set.
    """

    LEVEL: ClassVar[int] = const.SMB_FIND_FILE_BOTH_DIRECTORY_INFO
    next_entry_offset: U32 = 0
    file_index: U32 = 0
    creation_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    end_of_file: U64
    allocation_size: U64
    ext_file_attributes: U32
    file_name_length: U32 = length_of("file_name")
    ea_size: U32 = 0
    short_name_length: U8 = 0
    reserved: U8 = 0
    short_name: Raw24 = bytes(24)
    file_name: Text


@wire
class FileIdFullDirectoryInfo(WireStruct):
    """SMB_FIND_FILE_ID_FULL_DIRECTORY_INFO: [MS-SMB] 2.2.8.1.2."""

    LEVEL: ClassVar[int] = const.SMB_FIND_FILE_ID_FULL_DIRECTORY_INFO
    next_entry_offset: U32 = 0
    file_index: U32 = 0
    creation_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    end_of_file: U64
    allocation_size: U64
    ext_file_attributes: U32
    file_name_length: U32 = length_of("file_name")
    ea_size: U32 = 0
    reserved: U32 = 0
    file_id: U64
    file_name: Text


@wire
class FileIdBothDirectoryInfo(WireStruct):
    """SMB_FIND_FILE_ID_BOTH_DIRECTORY_INFO: [MS-SMB] 2.2.8.1.3. `short_name` as in FileBothDirectoryInfo."""

    LEVEL: ClassVar[int] = const.SMB_FIND_FILE_ID_BOTH_DIRECTORY_INFO
    next_entry_offset: U32 = 0
    file_index: U32 = 0
    creation_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    end_of_file: U64
    allocation_size: U64
    ext_file_attributes: U32
    file_name_length: U32 = length_of("file_name")
    ea_size: U32 = 0
    short_name_length: U8 = 0
    reserved: U8 = 0
    short_name: Raw24 = bytes(24)
    reserved2: U16 = 0
    file_id: U64
    file_name: Text
