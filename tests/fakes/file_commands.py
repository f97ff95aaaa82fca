"""The fake server's commands on files: open, read, write, close, and those that work on paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from smbfuse import ntstatus as nt
from smbfuse.wire.codec import Body
from smbfuse.wire.const import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
    FILE_CREATE,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OPENED,
    FILE_OVERWRITE,
    FILE_OVERWRITE_IF,
    FILE_OVERWRITTEN,
    FILE_SUPERSEDE,
    FILE_SUPERSEDED,
    FILE_TYPE_DISK,
    FILE_WRITE_DATA,
    GENERIC_WRITE,
    NO_EAS,
    NO_REPARSETAG,
    NO_SUBSTREAMS,
    NT_CREATE_REQUEST_EXTENDED_RESPONSE,
    NT_CREATE_REQUEST_OPBATCH,
    NT_CREATE_REQUEST_OPLOCK,
    OPLOCK_BATCH,
    OPLOCK_EXCLUSIVE,
    OPLOCK_NONE,
)
from smbfuse.wire.files import (
    CheckDirectoryRequest,
    CloseRequest,
    CloseResponse,
    CreateDirectoryRequest,
    DeleteDirectoryRequest,
    DeleteRequest,
    FindClose2Request,
    FlushRequest,
    NtCreateAndXExtendedResponse,
    NtCreateAndXRequest,
    NtCreateAndXResponse,
    ReadAndXRequest,
    ReadAndXResponse,
    RenameRequest,
    WriteAndXRequest,
    WriteAndXResponse,
)
from smbfuse.wire.frame import RawBody
from smbfuse.wire.locking import LockingAndXRequest, LockingAndXResponse
from tests.fakes.context import Context, Open
from tests.fakes.volume import Node, Refusal, now

MAX_FILE = 256 * 1024 * 1024
"""Files are in memory, and holes in them too."""
_WRITES = FILE_WRITE_DATA | FILE_APPEND_DATA | GENERIC_WRITE


class _Found(NamedTuple):
    """What a disposition does with a name that is there (None: refuses), and with one that is not."""

    there: int | None
    absent: int | None


_DISPOSITIONS = {
    FILE_SUPERSEDE: _Found(FILE_SUPERSEDED, FILE_CREATED),
    FILE_OPEN: _Found(FILE_OPENED, None),
    FILE_CREATE: _Found(None, FILE_CREATED),
    FILE_OPEN_IF: _Found(FILE_OPENED, FILE_CREATED),
    FILE_OVERWRITE: _Found(FILE_OVERWRITTEN, None),
    FILE_OVERWRITE_IF: _Found(FILE_OVERWRITTEN, FILE_CREATED),
}


def nt_create(context: Context, request: NtCreateAndXRequest) -> Body:
    connection = context.connection
    found = _DISPOSITIONS.get(request.create_disposition)
    if found is None:
        raise Refusal(nt.STATUS_INVALID_PARAMETER)
    node = context.volume.locate(request.file_name, context.reparse)[2]
    action = found.absent if node is None else found.there
    if action is None:
        raise Refusal(nt.STATUS_OBJECT_NAME_NOT_FOUND if node is None else nt.STATUS_OBJECT_NAME_COLLISION)
    if node is None:
        node = context.volume.create(request.file_name, _maker(request), context.reparse)
    else:
        _check_open(node, request)
    if action in (FILE_OVERWRITTEN, FILE_SUPERSEDED):
        node.truncate(0)
    fid = next(connection.new_ids)
    oplock = _oplock(request) if connection.server.offer.oplocks and not node.is_dir else OPLOCK_NONE
    delete = bool(request.create_options & FILE_DELETE_ON_CLOSE)
    connection.opens[fid] = Open(node, context.volume, request.desired_access, delete, oplock)
    context.fid = fid
    answer = _create_answer(node, fid, action, oplock, extended=request.flags & NT_CREATE_REQUEST_EXTENDED_RESPONSE)
    if isinstance(answer, NtCreateAndXExtendedResponse) and connection.server.offer.numbers_in_opens:
        answer.file_id = node.number
    return answer


def _maker(request: NtCreateAndXRequest) -> Callable[[str], Node]:
    attributes = request.ext_file_attributes & FILE_ATTRIBUTE_READONLY
    if request.create_options & FILE_DIRECTORY_FILE:
        return lambda name: Node(name, children={})
    return lambda name: Node(name, attributes=attributes | FILE_ATTRIBUTE_ARCHIVE)


def _check_open(node: Node, request: NtCreateAndXRequest) -> None:
    if node.delete_pending:
        raise Refusal(nt.STATUS_DELETE_PENDING)
    if node.is_dir and request.create_options & FILE_NON_DIRECTORY_FILE:
        raise Refusal(nt.STATUS_FILE_IS_A_DIRECTORY)
    if not node.is_dir and request.create_options & FILE_DIRECTORY_FILE:
        raise Refusal(nt.STATUS_NOT_A_DIRECTORY)
    if node.read_only and request.desired_access & (_WRITES | DELETE):
        raise Refusal(nt.STATUS_MEDIA_WRITE_PROTECTED)
    if node.attributes & FILE_ATTRIBUTE_READONLY and request.desired_access & _WRITES:
        raise Refusal(nt.STATUS_ACCESS_DENIED)


def _oplock(request: NtCreateAndXRequest) -> int:
    if request.flags & NT_CREATE_REQUEST_OPBATCH:
        return OPLOCK_BATCH
    return OPLOCK_EXCLUSIVE if request.flags & NT_CREATE_REQUEST_OPLOCK else OPLOCK_NONE


def _create_answer(node: Node, fid: int, action: int, oplock: int, *, extended: int) -> Body:
    common: dict[str, Any] = {
        "oplock_level": oplock,
        "fid": fid,
        "create_disposition": action,
        "create_time": node.created,
        "last_access_time": node.accessed,
        "last_write_time": node.written,
        "last_change_time": node.changed,
        "ext_file_attributes": node.dos,
        "allocation_size": node.allocated,
        "end_of_file": node.size,
        "resource_type": FILE_TYPE_DISK,
        "directory": node.is_dir,
    }
    if not extended:
        return NtCreateAndXResponse(**common, nm_pipe_status=0)
    return NtCreateAndXExtendedResponse(
        **common,
        file_status_flags=NO_EAS | NO_SUBSTREAMS | NO_REPARSETAG,
        volume_guid=bytes(16),
        file_id=0,
        maximal_access_rights=FILE_ALL_ACCESS,
        guest_maximal_access_rights=0,
    )


def read(context: Context, request: ReadAndXRequest) -> Body:
    node = context.open_of(request.fid).node
    if node.is_dir:
        raise Refusal(nt.STATUS_INVALID_DEVICE_REQUEST)
    offset = request.offset_low | getattr(request, "offset_high", 0) << 32
    size = request.max_count_low | (request.max_count_high & 0xFFFF) << 16
    return ReadAndXResponse(data=bytes(node.data[offset : offset + size]))


def write(context: Context, request: WriteAndXRequest) -> Body:
    opened = context.open_of(request.fid)
    if not opened.access & _WRITES:
        raise Refusal(nt.STATUS_ACCESS_DENIED)
    offset = request.offset_low | getattr(request, "offset_high", 0) << 32
    if offset + len(request.data) > MAX_FILE:
        raise Refusal(nt.STATUS_DISK_FULL)
    opened.node.write(offset, request.data)
    return WriteAndXResponse(count_low=len(request.data) & 0xFFFF, count_high=len(request.data) >> 16)


def close(context: Context, request: CloseRequest) -> Body:
    opened = context.open_of(request.fid)
    del context.connection.opens[request.fid if context.fid is None else context.fid]
    others = any(other.node is opened.node for c in context.connection.server.connections for other in c.opens.values())
    opened.node.delete_pending |= opened.delete_on_close
    if opened.node.delete_pending and not others:
        opened.volume.remove(opened.node)
    return CloseResponse()


def flush(context: Context, request: FlushRequest) -> Body:
    if request.fid != 0xFFFF:
        context.open_of(request.fid)
    return RawBody()


def locking(context: Context, request: LockingAndXRequest) -> Body:
    """Every lock is granted. Oplock acknowledgements do not come here."""
    context.open_of(request.fid)
    return LockingAndXResponse()


def delete(context: Context, request: DeleteRequest) -> Body:
    matches = [node for name, node in context.volume.matches(request.file_name, context.reparse) if name[:1] != "."]
    wanted = [node for node in matches if not node.is_dir]
    if not wanted:
        if matches:
            raise Refusal(nt.STATUS_FILE_IS_A_DIRECTORY)
        context.find(request.file_name)
        raise Refusal(nt.STATUS_NO_SUCH_FILE)
    for node in wanted:
        if any(opened.node is node for opened in context.connection.opens.values()):
            node.delete_pending = True
        else:
            context.volume.remove(node)
    return RawBody()


def create_directory(context: Context, request: CreateDirectoryRequest) -> Body:
    context.volume.create(request.directory_name, lambda name: Node(name, children={}), context.reparse)
    return RawBody()


def delete_directory(context: Context, request: DeleteDirectoryRequest) -> Body:
    node = context.find(request.directory_name)
    if not node.is_dir:
        raise Refusal(nt.STATUS_NOT_A_DIRECTORY)
    context.volume.remove(node)
    return RawBody()


def check_directory(context: Context, request: CheckDirectoryRequest) -> Body:
    if not context.find(request.directory_name).is_dir:
        raise Refusal(nt.STATUS_NOT_A_DIRECTORY)
    return RawBody()


def rename(context: Context, request: RenameRequest) -> Body:
    node = context.find(request.old_file_name)
    directory, name, _ = context.volume.locate(request.new_file_name, context.reparse)
    context.volume.move(node, directory, name)
    return RawBody()


def find_close(context: Context, request: FindClose2Request) -> Body:
    if context.connection.searches.pop(request.sid, None) is None:
        raise Refusal(nt.STATUS_INVALID_HANDLE)
    return RawBody()


def set_basic(node: Node, created: int, accessed: int, written: int, changed: int, attributes: int) -> None:
    """Times of 0 and all ones, and attributes of 0, leave what is there."""
    if node.read_only:
        raise Refusal(nt.STATUS_MEDIA_WRITE_PROTECTED)
    for name, value in (("created", created), ("accessed", accessed), ("written", written), ("changed", changed)):
        if value not in (0, 0xFFFF_FFFF_FFFF_FFFF):
            setattr(node, name, value)
    if attributes:
        node.attributes = attributes & ~FILE_ATTRIBUTE_DIRECTORY & 0x27
    if not changed:
        node.changed = now()
