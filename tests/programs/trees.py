"""A tree of files with all that a copy can lose, and what of it two trees have in common."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

TIME_NS = 1_000_000_000_123_456_700
"""A whole number of 100 ns, SMB's grain."""
NAMES = ("plain", "two words", "Grüße", "日本語", "🐧", "cafe\u0301", "a:b*c?", 'quote"<|>\\', "trailing.", "trailing ")

Facts = dict[str, tuple[object, ...]]


def make_tree(root: Path, files: int, *, unix: bool) -> None:
    """Fill an empty directory; `unix`: also with what only a POSIX file system has."""
    chance = random.Random(1)
    for number in range(files):
        directory = root / f"d{number % 7}" / NAMES[number % len(NAMES)]
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{NAMES[(number * 3) % len(NAMES)]}{number}"
        path.write_bytes(chance.randbytes(chance.choice((0, 1, 511, 4096, 70_000))))
        # Without the UNIX extensions a mode has one bit of its own: may the owner write?
        path.chmod(chance.choice((0o644, 0o600, 0o755, 0o4711, 0o444)) if unix else chance.choice((0o755, 0o555)))
    _make_special(root / "special", unix=unix)
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(TIME_NS, TIME_NS + number * 1_000_100), follow_symlinks=False)


def _make_special(directory: Path, *, unix: bool) -> None:
    directory.mkdir()
    (directory / "first").write_bytes(b"of two names\n")
    (directory / "first").chmod(0o755)
    (directory / "second").hardlink_to(directory / "first")
    with (directory / "sparse").open("wb") as sparse:
        sparse.truncate(3 << 20)
        sparse.seek(1 << 20)
        sparse.write(b"in the middle")
    (directory / "sparse").chmod(0o755)
    (directory / "attributes").write_bytes(b"")
    (directory / "attributes").chmod(0o755)
    os.setxattr(directory / "attributes", "user.comment", b"kept")
    os.setxattr(directory / "attributes", "user.binary", bytes(range(256)))
    if unix:
        _make_unix(directory)


def _make_unix(directory: Path) -> None:
    (directory / "link").symlink_to("first")
    (directory / "dangling").symlink_to("no/such/ü")
    os.mkfifo(directory / "fifo", 0o640)
    (directory / "private").mkdir(mode=0o700)
    (directory / "sticky").mkdir()
    (directory / "sticky").chmod(0o1777)
    if os.geteuid() == 0:
        (directory / "owned").write_bytes(b"somebody's")
        os.chown(directory / "owned", 1, 2)
        os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


def facts(root: Path, *, unix: bool) -> Facts:
    """What a copy has to keep, by path below `root`. Hard links show as the first name of their file.

    Not the times of symbolic links: only some settings have them.
    """
    first: dict[tuple[int, int], str] = {}
    return {
        str(path.relative_to(root)): _facts_of(path, str(path.relative_to(root)), first, unix=unix)
        for path in sorted(root.rglob("*"))
    }


def _facts_of(path: Path, name: str, first: dict[tuple[int, int], str], *, unix: bool) -> tuple[object, ...]:
    is_link = path.is_symlink()
    found = path.lstat()
    file = None if stat.S_ISDIR(found.st_mode) else first.setdefault((found.st_dev, found.st_ino), name)
    content = os.readlink(path) if is_link else _digest(path) if stat.S_ISREG(found.st_mode) else None
    xattrs = {} if is_link else {key: os.getxattr(path, key) for key in os.listxattr(path) if key.startswith("user.")}
    mode = found.st_mode if unix else stat.S_IFMT(found.st_mode) | (found.st_mode & stat.S_IWUSR)
    owner = (found.st_uid, found.st_gid) if unix else None
    written = None if is_link else found.st_mtime_ns
    return (oct(mode), owner, found.st_rdev, written, file, content, sorted(xattrs.items()))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
