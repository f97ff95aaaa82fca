"""Bodies of the three transactions: requests, responses and their further parts. [MS-CIFS] 2.2.4.33, .46, .62.

What the parts hold is declared in `trans2.py` and the info-level files. The `total_*_count` of a transaction that fits
one message may be left at 0: the encoder writes the length of the part that is there.
"""

from __future__ import annotations

from smbfuse.wire.codec import (
    U8,
    U16,
    U32,
    Blob,
    Body,
    Gap,
    Raw3,
    Setup,
    TextZ,
    aligned,
    length_of,
    message,
    offset_of,
    total_of,
)
from smbfuse.wire.const import (
    SMB_COM_NT_TRANSACT,
    SMB_COM_NT_TRANSACT_SECONDARY,
    SMB_COM_TRANSACTION,
    SMB_COM_TRANSACTION2,
    SMB_COM_TRANSACTION2_SECONDARY,
    SMB_COM_TRANSACTION_SECONDARY,
)


@message(SMB_COM_TRANSACTION)
class TransactionRequest(Body):
    """SMB_COM_TRANSACTION request: [MS-CIFS] 2.2.4.33.1. `timeout` in milliseconds."""

    total_parameter_count: U16 = total_of("parameters", default=0)
    total_data_count: U16 = total_of("data", default=0)
    max_parameter_count: U16
    max_data_count: U16
    max_setup_count: U8 = 0
    reserved1: U8 = 0
    flags: U16 = 0
    timeout: U32 = 0
    reserved2: U16 = 0
    parameter_count: U16 = length_of("parameters")
    parameter_offset: U16 = offset_of("parameters")
    data_count: U16 = length_of("data")
    data_offset: U16 = offset_of("data")
    setup_count: U8 = length_of("setup", unit=2)
    reserved3: U8 = 0
    setup: Setup = b""
    name: TextZ
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""


@message(SMB_COM_TRANSACTION, reply=True)
class TransactionResponse(Body):
    """SMB_COM_TRANSACTION response, or one part of it: [MS-CIFS] 2.2.4.33.2."""

    total_parameter_count: U16 = total_of("parameters", default=0)
    total_data_count: U16 = total_of("data", default=0)
    reserved1: U16 = 0
    parameter_count: U16 = length_of("parameters")
    parameter_offset: U16 = offset_of("parameters")
    parameter_displacement: U16 = 0
    data_count: U16 = length_of("data")
    data_offset: U16 = offset_of("data")
    data_displacement: U16 = 0
    setup_count: U8 = length_of("setup", unit=2)
    reserved2: U8 = 0
    setup: Setup = b""
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""


@message(SMB_COM_TRANSACTION_SECONDARY)
class TransactionSecondaryRequest(Body):
    """SMB_COM_TRANSACTION_SECONDARY request: [MS-CIFS] 2.2.4.34.1."""

    total_parameter_count: U16
    total_data_count: U16
    parameter_count: U16 = length_of("parameters")
    parameter_offset: U16 = offset_of("parameters")
    parameter_displacement: U16 = 0
    data_count: U16 = length_of("data")
    data_offset: U16 = offset_of("data")
    data_displacement: U16 = 0
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""


@message(SMB_COM_TRANSACTION2)
class Trans2Request(Body):
    """SMB_COM_TRANSACTION2 request: [MS-CIFS] 2.2.4.46.1. The subcommand is the one setup word.

    The document's Name, one zero byte, is taken as part of `pad1`.
    """

    total_parameter_count: U16 = total_of("parameters", default=0)
    total_data_count: U16 = total_of("data", default=0)
    max_parameter_count: U16
    max_data_count: U16
    max_setup_count: U8 = 0
    reserved1: U8 = 0
    flags: U16 = 0
    timeout: U32 = 0
    reserved2: U16 = 0
    parameter_count: U16 = length_of("parameters")
    parameter_offset: U16 = offset_of("parameters")
    data_count: U16 = length_of("data")
    data_offset: U16 = offset_of("data")
    setup_count: U8 = length_of("setup", unit=2)
    reserved3: U8 = 0
    setup: Setup
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""

    @property
    def subcommand(self) -> int:
        """TRANS2_FIND_FIRST2 and so on."""
        return int.from_bytes(self.setup[:2], "little")


