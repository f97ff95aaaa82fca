"""Information levels of files and paths, queried and set, with EA lists, notify records and snapshot lists.

[MS-CIFS] 2.2.8.3 and 2.2.8.4, [MS-FSCC] 2.4; the UNIX ones are in `unixlevels.py`. `LEVEL` is the level under which a
structure travels, `PASSTHROUGH` a second one; `infolevels.py` has the tables. Times are FILETIMEs, sizes bytes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from smbfuse.errors import WireError
from smbfuse.wire import const
from smbfuse.wire.codec import U8, U16, U32, U64, Blob, Raw3, Rest, Text, WireStruct, length_of, wire
from smbfuse.wire.text import ASCII, UNICODE, TextCodec
from smbfuse.wire.writer import Coder, Tail

_PASS = const.SMB_INFO_PASSTHROUGH


@wire
class FileBasicInfo(WireStruct):
    """SMB_QUERY_FILE_BASIC_INFO and SMB_SET_FILE_BASIC_INFO: [MS-CIFS] 2.2.8.3.6, 2.2.8.4.3; [MS-FSCC] 2.4.7.

    In a set, a time of 0 and attributes of 0 leave what is there. Samba's answer to 0x101 lacks `reserved` (23a).
    """

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_BASIC_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_BASIC_INFORMATION
    creation_time: U64 = 0
    last_access_time: U64 = 0
    last_write_time: U64 = 0
    last_change_time: U64 = 0
    ext_file_attributes: U32 = 0
    reserved: Rest = bytes(4)


@wire
class FileStandardInfo(WireStruct):
    """SMB_QUERY_FILE_STANDARD_INFO: [MS-CIFS] 2.2.8.3.7, [MS-FSCC] 2.4.41. `reserved` has 0 or 2 bytes."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_STANDARD_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_STANDARD_INFORMATION
    allocation_size: U64
    end_of_file: U64
    number_of_links: U32
    delete_pending: U8
    directory: U8
    reserved: Rest = bytes(2)


@wire
class FileInternalInfo(WireStruct):
    """FileInternalInformation, the server's inode number: [MS-FSCC] 2.4.22."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_INTERNAL_INFORMATION
    index_number: U64


@wire
class FileEaInfo(WireStruct):
    """SMB_QUERY_FILE_EA_INFO: [MS-CIFS] 2.2.8.3.8, [MS-FSCC] 2.4.13."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_EA_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_EA_INFORMATION
    ea_size: U32


@wire
class FileAccessInfo(WireStruct):
    """FileAccessInformation: [MS-FSCC] 2.4.1."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_ACCESS_INFORMATION
    access_flags: U32


@wire
class FileNameInfo(WireStruct):
    """SMB_QUERY_FILE_NAME_INFO: [MS-CIFS] 2.2.8.3.9, [MS-FSCC] 2.4.28."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_NAME_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_NAME_INFORMATION
    file_name_length: U32 = length_of("file_name")
    file_name: Text


@wire
class FileAltNameInfo(WireStruct):
    """SMB_QUERY_FILE_ALT_NAME_INFO, the 8.3 name: [MS-CIFS] 2.2.8.3.11, [MS-FSCC] 2.4.5."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_ALT_NAME_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_ALTERNATE_NAME_INFORMATION
    file_name_length: U32 = length_of("file_name")
    file_name: Text


@wire
class FileAllInfo(WireStruct):
    """SMB_QUERY_FILE_ALL_INFO: [MS-CIFS] 2.2.8.3.10.

    Not for the passthrough FileAllInformation: Samba answers that with this structure, Windows with a longer one.
    """

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_ALL_INFO
    creation_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    ext_file_attributes: U32
    reserved1: U32 = 0
    allocation_size: U64
    end_of_file: U64
    number_of_links: U32
    delete_pending: U8
    directory: U8
    reserved2: U16 = 0
    ea_size: U32
    file_name_length: U32 = length_of("file_name")
    file_name: Text


@wire
class FileStreamInfo(WireStruct):
    """One entry of SMB_QUERY_FILE_STREAM_INFO, a chain: [MS-CIFS] 2.2.8.3.12, [MS-FSCC] 2.4.43."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_STREAM_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_STREAM_INFORMATION
    next_entry_offset: U32 = 0
    stream_name_length: U32 = length_of("stream_name")
    stream_size: U64
    stream_allocation_size: U64
    stream_name: Text


