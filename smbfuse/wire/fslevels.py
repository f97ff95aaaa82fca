"""Information levels of file systems. [MS-CIFS] 2.2.8.2, [MS-FSCC] 2.5; the UNIX ones are in `unixlevels.py`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from smbfuse.wire import const
from smbfuse.wire.codec import U8, U16, U32, U64, Text, WireStruct, length_of, wire
from smbfuse.wire.writer import Tail

_PASS = const.SMB_INFO_PASSTHROUGH


@wire
class FsAllocationInfo(WireStruct):
    """SMB_INFO_ALLOCATION: [MS-CIFS] 2.2.8.2.1."""

    LEVEL: ClassVar[int] = const.SMB_INFO_ALLOCATION
    file_system_id: U32 = 0
    sectors_per_unit: U32
    total_units: U32
    free_units: U32
    bytes_per_sector: U16


@wire
class FsVolumeInfoOld(WireStruct):
    """SMB_INFO_VOLUME: [MS-CIFS] 2.2.8.2.2.

    Servers disagree on whether `count` means bytes or characters, and on a terminator: the label is what is there.
    """

    LEVEL: ClassVar[int] = const.SMB_INFO_VOLUME
    serial_number: U32
    count: U8
    volume_label: Annotated[str, Tail("zero", codec="unaligned text")]


@wire
class FsVolumeInfo(WireStruct):
    """SMB_QUERY_FS_VOLUME_INFO: [MS-CIFS] 2.2.8.2.3, [MS-FSCC] 2.5.9."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FS_VOLUME_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_FS_VOLUME_INFORMATION
    volume_creation_time: U64
    serial_number: U32
    volume_label_length: U32 = length_of("volume_label")
    reserved: U16 = 0
    volume_label: Text


@wire
class FsSizeInfo(WireStruct):
    """SMB_QUERY_FS_SIZE_INFO: [MS-CIFS] 2.2.8.2.4, [MS-FSCC] 2.5.8."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FS_SIZE_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_FS_SIZE_INFORMATION
    total_allocation_units: U64
    available_allocation_units: U64
    sectors_per_allocation_unit: U32
    bytes_per_sector: U32


@wire
class FsFullSizeInfo(WireStruct):
    """FileFsFullSizeInformation: [MS-FSCC] 2.5.4."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_FS_FULL_SIZE_INFORMATION
    total_allocation_units: U64
    caller_available_allocation_units: U64
    actual_available_allocation_units: U64
    sectors_per_allocation_unit: U32
    bytes_per_sector: U32


@wire
class FsDeviceInfo(WireStruct):
    """SMB_QUERY_FS_DEVICE_INFO: [MS-CIFS] 2.2.8.2.5, [MS-FSCC] 2.5.10."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FS_DEVICE_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_FS_DEVICE_INFORMATION
    device_type: U32
    device_characteristics: U32


@wire
class FsAttributeInfo(WireStruct):
    """SMB_QUERY_FS_ATTRIBUTE_INFO: [MS-CIFS] 2.2.8.2.6, [MS-FSCC] 2.5.1."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FS_ATTRIBUTE_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_FS_ATTRIBUTE_INFORMATION
    file_system_attributes: U32
    max_file_name_length: U32
    file_system_name_length: U32 = length_of("file_system_name")
    file_system_name: Text
