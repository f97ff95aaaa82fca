"""What operations cost in requests, counted between mount and server."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.posix import fails, pattern
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually
from tests.support.tap import NOTIFY, Tap
from tests.support.told import ask_anew

LIFETIME = 30
"""Seconds: long enough for any test, so that only what the test does makes names cold."""

OLD = Path(json.__file__).parent
"""A directory whose files nobody has changed for a while, which no test can make."""


class Wire:
    """A mount through a tap, and a directory of its own on it."""

    def __init__(self, mounted: Mount, tap: Tap, behind: Path, *, unix: bool) -> None:
        self.path = mounted.path / behind.name
        self.behind = behind
        self.unix = unix
        self._tap = tap

    def cost(self, work: Callable[[], object]) -> Counter[str]:
        """The requests that `work` makes. Closes go their own way, so those of before are waited for."""
        eventually(self._settled, 10, "what was asked before is answered")
        with self._tap.counted() as found:
            work()
        return found

    def _settled(self) -> bool:
        with self._tap.counted() as found:
            os.statvfs(self.path)
        return found == {"QUERY_FS_INFORMATION": 1}


@pytest.fixture
def server(make_smbd: Callable[..., Smbd], tmp_path: Path) -> Smbd:
    """It tells of no changes: what it told of ours, and when, would be asked about at moments of its own."""
    share = tmp_path / "share"
    share.mkdir()
    (share / "hello.txt").write_bytes(b"hello\n")
    shares = [Share(name="share", path=share), Share(name="old", path=OLD, read_only=True)]
    return make_smbd(shares, options={"change notify": "no"})


@pytest.fixture
def tap(server: Smbd) -> Iterator[Tap]:
    """To be asked for before `mount`, so that it outlives the mount."""
    with Tap((server.address, server.port)) as made:
        yield made


@pytest.fixture(params=["unix", "nounix"])
def wire(request: pytest.FixtureRequest, server: Smbd, tap: Tap, mount: Callable[..., Mount]) -> Iterator[Wire]:
    behind = server.shares["share"].path / "requests"
    behind.mkdir()
    unix = request.param == "unix"
    made = mount(server, port=tap.port, actimeo=LIFETIME, **({} if unix else {"nounix": True}))
    # When it asks to be told of changes it doubts what it knows, before it learns that this server tells of none.
    eventually(lambda: tap.requests[NOTIFY] > 0, 30, "the server is asked to watch")
    ask_anew(made.path)
    (made.path / behind.name).stat()
    yield Wire(made, tap, behind, unix=unix)
    shutil.rmtree(behind)


def total(counter: Counter[str], *, asynchronous: tuple[str, ...] = ()) -> int:
    """Requests in all, without those that nobody waits for."""
    return sum(count for name, count in counter.items() if name not in asynchronous)


def test_stat(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x")
    cold = wire.cost((wire.path / "f").stat)
    assert total(cold) == 1, cold
    assert wire.cost((wire.path / "f").stat) == {}


def test_ls_l_of_300_entries(wire: Wire) -> None:
    for number in range(300):
        (wire.behind / f"file {number}").write_bytes(b"x" * number)
    cold = wire.cost(lambda: subprocess.run(["ls", "-ln", str(wire.path)], check=True, stdout=subprocess.DEVNULL))
    assert total(cold) <= 6, cold
    assert set(cold) <= {"FIND_FIRST2", "FIND_NEXT2", "FIND_CLOSE2"}
    again = wire.cost(lambda: subprocess.run(["ls", "-ln", str(wire.path)], check=True, stdout=subprocess.DEVNULL))
    assert again == {}
    assert wire.cost(lambda: [entry.stat() for entry in os.scandir(wire.path)]) == {}


def test_a_name_that_a_fresh_listing_does_not_hold(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x")
    os.listdir(wire.path)

    def look() -> None:
        for name in ("absent", "also absent", "f2"):
            with fails(errno.ENOENT):
                os.open(wire.path / name, os.O_RDONLY)

    assert wire.cost(look) == {}


def test_open_read_close(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x" * 60_000)
    (wire.path / "f").stat()
    warm = wire.cost((wire.path / "f").read_bytes)
    # POSIX_OPEN is a TRANSACTION2, to which no read can be chained. The kernel reads the file in two pieces, at once.
    assert total(warm, asynchronous=("CLOSE",)) <= (3 if wire.unix else 1), warm


def test_open_read_close_of_a_small_file_that_nobody_changes(
    server: Smbd, tap: Tap, mount: Callable[..., Mount]
) -> None:
    """With UNIX extensions, too, it is one wait: what it begins with is read in passing, by a message of its own."""
    made = mount(server, "old", port=tap.port, actimeo=LIFETIME)
    os.listdir(made.path)
    names = [path.name for path in OLD.glob("*.py")]
    assert len(names) > 3
    first = names.pop()
    (made.path / first).read_bytes()
    eventually(lambda: tap.requests["TREE_CONNECT_ANDX"] == 2, 10, "there is a tree connect for looks in passing")
    with tap.counted() as found:
        for name in names:
            assert (made.path / name).read_bytes() == (OLD / name).read_bytes()
    for waited in ("CLOSE", NOTIFY):
        found.pop(waited, None)
    assert found == {"NT_CREATE_ANDX+READ_ANDX+CLOSE": len(names), "SET_PATH_INFORMATION": len(names)}


def test_reading_again_under_the_oplock(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x" * 60_000)
    (wire.path / "f").read_bytes()
    assert wire.cost(lambda: [(wire.path / "f").read_bytes() for _ in range(3)]) == {}


def test_a_second_ls_of_2000_files(wire: Wire) -> None:
    grow(wire.behind)
    command = ["ls", "-lnR", str(wire.path)]
    cold = wire.cost(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    assert total(cold) <= 2 * 21, cold  # a search of each directory, and perhaps its end
    assert wire.cost(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)) == {}


def test_stat_of_1000_files_of_a_directory(wire: Wire) -> None:
    for number in range(1000):
        (wire.behind / f"f{number}").write_bytes(b"x")
    cost = wire.cost(lambda: [(wire.path / f"f{number}").stat() for number in range(1000)])
    assert total(cost) <= 60, cost


def test_a_walk_of_2000_files(wire: Wire) -> None:
    grow(wire.behind)
    cost = wire.cost(lambda: subprocess.run(["du", "-s", str(wire.path)], check=True, stdout=subprocess.DEVNULL))
    assert total(cost, asynchronous=("FIND_CLOSE2",)) <= 2 * 21, cost


def test_a_second_git_status_of_2000_files(wire: Wire) -> None:
    grow(wire.behind, 200)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "all"]):
        subprocess.run(["git", *words], cwd=wire.behind, check=True, timeout=60)
    command = ["git", "-c", "safe.directory=*", "-c", "core.fileMode=false", "status", "--porcelain"]

    def status() -> None:
        done = subprocess.run(command, cwd=wire.path, check=True, capture_output=True, text=True, timeout=120)
        assert done.stdout == ""

    first, second = wire.cost(status), wire.cost(status)
    assert total(first) > 100, first
    assert total(second) <= total(first) * 0.05, (first, second)


def grow(path: Path, directories: int = 20) -> None:
    """2,000 files."""
    for number in range(directories):
        (path / f"dir{number}").mkdir()
        for name in range(2000 // directories):
            (path / f"dir{number}" / f"file{name}").write_bytes(b"%d" % name)


def test_chmod(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x")
    (wire.path / "f").stat()
    cost = wire.cost(lambda: (wire.path / "f").chmod(0o444))
    assert cost == {"SET_PATH_INFORMATION": 1}


def test_utime(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x")
    (wire.path / "f").stat()
    cost = wire.cost(lambda: os.utime(wire.path / "f", ns=(10**18, 10**18)))
    assert cost == {"SET_PATH_INFORMATION": 1}


def test_mkdir_and_rmdir(wire: Wire) -> None:
    os.listdir(wire.path)
    cost = wire.cost((wire.path / "d").mkdir)
    assert total(cost) == (1 if wire.unix else 2), cost  # without the extensions its attributes are asked for
    wire.path.stat()  # the directory has changed, and the kernel wants to know its mode anew
    cost = wire.cost((wire.path / "d").rmdir)
    assert total(cost) == 1, cost


def test_unlink(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x")
    (wire.path / "f").stat()
    cost = wire.cost((wire.path / "f").unlink)
    assert total(cost) == 1, cost


def test_rename_over_a_file(wire: Wire) -> None:
    for name in ("old", "new"):
        (wire.behind / name).write_bytes(name.encode())
    os.listdir(wire.path)
    [(wire.path / name).stat() for name in ("old", "new")]
    cost = wire.cost(lambda: (wire.path / "new").rename(wire.path / "old"))
    assert total(cost) == 1, cost
    assert (wire.behind / "old").read_bytes() == b"new"


def test_create_write_close(wire: Wire) -> None:
    os.listdir(wire.path)
    cost = wire.cost(lambda: (wire.path / "f").write_bytes(b"x" * 4096))
    assert total(cost, asynchronous=("CLOSE",)) <= (2 if wire.unix else 3), cost  # smbd does not tell the file's id


def test_cp_a_of_small_files(wire: Wire, tmp_path: Path) -> None:
    """Create, write, times, mode, close. Without the UNIX extensions the mode is none, but smbd tells no id."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(100):
        (source / f"f{number}").write_bytes(b"x" * 4096)
        os.utime(source / f"f{number}", (10**9, 10**9))
    os.listdir(wire.path)
    cost = wire.cost(lambda: subprocess.run(["cp", "-a", str(source), str(wire.path / "copy")], check=True))
    assert total(cost) <= 5.2 * 100, cost
    times = {entry.stat().st_mtime for entry in os.scandir(wire.behind / "copy")}
    assert times == {10**9}


def test_sequential_read_and_write_use_large_requests(wire: Wire) -> None:
    size = 8 << 20
    content = pattern(size)  # memory that was never touched the kernel would pass on page by page
    write = wire.cost(lambda: (wire.path / "f").write_bytes(content))
    assert write["WRITE_ANDX"] <= size // (32 << 10), write
    read = wire.cost((wire.path / "f").read_bytes)
    assert read["READ_ANDX"] <= size // (60 << 10) + 2, read


def test_without_cache_each_stat_asks(server: Smbd, tap: Tap, mount: Callable[..., Mount]) -> None:
    made = mount(server, port=tap.port, actimeo=0)
    (made.path / "hello.txt").stat()
    with tap.counted() as cost:
        for _ in range(3):
            (made.path / "hello.txt").stat()
    assert tap.requests[NOTIFY] == 0, "nothing is kept that others' changes could make wrong"
    assert 3 <= total(cost) <= 9, cost  # the root, the name, and the file that it names
