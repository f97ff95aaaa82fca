"""What the parameter and setup parts of transactions hold, by subcommand. [MS-CIFS] 2.2.5 to 2.2.7.

Each stands by itself: its positions count from the start of the part. `SUBCOMMAND` is the number that selects it.
"""

from __future__ import annotations

from typing import ClassVar

from smbfuse.wire import const
from smbfuse.wire.codec import U8, U16, U32, U64, Rest, TextAligned, TextZ, WireStruct, length_of, wire

# --- TRANSACTION2


@wire
class FindFirst2Parameters(WireStruct):
    """TRANS2_FIND_FIRST2 request parameters: [MS-CIFS] 2.2.6.2.1. For SMB_INFO_QUERY_EAS_FROM_LIST with data."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_FIND_FIRST2
    search_attributes: U16 = const.FILE_ATTRIBUTE_HIDDEN | const.FILE_ATTRIBUTE_SYSTEM | const.FILE_ATTRIBUTE_DIRECTORY
    search_count: U16
    flags: U16 = 0
    information_level: U16
    search_storage_type: U32 = 0
    file_name: TextZ


@wire
class FindFirst2ResponseParameters(WireStruct):
    """TRANS2_FIND_FIRST2 response parameters: [MS-CIFS] 2.2.6.2.2."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_FIND_FIRST2
    sid: U16
    search_count: U16
    end_of_search: U16 = 0
    ea_error_offset: U16 = 0
    last_name_offset: U16 = 0


@wire
class FindNext2Parameters(WireStruct):
    """TRANS2_FIND_NEXT2 request parameters: [MS-CIFS] 2.2.6.3.1. `file_name` is the last name of the answer before."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_FIND_NEXT2
    sid: U16
    search_count: U16
    information_level: U16
    resume_key: U32 = 0
    flags: U16 = 0
    file_name: TextZ


@wire
class FindNext2ResponseParameters(WireStruct):
    """TRANS2_FIND_NEXT2 response parameters: [MS-CIFS] 2.2.6.3.2."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_FIND_NEXT2
    search_count: U16
    end_of_search: U16 = 0
    ea_error_offset: U16 = 0
    last_name_offset: U16 = 0


@wire
class QueryFsParameters(WireStruct):
    """TRANS2_QUERY_FS_INFORMATION request parameters: [MS-CIFS] 2.2.6.4.1. The response has none."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_QUERY_FS_INFORMATION
    information_level: U16


@wire
class SetFsParameters(WireStruct):
    """TRANS2_SET_FS_INFORMATION request parameters: [MS-SMB] 2.2.6.5.1. The UNIX levels leave the FID 0."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_SET_FS_INFORMATION
    fid: U16 = 0
    information_level: U16


@wire
class QueryPathParameters(WireStruct):
    """TRANS2_QUERY_PATH_INFORMATION request parameters: [MS-CIFS] 2.2.6.6.1."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_QUERY_PATH_INFORMATION
    information_level: U16
    reserved: U32 = 0
    file_name: TextZ


@wire
class SetPathParameters(WireStruct):
    """TRANS2_SET_PATH_INFORMATION request parameters: [MS-CIFS] 2.2.6.7.1."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_SET_PATH_INFORMATION
    information_level: U16
    reserved: U32 = 0
    file_name: TextZ


@wire
class QueryFileParameters(WireStruct):
    """TRANS2_QUERY_FILE_INFORMATION request parameters: [MS-CIFS] 2.2.6.8.1."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_QUERY_FILE_INFORMATION
    fid: U16
    information_level: U16


@wire
class SetFileParameters(WireStruct):
    """TRANS2_SET_FILE_INFORMATION request parameters: [MS-CIFS] 2.2.6.9.1. smbclient leaves `reserved` out (06b)."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_SET_FILE_INFORMATION
    fid: U16
    information_level: U16
    reserved: Rest = bytes(2)


