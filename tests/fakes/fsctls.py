"""The fake server's NT_TRANSACT: the FSCTLs about storage, as Windows has them on NTFS. [MS-FSA] 2.1.5.10."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from smbfuse import ntstatus as nt
from smbfuse.errors import WireError
from smbfuse.wire import const, fsctls
from smbfuse.wire.codec import Body
from smbfuse.wire.const import FILE_ATTRIBUTE_SPARSE_FILE, FILE_READ_DATA, FILE_WRITE_DATA
from smbfuse.wire.trans import NtTransactRequest, NtTransactResponse
from smbfuse.wire.trans2 import IoctlSetup
from tests.fakes.context import Context, Open
from tests.fakes.volume import Refusal


def nt_transact(context: Context, request: NtTransactRequest) -> Body:
    if request.function != const.NT_TRANSACT_IOCTL:
        raise Refusal(nt.STATUS_NOT_IMPLEMENTED)
    try:
        setup = IoctlSetup.unpack(request.setup)
        found = _FSCTLS.get(setup.function_code)
        if found is None:
            raise Refusal(nt.STATUS_INVALID_DEVICE_REQUEST)
        access, handler = found
        opened = context.open_of(setup.fid)
        if not opened.access & access:
            raise Refusal(nt.STATUS_ACCESS_DENIED)
        data = handler(context, opened, bytes(request.data), request.max_data_count)
    except WireError:
        raise Refusal(nt.STATUS_INVALID_PARAMETER) from None
    return NtTransactResponse(data=data)


def _query_ranges(context: Context, opened: Open, data: bytes, room: int) -> bytes:
    asked = fsctls.FileAllocatedRange.unpack(data)
    if asked.file_offset < 0 or asked.length < 0:
        raise Refusal(nt.STATUS_INVALID_PARAMETER)
    most = room // fsctls.FileAllocatedRange.SIZE
    ranges = opened.node.ranges(asked.file_offset, asked.file_offset + asked.length)
    found = list(itertools.islice(ranges, most + 1))
    if len(found) > most:
        if not most:
            raise Refusal(nt.STATUS_BUFFER_TOO_SMALL)
        context.reply.status = nt.STATUS_BUFFER_OVERFLOW
    return b"".join(
        fsctls.FileAllocatedRange(file_offset=first, length=last - first).pack() for first, last in found[:most]
    )


def _set_sparse(context: Context, opened: Open, data: bytes, room: int) -> bytes:
    if data and not fsctls.FileSetSparse.unpack(data).set_sparse:
        raise Refusal(nt.STATUS_NOT_SUPPORTED)
    opened.node.attributes |= FILE_ATTRIBUTE_SPARSE_FILE
    return b""


def _zero(context: Context, opened: Open, data: bytes, room: int) -> bytes:
    asked = fsctls.FileZeroData.unpack(data)
    if not 0 <= asked.file_offset <= asked.beyond_final_zero:
        raise Refusal(nt.STATUS_INVALID_PARAMETER)
    opened.node.zero(asked.file_offset, asked.beyond_final_zero)
    return b""


_FSCTLS: dict[int, tuple[int, Callable[[Context, Open, bytes, int], bytes]]] = {
    const.FSCTL_QUERY_ALLOCATED_RANGES: (FILE_READ_DATA, _query_ranges),
    const.FSCTL_SET_SPARSE: (FILE_WRITE_DATA, _set_sparse),
    const.FSCTL_SET_ZERO_DATA: (FILE_WRITE_DATA, _zero),
}
"""Right that the FID must have, and what is done."""
