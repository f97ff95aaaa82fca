"""What stat(2) and statvfs(2) tell: numbers, sizes, room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from tests.mount.posix import Place, check

NUMBERS = "inode numbers: one for each file, as long as it lives"


@check(NUMBERS)
def numbers_are_one_files(place: Place) -> None:
    names = [f"f{number}" for number in range(50)]
    for name in names:
        (place.path / name).write_bytes(b"")
    (place.path / "d").mkdir()
    by_stat = {name: (place.path / name).stat().st_ino for name in [*names, "d"]}
    with os.scandir(place.path) as entries:
        by_listing = {entry.name: entry.inode() for entry in entries}
    assert by_listing == by_stat
    assert len(set(by_stat.values())) == len(by_stat)
    for name in names[:5]:
        with (place.path / name).open("r+b") as file:
            assert os.fstat(file.fileno()).st_ino == by_stat[name]
            file.write(b"x")
            file.flush()
            assert os.fstat(file.fileno()).st_ino == by_stat[name]
        assert (place.path / name).stat().st_ino == by_stat[name]


@check(NUMBERS)
def numbers_are_not_given_twice(place: Place) -> None:
    """A file removed and made anew is another one, also where the server gives the number again at once."""
    path = place.path / "f"
    contents = []
    for number in range(5):
        path.write_bytes(b"x" * number)
        contents.append(path.read_bytes())
        path.unlink()
        assert not path.exists()
    assert contents == [b"x" * number for number in range(5)]


@check("sizes, blocks, kinds")
def sizes_and_blocks(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(bytes(range(256)) * 4096)
    told, there = path.stat(), (place.behind / "f").stat()
    assert told.st_size == there.st_size == 1 << 20
    assert told.st_blocks >= 2048
    assert told.st_nlink == 1
    assert told.st_blksize >= 4096
    assert told.st_dev == place.path.stat().st_dev != os.stat("/proc").st_dev


@check("space as df shows it")
def space(place: Place) -> None:
    told, there = os.statvfs(place.path), os.statvfs(place.behind)
    assert told.f_blocks * told.f_frsize == there.f_blocks * there.f_frsize
    assert 0 < told.f_bavail <= told.f_bfree <= told.f_blocks
    assert told.f_bsize >= 512
    assert told.f_namemax == 255
    shown = subprocess.check_output(["df", "--output=size,used,avail,target", str(place.path)], text=True)
    assert len(shown.splitlines()) == 2


@check("free inodes as df -i shows them", nounix="none are told")
def inodes_left(place: Place) -> None:
    told, there = os.statvfs(place.path), os.statvfs(place.behind)
    assert told.f_files == there.f_files > 0
    assert 0 < told.f_ffree <= told.f_files


@check("room for what is written is counted", root=True)
def room_shrinks(place: Place) -> None:
    small, behind = place.elsewhere("small")
    before = os.statvfs(small)
    (small / "room").write_bytes(b"x" * (256 << 10))
    after = os.statvfs(small)
    assert after.f_bavail * after.f_frsize <= before.f_bavail * before.f_frsize - (256 << 10)
    (small / "room").unlink()
    # Nobody may have the file open; but the disk (tmpfs) has been seen to take seconds to free it, beside stress-ng.
    assert _openers(behind / "room") == []
    freed, disk = os.statvfs(small), os.statvfs(behind)
    assert freed.f_bavail * freed.f_frsize == disk.f_bavail * disk.f_frsize


def _openers(path: Path) -> list[str]:
    """Who has a deleted file open, of all processes of this machine."""
    found = []
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) == f"{path} (deleted)":
                found.append(str(descriptor))
    return found
