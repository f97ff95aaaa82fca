"""SMB_COM_NT_TRANSACT: security descriptors and FSCTLs. [MS-CIFS] 2.2.4.62, 2.2.7; [MS-SMB] 2.2.7.2; [MS-FSCC] 2.3.

A request that does not fit one message goes out in parts, as the engine sends all of them; an answer in parts comes
back whole. No meaning of what is carried: a security descriptor is bytes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smbfuse.errors import RemoteProtocolError
from smbfuse.ntstatus import STATUS_BUFFER_OVERFLOW
from smbfuse.proto.reassembly import Transaction, slices
from smbfuse.wire.const import FSCTL_SRV_ENUMERATE_SNAPSHOTS
from smbfuse.wire.filelevels import SnapshotArray
from smbfuse.wire.fsctls import FileAllocatedRange, FileSetSparse, FileZeroData, decode_ranges
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans import NtTransactRequest, NtTransactSecondaryRequest
from smbfuse.wire.trans2 import (
    IoctlSetup,
    QuerySecurityDescParameters,
    QuerySecurityDescResponseParameters,
    SetSecurityDescParameters,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from smbfuse.client.openfile import OpenFile
    from smbfuse.proto.events import Response

MAX_DATA: Final = 0xFFFF
"""Bytes of an answer that we ask for; a security descriptor and an xattr cannot be longer."""
MAX_RANGES: Final = 16
"""Allocated ranges asked for at a time: whoever looks for the next hole needs two, and the server stops looking."""
_OVERHEAD: Final = 32 + 1 + 2 * 19 + 2 + 8
"""Header, words and pads of the longest of the messages, but for the setup."""


async def nt_transact(
    file: OpenFile,
    function: int,
    *,
    setup: bytes = b"",
    parameters: bytes = b"",
    data: bytes = b"",
    max_parameters: int = 0,
    max_data: int = 0,
) -> Transaction:
    """One NT_TRANSACT about an open file, whose path is for messages. [MS-CIFS] 2.2.4.62.

    Raises StatusError, RequestTimeout, ConnectionLost; cancelled, it leaves the request to be answered unseen.
    """
    response = await exchange(
        file,
        function,
        setup=setup,
        parameters=parameters,
        data=data,
        max_parameters=max_parameters,
        max_data=max_data,
    )
    return _whole(response)


def _whole(response: Response) -> Transaction:
    if response.transaction is None:
        raise RemoteProtocolError("NT_TRANSACT was answered without a transaction")
    return response.transaction


async def exchange(
    file: OpenFile,
    function: int,
    *,
    setup: bytes = b"",
    parameters: bytes = b"",
    data: bytes = b"",
    max_parameters: int = 0,
    max_data: int = 0,
    timeout: float | None = None,
    on_sent: Callable[[Callable[[], None]], None] | None = None,
) -> Response:
    """As `nt_transact`, for answers whose status (0 or a warning) matters, or that may hold nothing.

    `timeout` and `on_sent` as in Connection.request.
    """
    room = file.at.session.limits.max_buffer_size - _OVERHEAD - len(setup)
    first, *more = slices(parameters, data, [room])
    primary = NtTransactRequest(
        total_parameter_count=len(parameters),
        total_data_count=len(data),
        max_parameter_count=max_parameters,
        max_data_count=max_data,
        function=function,
        setup=setup,
        parameters=first[1],
        data=first[3],
    )
    secondaries = tuple(
        NtTransactSecondaryRequest(
            total_parameter_count=len(parameters),
            total_data_count=len(data),
            parameter_displacement=p,
            parameters=chunk,
            data_displacement=d,
            data=part,
        )
        for p, chunk, d, part in more
    )
    response = await file.tree.request(primary, rest=secondaries, timeout=timeout, on_sent=on_sent, at=file.at)
    response.check(file.path)
    return response


async def query_security(file: OpenFile, fields: int) -> bytes:
    """NT_TRANSACT_QUERY_SECURITY_DESC: the self-relative descriptor. `fields`: OWNER_SECURITY_INFORMATION | ...

    The FID needs READ_CONTROL, for the SACL ACCESS_SYSTEM_SECURITY too. [MS-CIFS] 2.2.7.6.
    """
    parameters = QuerySecurityDescParameters(fid=file.fid, security_info_fields=fields)
    answer = await nt_transact(
        file,
        QuerySecurityDescParameters.SUBCOMMAND,
        parameters=parameters.pack(),
        max_parameters=QuerySecurityDescResponseParameters.SIZE,
        max_data=MAX_DATA,
    )
    return answer.data


async def set_security(file: OpenFile, fields: int, descriptor: bytes) -> None:
    """NT_TRANSACT_SET_SECURITY_DESC: change what `fields` names to what the descriptor says. [MS-CIFS] 2.2.7.3."""
    parameters = SetSecurityDescParameters(fid=file.fid, security_info_fields=fields)
    await nt_transact(file, SetSecurityDescParameters.SUBCOMMAND, parameters=parameters.pack(), data=descriptor)


async def enumerate_snapshots(file: OpenFile) -> tuple[str, ...]:
    """FSCTL_SRV_ENUMERATE_SNAPSHOTS: @GMT tokens of the share, in the server's order. [MS-SMB] 2.2.7.2.2.1."""
    setup = IoctlSetup(function_code=FSCTL_SRV_ENUMERATE_SNAPSHOTS, fid=file.fid)
    answer = await nt_transact(file, IoctlSetup.SUBCOMMAND, setup=setup.pack(), max_data=MAX_DATA)
    return SnapshotArray.unpack(answer.data, text=UNICODE).snapshots


async def _fsctl(
    file: OpenFile, request: FileAllocatedRange | FileZeroData | FileSetSparse, max_data: int = 0
) -> tuple[int, bytes]:
    """Status (0 or a warning) and data of the answer. [MS-CIFS] 2.2.7.2."""
    setup = IoctlSetup(function_code=request.FSCTL, fid=file.fid)
    response = await exchange(file, IoctlSetup.SUBCOMMAND, setup=setup.pack(), data=request.pack(), max_data=max_data)
    return response.status, _whole(response).data


async def query_allocated_ranges(file: OpenFile, start: int, end: int) -> tuple[tuple[FileAllocatedRange, ...], bool]:
    """FSCTL_QUERY_ALLOCATED_RANGES of [start, end): ranges with storage, and whether there are more behind them.

    As the server says it, unchecked. The FID needs FILE_READ_DATA. StatusError; WireError and RemoteProtocolError for
    an answer that makes no sense. [MS-FSCC] 2.3.51, 2.3.52.
    """
    request = FileAllocatedRange(file_offset=start, length=end - start)
    status, data = await _fsctl(file, request, MAX_RANGES * FileAllocatedRange.SIZE)
    ranges = decode_ranges(data)
    return ranges, status == STATUS_BUFFER_OVERFLOW or len(ranges) >= MAX_RANGES


async def set_sparse(file: OpenFile) -> None:
    """FSCTL_SET_SPARSE: what is zeroed from now on may lose its storage. [MS-FSCC] 2.3.83."""
    await _fsctl(file, FileSetSparse())


async def set_zero_data(file: OpenFile, start: int, end: int) -> None:
    """FSCTL_SET_ZERO_DATA: make [start, end) zero as far as the file goes; its size stays. [MS-FSCC] 2.3.85."""
    await _fsctl(file, FileZeroData(file_offset=start, beyond_final_zero=end))
