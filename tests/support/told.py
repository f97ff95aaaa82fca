"""What a mount tells of itself: `getfattr -n smb.cache`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.processes import eventually


def told(path: Path) -> dict[str, str]:
    """All facts by name. `path`: anything on the mount."""
    return dict(line.rsplit(": ", 1) for line in os.getxattr(path, "smb.cache").decode().splitlines())


def number_told(path: Path, fact: str) -> int:
    return int(told(path)[fact])


def await_watch(path: Path) -> None:
    """Return when the server watches. In that moment all is doubted that was asked before, which costs requests."""
    eventually(lambda: number_told(path, "directories watched") > 0, 30, "the server watches")