@wire
class CreateDirectoryParameters(WireStruct):
    """TRANS2_CREATE_DIRECTORY request parameters: [MS-CIFS] 2.2.6.14.1. The data part is an EA list."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_CREATE_DIRECTORY
    reserved: U32 = 0
    directory_name: TextZ


@wire
class EaErrorParameters(WireStruct):
    """Response parameters of querying and setting files and paths, and of CREATE_DIRECTORY: [MS-CIFS] 2.2.6.6.2."""

    ea_error_offset: U16 = 0


@wire
class GetDfsReferralParameters(WireStruct):
    r"""TRANS2_GET_DFS_REFERRAL request parameters: [MS-CIFS] 2.2.6.16.1. The name begins with one backslash."""

    SUBCOMMAND: ClassVar[int] = const.TRANS2_GET_DFS_REFERRAL
    max_referral_level: U16
    request_file_name: TextZ


# --- NT_TRANSACT


@wire
class NtCreateParameters(WireStruct):
    """NT_TRANSACT_CREATE request parameters: [MS-CIFS] 2.2.7.1.1, flags by [MS-SMB] 2.2.7.1.1.

    The data part is the security descriptor, then the EAs (a chain of FileFullEa).
    """

    SUBCOMMAND: ClassVar[int] = const.NT_TRANSACT_CREATE
    flags: U32 = 0
    root_directory_fid: U32 = 0
    desired_access: U32
    allocation_size: U64 = 0
    ext_file_attributes: U32 = 0
    share_access: U32
    create_disposition: U32
    create_options: U32 = 0
    security_descriptor_length: U32 = 0
    ea_length: U32 = 0
    name_length: U32 = length_of("name")
    impersonation_level: U32 = const.SEC_IMPERSONATE
    security_flags: U8 = 0
    name: TextAligned


@wire
class NtCreateResponseParameters(WireStruct):
    """NT_TRANSACT_CREATE response parameters: [MS-CIFS] 2.2.7.1.2. Times are FILETIMEs.

    `extended` holds what [MS-SMB] 2.2.7.1.2 adds where the request asked for it.
    """

    SUBCOMMAND: ClassVar[int] = const.NT_TRANSACT_CREATE
    oplock_level: U8
    reserved: U8 = 0
    fid: U16
    create_action: U32
    ea_error_offset: U32 = 0
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
    extended: Rest = b""


@wire
class IoctlSetup(WireStruct):
    """NT_TRANSACT_IOCTL request setup: [MS-CIFS] 2.2.7.2.1. `is_flags` bit 0: only below a DFS root share."""

    SUBCOMMAND: ClassVar[int] = const.NT_TRANSACT_IOCTL
    function_code: U32
    fid: U16
    is_fsctl: U8 = 1
    is_flags: U8 = 0


@wire
class NotifyChangeSetup(WireStruct):
    """NT_TRANSACT_NOTIFY_CHANGE request setup: [MS-CIFS] 2.2.7.4.1. The answer's parameters: a chain of FileNotify."""

    SUBCOMMAND: ClassVar[int] = const.NT_TRANSACT_NOTIFY_CHANGE
    completion_filter: U32
    fid: U16
    watch_tree: U8 = 0
    reserved: U8 = 0


@wire
class QuerySecurityDescParameters(WireStruct):
    """NT_TRANSACT_QUERY_SECURITY_DESC request parameters: [MS-CIFS] 2.2.7.6.1."""

    SUBCOMMAND: ClassVar[int] = const.NT_TRANSACT_QUERY_SECURITY_DESC
    fid: U16
    reserved: U16 = 0
    security_info_fields: U32


@wire
class QuerySecurityDescResponseParameters(WireStruct):
    """NT_TRANSACT_QUERY_SECURITY_DESC response parameters: [MS-CIFS] 2.2.7.6.2. The data part is the descriptor."""

    SUBCOMMAND: ClassVar[int] = const.NT_TRANSACT_QUERY_SECURITY_DESC
    length_needed: U32


@wire
class SetSecurityDescParameters(WireStruct):
    """NT_TRANSACT_SET_SECURITY_DESC request parameters: [MS-CIFS] 2.2.7.3.1. The data part is the descriptor."""

    SUBCOMMAND: ClassVar[int] = const.NT_TRANSACT_SET_SECURITY_DESC
    fid: U16
    reserved: U16 = 0
    security_info_fields: U32


# --- TRANSACTION


@wire
class NmPipeSetup(WireStruct):
    """Setup of the pipe subcommands that name a FID: TRANS_TRANSACT_NMPIPE [MS-CIFS] 2.2.5.6.1 and its like."""

    subcommand: U16 = const.TRANS_TRANSACT_NMPIPE
    fid: U16
