"""Whole messages: header, AndX chain, and the transport's length in front. [MS-CIFS] 2.2.3, [MS-SMB] 2.1.

The only place that links AndX members. What it cannot name it keeps as RawBody, byte for byte: whether an unknown body
is an error is for the floor above to say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final

from smbfuse.errors import WireError
from smbfuse.wire import commands as _declares_all_bodies  # noqa: F401 - fills BODIES
from smbfuse.wire.codec import BODIES, VARIABLE, AndXBody, Body, Buffer
from smbfuse.wire.const import SMB_COM_NO_ANDX_COMMAND
from smbfuse.wire.header import HEADER_SIZE, Header, decode_header
from smbfuse.wire.text import UNICODE, TextCodec

MAX_FRAME: Final = 0xFF_FFFF
"""Largest message the transport's length field can hold: servers use 24 bits, RFC 1002 had 17."""

MAX_MEMBERS: Final = 32
"""Longest AndX chain decoded. Real ones have up to four members; a hostile one could have ten thousand."""

_link: Final = struct.Struct("<BBH")


@dataclass(slots=True, kw_only=True)
class RawBody(Body):
    """A body that nobody declared, or one without words that an error (or interim) answer has. Kept as it came."""

    WORD_COUNT: ClassVar[int] = 0
    words: bytes = b""
    data: bytes = b""
    rest: bytes = b""
    """What is behind the block: the members that follow, if the command is one of the AndX kind."""

    def pack_into(self, out: bytearray, text: TextCodec = UNICODE) -> None:
        if len(self.words) > 2 * 0xFF or len(self.words) % 2 or len(self.data) > 0xFFFF:
            raise WireError("RawBody: a value does not fit")
        out.append(len(self.words) // 2)
        out += self.words
        out += len(self.data).to_bytes(2, "little")
        out += self.data
        out += self.rest

    @classmethod
    def unpack(cls, buf: Buffer, pos: int = 0, end: int | None = None, text: TextCodec = UNICODE) -> RawBody:
        end = len(buf) if end is None else end
        block = pos + 1 + 2 * buf[pos] + 2 if pos < end else end + 1
        if block > end:
            raise WireError("parameter words are cut short")
        stop = block + int.from_bytes(buf[block - 2 : block], "little")
        if stop > end:
            raise WireError("ByteCount goes past the end of the message")
        return cls(words=bytes(buf[pos + 1 : block - 2]), data=bytes(buf[block:stop]), rest=bytes(buf[stop:end]))


@dataclass(slots=True)
class Message:
    """One SMB message: its header and the members of its chain, mostly one."""

    header: Header
    members: list[tuple[int, Body]]
    """(command, body) of each member; the first command is the header's."""

    @property
    def body(self) -> Body:
        """The first member's body."""
        return self.members[0][1]


def _class_of(command: int, buf: Buffer, pos: int, header: Header) -> type[Body]:
    reply, words = header.reply, buf[pos]
    stop = pos + 1 + 2 * words
    if stop > len(buf):
        raise WireError("parameter words are cut short")
    for made, when in BODIES.get((command, reply, words), ()):
        if when is None or when(header.flags2, bytes(buf[pos + 1 : stop])):
            return made
    variable = VARIABLE.get((command, reply))
    if variable is not None and words >= variable.WORD_COUNT:
        return variable
    return RawBody


def _completed(buf: Buffer, header: Header) -> Buffer:
    """With the zeroes that an answer without words and bytes ends with.

    Some servers leave them out of errors, and others half of ByteCount out of any; cifs.ko puts up with both.
    """
    missing = HEADER_SIZE + 3 - len(buf)
    if missing <= 0 or not header.reply or any(buf[HEADER_SIZE:]) or not (header.status or missing == 1):
        return buf
    return bytes(buf) + bytes(missing)


def decode(buf: Buffer) -> Message:
    """Decode one message (without the transport's length). Payloads are slices of `buf`. Raises WireError."""
    header = decode_header(buf)
    buf = _completed(buf, header)
    text = header.text
    members: list[tuple[int, Body]] = []
    command, pos = header.command, HEADER_SIZE
    while len(members) < MAX_MEMBERS:
        if pos >= len(buf):
            raise WireError("message ends before its parameter words")
        made = _class_of(command, buf, pos, header)
        body = made.unpack(buf, pos, None, text)
        members.append((command, body))
        if not isinstance(body, AndXBody) or body.andx_command == SMB_COM_NO_ANDX_COMMAND:
            return Message(header, members)
        if body.andx_offset <= pos:
            raise WireError("AndX chain does not advance")
        command, pos = body.andx_command, body.andx_offset
    raise WireError(f"AndX chain has more than {MAX_MEMBERS} members")


def encode(header: Header, *bodies: Body) -> list[Buffer]:
    """Encode a message as parts to be sent one after the other, behind `transport_length` of their sizes.

    Commands of the chain are those of the bodies' classes (RawBody: the header's, or as the link before it says). A
    trailing Payload is handed through without a copy, as a part of its own.
    """
    out = bytearray(header.pack())
    payload: Buffer | None = None
    link = 0
    for body in bodies:
        if payload is not None:
            out += payload
        if link:
            # Some servers leave more room than alignment asks for; a decoded message is encoded as it came.
            came = int.from_bytes(out[link + 2 : link + 4], "little")
            out += bytes(came - len(out) if came >= len(out) else -len(out) % 4)
            command = out[link] if isinstance(body, RawBody) else body.COMMAND
            _link.pack_into(out, link, command, out[link + 1], len(out))
        link = len(out) + 1 if isinstance(body, AndXBody) else 0
        payload = body.pack_into(out, header.text)
    return [out] if payload is None else [out, payload]


def transport_length(size: int) -> bytes:
    """Direct TCP transport header for a message of `size` bytes. [MS-SMB] 2.1."""
    if size > MAX_FRAME:
        raise WireError(f"message of {size} bytes is too long for the transport")
    return size.to_bytes(4, "big")
