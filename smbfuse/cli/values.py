"""The kinds of values that options have: how each is read, and what is said when it cannot be.

Parsers take the text after `=` and raise ValueError, as a Refusal when there is more to say than `allowed`. They know
nothing of options; the table in options.py names the kind of each.
"""

from __future__ import annotations

import grp
import ipaddress
import math
import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from smbfuse.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

# The limits of mount.cifs, which old servers share. Characters.
USER_LIMIT: Final = 256
PASSWORD_LIMIT: Final = 512
DOMAIN_LIMIT: Final = 256

ACTIMEO_CEILING: Final = 60
"""Seconds. What the server's flag SMB_UNIQUE_FILE_NAME allows at most; no option lifts it."""


class Refusal(ValueError):
    """A value that is refused for a reason, which is the text: the second half of a sentence, without the value."""


@dataclass(frozen=True, slots=True)
class Value:
    """A kind of value: its name in --help and the man page, its parser, and what it allows in words."""

    metavar: str
    parse: Callable[[str], object]
    allowed: str


class Security(NamedTuple):
    """What a flavour of `sec=` means for the session."""

    anonymous: bool
    require_signing: bool


SECURITY: Final = {
    "ntlmssp": Security(anonymous=False, require_signing=False),
    "ntlmsspi": Security(anonymous=False, require_signing=True),
    "ntlmv2": Security(anonymous=False, require_signing=False),
    "ntlmv2i": Security(anonymous=False, require_signing=True),
    "nontlm": Security(anonymous=False, require_signing=False),  # the kernel's old name for ntlmv2
    "none": Security(anonymous=True, require_signing=False),
}

_WEAK: Final = "is weak, and this version does not speak it; if the server allows, use sec=ntlmssp"
_KERBEROS: Final = "needs Kerberos, which this version does not speak; use sec=ntlmssp"
REFUSED_SECURITY: Final = {
    "ntlm": _WEAK,
    "ntlmi": _WEAK,
    "lanman": _WEAK,
    "plaintext": _WEAK,
    "krb5": _KERBEROS,
    "krb5i": _KERBEROS,
    "krb5p": "means encryption, which SMB1 has not",
}

_SMB1: Final = frozenset({"1.0", "1", "default", "nt1"})


def readable(text: str) -> str:
    """The text itself, if a server can be told it: Unicode without NUL. Bytes that are not UTF-8 end here."""
    if "\0" in text:
        raise Refusal("holds a NUL character")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise Refusal("is not UTF-8")
    return text


def limited(limit: int) -> Callable[[str], str]:
    """A parser of texts of at most `limit` characters."""

    def parse(text: str) -> str:
        if len(text) > limit:
            raise Refusal(f"is longer than {limit} characters")
        return readable(text)

    return parse


password_text: Final = limited(PASSWORD_LIMIT)


def _password(text: str) -> Secret:
    return Secret(password_text(text))


def read_password(descriptor: int) -> Secret:
    """The password that waits at a file descriptor: up to the end or the first newline.

    Raises Refusal, also where the descriptor cannot be read.
    """
    data = b""
    # A character takes four bytes at most; the newline and one byte too many are for telling what is too long.
    while b"\n" not in data and len(data) < 4 * PASSWORD_LIMIT + 2:
        try:
            chunk = os.read(descriptor, 4 * PASSWORD_LIMIT + 2 - len(data))
        except OSError as error:
            raise Refusal(f"cannot be read: {error.strerror}") from None
        if not chunk:
            break
        data += chunk
    line = data.partition(b"\n")[0].removesuffix(b"\r")
    return _password(line.decode("utf-8", "surrogateescape"))


def descriptor_number(text: str) -> int:
    """A file descriptor's number."""
    if not (text.isascii() and text.isdigit()) or int(text[:10]) > 0x7FFFFFFF:
        raise ValueError
    return int(text)


def _password_from_descriptor(text: str) -> Secret:
    return read_password(descriptor_number(text))


