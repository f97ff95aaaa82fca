"""The two NTLMSSP messages of an anonymous logon, which pyspnego cannot make, and a look at the server's.

[MS-NLMP] 2.2.1.1, 2.2.1.3.
"""

from __future__ import annotations

import struct
from typing import Final, Self

from smbfuse.wire.codec import U16, U32, Raw8, Rest, WireStruct, wire

SIGNATURE: Final = b"NTLMSSP\0"
NTLMSSP_NEGOTIATE_UNICODE: Final = 0x0000_0001
NTLMSSP_REQUEST_TARGET: Final = 0x0000_0004
NTLMSSP_NEGOTIATE_NTLM: Final = 0x0000_0200
NTLMSSP_ANONYMOUS: Final = 0x0000_0800
NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY: Final = 0x0008_0000

_ASKED: Final = (
    NTLMSSP_NEGOTIATE_UNICODE
    | NTLMSSP_REQUEST_TARGET
    | NTLMSSP_NEGOTIATE_NTLM
    | NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY
)


@wire
class NtlmNegotiate(WireStruct):
    """NEGOTIATE_MESSAGE without domain, workstation and version: [MS-NLMP] 2.2.1.1."""

    signature: Raw8 = SIGNATURE
    message_type: U32 = 1
    flags: U32 = _ASKED
    domain_len: U16 = 0
    domain_max: U16 = 0
    domain_offset: U32 = 0
    workstation_len: U16 = 0
    workstation_max: U16 = 0
    workstation_offset: U32 = 0


@wire
class NtlmAuthenticate(WireStruct):
    """AUTHENTICATE_MESSAGE: [MS-NLMP] 2.2.1.3. Offsets are counted from the start of this structure."""

    signature: Raw8 = SIGNATURE
    message_type: U32 = 3
    lm_len: U16
    lm_max: U16
    lm_offset: U32
    nt_len: U16 = 0
    nt_max: U16 = 0
    nt_offset: U32
    domain_len: U16 = 0
    domain_max: U16 = 0
    domain_offset: U32
    user_len: U16 = 0
    user_max: U16 = 0
    user_offset: U32
    workstation_len: U16 = 0
    workstation_max: U16 = 0
    workstation_offset: U32
    session_key_len: U16 = 0
    session_key_max: U16 = 0
    session_key_offset: U32
    flags: U32
    payload: Rest

    @classmethod
    def anonymous(cls) -> Self:
        """The one whose LM response is a single zero byte and all else empty: [MS-NLMP] 3.2.5.1.2."""
        start = cls.SIZE
        return cls(
            lm_len=1,
            lm_max=1,
            lm_offset=start,
            nt_offset=start + 1,
            domain_offset=start,
            user_offset=start,
            workstation_offset=start,
            session_key_offset=start + 1,
            flags=_ASKED | NTLMSSP_ANONYMOUS,
            payload=b"\0",
        )


_CHALLENGE: Final = b"NTLMSSP\0\x02\0\0\0"
_TARGET_INFO: Final = struct.Struct("<40xHxxI")
_PAIR: Final = struct.Struct("<HH")
_AV_TIMESTAMP: Final = 7


def tells_time(token: bytes) -> bool:
    """Whether the server's token holds a CHALLENGE_MESSAGE with MsvAvTimestamp. [MS-NLMP] 2.2.1.2, 2.2.2.1.

    Vista and later do, and Samba since 3.6. Who does gets a MIC over all messages, and wants SPNEGO's, too.
    """
    at = token.find(_CHALLENGE)
    if at < 0 or len(token) - at < _TARGET_INFO.size:
        return False
    size, start = _TARGET_INFO.unpack_from(token, at)
    pos, end = at + start, min(at + start + size, len(token))
    while pos + _PAIR.size <= end:
        kind, length = _PAIR.unpack_from(token, pos)
        if kind == _AV_TIMESTAMP:
            return True
        pos += _PAIR.size + length
    return False
