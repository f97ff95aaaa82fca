"""Bodies of the commands that open, read, write, close and flush files, and of those that work on paths."""

from __future__ import annotations

from smbfuse.wire.codec import (
    U8,
    U16,
    U32,
    U64,
    AndXBody,
    Body,
    Gap,
    PathZ,
    Payload,
    Raw16,
    TextZ,
    aligned,
    length_of,
    message,
    offset_of,
    total_of,
)
from smbfuse.wire.const import (
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_SYSTEM,
    SMB_COM_CHECK_DIRECTORY,
    SMB_COM_CLOSE,
    SMB_COM_CREATE_DIRECTORY,
    SMB_COM_DELETE,
    SMB_COM_DELETE_DIRECTORY,
    SMB_COM_FIND_CLOSE2,
    SMB_COM_FLUSH,
    SMB_COM_NT_CANCEL,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_NT_RENAME,
    SMB_COM_READ_ANDX,
    SMB_COM_RENAME,
    SMB_COM_TREE_DISCONNECT,
    SMB_COM_WRITE_ANDX,
)


@message(SMB_COM_READ_ANDX)
class ReadAndXRequest(AndXBody):
    """SMB_COM_READ_ANDX request, 12 words: [MS-CIFS] 2.2.4.42.1, large counts by [MS-SMB] 2.2.4.2.1."""

    fid: U16
    offset_low: U32
    max_count_low: U16
    min_count: U16 = 0
    max_count_high: U32 = 0
    remaining: U16 = 0
    offset_high: U32 = 0


@message(SMB_COM_READ_ANDX)
class ReadAndXShortRequest(AndXBody):
    """SMB_COM_READ_ANDX request of 10 words, for offsets of 32 bits: [MS-CIFS] 2.2.4.42.1."""

    fid: U16
    offset_low: U32
    max_count_low: U16
    min_count: U16 = 0
    max_count_high: U32 = 0
    remaining: U16 = 0


@message(SMB_COM_READ_ANDX, reply=True)
class ReadAndXResponse(AndXBody):
    """SMB_COM_READ_ANDX response: [MS-CIFS] 2.2.4.42.2, DataLengthHigh by [MS-SMB] 2.2.4.2.2."""

    available: U16 = 0xFFFF
    data_compaction_mode: U16 = 0
    reserved1: U16 = 0
    data_length: U16 = length_of("data", split=True)
    data_offset: U16 = offset_of("data")
    data_length_high: U16 = length_of("data", shift=16)
    reserved2: U32 = 0
    reserved3: U32 = 0
    pad: Gap = aligned(2)
    data: Payload


@message(SMB_COM_WRITE_ANDX)
class WriteAndXRequest(AndXBody):
    """SMB_COM_WRITE_ANDX request, 14 words: [MS-CIFS] 2.2.4.43.1, DataLengthHigh by [MS-SMB] 2.2.4.3.1."""

    fid: U16
    offset_low: U32
    timeout: U32 = 0
    write_mode: U16 = 0
    remaining: U16 = 0
    data_length_high: U16 = length_of("data", shift=16)
    data_length: U16 = length_of("data", split=True)
    data_offset: U16 = offset_of("data")
    offset_high: U32 = 0
    pad: Gap = aligned(4)
    data: Payload


@message(SMB_COM_WRITE_ANDX)
class WriteAndXShortRequest(AndXBody):
    """SMB_COM_WRITE_ANDX request of 12 words, for offsets of 32 bits: [MS-CIFS] 2.2.4.43.1."""

    fid: U16
    offset_low: U32
    timeout: U32 = 0
    write_mode: U16 = 0
    remaining: U16 = 0
    data_length_high: U16 = length_of("data", shift=16)
    data_length: U16 = length_of("data", split=True)
    data_offset: U16 = offset_of("data")
    pad: Gap = aligned(4)
    data: Payload


@message(SMB_COM_WRITE_ANDX, reply=True)
class WriteAndXResponse(AndXBody):
    """SMB_COM_WRITE_ANDX response: [MS-CIFS] 2.2.4.43.2, CountHigh by [MS-SMB] 2.2.4.3.2."""

    count_low: U16
    available: U16 = 0xFFFF
    count_high: U16 = 0
    reserved: U16 = 0


@message(SMB_COM_CLOSE)
class CloseRequest(Body):
    """SMB_COM_CLOSE request: [MS-CIFS] 2.2.4.5.1. Time 0 or 0xFFFFFFFF: the server sets it."""

    fid: U16
    last_time_modified: U32 = 0xFFFF_FFFF


@message(SMB_COM_NT_CREATE_ANDX)
class NtCreateAndXRequest(AndXBody):
    """SMB_COM_NT_CREATE_ANDX request: [MS-CIFS] 2.2.4.64.1, extended by [MS-SMB] 2.2.4.9.1.

    `name_length` is filled in without the terminator, as the document has it; smbclient and cifs.ko count it too.
    """

    reserved: U8 = 0
    name_length: U16 = total_of("file_name", default=0)
    flags: U32 = 0
    root_directory_fid: U32 = 0
    desired_access: U32
    allocation_size: U64 = 0
    ext_file_attributes: U32 = 0
    share_access: U32
    create_disposition: U32
    create_options: U32 = 0
    impersonation_level: U32 = 2
    security_flags: U8 = 0
    file_name: TextZ


@message(SMB_COM_NT_CREATE_ANDX, reply=True)
class NtCreateAndXResponse(AndXBody):
    """SMB_COM_NT_CREATE_ANDX response, 34 words: [MS-CIFS] 2.2.4.64.2."""

    oplock_level: U8
    fid: U16
    create_disposition: U32
    create_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    ext_file_attributes: U32
    allocation_size: U64
    end_of_file: U64
    resource_type: U16
    nm_pipe_status: U16
    directory: U8


