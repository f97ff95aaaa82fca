"""Bodies of the commands that set up and end connections, sessions and tree connects, and ECHO.

Passwords and security blobs are kept out of every repr.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Final

from smbfuse.errors import WireError
from smbfuse.wire.codec import (
    I16,
    U8,
    U16,
    U32,
    U64,
    AndXBody,
    AsciiZ,
    Blob,
    Body,
    Guid,
    Rest,
    TextZ,
    TextZOptional,
    TextZUnalignedOptional,
    length_of,
    message,
)
from smbfuse.wire.const import (
    CAP_EXTENDED_SECURITY,
    SMB_COM_ECHO,
    SMB_COM_LOGOFF_ANDX,
    SMB_COM_NEGOTIATE,
    SMB_COM_SESSION_SETUP_ANDX,
    SMB_COM_TREE_CONNECT_ANDX,
    SMB_COM_TREE_DISCONNECT,
    SMB_FLAGS2_EXTENDED_SECURITY,
)
from smbfuse.wire.text import ASCII, TextCodec
from smbfuse.wire.writer import Coder, Tail

NO_DIALECT: Final = 0xFFFF
"""Dialect index of a server that takes none of the dialects offered."""


def _encode_dialects(dialects: tuple[str, ...], text: TextCodec) -> bytes:
    return b"".join(b"\x02" + ASCII.encode(dialect) + b"\0" for dialect in dialects)


def _decode_dialects(raw: bytes, text: TextCodec) -> tuple[str, ...]:
    if raw and (raw[0] != 2 or raw[-1] != 0):
        raise WireError("dialects are no list of zero-terminated strings with buffer format 2")
    return tuple(ASCII.decode(part) for part in raw[1:-1].split(b"\0\x02")) if raw else ()


Dialects = Annotated[tuple[str, ...], Tail("rest", coder=Coder(_encode_dialects, _decode_dialects))]
"""Dialect strings, each behind buffer format 2. ASCII whatever the character set. [MS-CIFS] 2.2.4.52.1."""


@message(SMB_COM_NEGOTIATE)
class NegotiateRequest(Body):
    """SMB_COM_NEGOTIATE request: [MS-CIFS] 2.2.4.52.1."""

    dialects: Dialects


def is_extended(flags2: int, words: bytes) -> bool:
    """Whether a 17-word NEGOTIATE response carries GUID and security blob in place of challenge and domain.

    Servers contradict themselves: the bits of Flags2 and Capabilities may differ, but none sends a challenge together
    with a security blob. So the challenge's length decides first.
    """
    capabilities = int.from_bytes(words[19:23], "little")
    bits = flags2 & SMB_FLAGS2_EXTENDED_SECURITY or capabilities & CAP_EXTENDED_SECURITY
    return words[33] == 0 and bits != 0


@message(SMB_COM_NEGOTIATE, reply=True, when=is_extended)
class NegotiateExtendedResponse(Body):
    """SMB_COM_NEGOTIATE response with extended security: [MS-SMB] 2.2.4.5.2.1. `system_time` is a FILETIME."""

    dialect_index: U16
    security_mode: U8
    max_mpx_count: U16
    max_number_vcs: U16 = 1
    max_buffer_size: U32
    max_raw_size: U32 = 0x1_0000
    session_key: U32 = 0
    capabilities: U32
    system_time: U64 = 0
    server_time_zone: I16 = 0
    """Minutes to add to local time for UTC: negative east of Greenwich."""
    challenge_length: U8 = 0
    server_guid: Guid = bytes(16)
    security_blob: Rest = field(default=b"", repr=False)


@message(SMB_COM_NEGOTIATE, reply=True)
class NegotiateNonExtendedResponse(Body):
    """SMB_COM_NEGOTIATE response of NT LM 0.12: [MS-CIFS] 2.2.4.52.2, [MS-SMB] 2.2.4.5.2.2.

    The names begin behind the challenge at whatever position, odd ones too (capture 03a, Samba 4.17).
    """

    dialect_index: U16
    security_mode: U8
    max_mpx_count: U16
    max_number_vcs: U16 = 1
    max_buffer_size: U32
    max_raw_size: U32 = 0x1_0000
    session_key: U32 = 0
    capabilities: U32
    system_time: U64 = 0
    server_time_zone: I16 = 0
    challenge_length: U8 = length_of("challenge")
    challenge: Blob
    domain_name: TextZUnalignedOptional = ""
    server_name: TextZUnalignedOptional = ""


@message(SMB_COM_NEGOTIATE, reply=True)
class NegotiateLanmanResponse(Body):
    """SMB_COM_NEGOTIATE response of the LANMAN dialects, 13 words: [MS-CIFS] 2.2.4.52.2 and its references.

    Time and date are SMB_TIME and SMB_DATE, local to the server.
    """

    dialect_index: U16
    security_mode: U16
    max_buffer_size: U16
    max_mpx_count: U16
    max_number_vcs: U16 = 1
    raw_mode: U16 = 0
    session_key: U32 = 0
    server_time: U16 = 0
    server_date: U16 = 0
    server_time_zone: I16 = 0
    challenge_length: U16 = length_of("challenge")
    reserved: U16 = 0
    challenge: Blob
    primary_domain: Rest = b""
    """With its terminator; many servers leave it out altogether."""


@message(SMB_COM_NEGOTIATE, reply=True)
class NegotiateRefusal(Body):
    """SMB_COM_NEGOTIATE response of one word: no dialect (NO_DIALECT), or PC NETWORK PROGRAM 1.0."""

    dialect_index: U16 = NO_DIALECT


@message(SMB_COM_SESSION_SETUP_ANDX)
class SessionSetupExtendedRequest(AndXBody):
    """SMB_COM_SESSION_SETUP_ANDX request with extended security, 12 words: [MS-SMB] 2.2.4.6.1."""

    max_buffer_size: U16
    max_mpx_count: U16
    vc_number: U16 = 0
    session_key: U32 = 0
    security_blob_length: U16 = length_of("security_blob")
    reserved: U32 = 0
    capabilities: U32
    security_blob: Blob = field(repr=False)
    native_os: TextZ = ""
    native_lan_man: TextZ = ""


@message(SMB_COM_SESSION_SETUP_ANDX)
class SessionSetupRequest(AndXBody):
    """SMB_COM_SESSION_SETUP_ANDX request with password or responses, 13 words: [MS-CIFS] 2.2.4.53.1.

    A plaintext Unicode password begins at an even position although its length field does not count the pad. Write it
    as a zero byte, the characters, and one zero byte: the pad of `account_name` completes the terminator (capture 03g).
    """

    max_buffer_size: U16
    max_mpx_count: U16
    vc_number: U16 = 0
    session_key: U32 = 0
    oem_password_length: U16 = length_of("oem_password")
    unicode_password_length: U16 = length_of("unicode_password")
    reserved: U32 = 0
    capabilities: U32
    oem_password: Blob = field(repr=False)
    unicode_password: Blob = field(repr=False)
    account_name: TextZ = ""
    primary_domain: TextZ = ""
    native_os: TextZ = ""
    native_lan_man: TextZ = ""


@message(SMB_COM_SESSION_SETUP_ANDX)
class SessionSetupLanmanRequest(AndXBody):
    """SMB_COM_SESSION_SETUP_ANDX request of the LANMAN dialects, 10 words: [MS-CIFS] 2.2.4.53.1 and its references."""

    max_buffer_size: U16
    max_mpx_count: U16
    vc_number: U16 = 0
    session_key: U32 = 0
    password_length: U16 = length_of("password")
    reserved: U32 = 0
    password: Blob = field(repr=False)
    account_name: TextZ = ""
    primary_domain: TextZ = ""
    native_os: TextZ = ""
    native_lan_man: TextZ = ""


@message(SMB_COM_SESSION_SETUP_ANDX, reply=True)
class SessionSetupExtendedResponse(AndXBody):
    """SMB_COM_SESSION_SETUP_ANDX response with extended security, 4 words: [MS-SMB] 2.2.4.6.2."""

    action: U16 = 0
    security_blob_length: U16 = length_of("security_blob")
    security_blob: Blob = field(repr=False)
    native_os: TextZOptional = ""
    native_lan_man: TextZOptional = ""


@message(SMB_COM_SESSION_SETUP_ANDX, reply=True)
class SessionSetupResponse(AndXBody):
    """SMB_COM_SESSION_SETUP_ANDX response, 3 words: [MS-CIFS] 2.2.4.53.2."""

    action: U16 = 0
    native_os: TextZOptional = ""
    native_lan_man: TextZOptional = ""
    primary_domain: TextZOptional = ""


@message(SMB_COM_LOGOFF_ANDX)
class LogoffAndXRequest(AndXBody):
    """SMB_COM_LOGOFF_ANDX request: [MS-CIFS] 2.2.4.54.1."""


@message(SMB_COM_LOGOFF_ANDX, reply=True)
class LogoffAndXResponse(AndXBody):
    """SMB_COM_LOGOFF_ANDX response: [MS-CIFS] 2.2.4.54.2."""


@message(SMB_COM_TREE_CONNECT_ANDX)
class TreeConnectAndXRequest(AndXBody):
    r"""SMB_COM_TREE_CONNECT_ANDX request: [MS-CIFS] 2.2.4.55.1, flags by [MS-SMB] 2.2.4.7.1.

    `path` is \\server\share; `service` "A:", "IPC", "LPT1:", "COMM" or "?????" for any.
    """

    flags: U16 = 0
    password_length: U16 = length_of("password")
    password: Blob = field(default=b"\0", repr=False)
    path: TextZ
    service: AsciiZ = "?????"


@message(SMB_COM_TREE_CONNECT_ANDX, reply=True)
class TreeConnectExtendedResponse(AndXBody):
    """SMB_COM_TREE_CONNECT_ANDX extended response, 7 words: [MS-SMB] 2.2.4.7.2."""

    optional_support: U16 = 0
    maximal_share_access_rights: U32
    guest_maximal_share_access_rights: U32 = 0
    service: AsciiZ
    native_file_system: TextZOptional = ""


@message(SMB_COM_TREE_CONNECT_ANDX, reply=True)
class TreeConnectResponse(AndXBody):
    """SMB_COM_TREE_CONNECT_ANDX response, 3 words: [MS-CIFS] 2.2.4.55.2."""

    optional_support: U16 = 0
    service: AsciiZ
    native_file_system: TextZOptional = ""


@message(SMB_COM_TREE_CONNECT_ANDX, reply=True)
class TreeConnectLanmanResponse(AndXBody):
    """SMB_COM_TREE_CONNECT_ANDX response of the LANMAN dialects, 2 words. A file system's name may be in `extra`."""

    service: AsciiZ


@message(SMB_COM_TREE_DISCONNECT)
class TreeDisconnectRequest(Body):
    """SMB_COM_TREE_DISCONNECT request: [MS-CIFS] 2.2.4.51.1."""


@message(SMB_COM_ECHO)
class EchoRequest(Body):
    """SMB_COM_ECHO request: [MS-CIFS] 2.2.4.39.1. The server answers `echo_count` times, not at all if it is 0."""

    echo_count: U16 = 1
    data: Rest = b""


@message(SMB_COM_ECHO, reply=True)
class EchoResponse(Body):
    """SMB_COM_ECHO response: [MS-CIFS] 2.2.4.39.2. `sequence_number` counts the answers from 1."""

    sequence_number: U16 = 1
    data: Rest = b""