@wire
class FilePositionInfo(WireStruct):
    """FilePositionInformation: [MS-FSCC] 2.4.35."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_POSITION_INFORMATION
    current_byte_offset: U64


@wire
class FileModeInfo(WireStruct):
    """FileModeInformation, create options of an open: [MS-FSCC] 2.4.26."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_MODE_INFORMATION
    mode: U32


@wire
class FileAlignmentInfo(WireStruct):
    """FileAlignmentInformation: [MS-FSCC] 2.4.3."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_ALIGNMENT_INFORMATION
    alignment_requirement: U32


@wire
class FileCompressionInfo(WireStruct):
    """SMB_QUERY_FILE_COMPRESSION_INFO: [MS-CIFS] 2.2.8.3.13, [MS-FSCC] 2.4.9."""

    LEVEL: ClassVar[int] = const.SMB_QUERY_FILE_COMPRESSION_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_COMPRESSION_INFORMATION
    compressed_file_size: U64
    compression_format: U16 = 0
    compression_unit_shift: U8 = 0
    chunk_shift: U8 = 0
    cluster_shift: U8 = 0
    reserved: Raw3 = bytes(3)


@wire
class FileNetworkOpenInfo(WireStruct):
    """FileNetworkOpenInformation: [MS-FSCC] 2.4.29."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_NETWORK_OPEN_INFORMATION
    creation_time: U64
    last_access_time: U64
    last_write_time: U64
    change_time: U64
    allocation_size: U64
    end_of_file: U64
    file_attributes: U32
    reserved: U32 = 0


