"""What is asked of the server's disk (O_SYNC, fsync, msync), and O_DIRECT as programs use it, on real mounts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.mount.posix import pattern
from tests.samba.smbd import Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually
from tests.support.tap import Tap
from tests.support.told import await_watch


@dataclass
class Wire:
    """A directory on a mount through a tap, and the same on the server's disk."""

    path: Path
    behind: Path
    tap: Tap

    def cost(self, work: Callable[[], object]) -> Counter[str]:
        """The requests that `work` makes, but for those about names and attributes, and for closes."""
        eventually(self._settled, 10, "what was asked before is answered")
        with self.tap.counted() as found:
            work()
        return Counter({name: count for name, count in found.items() if name in ("WRITE_ANDX", "READ_ANDX", "FLUSH")})

    def _settled(self) -> bool:
        with self.tap.counted() as found:
            os.statvfs(self.path)
        return found == {"QUERY_FS_INFORMATION": 1}


@pytest.fixture(scope="module", params=["unix", "nounix"])
def mounted(request: pytest.FixtureRequest, samba: Smbd) -> Iterator[tuple[Path, Path, Tap]]:
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-sync-")))
        tap = stack.enter_context(Tap((samba.address, samba.port)))
        made = stack.enter_context(Mount.of(samba, "share", base, {"port": tap.port, request.param: True}))
        await_watch(made.path)
        yield made.path, samba.shares["share"].path, tap


@pytest.fixture
def wire(mounted: tuple[Path, Path, Tap], tmp_path: Path) -> Iterator[Wire]:
    path, share, tap = mounted
    behind = share / tmp_path.name
    behind.mkdir()
    eventually((path / behind.name).is_dir, 10, "the mount hears of what was made behind it")
    yield Wire(path / behind.name, behind, tap)
    subprocess.run(["rm", "-rf", str(behind)], check=True)


@pytest.mark.parametrize(
    ("flags", "how", "writes", "flushes"),
    [
        (0, 0, 0, 0),  # they wait: nobody else can have the file open
        (os.O_DIRECT, 0, 3, 0),
        (os.O_SYNC, 0, 3, 3),
        (os.O_DSYNC, 0, 3, 3),
        (os.O_SYNC | os.O_DIRECT, 0, 3, 3),
        (0, os.RWF_SYNC, 3, 3),
        (0, os.RWF_DSYNC, 3, 3),
    ],
    ids=["plain", "direct", "sync", "dsync", "direct-sync", "rwf-sync", "rwf-dsync"],
)
def test_synchronous_writes_reach_the_disk(wire: Wire, flags: int, how: int, writes: int, flushes: int) -> None:
    handle = os.open(wire.path / "f", os.O_RDWR | os.O_CREAT | flags)
    try:
        found = wire.cost(lambda: [os.pwritev(handle, [b"x" * 4096], at * 4096, how) for at in range(3)])
        assert (found["WRITE_ANDX"], found["FLUSH"]) == (writes, flushes)
        for synchronize in (os.fsync, os.fdatasync):
            found = wire.cost(partial(synchronize, handle))
            assert (found["WRITE_ANDX"], found["FLUSH"]) == (0 if writes else 1, 1), "joined"
            writes = 3
    finally:
        os.close(handle)


def test_a_file_is_synchronized_by_whom_it_was_not_written(wire: Wire) -> None:
    """As after `cp`: the data reach the disk, though the handle is for reading."""
    (wire.path / "f").write_bytes(b"x" * 10_000)
    assert wire.cost(lambda: subprocess.run(["sync", wire.path / "f"], check=True)) == {"FLUSH": 1}


# In a process of its own: one that waits for a page holds the lock that the tap's threads need.
MAPS = """
import mmap, os, sys
handle = os.open(sys.argv[1], os.O_RDWR)
mapped = mmap.mmap(handle, 0)
mapped[5000:5003] = b"map"
mapped.flush()
"""


def test_msync_reaches_the_disk(wire: Wire) -> None:
    (wire.path / "f").write_bytes(bytes(10_000))
    found = wire.cost(lambda: subprocess.run([sys.executable, "-c", MAPS, wire.path / "f"], check=True))
    assert (found["WRITE_ANDX"], found["FLUSH"]) == (1, 1)
    assert (wire.behind / "f").read_bytes()[5000:5003] == b"map"


def test_direct_io_of_any_size_and_place(wire: Wire) -> None:
    """Not only of whole sectors, of which a share has none."""
    content, expected = pattern(500_000), bytearray()
    handle = os.open(wire.path / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    try:
        for number in range(40):
            offset, size = number * 7919 % 190_000, (1, 511, 512, 4096, 5000, 65_537, 200_000)[number % 7]
            piece = content[number : number + size]
            assert os.pwrite(handle, piece, offset) == size
            expected.extend(bytes(max(offset + size - len(expected), 0)))
            expected[offset : offset + size] = piece
            offset, size = number * 6007 % 400_000, number * 5003 + 1
            assert os.pread(handle, size, offset) == expected[offset : offset + size]
            assert os.fstat(handle).st_size == len(expected)
    finally:
        os.close(handle)
    assert (wire.path / "f").read_bytes() == (wire.behind / "f").read_bytes() == expected


def test_direct_reads_end_where_the_file_does(wire: Wire) -> None:
    content = pattern(300_001)
    (wire.behind / "f").write_bytes(content)
    handle = os.open(wire.path / "f", os.O_RDONLY | os.O_DIRECT)
    try:
        pieces: list[bytes] = []
        found = wire.cost(lambda: pieces.extend(iter(lambda: os.read(handle, 65_536), b"")))
        assert [len(piece) for piece in pieces] == [65_536] * 4 + [300_001 - 4 * 65_536]
        assert b"".join(pieces) == content
        assert found["READ_ANDX"] <= 2 * len(pieces)
        for offset in (300_001, 300_002, 1 << 40):
            assert os.pread(handle, 10, offset) == b""
        assert os.pread(handle, 1 << 21, 4095) == content[4095:]
    finally:
        os.close(handle)


def test_direct_reads_follow_a_file_that_grows(wire: Wire) -> None:
    (wire.behind / "f").write_bytes(b"x" * 5000)
    handle = os.open(wire.path / "f", os.O_RDONLY | os.O_DIRECT)
    try:
        assert os.pread(handle, 100, 5000) == b""
        with (wire.behind / "f").open("ab") as there:
            there.write(b"more")
        eventually(lambda: os.fstat(handle).st_size == 5004, 10, "the new size is seen")
        assert os.pread(handle, 100, 5000) == b"more"
    finally:
        os.close(handle)
