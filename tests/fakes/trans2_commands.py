"""The fake server's TRANSACTION2: searches, and questions and orders about files, paths and the file system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from smbfuse import ntstatus as nt
from smbfuse.errors import WireError
from smbfuse.wire import filelevels, findlevels, fslevels, infolevels, trans2, unixlevels
from smbfuse.wire.chains import pack_entries
from smbfuse.wire.codec import Body, WireStruct
from smbfuse.wire.const import (
    FILE_ALL_ACCESS,
    FILE_CASE_PRESERVED_NAMES,
    FILE_UNICODE_ON_DISK,
    SMB_FIND_CLOSE_AFTER_REQUEST,
    SMB_FIND_CLOSE_AT_EOS,
    UNIX_TYPE_DIR,
    UNIX_TYPE_FILE,
)
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans import Trans2Request, Trans2Response
from tests.fakes.context import Context, SearchState
from tests.fakes.file_commands import MAX_FILE, set_basic
from tests.fakes.volume import CLUSTER, Node, Refusal

_FREE = 1 << 20
_TOTAL = 1 << 21
"""Clusters."""

Answer = tuple[bytes, bytes]
"""Parameters and data."""


def transaction2(context: Context, request: Trans2Request) -> Body:
    assert context.exchange.transaction is not None
    parameters, data = context.exchange.transaction
    found = _SUBCOMMANDS.get(request.subcommand)
    if found is None:
        raise Refusal(nt.STATUS_NOT_IMPLEMENTED)
    made, handler = found
    try:
        answer = handler(context, made.unpack(parameters, text=UNICODE), data, request.max_data_count)
    except WireError:
        raise Refusal(nt.STATUS_INVALID_PARAMETER) from None
    if len(answer[1]) > request.max_data_count:
        raise Refusal(nt.STATUS_INFO_LENGTH_MISMATCH)
    return Trans2Response(parameters=answer[0], data=answer[1])


def _facts(node: Node, name: str) -> dict[str, object]:
    """All that any level asks, under the levels' own field names."""
    return {
        "creation_time": node.created,
        "last_access_time": node.accessed,
        "last_write_time": node.written,
        "last_change_time": node.changed,
        "change_time": node.changed,
        "ext_file_attributes": node.dos,
        "file_attributes": node.dos,
        "end_of_file": node.size,
        "allocation_size": node.allocated,
        "number_of_links": 1,
        "delete_pending": node.delete_pending,
        "directory": node.is_dir,
        "index_number": node.number,
        "file_id": node.number,
        "access_flags": FILE_ALL_ACCESS,
        "ea_size": 0,
        "file_name": name,
        # FileUnixBasic
        "number_of_bytes": node.allocated,
        "last_status_change": node.changed,
        "last_modification_time": node.written,
        "uid": 0,
        "gid": 0,
        "file_type": UNIX_TYPE_DIR if node.is_dir else UNIX_TYPE_FILE,
        "unique_id": node.number,
        "permissions": 0o755,
    }


def _described(made: type[Any], node: Node, name: str) -> Any:  # noqa: ANN401 - an instance of `made`
    wanted = {field.name for field in fields(made) if field.init}
    return made(**{key: value for key, value in _facts(node, name).items() if key in wanted})


# --- searches

_FIND = {level: made for level, made in infolevels.FIND.items() if made.__module__ == findlevels.__name__}


def find_first(context: Context, asked: trans2.FindFirst2Parameters, data: bytes, room: int) -> Answer:
    matches = context.volume.matches(asked.file_name, context.reparse)
    if not matches:
        raise Refusal(nt.STATUS_NO_SUCH_FILE)
    state = SearchState(matches)
    entries, count, last = _page(state, asked.information_level, asked.search_count, room)
    search_id = next(context.connection.new_ids)
    end = not state.left
    if not _closes(asked.flags, end):
        context.connection.searches[search_id] = state
    answer = trans2.FindFirst2ResponseParameters(
        sid=search_id, search_count=count, end_of_search=end, last_name_offset=last
    )
    return answer.pack(), entries


