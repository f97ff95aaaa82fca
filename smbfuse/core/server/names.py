"""File names: the kernel's bytes, our str, the server's characters. [MS-FSCC] 2.1.5, [MS-SMB] 2.2.1.1.1.

Names are bytes at the kernel, UTF-8 by convention, and Unicode at the server. A server without POSIX paths forbids some
characters; they travel in the private range, U+F001 to U+F029, that "Services for Mac" began and cifs.ko's `mapposix`
uses, so that both see the same names. With POSIX paths every character but `/` and NUL is itself.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Final

from smbfuse.wire.text import upper_case

SNAPSHOT: Final = re.compile(r"@GMT-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d")
"""A previous-version token, [MS-SMB] 2.2.1.1.1; as a path component it reaches the snapshot of that time."""

MAX_COMPONENT: Final = 255
"""UTF-16 units of one name, and bytes of one name in Linux."""

_SFM: Final = {i: 0xF000 + i for i in range(1, 32)} | {
    ord(char): 0xF020 + index for index, char in enumerate('"*:<>?\\|')
}
_SFU: Final = {ord(char): 0xF000 + ord(char) for char in "*:<>?\\|"}
_TO_SERVER: Final[dict[str, dict[int, int]]] = {"sfm": _SFM, "sfu": _SFU, "refused": {}}
_FROM_SERVER: Final = {way: {there: here for here, there in table.items()} for way, table in _TO_SERVER.items()}
_FORBIDDEN: Final = re.compile('[\x01-\x1f"*:<>?\\\\|]')
"""What no name may hold at a server without POSIX paths: wildcards, the separator, the mark of a stream."""
_SPACE_AT_END, _DOT_AT_END = "\uf028", "\uf029"


_RAW: Final = 0xEF00
_ESCAPES: Final = re.compile("[\uef80-\uefff]")
"""Bytes 0x80 to 0xFF of names that are no UTF-8 travel as U+EF80 to U+EFFF, as in the OPTU encodings of MirBSD."""


def as_text(raw: bytes) -> str:
    """Bytes of the kernel's (a name, a link's target) as characters for a server.

    Bytes that are no UTF-8 are escaped one by one, and so are characters that look like such an escape: what differs at
    the kernel is never the same at the server.
    """
    try:
        return _ESCAPES.sub(_escaped, raw.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError:
        text = _ESCAPES.sub(_escaped, raw.decode("utf-8", "surrogateescape"))
    return "".join(chr(_RAW + (ord(char) & 0xFF)) if "\udc80" <= char <= "\udcff" else char for char in text)


def _escaped(found: re.Match[str]) -> str:
    return "".join(chr(_RAW + byte) for byte in found.group().encode())


def from_kernel(name: bytes) -> str:
    """The name that the kernel gave. OSError(ENAMETOOLONG) if no server can hold it."""
    if len(name) > MAX_COMPONENT:
        raise OSError(errno.ENAMETOOLONG, "name too long")
    return as_text(name)


def to_kernel(name: str) -> bytes:
    """Bytes for the kernel. Lone surrogates of Windows names survive as the three bytes that UTF-8 would give them."""
    if not _ESCAPES.search(name):
        return name.encode("utf-8", "surrogatepass")
    return b"".join(
        bytes([ord(char) & 0xFF]) if _ESCAPES.match(char) else char.encode("utf-8", "surrogatepass") for char in name
    )


def is_snapshot(name: str) -> bool:
    """Whether this component is an @GMT token."""
    return SNAPSHOT.fullmatch(name) is not None


def acceptable(name: str) -> bool:
    """Whether a name from the server may be shown to the kernel: no path, no end of string, no directory link.

    No name that is longer than any server's, either: for the sake of one the kernel would refuse the whole listing.
    """
    return 0 < len(name) <= MAX_COMPONENT and name not in (".", "..") and "/" not in name and "\0" not in name


@dataclass(frozen=True, slots=True)
class NameStyle:
    """How this server writes paths."""

    separator: str = "\\"
    reserved: str = "sfm"
    """What becomes of characters that this server has no names with.

    "sfm": mapped as Services for Mac did (option mapposix, the default); "sfu": as Services for UNIX did (mapchars),
    which leaves some out; "refused" (nomapposix); "plain": this server has no such characters.
    """
    case_sensitive: bool = False

    def to_server(self, name: str) -> str:
        """One component as the server has it. OSError(EINVAL) if it cannot have it."""
        if self.reserved == "plain":
            return name
        name = name.translate(_TO_SERVER[self.reserved])
        if _FORBIDDEN.search(name):
            raise OSError(errno.EINVAL, "the server has no names with such a character")
        if self.reserved != "sfm":
            return name
        if name.endswith(" "):
            return name[:-1] + _SPACE_AT_END
        if name.endswith("."):
            return name[:-1] + _DOT_AT_END
        return name

    def from_server(self, name: str) -> str:
        """One component as programs see it."""
        if self.reserved == "plain" or name.isascii():  # what stands for reserved characters is none of these
            return name
        if self.reserved != "sfm":
            return name.translate(_FROM_SERVER[self.reserved])
        if name.endswith(_SPACE_AT_END):
            name = name[:-1] + " "
        elif name.endswith(_DOT_AT_END):
            name = name[:-1] + "."
        return name.translate(_FROM_SERVER["sfm"])

    def key(self, name: str) -> str:
        """What two names have in common when the server takes them for the same."""
        if self.case_sensitive:
            return name
        if not name.isascii():
            return upper_case(name)
        key = name.lower()
        return name if key == name else key  # most are: then name and key are one object of a hundred thousand


WINDOWS_NAMES: Final = NameStyle()
POSIX_NAMES: Final = NameStyle(separator="/", reserved="plain", case_sensitive=True)
