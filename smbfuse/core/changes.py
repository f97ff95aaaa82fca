"""What follows from a change that was made, without asking the server for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smbfuse.wire.const import FILE_ATTRIBUTE_READONLY

if TYPE_CHECKING:
    from smbfuse.core.attrs import Attributes
    from smbfuse.core.backend import Change


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