def whole(low: int, high: int) -> Callable[[str], int]:
    """A parser of decimal numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
            raise ValueError
        return int(text)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A parser of times in seconds, fractions allowed, from `low` to `high`."""

    def parse(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError
        return value

    return parse


def _actimeo(text: str) -> float:
    value = seconds(0, math.inf)(text)
    if value > ACTIMEO_CEILING:
        raise Refusal(f"is more than {ACTIMEO_CEILING} seconds, the ceiling that no option lifts")
    return value


def _mode(text: str) -> int:
    if not text or set(text) - set("01234567"):
        raise ValueError
    mode = int(text, 8)
    if mode > 0o7777:
        raise ValueError
    return mode


def _unix_id(text: str, by_name: Callable[[str], int], kind: str) -> int:
    if text.isascii() and text.isdigit():
        return whole(0, 0xFFFFFFFE)(text)  # 0xFFFFFFFF is -1: no id at all
    try:
        return by_name(readable(text))
    except KeyError:
        raise Refusal(f"is no {kind} of this machine") from None


def _user_id(text: str) -> int:
    return _unix_id(text, lambda name: pwd.getpwnam(name).pw_uid, "user")


def _group_id(text: str) -> int:
    return _unix_id(text, lambda name: grp.getgrnam(name).gr_gid, "group")


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))


def _security(text: str) -> Security:
    if why := REFUSED_SECURITY.get(text.lower()):
        raise Refusal(why)
    try:
        return SECURITY[text.lower()]
    except KeyError:
        raise ValueError from None


def _dialect(text: str) -> str:
    if text.lower() not in _SMB1:
        raise Refusal("is not SMB1, and smbfuse speaks nothing else; for SMB2 and SMB3 use mount -t cifs")
    return text


CACHE_POLICIES: Final = {"strict": "strict", "loose": "loose", "none": "none", "singleclient": "loose"}


def _cache(text: str) -> str:
    try:
        return CACHE_POLICIES[text]
    except KeyError:
        raise ValueError from None


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError
    return os.path.abspath(os.path.expanduser(text))


USERNAME = Value("NAME", limited(2 * USER_LIMIT + PASSWORD_LIMIT), f"up to {USER_LIMIT} characters of UTF-8")
DOMAIN = Value("NAME", limited(DOMAIN_LIMIT), f"up to {DOMAIN_LIMIT} characters of UTF-8")
PASSWORD = Value("TEXT", _password, f"up to {PASSWORD_LIMIT} characters of UTF-8")
PASSWORD_FD = Value("NUMBER", _password_from_descriptor, "the number of an open file descriptor")
FILE = Value("FILE", _path, "the name of a file")
TEXT = Value("TEXT", readable, "any text")
SUBDIRECTORY = Value("DIR", readable, "a directory of the share")
PORT = Value("NUMBER", whole(1, 65535), "a port from 1 to 65535")
ADDRESS = Value("ADDRESS", _address, "an IPv4 or IPv6 address in figures")
SECURITY_FLAVOUR = Value("FLAVOUR", _security, f"one of {', '.join(SECURITY)}")
DIALECT = Value("VERSION", _dialect, "1.0")
USER = Value("USER", _user_id, "a user's name or number")
GROUP = Value("GROUP", _group_id, "a group's name or number")
MODE = Value("MODE", _mode, "an octal mode such as 0644")
ACTIMEO = Value("SECONDS", _actimeo, f"seconds from 0 to {ACTIMEO_CEILING}")
CACHE = Value("POLICY", _cache, f"one of {', '.join(CACHE_POLICIES)}")
ECHO = Value("SECONDS", seconds(1, 600), "seconds from 1 to 600")
REQUEST_TIMEOUT = Value("SECONDS", seconds(5, 600), "seconds from 5 to 600")
RECONNECT_TIMEOUT = Value("SECONDS", seconds(1, 3600), "seconds from 1 to 3600")
RETRANS = Value("COUNT", whole(0, 100), "a number from 0 to 100")
IO_SIZE = Value("BYTES", whole(512, 16 << 20), "bytes from 512 to 16777216")
