"""Whole trees, copied by cp -a, compared file by file."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from tests.mount.posix import Place, check, pattern

ODD_TIME = 1_234_567_890_123_456_700


def _plain_tree(root: Path) -> None:
    for number in range(12):
        path = root / f"d{number % 4}" / "sub" / f"file {number} ü"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(number * 7_001, seed=number))
    (root / "empty").mkdir()
    with (root / "holes").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    _date(root)


def _full_tree(root: Path) -> None:
    _plain_tree(root)
    (root / "link").symlink_to("d0/sub")
    (root / "dangling").symlink_to("no/such/file")
    os.link(root / "holes", root / "d1" / "the same")
    os.mkfifo(root / "fifo", 0o640)
    (root / "d0").chmod(0o2750)
    (root / "empty").chmod(0o1777)
    (root / "holes").chmod(0o4711)
    os.setxattr(root / "d2", "user.of.directory", b"kept")
    os.setxattr(root / "holes", "user.of.file", b"kept, too")
    if os.geteuid() == 0:
        os.chown(root / "d3", 1234, 4321)
    _date(root)


def _date(root: Path) -> None:
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(ODD_TIME, ODD_TIME - number * 10**9), follow_symlinks=False)


def contents(root: Path) -> dict[str, object]:
    """Names, contents and times."""
    return {
        str(path.relative_to(root)): (path.is_dir() or path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
    }


def everything(root: Path) -> dict[str, object]:
    """All that cp -a keeps; links by the first of their names, and of a symbolic link no time."""
    names: dict[int, str] = {}
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name, told = str(path.relative_to(root)), path.lstat()
        kind = stat.S_IFMT(told.st_mode)
        linked = names.setdefault(told.st_ino, name) if kind != stat.S_IFDIR else name
        content: object = None
        if kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind == stat.S_IFREG:
            content = path.read_bytes()
        attributes = {} if kind == stat.S_IFLNK else {key: os.getxattr(path, key) for key in os.listxattr(path)}
        mtime = None if kind == stat.S_IFLNK else told.st_mtime_ns
        found[name] = (told.st_mode, told.st_uid, told.st_gid, mtime, linked, content, attributes)
    return found


def _copy(source: Path, target: Path) -> None:
    done = subprocess.run(["cp", "-a", str(source), str(target)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise AssertionError(done.stderr)


@check("cp -a of a tree: contents, names, times, there and back")
def contents_of_a_copied_tree(place: Place) -> None:
    source = place.behind / "source"
    source.mkdir()
    _plain_tree(source)
    _copy(source, place.path / "copy")
    assert contents(place.path / "copy") == contents(place.behind / "copy") == contents(source)
    _copy(place.path / "copy", place.behind / "back")
    assert contents(place.behind / "back") == contents(source)


@check("cp -a of a tree: also modes, owners, links, FIFOs, attributes", nounix="contents, names, times")
def everything_of_a_copied_tree(place: Place) -> None:
    source = place.behind / "source"
    source.mkdir()
    _full_tree(source)
    _copy(source, place.path / "copy")
    assert everything(place.path / "copy") == everything(place.behind / "copy") == everything(source)
    _copy(place.path / "copy", place.behind / "back")
    assert everything(place.behind / "back") == everything(source)


@check("holes stay holes in copies")
def holes_are_copied_as_holes(place: Place) -> None:
    source = place.path / "source"
    with source.open("wb") as file:
        file.write(b"begin")
        file.seek(20 << 20)
        file.write(b"end")
    subprocess.run(["cp", "--sparse=always", str(source), str(place.path / "copy")], check=True, timeout=60)
    assert (place.path / "copy").read_bytes() == source.read_bytes()
    assert (place.behind / "copy").stat().st_blocks * 512 < 2 << 20