@message(SMB_COM_NT_CREATE_ANDX, reply=True, words=42)
class NtCreateAndXExtendedResponse(AndXBody):
    """The extended response: [MS-SMB] 2.2.4.9.2. Its WordCount says 42 although 50 words are there."""

    oplock_level: U8
    fid: U16
    create_disposition: U32
    create_time: U64
    last_access_time: U64
    last_write_time: U64
    last_change_time: U64
    ext_file_attributes: U32
    allocation_size: U64
    end_of_file: U64
    resource_type: U16
    file_status_flags: U16
    directory: U8
    volume_guid: Raw16
    file_id: U64
    maximal_access_rights: U32
    guest_maximal_access_rights: U32


@message(SMB_COM_FLUSH)
class FlushRequest(Body):
    """SMB_COM_FLUSH request: [MS-CIFS] 2.2.4.6.1. FID 0xFFFF: all files of the PID."""

    fid: U16


@message(SMB_COM_FIND_CLOSE2)
class FindClose2Request(Body):
    """SMB_COM_FIND_CLOSE2 request: [MS-CIFS] 2.2.4.48.1."""

    sid: U16


@message(SMB_COM_NT_CANCEL)
class NtCancelRequest(Body):
    """SMB_COM_NT_CANCEL request: [MS-CIFS] 2.2.4.65. MID, PID, TID and UID say which; it has no answer of its own."""


@message(SMB_COM_CREATE_DIRECTORY)
class CreateDirectoryRequest(Body):
    """SMB_COM_CREATE_DIRECTORY request: [MS-CIFS] 2.2.4.1.1."""

    directory_name: PathZ


@message(SMB_COM_DELETE_DIRECTORY)
class DeleteDirectoryRequest(Body):
    """SMB_COM_DELETE_DIRECTORY request: [MS-CIFS] 2.2.4.2.1."""

    directory_name: PathZ


@message(SMB_COM_CHECK_DIRECTORY)
class CheckDirectoryRequest(Body):
    """SMB_COM_CHECK_DIRECTORY request: [MS-CIFS] 2.2.4.17.1."""

    directory_name: PathZ


_ANY_FILE = FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM


@message(SMB_COM_DELETE)
class DeleteRequest(Body):
    """SMB_COM_DELETE request: [MS-CIFS] 2.2.4.7.1. Only files whose attributes are among `search_attributes` go."""

    search_attributes: U16 = _ANY_FILE
    file_name: PathZ


@message(SMB_COM_RENAME)
class RenameRequest(Body):
    """SMB_COM_RENAME request: [MS-CIFS] 2.2.4.8.1. The new name must not exist."""

    search_attributes: U16 = _ANY_FILE | FILE_ATTRIBUTE_DIRECTORY
    old_file_name: PathZ
    new_file_name: PathZ


@message(SMB_COM_NT_RENAME)
class NtRenameRequest(Body):
    """SMB_COM_NT_RENAME request: [MS-CIFS] 2.2.4.66.1. Makes hard links too: SMB_NT_RENAME_SET_LINK_INFO."""

    search_attributes: U16 = _ANY_FILE | FILE_ATTRIBUTE_DIRECTORY
    information_level: U16
    reserved: U32 = 0
    old_file_name: PathZ
    new_file_name: PathZ


class EmptyResponse(Body):
    """Base of answers that have neither words nor bytes. Errors to the same commands look alike: the status tells."""

    __slots__ = ()


@message(SMB_COM_CLOSE, reply=True)
class CloseResponse(EmptyResponse):
    """SMB_COM_CLOSE response: [MS-CIFS] 2.2.4.5.2."""


@message(SMB_COM_FLUSH, reply=True)
class FlushResponse(EmptyResponse):
    """SMB_COM_FLUSH response: [MS-CIFS] 2.2.4.6.2."""


@message(SMB_COM_FIND_CLOSE2, reply=True)
class FindClose2Response(EmptyResponse):
    """SMB_COM_FIND_CLOSE2 response: [MS-CIFS] 2.2.4.48.2."""


@message(SMB_COM_TREE_DISCONNECT, reply=True)
class TreeDisconnectResponse(EmptyResponse):
    """SMB_COM_TREE_DISCONNECT response: [MS-CIFS] 2.2.4.51.2."""


@message(SMB_COM_CREATE_DIRECTORY, reply=True)
class CreateDirectoryResponse(EmptyResponse):
    """SMB_COM_CREATE_DIRECTORY response: [MS-CIFS] 2.2.4.1.2."""


@message(SMB_COM_DELETE_DIRECTORY, reply=True)
class DeleteDirectoryResponse(EmptyResponse):
    """SMB_COM_DELETE_DIRECTORY response: [MS-CIFS] 2.2.4.2.2."""


@message(SMB_COM_CHECK_DIRECTORY, reply=True)
class CheckDirectoryResponse(EmptyResponse):
    """SMB_COM_CHECK_DIRECTORY response: [MS-CIFS] 2.2.4.17.2."""


@message(SMB_COM_DELETE, reply=True)
class DeleteResponse(EmptyResponse):
    """SMB_COM_DELETE response: [MS-CIFS] 2.2.4.7.2."""


@message(SMB_COM_RENAME, reply=True)
class RenameResponse(EmptyResponse):
    """SMB_COM_RENAME response: [MS-CIFS] 2.2.4.8.2."""


@message(SMB_COM_NT_RENAME, reply=True)
class NtRenameResponse(EmptyResponse):
    """SMB_COM_NT_RENAME response: [MS-CIFS] 2.2.4.66.2."""
