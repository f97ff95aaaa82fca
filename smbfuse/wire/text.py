"""Text and times on the wire: UTF-16LE or an OEM code page, terminators, FILETIME; and upper case as servers make it.

[MS-CIFS] 2.2.1.1, [MS-DTYP] 2.3.3.

Which of the two character sets a message uses is said by SMB_FLAGS2_UNICODE of its own header, so every encoder and
decoder takes a `TextCodec`.
"""

from __future__ import annotations

import codecs
import functools
from typing import Final

from smbfuse.errors import WireError

# The codec is called directly: bytes.decode("utf-16-le") walks the codec registry and is four times slower. Windows
# names may hold lone surrogates, hence surrogatepass: no name of a server's is ever changed or made equal to another.
_utf16_decode = codecs.utf_16_le_decode
_utf16_encode = codecs.utf_16_le_encode


class TextCodec:
    """How strings of one message are written."""

    __slots__ = ("name", "terminator", "width")

    def __init__(self, name: str, width: int) -> None:
        self.name = name
        self.width = width
        self.terminator = bytes(width)

    def decode(self, raw: bytes | bytearray | memoryview) -> str:
        """Characters of `raw`, terminator not expected. WireError where the bytes are no text (odd UTF-16)."""
        return codecs.decode(bytes(raw), self.name, "surrogateescape")

    def encode(self, value: str) -> bytes:
        """Bytes without terminator. WireError where the character set lacks a character."""
        try:
            return codecs.encode(value, self.name, "surrogateescape")
        except UnicodeError as exc:
            raise WireError(f"{value!r} cannot be written in {self.name}: {exc}") from None

    def find_end(self, raw: bytes, start: int, stop: int) -> int:
        """Index of the terminator in raw[start:stop], or where the last whole character ends if there is none."""
        at = raw.find(0, start, stop)
        return stop if at < 0 else at


class _Utf16(TextCodec):
    __slots__ = ()

    def decode(self, raw: bytes | bytearray | memoryview) -> str:
        try:
            return _utf16_decode(raw, "surrogatepass", True)[0]
        except UnicodeError as exc:
            raise WireError(f"text is not UTF-16: {exc}") from None

    def encode(self, value: str) -> bytes:
        return _utf16_encode(value, "surrogatepass")[0]

    def find_end(self, raw: bytes, start: int, stop: int) -> int:
        at = raw.find(b"\0\0", start, stop)
        while at >= 0 and (at - start) & 1:
            at = raw.find(b"\0\0", at + 1, stop)
        return stop - (stop - start & 1) if at < 0 else at


UNICODE: Final[TextCodec] = _Utf16("utf-16-le", 2)
OEM: Final[TextCodec] = TextCodec("cp437", 1)
ASCII: Final[TextCodec] = TextCodec("ascii", 1)

_EPOCH_AS_FILETIME: Final = 116_444_736_000_000_000
"""1970-01-01 in units of 100 ns since 1601-01-01."""


def filetime_to_ns(filetime: int) -> int:
    """Nanoseconds since 1970 of a FILETIME (100 ns since 1601); negative before 1970. [MS-DTYP] 2.3.3."""
    return (filetime - _EPOCH_AS_FILETIME) * 100


def ns_to_filetime(ns: int) -> int:
    """FILETIME of nanoseconds since 1970, rounded down to 100 ns, kept within what the field can hold."""
    return min(max(ns // 100 + _EPOCH_AS_FILETIME, 1), 0x7FFF_FFFF_FFFF_FFFF)


def upper_case(text: str) -> str:
    """As servers do it, which compare names character by character: no character becomes two."""
    return "".join(map(_upper_case, text))


@functools.cache
def _upper_case(char: str) -> str:
    """A character in upper case, if it has just one that has just this one in lower case.

    Servers compare character by character. What only Unicode's folding takes for the same (the German sharp s and a
    double s, the Kelvin sign and a K) is different for them. To take two names of one file for two costs a request or
    shows a change late; to take two files for one would lose the second.
    """
    upper = char.upper()
    return upper if len(upper) == 1 and upper.lower() == char.lower() else char
