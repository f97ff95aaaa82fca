"""Copies, holes and space through real mounts: programs, requests, signals, and servers that smbd cannot play.

What POSIX says of the system calls is in tests/mount/posix/extents.py.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from smbfuse import ntstatus as nt
from smbfuse.wire.const import FILE_ATTRIBUTE_SPARSE_FILE, SMB_COM_WRITE_ANDX
from tests.fakes.background import Running, running
from tests.fakes.script import refused
from tests.fakes.server import FakeServer
from tests.fakes.volume import CLUSTER, Node
from tests.mount.posix import fails, pattern
from tests.mount.posix.extents import KEEP_SIZE, ZERO_RANGE, copied, fallocate, handle_of, runs
from tests.samba.smbd import Share, Smbd
from tests.support.logguard import LogGuard
from tests.support.mount import PROGRAM, Mount
from tests.support.processes import eventually, wait_gone
from tests.support.tap import Tap
from tests.support.told import await_watch

MIB = 1 << 20
LIMIT = 20.0


def run(*command: str | Path, status: int = 0) -> str:
    """A program's output, errors too; it must end with this status."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == status, done.stdout
    return done.stdout


# --- programs, on smbd


@dataclass
class Place:
    """A directory on a mount, the same on the server's disk, and one of this machine's."""

    path: Path
    behind: Path
    local: Path
    tap: Tap


@pytest.fixture
def tap(samba: Smbd) -> Iterator[Tap]:
    """To be asked for before `mount`, so that it outlives the mount."""
    with Tap((samba.address, samba.port)) as made:
        yield made


@pytest.fixture(params=["unix", "nounix"])
def place(
    request: pytest.FixtureRequest, samba: Smbd, tap: Tap, mount: Callable[..., Mount], tmp_path: Path
) -> Iterator[Place]:
    behind = samba.shares["share"].path / tmp_path.name
    behind.mkdir()
    made = mount(samba, port=tap.port, **{request.param: True})
    await_watch(made.path)
    local = tmp_path / "local"
    local.mkdir()
    yield Place(made.path / behind.name, behind, local, tap)
    run("rm", "-rf", behind)


def sparse_file(path: Path) -> bytes:
    """Data at both ends of 4 MiB and in the middle; returns the content."""
    content = bytearray(4 * MIB)
    for offset in (0, 2 * MIB + 12_345, 4 * MIB - 10_000):
        content[offset : offset + 10_000] = pattern(10_000, seed=offset)
    with path.open("wb") as file:
        file.truncate(len(content))
        for offset in (0, 2 * MIB + 12_345, 4 * MIB - 10_000):
            file.seek(offset)
            file.write(content[offset : offset + 10_000])
    return bytes(content)


