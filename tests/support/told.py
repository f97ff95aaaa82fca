"""What a mount tells of itself: `getfattr -n smb.cache`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.processes import eventually


def told(path: Path) -> dict[str, str]:
    """All facts by name. `path`: anything on the mount."""
    return dict(line.rsplit(": ", 1) for line in os.getxattr(path, "smb.cache").decode().splitlines())


def number_told(path: Path, fact: str) -> int:
    return int(told(path)[fact])


def await_watch(path: Path) -> None:
    """Return when the server watches, and the root was asked about since.

    In that moment all is doubted that was asked before, which costs requests. The kernel hears of it a little later, so
    it is made to ask now: after that the answer is there.
    """
    eventually(lambda: number_told(path, "directories watched") > 0, 30, "the server watches")
    ask_anew(path)


def ask_anew(path: Path) -> None:
    """Ask about it, whatever the kernel knows."""
    subprocess.run(["stat", "--cached=never", str(path)], check=True, capture_output=True)
