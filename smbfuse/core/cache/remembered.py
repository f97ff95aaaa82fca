"""Modes and owners that a server without UNIX extensions cannot keep: remembered here (option dynperm).

As with cifs.ko they count for as long as the inode is known, and nobody else sees them. The read-only attribute is the
server's own: what it forbids no mode that is remembered allows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from smbfuse.core.server.backend import Change
from smbfuse.wire.const import FILE_ATTRIBUTE_READONLY

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.server.attrs import Attributes


class Remembered:
    """What programs set. Does nothing unless it is `on`."""

    def __init__(self, on: bool) -> None:
        self._on = on
        self._set: WeakKeyDictionary[Inode, Change] = WeakKeyDictionary()

    def note(self, inode: Inode, change: Change) -> None:
        """A program set mode or owner, or made the file with them."""
        if not self._on:
            return
        known = self._set.get(inode, Change())
        wanted = {name: getattr(change, name) for name in ("permissions", "st_uid", "st_gid")}
        self._set[inode] = replace(known, **{name: value for name, value in wanted.items() if value is not None})

    def shown(self, inode: Inode, attrs: Attributes) -> Attributes:
        """The server's attributes, and what it did not tell as it was set."""
        known = self._set.get(inode)
        if known is None or attrs.permissions is not None:
            return attrs
        permissions = known.permissions
        if permissions is not None and not attrs.is_dir and (attrs.dos or 0) & FILE_ATTRIBUTE_READONLY:
            permissions &= ~0o222
        return replace(attrs, permissions=permissions, st_uid=known.st_uid, st_gid=known.st_gid)
