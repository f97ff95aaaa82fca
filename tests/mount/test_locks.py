"""Byte-range locks through real mounts: between processes, between machines, and under sqlite."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.samba.smbd import Smbd
from tests.support.locker import Locker
from tests.support.mount import Mount
from tests.support.processes import eventually

R, W, U = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
SOON = 10.0
EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB

KINDS = {"unix": {}, "nounix": {"nounix": True}}


@pytest.fixture(params=KINDS)
def options(request: pytest.FixtureRequest) -> dict[str, object]:
    return dict(KINDS[request.param])


@dataclass
class Place:
    """A directory on the server's disk, and how to have it mounted once more."""

    behind: Path
    name: str
    server: Smbd
    make: Callable[..., Mount]
    options: dict[str, object]

    def mount(self, **more: object) -> Path:
        """The directory on another machine."""
        return self.make(self.server, "share", **self.options, **more).path / self.name


@pytest.fixture
def place(samba: Smbd, mount: Callable[..., Mount], options: dict[str, object], tmp_path: Path) -> Iterator[Place]:
    behind = samba.shares["share"].path / tmp_path.name
    behind.mkdir()
    (behind / "file").write_bytes(b"0" * 1000)
    yield Place(behind, behind.name, samba, mount, options)
    subprocess.run(["rm", "-rf", str(behind)], check=True)


@pytest.fixture
def lockers() -> Iterator[Callable[[Path], Locker]]:
    """Processes with the file open as `f`."""
    with ExitStack() as stack:

        def make(path: Path, flags: int = os.O_RDWR) -> Locker:
            made = stack.enter_context(Locker())
            assert made("open", "f", str(path), flags) is None
            return made

        yield make


Lockers = Callable[..., Locker]


def test_processes_of_one_machine(place: Place, lockers: Lockers) -> None:
    file = place.mount() / "file"
    one, other = lockers(file), lockers(file)
    assert one("lock", "f", W, 10, 10) is None
    assert other("lock", "f", R, 15, 1) == "EAGAIN"
    assert other("test", "f", W, 0, 0) == [W, 10, 10, one.process.pid]
    assert other("lock", "f", W, 20, 0) is None
    assert other("read", "f", 10, 3) == "000"
    assert other("write", "f", 12, "x") == 1
    assert one("open", "again", str(file), os.O_RDONLY) is None
    assert one("close", "again") is None
    assert other("lock", "f", R, 15, 1) is None, "any close of a file ends the process's locks on it"


def test_machines_and_processes_at_the_server(place: Place, lockers: Lockers) -> None:
    one, other = lockers(place.mount() / "file"), lockers(place.mount() / "file")
    there = lockers(place.behind / "file")
    assert one("lock", "f", W, 10, 10) is None
    for rival in (other, there):
        assert rival("lock", "f", R, 15, 1) == "EAGAIN"
        assert rival("test", "f", W, 12, 1)[0] == W
        assert rival("lock", "f", W, 30, 1) is None
        assert rival("lock", "f", U, 0, 0) is None
    if place.options:
        assert other("write", "f", 10, "x") == "EACCES"
    assert other("write", "f", 30, "x") == 1
    assert one("lock", "f", U, 0, 0) is None
    assert there("lock", "f", W, 0, 0) is None
    assert one("lock", "f", R, 0, 1) == "EAGAIN"


def test_what_was_written_under_a_lock_is_seen_under_the_next(place: Place, lockers: Lockers) -> None:
    one, other = lockers(place.mount() / "file"), lockers(place.mount() / "file")
    for turn in range(20):
        writer, reader = (one, other) if turn % 2 else (other, one)
        assert writer("wait", "f", W, 5000, 1) is None
        assert writer("write", "f", 0, f"{turn:04}") == 4
        assert writer("lock", "f", U, 5000, 1) is None
        assert reader("wait", "f", R, 5000, 1) is None
        assert reader("read", "f", 0, 4) == f"{turn:04}"
        assert reader("lock", "f", U, 5000, 1) is None


