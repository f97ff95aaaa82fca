"""What there is to know about a file at its server, as text for people and scripts (xattrs smb.NAME)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smbfuse.wire import const
from smbfuse.wire.text import filetime_to_ns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smbfuse.client.tree import ServerPath
    from smbfuse.core.server.extras import Extras

_DOS_NAMES: Final = {
    getattr(const, f"FILE_ATTRIBUTE_{name}"): name
    for name in (
        *("READONLY", "HIDDEN", "SYSTEM", "VOLUME", "DIRECTORY", "ARCHIVE", "NORMAL", "TEMPORARY", "SPARSE_FILE"),
        *("REPARSE_POINT", "COMPRESSED", "OFFLINE", "NOT_CONTENT_INDEXED", "ENCRYPTED"),
    )
}
_FLAG_NAMES: Final = {
    getattr(const, f"EXT_{name}"): name
    for name in (
        *("SECURE_DELETE", "ENABLE_UNDELETE", "SYNCHRONOUS", "IMMUTABLE", "OPEN_APPEND_ONLY", "DO_NOT_BACKUP"),
        *("NO_UPDATE_ATIME", "HIDDEN"),
    )
}


def _names(names: dict[int, str], told: int) -> str:
    return " ".join(name for bit, name in names.items() if told & bit)


def _date(filetime: int) -> str:
    """A FILETIME as ISO 8601 has it, or as seconds since 1970 (`date -d` takes both) if the year has no four digits."""
    seconds, rest = divmod(filetime_to_ns(filetime), 10**9)
    fraction = f"{rest // 100:07d}"
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction}Z"
    except (ValueError, OverflowError):
        return f"@{seconds}.{fraction}"


def facts(extras: Extras) -> dict[bytes, Callable[[ServerPath], Awaitable[str]]]:
    """By name, how each is asked for; it is empty where there is nothing to tell."""

    async def path_of(path: ServerPath) -> str:
        return path.text

    async def file_id(path: ServerPath) -> str:
        return str(await extras.file_id(path) or "")

    async def attributes(path: ServerPath) -> str:
        return _names(_DOS_NAMES, (await extras.basic(path)).ext_file_attributes)

    async def flags(path: ServerPath) -> str:
        return _names(_FLAG_NAMES, await extras.flags(path))

    async def created(path: ServerPath) -> str:
        told = (await extras.basic(path)).creation_time
        return _date(told) if told else ""

    async def whoami(_: ServerPath) -> str:
        told = await extras.whoami()
        if told is None:
            return ""
        groups = ",".join(str(group.identifier) for group in told.groups)
        guest = told.flags & told.mask & const.SMB_WHOAMI_GUEST
        return f"uid={told.uid} gid={told.gid} groups={groups} guest={'yes' if guest else 'no'}"

    async def snapshots(path: ServerPath) -> str:
        return "\n".join(await extras.snapshots(path))

    return {
        b"path": path_of,
        b"fileid": file_id,
        b"attributes": attributes,
        b"flags": flags,
        b"created": created,
        b"whoami": whoami,
        b"shortname": extras.short_name,
        b"snapshots": snapshots,
    }
