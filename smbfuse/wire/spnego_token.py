"""The client's SPNEGO token, as little of it as old servers read. [MS-SPNG] 2.2.1, RFC 4178 4.2.

Samba 3.0 takes a NegTokenResp with the mechanism's token in it, and refuses one that has a state or a MIC beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_NEG_TOKEN_RESP: Final = 0xA1
_SEQUENCE: Final = 0x30
_RESPONSE_TOKEN: Final = 0xA2


def bare(token: bytes) -> bytes:
    """A NegTokenResp with nothing but its responseToken; any other token as it is."""
    for tag, sequence in _elements(token):
        if tag != _NEG_TOKEN_RESP:
            break
        for _, fields in _elements(sequence):
            for field, content in _elements(fields):
                if field == _RESPONSE_TOKEN:
                    return _element(_NEG_TOKEN_RESP, _element(_SEQUENCE, _element(_RESPONSE_TOKEN, content)))
    return token


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element in DER, as far as they are whole."""
    pos = 0
    while pos + 2 <= len(data):
        tag, length, start = data[pos], data[pos + 1], pos + 2
        if length & 0x80:
            size = length & 0x7F
            length, start = int.from_bytes(data[start : start + size], "big"), start + size
        if start + length > len(data):
            return
        yield tag, data[start : start + length]
        pos = start + length


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes(-(-size.bit_length() // 8), "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content