def test_a_waiter_is_woken(place: Place, lockers: Lockers) -> None:
    file = place.mount() / "file"
    one, near, far = lockers(file), lockers(file), lockers(place.mount() / "file")
    for rival in (near, far):
        assert one("lock", "f", W, 0, 0) is None
        rival.ask("wait", "f", R, 10, 1)
        assert one("lock", "f", W, 0, 0) is None, "one more request, so that the wait has begun"
        assert not rival.answered()
        assert one("lock", "f", U, 0, 0) is None
        assert rival.answer() is None
        assert rival("lock", "f", U, 0, 0) is None


def test_a_killed_waiter_leaves_nothing(place: Place, lockers: Lockers) -> None:
    file = place.mount() / "file"
    one, waiter, other = lockers(file), lockers(place.mount() / "file"), lockers(file)
    assert one("lock", "f", W, 0, 10) is None
    waiter.ask("wait", "f", W, 0, 10)
    eventually(waiter.blocked, SOON, "the waiter waits")
    waiter.kill()
    assert one("lock", "f", U, 0, 0) is None
    eventually(lambda: other("lock", "f", W, 0, 0) is None, SOON, "the lock is free")


def test_killed_holders_leave_nothing(place: Place, lockers: Lockers) -> None:
    file = place.mount() / "file"
    holder, other = lockers(file), lockers(place.mount() / "file")
    assert holder("lock", "f", W, 0, 0) is None
    assert holder("flock", "f", EXCLUSIVE) is None
    holder.kill()
    eventually(lambda: other("lock", "f", W, 0, 0) is None, SOON, "the lock is free")
    eventually(lambda: other("flock", "f", EXCLUSIVE) is None, SOON, "the flock is free")


def test_locks_outlast_a_rename_of_their_directory(place: Place, lockers: Lockers) -> None:
    """Without the UNIX extensions the file is closed meanwhile, and its locks are taken anew."""
    (place.behind / "old").mkdir()
    (place.behind / "old" / "file").write_bytes(b"0" * 100)
    here = place.mount()
    one, neighbour = lockers(here / "old" / "file"), lockers(here / "old" / "file")
    assert one("lock", "f", W, 10, 10) is None
    assert neighbour("lock", "f", R, 30, 10) is None
    (here / "old").rename(here / "new")
    other = lockers(place.mount() / "new" / "file")
    assert other("lock", "f", R, 15, 1) == "EAGAIN"
    assert other("lock", "f", W, 30, 1) == "EAGAIN"
    assert other("lock", "f", W, 50, 1) is None
    assert one("write", "f", 10, "x") == 1
    assert neighbour("lock", "f", W, 15, 1) == "EAGAIN"
    assert one("lock", "f", U, 0, 0) is None
    assert other("lock", "f", W, 15, 1) is None


def test_flock_between_machines(place: Place, lockers: Lockers) -> None:
    file = place.mount() / "file"
    one, near, far = lockers(file, os.O_RDONLY), lockers(file), lockers(place.mount() / "file", os.O_RDONLY)
    assert one("flock", "f", EXCLUSIVE) is None
    for rival in (near, far):
        assert rival("flock", "f", fcntl.LOCK_SH | fcntl.LOCK_NB) == "EAGAIN"
    assert near("lock", "f", W, 0, 0) is None, "independent of fcntl"
    far.ask("flock", "f", fcntl.LOCK_EX)
    assert one("flock", "f", fcntl.LOCK_UN) is None
    assert far.answer() is None
    assert near("flock", "f", EXCLUSIVE) == "EAGAIN"


def test_a_deadlock_is_told(place: Place, lockers: Lockers) -> None:
    file = place.mount() / "file"
    one, other = lockers(file), lockers(file)
    assert one("lock", "f", W, 0, 1) is None
    assert other("lock", "f", W, 1, 1) is None
    one.ask("wait", "f", W, 1, 1)
    eventually(one.blocked, SOON, "the first waits")
    assert other("wait", "f", W, 0, 1) == errno.errorcode[errno.EDEADLK]
    assert other("lock", "f", U, 0, 0) is None
    assert one.answer() is None


def test_nobrl_keeps_locks_here(place: Place, lockers: Lockers) -> None:
    file = place.mount(nobrl=True) / "file"
    one, near, far = lockers(file), lockers(file), lockers(place.mount() / "file")
    assert one("lock", "f", W, 0, 0) is None
    assert near("lock", "f", W, 0, 0) == "EAGAIN"
    assert far("lock", "f", W, 0, 0) is None


