"""The exit statuses of mount(8), which helpers share."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What the process ends with."""

    OK = 0
    USAGE = 1
    """The command line, a file or the environment is wrong."""
    SYSTEM = 2
    """This machine lacks something: FUSE, memory, packages."""
    INTERRUPTED = 8
    """Ctrl-C before the mount was there."""
    MOUNT = 32
    """The mount failed."""
