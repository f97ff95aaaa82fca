"""POSIX ACLs: Linux's form of them as an xattr, the UNIX extensions' form, and asking for them.

Both forms have the same entries, tags and permissions; an entry that needs no number has all ones for it. An ACL of the
three entries for owner, group and others says no more than the mode, and counts as none, as on a local file system.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from smbfuse.client.tree import MAX_DATA
from smbfuse.core.server.statuses import UNKNOWN_LEVEL
from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED
from smbfuse.wire.const import FILE_OPEN, FILE_READ_ATTRIBUTES, POSIX_ACL_KEEP
from smbfuse.wire.unixlevels import PosixAce, PosixAcl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smbfuse.client.tree import ServerPath, Tree

Aces = tuple[PosixAce, ...]

_VERSION: Final = 2
_HEAD: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
"""Linux: tag, permissions, uid or gid."""
_NOBODY: Final = 0xFFFF_FFFF
_NO_ID: Final = 0xFFFF_FFFF_FFFF_FFFF
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NAMED: Final = frozenset({_USER, _GROUP})
_MINIMAL: Final = (_USER_OBJ, _GROUP_OBJ, _OTHER)
_REMEMBERED_FOR: Final = 1.0
"""Seconds for which a directory is taken to have no default ACL: as long as a command that fills it takes its time."""


class Acls(NamedTuple):
    """The two ACLs of a file, b"" where it has none; in Linux's form."""

    access: bytes
    default: bytes
    """What will be the ACL of things made in it, if it is a directory."""


def to_xattr(aces: Sequence[PosixAce]) -> bytes:
    """Linux's form, version 2."""
    entries = (_ENTRY.pack(ace.tag, ace.permissions & 7, min(ace.identifier, _NOBODY)) for ace in aces)
    return _HEAD.pack(_VERSION) + b"".join(entries)


def from_xattr(value: bytes) -> Aces:
    """The entries of Linux's form; none of an ACL that has none. OSError(EINVAL) if it makes no sense."""
    body = value[_HEAD.size :]
    if len(value) < _HEAD.size or _HEAD.unpack_from(value)[0] != _VERSION or len(body) % _ENTRY.size:
        raise OSError(errno.EINVAL, "not a POSIX ACL")
    aces = tuple(
        PosixAce(tag=tag, permissions=permissions, identifier=number if tag in _NAMED else _NO_ID)
        for tag, permissions, number in _ENTRY.iter_unpack(body)
    )
    if aces and not _is_valid(aces):
        raise OSError(errno.EINVAL, "no valid POSIX ACL")
    return aces


def _is_valid(aces: Aces) -> bool:
    """Whether the three that must be there are there once, a mask where one is needed, and all in order."""
    tags = [ace.tag for ace in aces]
    once = all(tags.count(tag) == 1 for tag in _MINIMAL) and tags.count(_MASK) <= 1
    masked = _MASK in tags or not _NAMED.intersection(tags)
    known = all(tag in (*_MINIMAL, *_NAMED, _MASK) for tag in tags)
    sane = all(ace.permissions <= 7 and (ace.tag not in _NAMED or ace.identifier != _NOBODY) for ace in aces)
    return once and masked and known and sane and all(one <= two for one, two in pairwise(tags))


def minimal(aces: Aces) -> Aces:
    """The ACL without its particular users and groups: nobody may more than before, so the mask binds the group."""
    mask = next((ace.permissions for ace in aces if ace.tag == _MASK), 7)
    kept = (ace for ace in aces if ace.tag in _MINIMAL)
    return tuple(replace(ace, permissions=ace.permissions & mask) if ace.tag == _GROUP_OBJ else ace for ace in kept)


@dataclass(slots=True)
class PosixAcls:
    """The ACLs of a tree with CIFS_UNIX_POSIX_ACLS_CAP. Statuses come up as StatusError."""

    tree: Tree
    _without_default: tuple[str, float] = ("", 0.0)
    """The directory that was last seen to have no default ACL, and until when that counts."""

    async def get(self, path: ServerPath) -> Acls:
        """Both, in one request. A file on which the server keeps none has none."""
        try:
            told = await self._ask(path)
        except StatusError as exc:
            if exc.status in UNKNOWN_LEVEL:
                return Acls(b"", b"")
            raise
        aces = told.aces()
        access, default = aces[: told.access_count], aces[told.access_count :][: told.default_count]
        extended = any(ace.tag not in _MINIMAL for ace in access)
        return Acls(to_xattr(access) if extended else b"", to_xattr(default) if default else b"")

    async def seen(self, path: ServerPath) -> Acls:
        """Both, or none where the user may not know."""
        try:
            return await self.get(path)
        except StatusError as exc:
            if exc.status != STATUS_ACCESS_DENIED:
                raise
            return Acls(b"", b"")

    async def _ask(self, path: ServerPath) -> PosixAcl:
        """By path; smbd 4.17 answers that to the owner only, others it tells of what they have opened."""
        try:
            return await self.tree.query_path(path, PosixAcl, max_data=MAX_DATA)
        except StatusError as exc:
            if exc.status != STATUS_ACCESS_DENIED:
                raise

        async def by_own() -> PosixAcl:
            file, _ = await self.tree.create(path, access=FILE_READ_ATTRIBUTES, disposition=FILE_OPEN)
            try:
                return await self.tree.query_file(file, PosixAcl, max_data=MAX_DATA)
            finally:
                file.close_soon()

        return await self.tree.persist(by_own)

    async def set_access(self, path: ServerPath, aces: Aces) -> None:
        """Replace the ACL. Without entries the server leaves what the three for owner, group and others said."""
        await self._set(path, PosixAcl(access_count=len(aces), default_count=POSIX_ACL_KEEP, entries=_packed(aces)))

    async def set_default(self, path: ServerPath, aces: Aces) -> None:
        """Replace the default ACL of a directory; none removes it."""
        self._without_default = ("", 0.0)
        await self._set(path, PosixAcl(access_count=POSIX_ACL_KEEP, default_count=len(aces), entries=_packed(aces)))

    async def _set(self, path: ServerPath, acl: PosixAcl) -> None:
        if len(acl.entries) > MAX_DATA:
            raise OSError(errno.E2BIG, "no message can hold an ACL so long")
        await self.tree.set_path(path, acl)

    async def passes_on(self, directory: ServerPath) -> bool:
        """Whether what is made in this directory gets an ACL from it, and with it its mode."""
        path, until = self._without_default
        if path == directory.text and trio.current_time() < until:
            return False
        asked = trio.current_time()
        found = bool((await self.seen(directory)).default)
        if not found:
            self._without_default = directory.text, asked + _REMEMBERED_FOR
        return found


def _packed(aces: Aces) -> bytes:
    return b"".join(ace.pack() for ace in aces)
