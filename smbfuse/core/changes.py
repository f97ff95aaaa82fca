"""What follows from a change that was made, without asking the server for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from smbfuse.wire.const import FILE_ATTRIBUTE_READONLY

if TYPE_CHECKING:
    from smbfuse.core.attrs import Attributes
    from smbfuse.core.backend import Change
    from smbfuse.core.inodes import Inode

MEMORY: Final = 64
"""Files whose last change is remembered."""


def applied(before: Attributes, change: Change) -> Attributes:
    """Attributes after a change, as far as they follow from it."""
    after = replace(before)
    if change.permissions is not None:
        if before.permissions is not None:
            after.permissions = change.permissions
        elif before.dos is not None and not before.is_dir:
            read_only = 0 if change.permissions & 0o200 else FILE_ATTRIBUTE_READONLY
            after.dos = before.dos & ~FILE_ATTRIBUTE_READONLY | read_only
    if before.st_uid is not None and change.st_uid is not None:
        after.st_uid = change.st_uid
    if before.st_gid is not None and change.st_gid is not None:
        after.st_gid = change.st_gid
    after.atime_ns = before.atime_ns if change.atime_ns is None else change.atime_ns
    after.mtime_ns = before.mtime_ns if change.mtime_ns is None else change.mtime_ns
    return after


class _Known(NamedTuple):
    attrs: Attributes
    version: int
    until: float


class LastChanges:
    """What files are like since a change of ours, which the server has not told of: for the next change, no more.

    cp and tar set times, owner and mode of a file one after the other, and what is to be set may depend on the rest.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[Inode, _Known] = OrderedDict()

    def note(self, inode: Inode, attrs: Attributes, version: int, until: float) -> None:
        """It was changed so, in this version; what was known before might be served until then."""
        self._known.pop(inode, None)
        self._known[inode] = _Known(attrs, version, until)
        if len(self._known) > MEMORY:
            self._known.popitem(last=False)

    def of(self, inode: Inode) -> tuple[Attributes | None, float]:
        """Its attributes, if nothing else has happened to it, and until when they may be used."""
        known = self._known.get(inode)
        if known is None or known.version != inode.version or self._clock() >= known.until:
            return None, 0.0
        return known.attrs, known.until
