"""The 32-byte header of every SMB message. [MS-CIFS] 2.2.3.1, [MS-SMB] 2.2.3.1."""

from __future__ import annotations

from typing import Final

from smbfuse.errors import WireError
from smbfuse.wire.codec import U8, U16, U32, Buffer, Raw4, Raw8, WireStruct, wire
from smbfuse.wire.const import SMB_FLAGS2_UNICODE, SMB_FLAGS_REPLY
from smbfuse.wire.text import OEM, UNICODE, TextCodec

PROTOCOL: Final = b"\xffSMB"
HEADER_SIZE: Final = 32
SIGNATURE_AT: Final = 14
"""Where SecurityFeatures stands: the MAC of a signed message."""


@wire
class Header(WireStruct):
    """SMB_Header: [MS-CIFS] 2.2.3.1. `status` is as on the wire: NTSTATUS, or class and code of a DOS error."""

    protocol: Raw4 = PROTOCOL
    command: U8
    status: U32 = 0
    flags: U8 = 0
    flags2: U16 = 0
    pid_high: U16 = 0
    security_features: Raw8 = bytes(8)
    reserved: U16 = 0
    tid: U16 = 0
    pid_low: U16 = 0
    uid: U16 = 0
    mid: U16 = 0

    @property
    def reply(self) -> bool:
        """Whether this is an answer. A server's oplock break is not: it comes as a request."""
        return bool(self.flags & SMB_FLAGS_REPLY)

    @property
    def text(self) -> TextCodec:
        """The character set of the strings in this message."""
        return UNICODE if self.flags2 & SMB_FLAGS2_UNICODE else OEM


def decode_header(buf: Buffer) -> Header:
    """The header at the start of `buf`, or WireError where that is no SMB1 message."""
    header = Header.unpack(buf)
    if header.protocol != PROTOCOL:
        raise WireError(f"not an SMB1 message: it begins with {header.protocol.hex(' ')}")
    return header
