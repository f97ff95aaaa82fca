"""What POSIX programs rely on, as functions over a directory of a mount. They know nothing of pytest or mounts.

A check gets a `Place`: an empty directory of its own on the mount, the same directory as the server has it on its disk,
and what this mount can do. Checks of what only the UNIX extensions can do say so (`@check(unix=True)`), and are not run
without. `tests/mount/test_posix.py` runs all of them against each kind of mount and server.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Run = Callable[["Place"], None]


@dataclass(frozen=True)
class Place:
    """Where a check works."""

    path: Path
    """An empty directory on the mount."""
    behind: Path
    """The same on the server's disk."""
    unix: bool
    """Whether the UNIX extensions are on."""
    lifetime: float
    """Seconds for which the mount may serve what it knows from cache."""


@dataclass(frozen=True)
class Check:
    """One check: `run` raises AssertionError or OSError where the mount is wrong."""

    run: Run
    unix: bool
    root: bool

    @property
    def name(self) -> str:
        return self.run.__name__

    def applies(self, *, unix: bool, root: bool) -> bool:
        """Whether a mount with these abilities, used by root or not, is to pass it."""
        return (unix or not self.unix) and (root or not self.root)


CHECKS: list[Check] = []


def check(*, unix: bool = False, root: bool = False) -> Callable[[Run], Run]:
    """Enter a function into CHECKS; `unix`, `root`: only with the UNIX extensions, only as root."""

    def enter(run: Run) -> Run:
        CHECKS.append(Check(run, unix, root))
        return run

    return enter


@contextmanager
def fails(*numbers: int) -> Iterator[None]:
    """The block must raise OSError with one of these errnos."""
    wanted = [os.strerror(number) for number in numbers]
    try:
        yield
    except OSError as error:
        if error.errno in numbers:
            return
        raise AssertionError(f"{error} instead of {wanted}") from error
    raise AssertionError(f"went well instead of {wanted}")


def listing(path: Path) -> list[str]:
    """Names in a directory, sorted: a name that comes twice is there twice."""
    return sorted(os.listdir(path))


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes of which no aligned block is like another, to see what came from the wrong place."""
    block = b"".join((seed << 40 | number).to_bytes(8, "little") for number in range(-(-size // 8)))
    return block[:size]


RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old: Path, new: Path, flags: int) -> None:
    """renameat2(2). OSError as it says."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(old))


# Filled by their import.
from tests.mount.posix import data, directories, extents, links, metadata, names, programs, renames  # noqa: E402, F401
