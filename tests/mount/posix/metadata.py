"""Times, modes, owners, inode numbers, free space."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time

from tests.mount.posix import Place, check, fails

TIMES_NS = {
    "now": 1_700_000_000_123_456_700,
    "2038": (1 << 31) * 10**9 + 100,
    "2100": 4_102_444_800_987_654_300,
    "1970": 5 * 10**9 + 200,
    "1969": -86_400 * 10**9,
    "1969 and a bit": -1_500_000_000 + 100,
    "1903": -2_114_380_800 * 10**9,
    "one hundred": 1_600_000_000_000_000_100,
    "999999900": 1_600_000_000_999_999_900,
}
"""Nanoseconds since 1970 in units of 100, which is what the wire has room for."""


@check()
def times_to_100_ns(place: Place) -> None:
    for label, time_ns in TIMES_NS.items():
        path = place.path / label
        path.write_bytes(b"x")
        os.utime(path, ns=(time_ns + 700, time_ns))
        told = path.stat()
        assert (label, told.st_atime_ns, told.st_mtime_ns) == (label, time_ns + 700, time_ns)
        there = (place.behind / label).stat()
        assert (label, there.st_atime_ns, there.st_mtime_ns) == (label, time_ns + 700, time_ns)


@check()
def times_of_directories(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    os.utime(made, ns=(10**18 + 300, 10**18))
    assert (made.stat().st_atime_ns, made.stat().st_mtime_ns) == (10**18 + 300, 10**18)


@check()
def times_by_handle_stay_after_close(place: Place) -> None:
    """As cp -p, rsync and tar do it: write, set the times of the open file, close."""
    path = place.path / "f"
    with path.open("wb") as file:
        file.write(b"content")
        file.flush()
        os.utime(file.fileno(), ns=(10**18 + 300, 10**18))
        assert os.fstat(file.fileno()).st_mtime_ns == 10**18
    assert path.stat().st_mtime_ns == 10**18
    assert (place.behind / "f").stat().st_mtime_ns == 10**18


@check()
def one_time_leaves_the_other(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(10**18 + 100, 10**18))
    subprocess.run(["touch", "-m", "-d", "@1600000000.5", str(path)], check=True)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (10**18 + 100, 1_600_000_000_500_000_000)
    subprocess.run(["touch", "-a", "-d", "@1500000000.25", str(path)], check=True)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_500_000_000_250_000_000, 1_600_000_000_500_000_000)


@check()
def times_of_now(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(10**18, 10**18))
    before = time.time()
    os.utime(path)
    assert before - 2 <= path.stat().st_mtime <= time.time() + 2
    assert before - 2 <= path.stat().st_atime <= time.time() + 2


@check()
def writing_moves_the_time(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(10**18, 10**18))
    before = time.time()
    path.write_bytes(b"more")
    assert before - 2 <= path.stat().st_mtime <= time.time() + 2
    os.utime(place.path, ns=(10**18, 10**18))
    (place.path / "g").write_bytes(b"")
    assert before - 2 <= place.path.stat().st_mtime <= time.time() + 2


@check(unix=True)
def modes(place: Place) -> None:
    path, made = place.path / "f", place.path / "d"
    path.write_bytes(b"x")
    made.mkdir()
    for mode in (0o644, 0o600, 0o400, 0o755, 0o000, 0o4755, 0o2755, 0o777):
        path.chmod(mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert stat.S_IMODE((place.behind / "f").stat().st_mode) == mode
    for mode in (0o700, 0o1777, 0o2775, 0o755):
        made.chmod(mode)
        assert stat.S_IMODE(made.stat().st_mode) == mode
    with path.open("rb") as file:
        os.fchmod(file.fileno(), 0o640)
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o640


@check(unix=True)
def modes_of_what_is_made(place: Place) -> None:
    """The program's, less its umask; and less what smbd's `create mask` takes away, which is 0033."""
    before = os.umask(0o027)
    try:
        os.close(os.open(place.path / "f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(place.path / "x", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o747))
        os.mkdir(place.path / "d", 0o777)
    finally:
        os.umask(before)
    for name, mode in {"f": 0o640, "x": 0o740, "d": 0o750}.items():
        assert stat.S_IMODE((place.path / name).stat().st_mode) == mode
        assert stat.S_IMODE((place.behind / name).stat().st_mode) == mode


@check()
def read_only_files(place: Place) -> None:
    """The owner's write bit is real everywhere."""
    path = place.path / "f"
    path.write_bytes(b"x")
    path.chmod(0o444)
    assert not path.stat().st_mode & 0o222
    path.chmod(0o644)
    assert path.stat().st_mode & 0o200
    path.write_bytes(b"again")
    path.chmod(0o555)
    path.unlink()
    assert not path.exists()


