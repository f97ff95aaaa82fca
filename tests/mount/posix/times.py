"""Times: set exactly, moved by what POSIX says moves them, and by nothing else."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.mount.posix import UTIME_NOW, UTIME_OMIT, Place, check, fails, opened, utimensat
from tests.mount.posix.actor import NOBODY, STRANGER, Actor
from tests.support.processes import eventually

TIMES_NS = {
    "now": 1_700_000_000_123_456_700,
    "2038": (1 << 31) * 10**9 + 100,
    "2100": 4_102_444_800_987_654_300,
    "2446": (2**33 + 123) * 10**9,
    "1970": 5 * 10**9 + 200,
    "1969": -86_400 * 10**9,
    "1969 and a bit": -1_500_000_000 + 100,
    "1903": -2_114_380_800 * 10**9,
    "one hundred": 1_600_000_000_000_000_100,
    "999999900": 1_600_000_000_999_999_900,
}
"""Nanoseconds since 1970 in units of 100, which is what the wire has room for; within what ext4 can keep."""
OLD = 10**18
SETTING = "times set by utimensat: before 1970, after 2038, to 100 ns"


@check(SETTING)
def times_to_100_ns(place: Place) -> None:
    for label, time_ns in TIMES_NS.items():
        path = place.path / label
        path.write_bytes(b"x")
        os.utime(path, ns=(time_ns + 700, time_ns))
        told = path.stat()
        assert (label, told.st_atime_ns, told.st_mtime_ns) == (label, time_ns + 700, time_ns)
        there = (place.behind / label).stat()
        assert (label, there.st_atime_ns, there.st_mtime_ns) == (label, time_ns + 700, time_ns)


@check(SETTING)
def times_beyond_what_the_disk_holds(place: Place) -> None:
    """Become the nearest that it does hold, as with any file system; FILETIME itself begins in 1601."""
    path = place.path / "f"
    path.write_bytes(b"x")
    for seconds in (-13 * 10**9, -11_644_473_600, -(2**33), 2**34, 10**11, 2**40):
        os.utime(path, (seconds, seconds))
        assert (seconds, path.stat().st_mtime_ns) == (seconds, (place.behind / "f").stat().st_mtime_ns)


@check("times to the nanosecond", unix="to 100 ns", nounix="to 100 ns")
def times_to_1_ns(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(OLD + 123, OLD + 456))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (OLD + 123, OLD + 456)


@check(SETTING)
def times_of_directories(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    os.utime(made, ns=(OLD + 300, OLD))
    assert (made.stat().st_atime_ns, made.stat().st_mtime_ns) == (OLD + 300, OLD)


KEPT = "times set on an open file stay after close (cp -p, tar, rsync)"


@check(KEPT)
def times_by_handle_stay_after_close(place: Place) -> None:
    path = place.path / "f"
    with path.open("wb") as file:
        file.write(b"content")
        file.flush()
        os.utime(file.fileno(), ns=(OLD + 300, OLD))
        assert os.fstat(file.fileno()).st_mtime_ns == OLD
    assert path.stat().st_mtime_ns == OLD
    assert (place.behind / "f").stat().st_mtime_ns == OLD


@check(KEPT)
def what_is_written_and_then_dated_keeps_the_date(place: Place) -> None:
    path = place.path / "f"
    for way in ("path", "file"):
        with path.open("wb", buffering=0) as file:
            file.write(b"content")
            os.utime(path if way == "path" else file.fileno(), ns=(OLD, OLD))
        assert path.stat().st_mtime_ns == OLD
        with path.open("rb", buffering=0) as file:
            os.utime(file.fileno(), ns=(OLD, OLD + 200))
        assert path.stat().st_mtime_ns == OLD + 200


NOW_AND_OMIT = "UTIME_NOW and UTIME_OMIT"


@check(NOW_AND_OMIT)
def one_time_leaves_the_other(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(OLD + 100, OLD))
    subprocess.run(["touch", "-m", "-d", "@1600000000.5", str(path)], check=True)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (OLD + 100, 1_600_000_000_500_000_000)
    subprocess.run(["touch", "-a", "-d", "@1500000000.25", str(path)], check=True)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_500_000_000_250_000_000, 1_600_000_000_500_000_000)


@check(NOW_AND_OMIT)
def now_and_omitted(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(OLD, OLD))
    utimensat(path, (0, UTIME_OMIT), (0, UTIME_OMIT))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (OLD, OLD)
    before = time.time()
    utimensat(path, (0, UTIME_OMIT), (0, UTIME_NOW))
    assert path.stat().st_atime_ns == OLD
    assert before - 2 <= path.stat().st_mtime <= time.time() + 2
    utimensat(path, (0, UTIME_NOW), (10**9, 500))
    assert path.stat().st_mtime_ns == 10**18 + 500
    assert before - 2 <= path.stat().st_atime <= time.time() + 2
    with fails(errno.EINVAL):
        utimensat(path, (0, 10**9), (0, 0))


@check(NOW_AND_OMIT)
def times_of_now(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.utime(path, ns=(OLD, OLD))
    before = time.time()
    os.utime(path)
    assert before - 2 <= path.stat().st_mtime <= time.time() + 2
    assert before - 2 <= path.stat().st_atime <= time.time() + 2


WRITING = "mtime moves with write, truncate and msync, and shows at once"


@check(WRITING)
def writing_moves_the_time(place: Place) -> None:
    path = place.path / "f"
    for step in (lambda: path.write_bytes(b"more"), lambda: os.truncate(path, 1), lambda: path.write_bytes(b"")):
        path.write_bytes(b"content")
        os.utime(path, ns=(OLD, OLD))
        before = time.time()
        step()
        assert before - 2 <= path.stat().st_mtime <= time.time() + 2


@check(WRITING)
def times_of_writes_show_at_once(place: Place) -> None:
    """Also where the server is late with them, and after a time that was set while the file was open."""
    path = place.path / "f"
    path.write_bytes(b"content")
    for step in ("write", "truncate", "map"):
        with path.open("r+b", buffering=0) as file:
            os.utime(file.fileno(), ns=(OLD, OLD))
            assert path.stat().st_mtime_ns == OLD
            before = time.time_ns()
            _change(file.fileno(), step)
            seen = path.stat().st_mtime_ns
            # The server's clock is the same one here, read at the negotiation.
            assert before - 10**9 < seen < time.time_ns() + 10**9
            assert os.fstat(file.fileno()).st_mtime_ns == seen
        eventually(lambda: (place.behind / "f").stat().st_mtime_ns > OLD, 5, "the server has the time")
        assert path.stat().st_mtime_ns == seen


def _change(file: int, step: str) -> None:
    if step == "write":
        os.write(file, b"x")
    elif step == "truncate":
        os.ftruncate(file, 5)
    else:
        with mmap.mmap(file, 0) as mapped:
            mapped[:1] = b"m"
            mapped.flush()


@check("mtime and ctime of a directory move with its names, not with the files in it")
def names_move_the_times_of_their_directory(place: Place) -> None:
    there = place.path / "there"
    there.mkdir()
    (there / "other").mkdir()
    steps: dict[str, Callable[[], object]] = {
        "create": lambda: (there / "f").touch(),
        "mkdir": lambda: (there / "d").mkdir(),
        "link": lambda: os.link(there / "f", there / "g"),
        "rename": lambda: (there / "g").rename(there / "h"),
        "rename away": lambda: (there / "h").rename(there / "other" / "h"),
        "rename in": lambda: (there / "other" / "h").rename(there / "h"),
        "unlink": lambda: (there / "h").unlink(),
        "rmdir": lambda: (there / "d").rmdir(),
    }
    for step, change in steps.items():
        os.utime(there, ns=(OLD, OLD))
        before = there.stat().st_ctime_ns
        _wait_for_a_tick(place, before)
        change()
        told = there.stat()
        assert (step, told.st_mtime_ns > OLD, told.st_ctime_ns > before) == (step, True, True)
    os.utime(there, ns=(OLD, OLD))
    (there / "f").write_bytes(b"content")
    (there / "f").chmod(0o600)
    assert there.stat().st_mtime_ns == OLD


def _wait_for_a_tick(place: Place, time_ns: int) -> None:
    """Until what is changed now gets a later time: file systems keep it in ticks of some milliseconds."""
    probe = place.behind.parent / f".{place.behind.name}.tick"

    def later() -> bool:
        probe.write_bytes(b"")
        return probe.stat().st_mtime_ns > time_ns

    eventually(later, 10, "a later time")
    probe.unlink()


def _moved(place: Place, path: Path, change: Callable[[], object], after: Path | None = None) -> bool:
    """Whether a change moves the ctime of the file."""
    before = path.stat().st_ctime_ns
    _wait_for_a_tick(place, before)
    change()
    return (after or path).stat().st_ctime_ns > before


@check("ctime moves with write and truncate")
def contents_move_the_change_time(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    assert _moved(place, path, lambda: path.write_bytes(b"another"))
    assert _moved(place, path, lambda: os.truncate(path, 3))


MTIME_INSTEAD = "Samba tells mtime instead"


@check("ctime moves with chmod, utimensat, link, unlink, rename", unix=MTIME_INSTEAD, nounix=MTIME_INSTEAD)
def attributes_move_the_change_time(place: Place) -> None:
    path, other = place.path / "f", place.path / "g"
    path.write_bytes(b"content")
    assert _moved(place, path, lambda: os.utime(path, ns=(OLD, OLD)))
    assert _moved(place, path, lambda: path.chmod(0o444))
    assert _moved(place, path, lambda: os.link(path, other))
    assert _moved(place, path, other.unlink)
    assert _moved(place, path, lambda: path.rename(other), after=other)


@check("mtime and ctime do not move with stat, open, read or what is refused")
def looking_moves_no_time(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    os.utime(path, ns=(OLD, OLD))
    both = (path, place.behind / "f")
    before = [(told.st_mtime_ns, told.st_ctime_ns) for told in map(os.stat, both)]
    _wait_for_a_tick(place, both[1].stat().st_ctime_ns)
    path.read_bytes()
    with opened(path, os.O_RDWR):
        pass
    with fails(errno.EINVAL):
        os.truncate(path, -1)
    with fails(errno.EEXIST):
        os.link(path, path)
    assert [(told.st_mtime_ns, told.st_ctime_ns) for told in map(os.stat, both)] == before


@check("atime moves with read, as far as the server keeps it")
def reading_moves_the_access_time(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    os.utime(path, ns=(OLD, OLD))
    path.read_bytes()
    there = (place.behind / "f").stat().st_atime_ns
    assert there > OLD or os.statvfs(place.behind).f_flag & os.ST_NOATIME
    eventually(
        lambda: path.stat().st_atime_ns // 100 == there // 100, place.lifetime + 5, "the time of reading is seen"
    )
    os.utime(path, ns=(OLD, OLD))
    path.stat()
    with opened(path, os.O_RDWR) as handle:
        os.write(handle, b"x")
    assert path.stat().st_atime_ns == OLD


@check(
    "who may set times: the owner any, who may write that of now; EPERM, EACCES",
    nounix="nobody else may write", root=True,
)  # fmt: skip
def who_may_set_times(place: Place) -> None:
    path = place.path / "f"
    _own(place.path, 0o777)
    path.write_bytes(b"x")
    _own(path, 0o666)
    with Actor(user=NOBODY) as owner, Actor(user=STRANGER) as other:
        owner.do("utime", path, (10**9, 10**9))
        assert path.stat().st_mtime == 10**9
        other.do("utime", path)
        assert path.stat().st_mtime > 10**9
        with fails(errno.EPERM):
            other.do("utime", path, (10**9, 10**9))
        path.chmod(0o644)
        with fails(errno.EACCES):
            other.do("utime", path)


def _own(path: Path, mode: int) -> None:
    os.chown(path, NOBODY, NOBODY)
    path.chmod(mode)
