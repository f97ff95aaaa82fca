"""SMB_COM_LOCKING_ANDX: byte-range locks, and the oplock break with its acknowledgement."""

from __future__ import annotations

from typing import Annotated, Any

from smbfuse.wire.codec import U8, U16, U32, AndXBody, U64Swapped, WireStruct, length_of, message, wire
from smbfuse.wire.const import LOCKING_ANDX_LARGE_FILES, SMB_COM_LOCKING_ANDX
from smbfuse.wire.writer import Tail


@wire
class LockingRange32(WireStruct):
    """LOCKING_ANDX_RANGE32: [MS-CIFS] 2.2.4.32.1."""

    pid: U16
    offset: U32
    length: U32


@wire
class LockingRange64(WireStruct):
    """LOCKING_ANDX_RANGE64, used where the lock type has LOCKING_ANDX_LARGE_FILES: [MS-CIFS] 2.2.4.32.1."""

    pid: U16
    pad: U16 = 0
    offset: U64Swapped
    length: U64Swapped


def _range_of(body: Any) -> type[WireStruct]:  # noqa: ANN401 - a LockingAndXRequest, still being decoded
    return LockingRange64 if body.lock_type & LOCKING_ANDX_LARGE_FILES else LockingRange32


LockingRanges = Annotated[tuple[LockingRange32 | LockingRange64, ...], Tail("items", made=_range_of)]


@message(SMB_COM_LOCKING_ANDX)
class LockingAndXRequest(AndXBody):
    """SMB_COM_LOCKING_ANDX request: [MS-CIFS] 2.2.4.32.1. Also the server's oplock break, and its acknowledgement.

    The ranges' class must go with `lock_type`. `timeout` is in milliseconds, 0xFFFFFFFF waits for ever.
    """

    fid: U16
    lock_type: U8 = LOCKING_ANDX_LARGE_FILES
    new_oplock_level: U8 = 0
    timeout: U32 = 0
    number_of_unlocks: U16 = length_of("unlocks")
    number_of_locks: U16 = length_of("locks")
    unlocks: LockingRanges = ()
    locks: LockingRanges = ()


@message(SMB_COM_LOCKING_ANDX, reply=True)
class LockingAndXResponse(AndXBody):
    """SMB_COM_LOCKING_ANDX response: [MS-CIFS] 2.2.4.32.2."""