@check()
def made_read_only_and_written(place: Place) -> None:
    """As git makes its objects, and cp -p copies read-only files: the handle that made it may write."""
    path = place.path / "object"
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o444)
    try:
        assert os.write(handle, b"content") == 7
        os.fsync(handle)
        assert os.pread(handle, 10, 0) == b"content"
    finally:
        os.close(handle)
    assert not path.stat().st_mode & 0o222
    assert path.read_bytes() == b"content"
    path.rename(place.path / "moved")
    (place.path / "moved").unlink()


@check()
def times_of_a_read_only_file(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    path.chmod(0o444)
    os.utime(path, ns=(10**18, 10**18))
    assert path.stat().st_mtime_ns == 10**18
    assert not path.stat().st_mode & 0o222
    path.chmod(0o644)
    assert path.stat().st_mtime_ns == 10**18


@check(unix=True, root=True)
def owners(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.chown(path, 1234, -1)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, os.getegid())
    os.chown(path, -1, 4321)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    there = (place.behind / "f").stat()
    assert (there.st_uid, there.st_gid) == (1234, 4321)
    made = place.path / "d"
    made.mkdir()
    os.chown(made, 65534, 65534)
    assert (made.stat().st_uid, made.stat().st_gid) == (65534, 65534)


@check()
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


@check()
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


@check()
def sizes_and_blocks(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(bytes(range(256)) * 4096)
    told, there = path.stat(), (place.behind / "f").stat()
    assert told.st_size == there.st_size == 1 << 20
    assert told.st_blocks >= 2048
    assert told.st_nlink == 1
    assert told.st_blksize >= 65536


@check()
def space(place: Place) -> None:
    told, there = os.statvfs(place.path), os.statvfs(place.behind)
    assert told.f_blocks * told.f_frsize == there.f_blocks * there.f_frsize
    assert 0 < told.f_bavail <= told.f_bfree <= told.f_blocks
    assert told.f_namemax == 255
    shown = subprocess.check_output(["df", "--output=size,used,avail,target", str(place.path)], text=True)
    assert len(shown.splitlines()) == 2


ACCESS = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_RDONLY))
        opened = "opens"
    except PermissionError:
        opened = "refused"
    print("".join(letter if os.access(path, how) else "-" for letter, how in zip("rwx", (4, 2, 1))), opened)
"""


@check(root=True)
def others_may_what_the_mode_says(place: Place) -> None:
    """The kernel checks modes (default_permissions), as an ordinary user sees it; root always may."""
    os.chmod(place.path, 0o755)
    for name in ("open", "closed"):
        (place.path / name).write_bytes(b"x")
        (place.path / name).chmod(0o644 if name == "open" else 0o600)
    command = [sys.executable, "-c", ACCESS, *(str(place.path / name) for name in ("open", "closed"))]
    shown = subprocess.check_output(command, text=True, timeout=30).splitlines()
    if place.unix:
        assert shown == ["r-- opens", "--- refused"]
    else:
        assert shown == ["r-x opens", "r-x opens"]  # file_mode is 0755
    assert os.access(place.path / "open", os.R_OK | os.W_OK)


@check()
def mknod_makes_regular_files(place: Place) -> None:
    os.mknod(place.path / "f", stat.S_IFREG | 0o644)
    assert (place.path / "f").stat().st_size == 0
    with fails(errno.EEXIST):
        os.mknod(place.path / "f", stat.S_IFREG | 0o644)
    assert os.listdir(place.path) == ["f"]
