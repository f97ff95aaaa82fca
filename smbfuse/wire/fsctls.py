"""What FSCTLs carry that are sent by NT_TRANSACT_IOCTL. [MS-FSCC] 2.3.

Which bytes of a file have storage, and what takes storage away. The codes are in `const.py`, the setup words in
`trans2.py`. Offsets and lengths are signed on the wire, and none of them may be negative.
"""

from __future__ import annotations

from typing import ClassVar

from smbfuse.errors import WireError
from smbfuse.wire import const
from smbfuse.wire.codec import I64, U8, WireStruct, wire


@wire
class FileAllocatedRange(WireStruct):
    """FILE_ALLOCATED_RANGE_BUFFER: [MS-FSCC] 2.3.51, 2.3.52. The request holds one, the answer any number of them."""

    FSCTL: ClassVar[int] = const.FSCTL_QUERY_ALLOCATED_RANGES
    file_offset: I64
    length: I64


@wire
class FileZeroData(WireStruct):
    """FILE_ZERO_DATA_INFORMATION, FSCTL_SET_ZERO_DATA request: [MS-FSCC] 2.3.85."""

    FSCTL: ClassVar[int] = const.FSCTL_SET_ZERO_DATA
    file_offset: I64
    beyond_final_zero: I64


@wire
class FileSetSparse(WireStruct):
    """FILE_SET_SPARSE_BUFFER, FSCTL_SET_SPARSE request: [MS-FSCC] 2.3.83. Servers take its absence for 1."""

    FSCTL: ClassVar[int] = const.FSCTL_SET_SPARSE
    set_sparse: U8 = 1


def decode_ranges(raw: bytes) -> tuple[FileAllocatedRange, ...]:
    """The ranges of an answer, as they come. WireError if one is cut short."""
    size = FileAllocatedRange.SIZE
    if len(raw) % size:
        raise WireError(f"allocated ranges of {len(raw)} bytes")
    return tuple(FileAllocatedRange.unpack(raw, start) for start in range(0, len(raw), size))
