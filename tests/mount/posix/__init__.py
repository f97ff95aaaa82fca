"""What POSIX programs rely on, as functions over a directory. They know nothing of pytest or mounts.

A check gets a `Place`: an empty directory of its own, and the same directory as the server has it on its disk. It says
what holds on a POSIX file system, and proves that on the local disk first, where both are the same directory. Where a
mount cannot have it the declaration says what a program gets instead: `@check("device nodes", nounix="EPERM")`; the
check is run there too, and must fail. `tests/mount/test_posix.py` runs them in each setting, and the table of what
holds in man/smbfuse.1 is made of their topics and what came out.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Run = Callable[["Place"], None]


def _nowhere(kind: str) -> list[Path]:
    raise LookupError(f"no directories that are {kind}")


@dataclass(frozen=True)
class Place:
    """Where a check works."""

    path: Path
    """An empty directory on the mount."""
    behind: Path
    """The same on the server's disk."""
    unix: bool
    """Whether the UNIX extensions are on; a local disk has all that they have."""
    lifetime: float
    """Seconds for which the mount may serve what it knows from cache."""
    elsewhere: Callable[[str], list[Path]] = _nowhere
    """Other directories, on mounts of the same sort: a "small" one of SMALL bytes, "read-only" ones in which there are
    a file `f` and a directory `d` (making these two kinds takes root), and a "crowded" one with about CROWD files, to
    be left so. With "small" and "crowded" the second is the same on the server's disk."""


SMALL = 2 << 20
CROWD = 100_000


@dataclass(frozen=True)
class Check:
    """One check: `run` raises AssertionError or OSError where what it says does not hold."""

    run: Run
    topic: str
    unix: str
    nounix: str
    share: str
    root: bool

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def chapter(self) -> str:
        """The module that it stands in."""
        return self.run.__module__.rpartition(".")[2]

    def instead(self, *, unix: bool) -> str:
        """What a program gets where this does not hold, with or without the UNIX extensions; empty: it holds."""
        return self.unix if unix else self.nounix


MFSYMLINKS = "with mfsymlinks: "
"""In a check's `nounix`: what is got with that option, or `yes`."""
CHECKS: list[Check] = []


def check(topic: str, *, unix: str = "", nounix: str = "", share: str = "", root: bool = False) -> Callable[[Run], Run]:
    """Enter a function into CHECKS.

    `topic`: its row in the man page's table, which several checks may share. `unix`, `nounix`: for a check that does
    not hold on a mount with the UNIX extensions, or without: what a program gets instead, as users shall read it; if
    that begins with the name of an errno, the check must fail with it. `share`: why this is a matter of shares, and not
    to be asked of a local disk. `root`: whether only root can run it.
    """

    def enter(run: Run) -> Run:
        CHECKS.append(Check(run, topic, unix, nounix, share, root))
        return run

    return enter


class Holds(AssertionError):
    """A check passed that was declared not to."""


@contextmanager
def does_not_hold(instead: str) -> Iterator[None]:
    """The block is a check that must fail, with the errno that `instead` begins with if it does."""
    try:
        yield
    except (AssertionError, OSError) as error:
        wanted = _number_of(instead)
        if wanted is not None and _cause(error) != wanted:
            raise AssertionError(f"fails in another way than with {instead}") from error
        return
    raise Holds(f"holds, but was declared to end in {instead!r}")


def _number_of(instead: str) -> int | None:
    word = instead.replace(":", " ").replace(",", " ").split()[0]
    return next((number for number, name in errno.errorcode.items() if name == word), None)


def _cause(error: BaseException | None) -> int | None:
    """The errno that a failure comes from."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return None if error is None else error.errno


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


@contextmanager
def opened(path: Path, flags: int, mode: int = 0o666) -> Iterator[int]:
    """An open file's number, for as long as the block runs."""
    number = os.open(path, flags, mode)
    try:
        yield number
    finally:
        os.close(number)


def listing(path: Path) -> list[str]:
    """Names in a directory, sorted: a name that comes twice is there twice."""
    return sorted(os.listdir(path))


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes of which no aligned block is like another, to see what came from the wrong place."""
    start = seed << 40
    return array("Q", range(start, start - (-size // 8))).tobytes()[:size]


RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old: Path, new: Path, flags: int) -> None:
    """renameat2(2). OSError as it says."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(old))


def utimensat(path: Path, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """utimensat(2): seconds and nanoseconds each, or UTIME_NOW or UTIME_OMIT for these. OSError as it says."""
    times = (ctypes.c_long * 4)(*atime, *mtime)
    if _libc.utimensat(_AT_FDCWD, os.fsencode(path), times, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


CHAPTERS = {
    "data": "Contents of files",
    "opening": "Opening, appending, closing",
    "maps": "Memory maps",
    "extents": "Ranges of bytes",
    "names": "Names and paths",
    "directories": "Directories",
    "listings": "Listings",
    "renames": "Renaming",
    "unlinked": "Open files that lose their name",
    "links": "Links",
    "nodes": "Other kinds of files",
    "times": "Times",
    "modes": "Owners and permissions",
    "metadata": "What stat and df tell",
    "attributes": "Extended attributes",
    "locking": "Locks",
    "copies": "Whole trees",
    "refusals": "Errors",
    "programs": "What programs have met",
    "others": "Changes made by others",
}
"""Modules of checks and what they are about, in the order of the table. Their import fills CHECKS."""

for _chapter in CHAPTERS:
    importlib.import_module(f"{__name__}.{_chapter}")