@message(SMB_COM_TRANSACTION2, reply=True)
class Trans2Response(Body):
    """SMB_COM_TRANSACTION2 response, or one part of it: [MS-CIFS] 2.2.4.46.2."""

    total_parameter_count: U16 = total_of("parameters", default=0)
    total_data_count: U16 = total_of("data", default=0)
    reserved1: U16 = 0
    parameter_count: U16 = length_of("parameters")
    parameter_offset: U16 = offset_of("parameters")
    parameter_displacement: U16 = 0
    data_count: U16 = length_of("data")
    data_offset: U16 = offset_of("data")
    data_displacement: U16 = 0
    setup_count: U8 = length_of("setup", unit=2)
    reserved2: U8 = 0
    setup: Setup = b""
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""


@message(SMB_COM_TRANSACTION2_SECONDARY)
class Trans2SecondaryRequest(Body):
    """SMB_COM_TRANSACTION2_SECONDARY request: [MS-CIFS] 2.2.4.47.1. FID 0xFFFF where the subcommand has none."""

    total_parameter_count: U16
    total_data_count: U16
    parameter_count: U16 = length_of("parameters")
    parameter_offset: U16 = offset_of("parameters")
    parameter_displacement: U16 = 0
    data_count: U16 = length_of("data")
    data_offset: U16 = offset_of("data")
    data_displacement: U16 = 0
    fid: U16 = 0xFFFF
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""


@message(SMB_COM_NT_TRANSACT)
class NtTransactRequest(Body):
    """SMB_COM_NT_TRANSACT request: [MS-CIFS] 2.2.4.62.1. `function` is the subcommand."""

    max_setup_count: U8 = 0
    reserved1: U16 = 0
    total_parameter_count: U32 = total_of("parameters", default=0)
    total_data_count: U32 = total_of("data", default=0)
    max_parameter_count: U32
    max_data_count: U32
    parameter_count: U32 = length_of("parameters")
    parameter_offset: U32 = offset_of("parameters")
    data_count: U32 = length_of("data")
    data_offset: U32 = offset_of("data")
    setup_count: U8 = length_of("setup", unit=2)
    function: U16
    setup: Setup = b""
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""


@message(SMB_COM_NT_TRANSACT, reply=True)
class NtTransactResponse(Body):
    """SMB_COM_NT_TRANSACT response, or one part of it: [MS-CIFS] 2.2.4.62.2."""

    reserved1: Raw3 = bytes(3)
    total_parameter_count: U32 = total_of("parameters", default=0)
    total_data_count: U32 = total_of("data", default=0)
    parameter_count: U32 = length_of("parameters")
    parameter_offset: U32 = offset_of("parameters")
    parameter_displacement: U32 = 0
    data_count: U32 = length_of("data")
    data_offset: U32 = offset_of("data")
    data_displacement: U32 = 0
    setup_count: U8 = length_of("setup", unit=2)
    setup: Setup = b""
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""


@message(SMB_COM_NT_TRANSACT_SECONDARY)
class NtTransactSecondaryRequest(Body):
    """SMB_COM_NT_TRANSACT_SECONDARY request: [MS-CIFS] 2.2.4.63.1."""

    reserved1: Raw3 = bytes(3)
    total_parameter_count: U32
    total_data_count: U32
    parameter_count: U32 = length_of("parameters")
    parameter_offset: U32 = offset_of("parameters")
    parameter_displacement: U32 = 0
    data_count: U32 = length_of("data")
    data_offset: U32 = offset_of("data")
    data_displacement: U32 = 0
    reserved2: U8 = 0
    pad1: Gap = aligned(4)
    parameters: Blob = b""
    pad2: Gap = aligned(4)
    data: Blob = b""