def test_as_on_a_local_disk(place: Place, lockers: Lockers, tmp_path: Path) -> None:
    """Three processes do the same on the mount and on the disk, and get the same answers."""
    here = tmp_path / "file"
    here.write_bytes(b"0" * 1000)
    theirs = place.mount() / "file"
    pairs = [(lockers(here), lockers(theirs)) for _ in "123"]
    chance = random.Random(4711)
    for number in range(200):
        local, mounted = chance.choice(pairs)
        name = chance.choice(["lock", "lock", "lock", "test"])
        kind = chance.choice([R, W, U]) if name == "lock" else chance.choice([R, W])
        command = (name, "f", kind, chance.randrange(40), chance.randrange(0, 20))
        expected, found = local(*command), mounted(*command)
        if name == "test" and len(expected) == 4:  # which of several is told is nobody's promise
            expected, found = expected[0] != U, found[0] != U
        assert found == expected, (number, command)


# --- sqlite

_WRITER = """
import sqlite3, sys
path, who, count, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute(f"pragma journal_mode={mode}")
for number in range(count):
    db.execute("begin immediate")
    (total,) = db.execute("select total from sums").fetchone()
    db.execute("insert into entries values (?, ?)", (who, number))
    db.execute("update sums set total = ?", (total + 1,))
    db.execute("commit")
    print(total + 1, flush=True)
db.close()
"""


def make_database(path: Path, mode: str) -> None:
    db = sqlite3.connect(path)
    db.execute(f"pragma journal_mode={mode}")
    db.executescript("create table entries (who, number); create table sums (total); insert into sums values (0);")
    db.close()


def start_writer(path: Path, who: str, count: int, mode: str) -> subprocess.Popen[bytes]:
    """A process that writes so many transactions, and a line for each that is there."""
    argv = [sys.executable, "-c", _WRITER, str(path), who, str(count), mode]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def transactions(path: Path) -> int:
    """How many transactions the database has; it must be sound, and none may be there in part."""
    db = sqlite3.connect(path, timeout=60)
    assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
    (total,) = db.execute("select total from sums").fetchone()
    (distinct,) = db.execute("select count(*) from (select distinct who, number from entries)").fetchone()
    db.close()
    assert distinct == total
    return int(total)


def write_at_once(paths: list[Path], count: int, mode: str) -> None:
    """One process for each path writes `count` transactions; all of them must be there afterwards."""
    make_database(paths[0], mode)
    writers = [start_writer(path, str(who), count, mode) for who, path in enumerate(paths)]
    for writer in writers:
        _, errors = writer.communicate(timeout=240)
        assert writer.returncode == 0, errors.decode()
    assert transactions(paths[0]) == count * len(paths)


@pytest.mark.parametrize(("mode", "processes", "count"), [("delete", 2, 100), ("persist", 4, 20), ("wal", 4, 50)])
def test_sqlite_with_several_processes(place: Place, mode: str, processes: int, count: int) -> None:
    write_at_once([place.mount() / "db"] * processes, count, mode)


@pytest.mark.parametrize("mode", ["delete", "truncate"])
def test_sqlite_on_two_machines(place: Place, mode: str) -> None:
    """With a rollback journal; a write-ahead log needs shared memory and is for one machine, as sqlite says."""
    paths = [place.mount(actimeo=0) / "db", place.mount(actimeo=0) / "db"]
    write_at_once(paths * 2, 10, mode)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_with_killed_writers(place: Place, mode: str) -> None:
    """What was committed stays, what was not is rolled back by the next one, and no lock is left."""
    path = place.mount() / "db"
    make_database(path, mode)
    last = 0
    for turn in range(3):
        writers = [start_writer(path, f"{turn} {who}", 1000, mode) for who in "ab"]
        for number, writer in enumerate(writers):
            assert writer.stdout is not None
            with writer:
                for _ in range(1 + 3 * number):
                    last = max(last, int(writer.stdout.readline()))
                writer.kill()
    assert transactions(path) >= last