def stored(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_cp_keeps_contents_and_makes_holes(place: Place) -> None:
    content = sparse_file(place.local / "sparse")
    for how in ("--sparse=auto", "--sparse=always", "--sparse=never", "--reflink=auto"):
        run("cp", how, place.local / "sparse", place.path / f"in{how}")
        run("cp", how, place.path / f"in{how}", place.path / f"within{how}")
        run("cp", how, place.path / f"within{how}", place.local / f"out{how}")
        for path in (place.behind / f"in{how}", place.behind / f"within{how}", place.local / f"out{how}"):
            assert path.read_bytes() == content, path
    for name in ("in--sparse=auto", "in--sparse=always"):
        assert stored(place.behind / name) < MIB, "what cp left out needs no storage"
    assert stored(place.behind / "within--sparse=always") == 3 * MIB, "zeroes it looks for by st_blksize"


def test_tar_of_sparse_files(place: Place) -> None:
    content = sparse_file(place.path / "sparse")
    run("tar", "-C", place.path, "-Scf", place.local / "archive", "sparse")
    (place.path / "out").mkdir()
    run("tar", "-C", place.path / "out", "-Sxf", place.local / "archive")
    assert (place.behind / "out" / "sparse").read_bytes() == content


def test_the_program_fallocate(place: Place) -> None:
    path, there = place.path / "f", place.behind / "f"
    run("fallocate", "-l", str(3 * MIB), path)
    assert (there.stat().st_size, stored(there) >= 3 * MIB) == (3 * MIB, True)
    path.write_bytes(pattern(MIB))
    run("fallocate", "-z", "-o", "1000", "-l", str(2 * MIB), path)
    assert there.read_bytes() == pattern(1000) + bytes(2 * MIB)
    for option in ("-p", "-d", "-n", "-c"):
        said = run("fallocate", option, "-o", "0", "-l", str(4 * MIB), path, status=1)
        assert "supported" in said, "smbd makes no holes over SMB1, and sets no space aside"
    run("fallocate", "-x", "-l", str(4 * MIB), path)
    assert there.read_bytes() == pattern(1000) + bytes(4 * MIB - 1000)


def test_a_copy_takes_large_requests(place: Place) -> None:
    content = pattern(8 * MIB)
    (place.behind / "a").write_bytes(content)
    with (
        handle_of(place.path / "a", os.O_RDONLY) as source,
        handle_of(place.path / "b") as target,
        place.tap.counted() as found,
    ):
        assert copied(source, target, 16 * MIB, 0, 0) == 8 * MIB
    assert found["READ_ANDX"] <= 8 * MIB // 60_000 + 4
    assert found["WRITE_ANDX"] <= 8 * MIB // 60_000 + 4
    assert set(found) <= {"READ_ANDX", "WRITE_ANDX"}
    assert (place.behind / "b").read_bytes() == content


COPIES = """
import os, sys
source, target = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
while True:
    os.copy_file_range(source, target, 1 << 30, 0, 0)
"""


def test_a_copy_is_killed_at_once(place: Place) -> None:
    """Also while the server says nothing."""
    (place.behind / "a").write_bytes(pattern(8 * MIB))
    before = place.tap.requests["WRITE_ANDX"]
    child = subprocess.Popen([sys.executable, "-c", COPIES, place.path / "a", place.path / "b"])
    try:
        eventually(lambda: place.tap.requests["WRITE_ANDX"] > before, LIMIT, "it copies")
        place.tap.freeze()
        child.send_signal(signal.SIGTERM)
        assert not wait_gone([child.pid], 2)
        assert child.wait(LIMIT) == -signal.SIGTERM
    finally:
        place.tap.thaw()
        child.kill()
        child.wait()
    run("cmp", place.path / "a", place.behind / "a")
    run("cp", place.path / "a", place.path / "b")
    assert (place.behind / "b").read_bytes() == pattern(8 * MIB)


# --- servers that keep space, and that have little


def test_space_behind_the_end(make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    server = make_smbd([Share(name="share", path=share)], options={"strict allocate": "yes"})
    path, there = mount(server, nounix=True).path / "f", share / "f"
    with handle_of(path) as handle:
        os.pwrite(handle, b"content", 0)
        fallocate(handle, KEEP_SIZE, 0, 2 * MIB)
        assert (os.fstat(handle).st_size, there.stat().st_size) == (7, 7)
        assert os.fstat(handle).st_blocks * 512 >= 2 * MIB
        fallocate(handle, KEEP_SIZE, 0, 10)
        fallocate(handle, 0, 0, MIB)
        assert (os.fstat(handle).st_size, stored(there)) == (MIB, 2 * MIB)
    assert there.read_bytes() == b"content" + bytes(MIB - 7)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=6M", "none", path)
    try:
        yield path
    finally:
        run("umount", path)


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own wants root")
@pytest.mark.parametrize("strict", ["yes", "no"])
def test_a_full_disk(small: Path, strict: str, make_smbd: Callable[..., Smbd], mount: Callable[..., Mount]) -> None:
    server = make_smbd([Share(name="share", path=small)], options={"strict allocate": strict})
    content = pattern(4 * MIB)
    (small / "a").write_bytes(content)
    made = mount(server, nounix=True)
    with handle_of(made.path / "a", os.O_RDONLY) as source, handle_of(made.path / "b") as target:
        os.pwrite(target, b"o" * MIB, 0)
        assert os.pread(target, 2 * MIB, 0) == b"o" * MIB
        for mode in (0, ZERO_RANGE):
            with fails(errno.ENOSPC):
                fallocate(target, mode, 0, 8 * MIB)
            assert (os.fstat(target).st_size, stored(small / "b")) == (MIB, MIB)
        with fails(errno.ENOSPC):
            copied(source, target, 4 * MIB, 0, 0)
        there = (small / "b").read_bytes()
        assert there[:MIB] == content[:MIB]
        assert os.fstat(target).st_size == len(there)
        assert os.pread(target, 8 * MIB, 0) == there


# --- servers with holes


@dataclass
class Holey:
    """A mount of the scriptable server, which has NTFS's holes. Its file `f` has 64 clusters of `x`."""

    path: Path
    server: Running

    @property
    def node(self) -> Node:
        return self.server.server.volume.find("\\f")

    def make_sparse(self, holes: set[int]) -> None:
        """Holes in `f`, from the start."""

        def change() -> None:
            self.node.attributes |= FILE_ATTRIBUTE_SPARSE_FILE
            for hole in holes:
                self.node.zero(hole * CLUSTER, (hole + 1) * CLUSTER)

        self.server.call(change)


@pytest.fixture
def holey(tmp_path: Path, log_guard: LogGuard) -> Iterator[Holey]:
    with ExitStack() as stack:
        server = stack.enter_context(running(FakeServer(files={"f": b"x" * (64 * CLUSTER), "b": b""})))
        (tmp_path / "m").mkdir()
        (tmp_path / "credentials").write_text("username=tester\npassword=correct horse 1\n")
        (tmp_path / "credentials").chmod(0o600)
        # Without locks of the server's: what is passed for ranges does not hang on them.
        options = {"port": server.port, "credentials": tmp_path / "credentials", "nobrl": True}
        made = stack.enter_context(Mount(server.unc(), tmp_path / "m", options, guard=log_guard))
        yield Holey(made.path, server)


def test_holes_are_seen_and_copied(holey: Holey) -> None:
    holey.make_sparse({0, 1, 10, 11, 12, 63})
    with handle_of(holey.path / "f", os.O_RDONLY) as handle:
        assert runs(handle) == [(2 * CLUSTER, 10 * CLUSTER), (13 * CLUSTER, 63 * CLUSTER)]
    run("cp", "--sparse=auto", holey.path / "f", holey.path / "copy")
    copy = holey.server.server.volume.find("\\copy")
    assert copy.data == holey.node.data
    assert holey.server.server.tap.requests["NT_TRANSACT"] > 0


def test_holes_are_punched(holey: Holey) -> None:
    with handle_of(holey.path / "f") as handle:
        before = os.pread(handle, 64 * CLUSTER, 0)
        run("fallocate", "-p", "-o", str(CLUSTER + 100), "-l", str(10 * CLUSTER), holey.path / "f")
        assert before == b"x" * (64 * CLUSTER)
        after = os.pread(handle, 64 * CLUSTER, 0)
        assert after == b"x" * (CLUSTER + 100) + bytes(10 * CLUSTER) + b"x" * (53 * CLUSTER - 100)
        assert runs(handle) == [(0, 2 * CLUSTER), (11 * CLUSTER, 64 * CLUSTER)]
        assert os.fstat(handle).st_blocks * 512 == 55 * CLUSTER
    run("fallocate", "-d", holey.path / "f")
    assert len(holey.node.holes) == 9
    assert holey.node.data == after


# In a process of its own: one that waits for a page holds the lock that the server's thread needs.
MAPPED = """
import mmap, os, sys
handle = os.open(sys.argv[1], os.O_RDWR)
mapped = mmap.mmap(handle, 0)
mapped[20 * 4096 : 20 * 4096 + 4] = b"data"
print(os.lseek(handle, 0, os.SEEK_DATA), os.lseek(handle, 20 * 4096, os.SEEK_HOLE))
"""


def test_what_a_map_wrote_into_a_hole_is_data(holey: Holey) -> None:
    """The kernel still has it when the question comes."""
    holey.make_sparse(set(range(64)))
    assert run(sys.executable, "-c", MAPPED, holey.path / "f").split() == [str(20 * CLUSTER), str(21 * CLUSTER)]


def test_a_copy_that_fails_half_way_leaves_no_old_pages(holey: Holey) -> None:
    """Bytes behind the ones that are counted were written, too."""
    content = pattern(4 * MIB)
    holey.server.call(holey.node.write, 0, content)
    target_node = holey.server.server.volume.find("\\b")
    holey.server.call(target_node.write, 0, b"o" * (4 * MIB))
    with handle_of(holey.path / "f", os.O_RDONLY) as source, handle_of(holey.path / "b") as target:
        assert os.pread(target, 4 * MIB, 0) == b"o" * (4 * MIB)
        refusing = holey.server.server.script.on
        holey.server.call(
            lambda: refusing(
                refused(nt.STATUS_DISK_FULL),
                command=SMB_COM_WRITE_ANDX,
                where=lambda exchange: exchange.message.body.offset_low >= MIB + MIB // 2,  # type: ignore[attr-defined]
            )
        )
        done = os.copy_file_range(source, target, 4 * MIB, 0, 0)
        there = bytes(target_node.data)
        assert 0 < done < MIB + MIB // 2
        assert there[: MIB + MIB // 2] == content[: MIB + MIB // 2] != b"o" * (MIB + MIB // 2), "more than is counted"
        assert os.pread(target, 4 * MIB, 0) == there
        with fails(errno.ENOSPC):
            fallocate(target, ZERO_RANGE, 0, 4 * MIB)
        assert os.pread(target, 4 * MIB, 0) == bytes(target_node.data) != there


# --- without the native module

WITHOUT = f"""
import sys
sys.argv[0] = {str(PROGRAM)!r}
sys.modules["smbfuse.fuse._native"] = None
from smbfuse.cli.main import main
sys.exit(main())
"""


def test_without_the_native_module_the_kernel_does_it(samba: Smbd, tmp_path: Path, log_guard: LogGuard) -> None:
    log_guard.expect(re.escape("byte-range locks hold on this machine only"))
    behind = samba.shares["share"].path / tmp_path.name
    behind.mkdir()
    (tmp_path / "m").mkdir()
    made = Mount.of(samba, "share", tmp_path / "m", guard=log_guard)
    made.argv[:1] = [sys.executable, "-c", WITHOUT]
    content = pattern(3 * MIB)
    (behind / "a").write_bytes(content)
    with made, handle_of(made.path / behind.name / "b") as target:
        with handle_of(made.path / behind.name / "a", os.O_RDONLY) as source:
            assert runs(source) == [(0, 3 * MIB)]
            assert copied(source, target, 4 * MIB, 0, 0) == 3 * MIB
        assert (behind / "b").read_bytes() == content
        with fails(errno.EOPNOTSUPP):
            fallocate(target, 0, 0, 4 * MIB)
        os.posix_fallocate(target, 0, 3 * MIB + 5000)
        assert (behind / "b").read_bytes() == content + bytes(5000)
    run("rm", "-rf", behind)
