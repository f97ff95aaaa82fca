"""NTSTATUS values that mean one thing to the file system, whichever of them a server chooses."""

from __future__ import annotations

from typing import Final

from smbfuse.ntstatus import (
    STATUS_INVALID_INFO_CLASS,
    STATUS_INVALID_LEVEL,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_MORE_FILES,
    STATUS_NO_SUCH_FILE,
    STATUS_NOT_IMPLEMENTED,
    STATUS_NOT_SUPPORTED,
    STATUS_OBJECT_NAME_INVALID,
    STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_PATH_NOT_FOUND,
    STATUS_OS2_INVALID_LEVEL,
)

NOT_THERE: Final = frozenset(
    {
        STATUS_NO_MORE_FILES,
        STATUS_NO_SUCH_FILE,
        STATUS_OBJECT_NAME_INVALID,
        STATUS_OBJECT_NAME_NOT_FOUND,
        STATUS_OBJECT_PATH_NOT_FOUND,
    }
)
"""How servers say that a name stands for nothing."""

UNKNOWN_LEVEL: Final = frozenset(
    {
        STATUS_INVALID_LEVEL,
        STATUS_INVALID_INFO_CLASS,
        STATUS_INVALID_PARAMETER,
        STATUS_NOT_IMPLEMENTED,
        STATUS_NOT_SUPPORTED,
        STATUS_NO_SUCH_FILE,
        STATUS_OS2_INVALID_LEVEL,
    }
)
"""How servers say that they do not know an information level."""