def find_next(context: Context, asked: trans2.FindNext2Parameters, data: bytes, room: int) -> Answer:
    state = context.connection.searches.get(asked.sid)
    if state is None:
        raise Refusal(nt.STATUS_INVALID_HANDLE)
    entries, count, last = _page(state, asked.information_level, asked.search_count, room)
    end = not state.left
    if _closes(asked.flags, end):
        del context.connection.searches[asked.sid]
    answer = trans2.FindNext2ResponseParameters(search_count=count, end_of_search=end, last_name_offset=last)
    return answer.pack(), entries


def _closes(flags: int, end: bool) -> bool:
    return bool(flags & SMB_FIND_CLOSE_AFTER_REQUEST or (end and flags & SMB_FIND_CLOSE_AT_EOS))


def _page(state: SearchState, level: int, count: int, room: int) -> tuple[bytes, int, int]:
    """(entries, how many, offset of the last) that fit; they leave the state."""
    made = _FIND.get(level)
    if made is None:
        raise Refusal(nt.STATUS_INVALID_LEVEL)
    page: list[Any] = []
    size = last = 0
    for name, node in state.left[:count]:
        entry = _described(made, node, name)
        start = -(-size // 8) * 8
        if start + len(entry.pack()) > room:
            break
        last, size = start, start + len(entry.pack())
        page.append(entry)
    del state.left[: len(page)]
    return pack_entries(page), len(page), last


# --- files and paths


def query_path(context: Context, asked: trans2.QueryPathParameters, data: bytes, room: int) -> Answer:
    return _query(context.find(asked.file_name), asked.information_level)


def query_file(context: Context, asked: trans2.QueryFileParameters, data: bytes, room: int) -> Answer:
    return _query(context.open_of(asked.fid).node, asked.information_level)


_QUERY = {
    level: made
    for level, made in infolevels.QUERY.items()
    if made
    in (
        filelevels.FileBasicInfo,
        filelevels.FileStandardInfo,
        filelevels.FileInternalInfo,
        filelevels.FileEaInfo,
        filelevels.FileAccessInfo,
        filelevels.FileNameInfo,
        filelevels.FileAllInfo,
        filelevels.FileNetworkOpenInfo,
        filelevels.FileAttributeTagInfo,
        unixlevels.FileUnixBasic,
    )
}


def _query(node: Node, level: int) -> Answer:
    made = _QUERY.get(level)
    if made is None:
        raise Refusal(nt.STATUS_INVALID_LEVEL)
    packed: bytes = _described(made, node, node.path).pack()
    return trans2.EaErrorParameters().pack(), packed


def set_path(context: Context, asked: trans2.SetPathParameters, data: bytes, room: int) -> Answer:
    return _set(context, context.find(asked.file_name), asked.information_level, data)


def set_file(context: Context, asked: trans2.SetFileParameters, data: bytes, room: int) -> Answer:
    return _set(context, context.open_of(asked.fid).node, asked.information_level, data)


def _set(context: Context, node: Node, level: int, data: bytes) -> Answer:
    made = infolevels.SET.get(level)
    order = _SET.get(made) if made is not None else None
    if made is None or order is None:
        raise Refusal(nt.STATUS_INVALID_LEVEL)
    if node.read_only:
        raise Refusal(nt.STATUS_MEDIA_WRITE_PROTECTED)
    order(context, node, made.unpack(data, text=UNICODE))
    return trans2.EaErrorParameters().pack(), b""


def _basic(context: Context, node: Node, info: filelevels.FileBasicInfo) -> None:
    set_basic(
        node,
        info.creation_time,
        info.last_access_time,
        info.last_write_time,
        info.last_change_time,
        info.ext_file_attributes,
    )


def _disposition(context: Context, node: Node, info: filelevels.FileDispositionInfo) -> None:
    if info.delete_pending and node.children:
        raise Refusal(nt.STATUS_DIRECTORY_NOT_EMPTY)
    node.delete_pending = bool(info.delete_pending)


def _end_of_file(context: Context, node: Node, info: filelevels.FileEndOfFileInfo) -> None:
    if node.is_dir:
        raise Refusal(nt.STATUS_FILE_IS_A_DIRECTORY)
    if info.end_of_file > MAX_FILE:
        raise Refusal(nt.STATUS_DISK_FULL)
    node.truncate(info.end_of_file)


def _allocation(context: Context, node: Node, info: filelevels.FileAllocationInfo) -> None:
    if info.allocation_size < node.size:
        node.truncate(info.allocation_size)
    if info.allocation_size > MAX_FILE:
        raise Refusal(nt.STATUS_DISK_FULL)
    node.reserved = info.allocation_size


def _rename(context: Context, node: Node, info: filelevels.FileRenameInformation) -> None:
    """Within its directory, as smbd 4.17: a name with a separator in it is refused."""
    if "\\" in info.file_name or "/" in info.file_name or not info.file_name:
        raise Refusal(nt.STATUS_NOT_SUPPORTED)
    if node.parent is None:
        raise Refusal(nt.STATUS_ACCESS_DENIED)
    context.volume.move(node, node.parent, info.file_name, replace=bool(info.replace_if_exists))


_SET: dict[type[WireStruct], Callable[[Context, Node, Any], None]] = {
    filelevels.FileBasicInfo: _basic,
    filelevels.FileDispositionInfo: _disposition,
    filelevels.FileEndOfFileInfo: _end_of_file,
    filelevels.FileAllocationInfo: _allocation,
    filelevels.FileRenameInformation: _rename,
}


# --- the file system

_FS: dict[type[WireStruct], Callable[[Context], WireStruct]] = {
    fslevels.FsSizeInfo: lambda _: fslevels.FsSizeInfo(
        total_allocation_units=_TOTAL,
        available_allocation_units=_FREE,
        sectors_per_allocation_unit=CLUSTER // 512,
        bytes_per_sector=512,
    ),
    fslevels.FsFullSizeInfo: lambda _: fslevels.FsFullSizeInfo(
        total_allocation_units=_TOTAL,
        caller_available_allocation_units=_FREE,
        actual_available_allocation_units=_FREE,
        sectors_per_allocation_unit=CLUSTER // 512,
        bytes_per_sector=512,
    ),
    fslevels.FsAttributeInfo: lambda context: fslevels.FsAttributeInfo(
        file_system_attributes=FILE_CASE_PRESERVED_NAMES | FILE_UNICODE_ON_DISK,
        max_file_name_length=255,
        file_system_name=context.connection.server.offer.file_system,
    ),
    fslevels.FsVolumeInfo: lambda context: fslevels.FsVolumeInfo(
        volume_creation_time=context.volume.root.created, serial_number=0xFA4E, volume_label=context.share.name
    ),
    fslevels.FsDeviceInfo: lambda _: fslevels.FsDeviceInfo(device_type=7, device_characteristics=0x20),
}


def query_fs(context: Context, asked: trans2.QueryFsParameters, data: bytes, room: int) -> Answer:
    made = infolevels.QUERY_FS.get(asked.information_level)
    answer = _FS.get(made) if made is not None else None
    if answer is None:
        raise Refusal(nt.STATUS_INVALID_LEVEL)
    return b"", answer(context).pack()


_SUBCOMMANDS: dict[int, tuple[type[WireStruct], Callable[[Context, Any, bytes, int], Answer]]] = {
    made.SUBCOMMAND: (made, handler)
    for made, handler in (
        (trans2.FindFirst2Parameters, find_first),
        (trans2.FindNext2Parameters, find_next),
        (trans2.QueryPathParameters, query_path),
        (trans2.QueryFileParameters, query_file),
        (trans2.SetPathParameters, set_path),
        (trans2.SetFileParameters, set_file),
        (trans2.QueryFsParameters, query_fs),
    )
}
