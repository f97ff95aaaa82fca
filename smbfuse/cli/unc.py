"""Names of shares as people write them: `//server/share/dir`, `\\\\server\\share`, `smb://user@server/share`.

Pure text: nothing is looked up. What is not clearly one of the forms is refused with a line that says which one was
probably meant; a guess would mount another directory than the user had in mind.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

from smbfuse.errors import UsageError

PORT: Final = 445
HOST_LIMIT: Final = 255
LABEL_LIMIT: Final = 63
SHARE_LIMIT: Final = 256

_URL: Final = re.compile(r"(?:smb|cifs)://", re.IGNORECASE)
_OTHER_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FORM: Final = "write //server/share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unc:
    """A share and a directory in it. `path` has `/` between components and none at the ends."""

    host: str
    """Name or IP address, an IPv6 address without brackets."""
    share: str
    path: str = ""
    user: str | None = None
    port: int | None = None

    @property
    def display(self) -> str:
        """The share alone, as messages name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"//{host}/{self.share}"


def list_shares(host: str, user: str = "", port: int = PORT) -> str:
    """The command that shows what shares an SMB1 server has. Samba's client refuses SMB1 unless told otherwise."""
    who = f"-U {shlex.quote(user)}" if user else "-N"
    where = shlex.quote(host) + (f" -p {port}" if port != PORT else "")
    return f"smbclient --option='client min protocol=NT1' {who} -L {where}"


def parse_unc(text: str) -> Unc:
    """Read a share's name. Raises UsageError with one line.

    The one-backslash form `\\server\\share` is what the shell leaves of a UNC name on the way through mount.fuse.
    """
    if not _is_text(text):
        what = f"share {_shown(text)} is not printable UTF-8 text" if text else "the share's name is empty"
        raise UsageError(f"{what}; {_FORM}")
    if match := _URL.match(text):
        return _from_url(text, text[match.end() :])
    if _OTHER_URL.match(text):
        raise UsageError(f"share '{text}': only smb:// and cifs:// are known; {_FORM}")
    return _from_unc(text)


def looks_like_share(text: str) -> bool:
    """Whether somebody meant a share by it, well written or not."""
    return text.startswith(("//", "\\\\")) or _URL.match(text) is not None


def parse_path(text: str) -> str:
    """A directory of the share (option prefixpath), in the form of `Unc.path`. Raises UsageError."""
    if not _is_text(text):
        raise UsageError(
            "the directory is empty" if not text else f"directory {_shown(text)} is not printable UTF-8 text"
        )
    return _path(text, _components(text.replace("\\", "/")))


def _is_text(text: str) -> bool:
    """Neither control characters nor bytes that were no UTF-8."""
    return bool(text) and not any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in text)


def _shown(text: str) -> str:
    return ascii(text)


def _from_unc(text: str) -> Unc:
    slashed = text.replace("\\", "/")
    one_backslash = text.startswith("\\") and not slashed.startswith("//")
    if not slashed.startswith("//") and not one_backslash:
        raise UsageError(f"'{text}' is not the name of a share; {_meant(slashed)}")
    if one_backslash and "/" not in slashed.strip("/"):
        raise UsageError(f"'{text}': the shell has taken backslashes away; {_FORM}, or put it in single quotes")
    authority, _, rest = slashed.removeprefix("/" if one_backslash else "//").partition("/")
    if "@" in authority:
        raise UsageError(f"share '{text}': give the user as -o username=NAME, not in the address")
    host, port = _host_and_port(text, authority)
    if port is not None:
        raise UsageError(f"share '{text}': give the port as -o port={port}, not in the address")
    return _build(text, host, _components(rest))


def _meant(slashed: str) -> str:
    """What somebody may have had in mind whose words begin with no two slashes."""
    if match := re.match(r"(smb|cifs):/*(?=[^/])", slashed, re.IGNORECASE):  # "smb:/server/share"
        return f"write {match[1].lower()}://{slashed[match.end() :]}"
    host, colon, path = slashed.partition(":/")  # as NFS has it
    if colon and "/" not in host:
        slashed = f"{host}/{path}"
    rest = slashed.strip("/")
    return f"write //{rest}" if "/" in rest else _FORM


def _from_url(text: str, rest: str) -> Unc:
    if strange := re.search("[?#]", rest):
        raise UsageError(f"share '{text}': '{strange[0]}' in a URL is written %{ord(strange[0]):02X}")
    authority, _, path = rest.partition("/")
    userinfo, at, authority = authority.rpartition("@")
    if ":" in userinfo:
        raise UsageError("no password in the address, please: others can see it; use -o credentials=FILE")
    host, port = _host_and_port(text, authority)
    components = [_percent_decoded(text, part) for part in _components(path)]
    user = _percent_decoded(text, userinfo).replace(";", "\\", 1) if at else None
    return _build(text, host, components, user=user or None, port=port)


def _percent_decoded(text: str, part: str) -> str:
    try:
        decoded = unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise UsageError(f"share '{text}': %-signs in a URL must spell UTF-8; '%' itself is %25") from None
    if decoded and not _is_text(decoded):
        raise UsageError(f"share '{text}': no control characters, please")
    if "/" in decoded or "\\" in decoded:
        raise UsageError(f"share '{text}': no name on a share can hold a slash")
    return decoded


def _host_and_port(text: str, authority: str) -> tuple[str, int | None]:
    """Host (an IPv6 address without brackets) and port of `host`, `host:port`, `[v6]`, `[v6]:port`, `v6`."""
    if not authority:
        raise UsageError(f"share '{text}' names no server; {_FORM}")
    if _ip_version(authority) == 6:
        return authority, None
    match = re.fullmatch(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{0,9}))?", authority)
    if match is None or (match["v6"] is not None and _ip_version(match["v6"]) != 6):
        raise UsageError(f"share '{text}': '{authority}' is neither a server's name nor an address")
    port = match["port"]
    if port is not None and not 1 <= int(port or 0) <= 65535:
        raise UsageError(f"share '{text}': the port must be a number from 1 to 65535")
    return match["v6"] or _name(text, match["name"]), int(port) if port is not None else None


def _ip_version(text: str) -> Literal[4, 6] | None:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return None


def _name(text: str, host: str) -> str:
    if not host:
        raise UsageError(f"share '{text}' names no server; {_FORM}")
    labels = host.removesuffix(".").split(".")
    strange = any(char.isspace() for char in host) or not all(1 <= len(label) <= LABEL_LIMIT for label in labels)
    if len(host) > HOST_LIMIT or strange:
        raise UsageError(f"share '{text}': '{host}' cannot be a server's name")
    return host


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _path(text: str, components: list[str]) -> str:
    if {".", ".."}.intersection(components):
        raise UsageError(f"'{text}': '.' and '..' cannot be part of it; name the directory itself")
    return "/".join(components)


def _build(text: str, host: str, components: list[str], *, user: str | None = None, port: int | None = None) -> Unc:
    if not components:
        raise UsageError(
            f"'{text}' names a server but no share; write //{host}/SHARE (to list shares: {list_shares(host)})"
        )
    share, *rest = components
    path = _path(text, rest)
    if len(share) > SHARE_LIMIT or share in {".", ".."}:
        raise UsageError(f"'{text}': '{share[:40]}' cannot be a share's name")
    return Unc(host=host, share=share, path=path, user=user, port=port)