@wire
class FileAttributeTagInfo(WireStruct):
    """FileAttributeTagInformation: [MS-FSCC] 2.4.6."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_ATTRIBUTE_TAG_INFORMATION
    file_attributes: U32
    reparse_tag: U32 = 0


# --- set only


@wire
class FileDispositionInfo(WireStruct):
    """SMB_SET_FILE_DISPOSITION_INFO: [MS-CIFS] 2.2.8.4.4, [MS-FSCC] 2.4.11. 1: delete at the last close."""

    LEVEL: ClassVar[int] = const.SMB_SET_FILE_DISPOSITION_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_DISPOSITION_INFORMATION
    delete_pending: U8


@wire
class FileAllocationInfo(WireStruct):
    """SMB_SET_FILE_ALLOCATION_INFO: [MS-CIFS] 2.2.8.4.5, [MS-FSCC] 2.4.4."""

    LEVEL: ClassVar[int] = const.SMB_SET_FILE_ALLOCATION_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_ALLOCATION_INFORMATION
    allocation_size: U64


@wire
class FileEndOfFileInfo(WireStruct):
    """SMB_SET_FILE_END_OF_FILE_INFO: [MS-CIFS] 2.2.8.4.6, [MS-FSCC] 2.4.14."""

    LEVEL: ClassVar[int] = const.SMB_SET_FILE_END_OF_FILE_INFO
    PASSTHROUGH: ClassVar[int] = _PASS + const.FILE_END_OF_FILE_INFORMATION
    end_of_file: U64


@wire
class FileRenameInformation(WireStruct):
    """FileRenameInformation as SMB1 has it: [MS-FSCC] 2.4.37.1. FileLinkInformation (2.4.24) looks the same."""

    LEVEL: ClassVar[int] = _PASS + const.FILE_RENAME_INFORMATION
    replace_if_exists: U8 = 0
    reserved: Raw3 = bytes(3)
    root_directory: U32 = 0
    file_name_length: U32 = length_of("file_name")
    file_name: Text


# --- extended attributes


@wire
class Fea(WireStruct):
    """SMB_FEA, one extended attribute without what delimits it in its list: [MS-CIFS] 2.2.1.2.2."""

    flags: U8 = 0
    """0x80: FILE_NEED_EA."""
    name_length: U8 = length_of("name")
    value_length: U16 = length_of("value")
    name: Annotated[str, Tail("counted", encode="ASCII.encode({})", decode="ASCII.decode({})")]
    terminator: Annotated[bytes, Tail("sized", size=1)] = b"\0"
    value: Blob = b""


def encode_feas(feas: tuple[Fea, ...], text: TextCodec = UNICODE) -> bytes:
    """SMB_FEA_LIST, with its own size in front: [MS-CIFS] 2.2.1.2.2.1. What SMB_INFO_SET_EAS sends."""
    body = b"".join(fea.pack(text) for fea in feas)
    return (len(body) + 4).to_bytes(4, "little") + body


def decode_feas(raw: bytes, text: TextCodec = UNICODE) -> tuple[Fea, ...]:
    """The extended attributes of an SMB_FEA_LIST, none where the list is cut down to its size."""
    end = _list_end(raw)
    feas, pos = [], 4
    while pos < end:
        fea = Fea.unpack(raw, pos, end, text)
        feas.append(fea)
        pos += Fea.SIZE + len(fea.name) + 1 + len(fea.value)
    return tuple(feas)


def encode_geas(names: tuple[str, ...]) -> bytes:
    """SMB_GEA_LIST, the names of the attributes wanted: [MS-CIFS] 2.2.1.2.1.1."""
    raws = [ASCII.encode(name) for name in names]
    body = b"".join(len(raw).to_bytes(1, "little") + raw + b"\0" for raw in raws)
    return (len(body) + 4).to_bytes(4, "little") + body


def decode_geas(raw: bytes) -> tuple[str, ...]:
    """The names in an SMB_GEA_LIST."""
    end = _list_end(raw)
    names, pos = [], 4
    while pos < end:
        stop = pos + 1 + raw[pos]
        if stop + 1 > end:
            raise WireError("a name in the GEA list is cut short")
        names.append(ASCII.decode(raw[pos + 1 : stop]))
        pos = stop + 1
    return tuple(names)


def _list_end(raw: bytes) -> int:
    size = int.from_bytes(raw[:4], "little")
    if len(raw) < 4 or not 4 <= size <= len(raw):
        raise WireError(f"EA list says {size} bytes of {len(raw)}")
    return size


@wire
class FeaList(WireStruct):
    """SMB_INFO_QUERY_ALL_EAS, _QUERY_EAS_FROM_LIST and _SET_EAS: [MS-CIFS] 2.2.8.3.3, .4, 2.2.8.4.2."""

    LEVEL: ClassVar[int] = const.SMB_INFO_QUERY_ALL_EAS
    feas: Annotated[tuple[Fea, ...], Tail("rest", coder=Coder(encode_feas, decode_feas))] = ()


@wire
class FileFullEa(WireStruct):
    """FILE_FULL_EA_INFORMATION, one entry of a chain: [MS-FSCC] 2.4.16."""

    next_entry_offset: U32 = 0
    flags: U8 = 0
    ea_name_length: U8 = length_of("ea_name")
    ea_value_length: U16 = length_of("ea_value")
    ea_name: Annotated[str, Tail("counted", encode="ASCII.encode({})", decode="ASCII.decode({})")]
    terminator: Annotated[bytes, Tail("sized", size=1)] = b"\0"
    ea_value: Blob = b""


# --- change notification and snapshots


@wire
class FileNotify(WireStruct):
    r"""FILE_NOTIFY_INFORMATION, one entry of a chain: [MS-CIFS] 2.2.7.4.2. The name is relative, with backslashes."""

    next_entry_offset: U32 = 0
    action: U32
    file_name_length: U32 = length_of("file_name")
    file_name: Text


def _encode_labels(labels: tuple[str, ...], text: TextCodec) -> bytes:
    return b"".join(UNICODE.encode(label) + b"\0\0" for label in labels) + b"\0\0" if labels else b""


def _decode_labels(raw: bytes, text: TextCodec) -> tuple[str, ...]:
    labels, pos = [], 0
    while (stop := UNICODE.find_end(raw, pos, len(raw))) > pos:
        labels.append(UNICODE.decode(raw[pos:stop]))
        pos = stop + 2
    return tuple(labels)


@wire
class SnapshotArray(WireStruct):
    """SRV_SNAPSHOT_ARRAY, the answer to FSCTL_SRV_ENUMERATE_SNAPSHOTS: [MS-SMB] 2.2.7.2.2.1.

    `snapshots` are @GMT labels, Unicode whatever the message says. With too little room in the answer there are
    none, and `size` says how many bytes the list needs.
    """

    number_of_snapshots: U32
    number_of_snapshots_returned: U32
    size: U32
    snapshots: Annotated[tuple[str, ...], Tail("rest", coder=Coder(_encode_labels, _decode_labels))] = ()
