"""Files that two machines write in turn or at once, by every way a program has: nothing is lost, nothing is made up."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually
from tests.support.relay import Relay

pytestmark = [pytest.mark.samba, pytest.mark.fuse]


@dataclass
class Machines:
    """The same share, mounted twice, and as it is on the server's disk."""

    one: Path
    other: Path
    disk: Path

    def put(self, name: str, content: bytes) -> Path:
        (self.disk / name).write_bytes(content)
        (self.disk / name).chmod(0o666)
        return self.disk / name


@pytest.fixture(params=["unix", "nounix"])
def options(request: pytest.FixtureRequest) -> dict[str, object]:
    return {request.param: True}


@pytest.fixture
def server(make_smbd: Callable[..., Smbd], tmp_path: Path) -> Smbd:
    """Its own disk is only looked at: without kernel oplocks that breaks none."""
    (tmp_path / "share").mkdir()
    return make_smbd([Share(name="share", path=tmp_path / "share")], options={"kernel oplocks": "no"})


@pytest.fixture
def machines(server: Smbd, mount: Callable[..., Mount], options: dict[str, object]) -> Machines:
    one, other = (mount(server, "share", **options).path for _ in range(2))
    return Machines(one, other, server.shares["share"].path)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def append(path: Path, data: bytes) -> None:
    with opened(path, os.O_WRONLY | os.O_APPEND) as log:
        os.write(log, data)


# --- appends


def test_lines_appended_in_turns(machines: Machines) -> None:
    """`echo >> log` here and there: the kernel's idea of the end is from before the other's turn."""
    log, wanted = machines.put("log", b""), b""
    for turn in range(6):
        for side in (machines.one, machines.other):
            line = b"%s %d\n" % (side.name.encode(), turn)
            append(side / "log", line)
            wanted += line
    assert log.read_bytes() == wanted
    assert (machines.one / "log").read_bytes() == (machines.other / "log").read_bytes() == wanted


def test_an_append_after_another_has_cut_the_file(machines: Machines) -> None:
    """logrotate's copytruncate: no NULs stand where the old lines were."""
    with opened(machines.one / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT) as log:
        os.write(log, b"x" * 1000)
        os.truncate(machines.other / "log", 0)
        eventually(lambda: (machines.disk / "log").stat().st_size == 0, 10, "the other machine has cut it")
        os.write(log, b"after\n")
        os.fsync(log)
        assert (machines.disk / "log").read_bytes() == b"after\n"
        assert (machines.one / "log").read_bytes() == b"after\n"


def test_what_was_appended_is_read_where_it_is(machines: Machines) -> None:
    machines.put("f", b"")
    with (
        opened(machines.one / "f", os.O_RDWR | os.O_APPEND) as log,
        opened(machines.other / "f", os.O_RDWR) as other,
    ):
        os.write(other, b"b" * 4096)
        os.fsync(other)
        os.write(log, b"a" * 8192)
        assert machines.disk.joinpath("f").read_bytes() == b"b" * 4096 + b"a" * 8192
        assert os.pread(log, 20_000, 0) == b"b" * 4096 + b"a" * 8192


APPENDS = """
import os, signal, sys
signal.signal(signal.SIGHUP, lambda *_: None)
os.close(1)
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for number in range(5):
    os.write(log, b"%d\\n" % number)
"""


def test_an_append_is_done_once_whatever_signals_come(
    server: Smbd, mount: Callable[..., Mount], options: dict[str, object]
) -> None:
    """On a slow link: what ends with EINTR is done again, and a server that was only late has done it then."""
    with Relay(server.port, delay=0.1) as relay:
        here, there = mount(server, "share", **options, port=relay.port), mount(server, "share", **options)
        disk = server.shares["share"].path / "log"
        disk.write_bytes(b"")
        disk.chmod(0o666)
        with opened(there.path / "log", os.O_RDWR):  # so that no oplock lets the writes wait
            program = subprocess.Popen([sys.executable, "-c", APPENDS, here.path / "log"], stdout=subprocess.PIPE)
            assert program.stdout is not None
            with program.stdout as told:
                told.read()  # up to its end: from there on it catches the signal
            while program.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    program.wait(0.2)
                program.send_signal(signal.SIGHUP)
        assert program.returncode == 0
        here.umount()
    assert disk.read_bytes().split() == [b"%d" % number for number in range(5)]


# --- holes


def test_a_hole_before_what_waits_is_read_as_zeroes(machines: Machines) -> None:
    """It is behind the end that the server knows."""
    with opened(machines.one / "f", os.O_RDWR | os.O_CREAT) as file:
        os.pwrite(file, b"begin", 0)
        os.fsync(file)
        os.pwrite(file, b"end", 100_000)
        assert os.pread(file, 10, 50_000) == bytes(10)
        os.pwrite(file, b"end", 1_000_000)
        assert os.pread(file, 10, 999_998) == b"\0\0end"
        assert os.pread(file, 10, 500_000) == bytes(10)
        assert len((machines.one / "f").read_bytes()) == 1_000_003


def test_an_append_after_a_hole_was_read(machines: Machines) -> None:
    """The kernel takes a short read for the end of the file."""
    with (
        opened(machines.one / "f", os.O_RDWR | os.O_CREAT | os.O_APPEND) as log,
        opened(machines.one / "f", os.O_RDWR) as file,
    ):
        os.pwrite(file, b"begin", 0)
        os.fsync(file)
        os.pwrite(file, b"end", 100_000)
        os.pread(file, 10, 50_000)
        os.write(log, b"appended")
    assert (machines.disk / "f").read_bytes() == b"begin".ljust(100_000, b"\0") + b"endappended"


# --- maps


def test_a_map_by_a_descriptor_for_appending(machines: Machines) -> None:
    """Pages have their place, though the kernel sends them by that descriptor."""
    machines.put("f", b"." * 4096)
    with (
        opened(machines.other / "f", os.O_RDWR),
        opened(machines.one / "f", os.O_RDWR | os.O_APPEND) as file,
        mmap.mmap(file, 4096) as view,
    ):
        view[0:1] = b"A"
        view.flush()
    content = (machines.disk / "f").read_bytes()
    assert (len(content), content[:1]) == (4096, b"A")


def test_what_is_changed_in_a_map_and_not_written_yet(machines: Machines) -> None:
    """Another machine opens the file, sees it, and changes another byte: both bytes are there in the end."""
    machines.put("f", b"." * 4096)
    with opened(machines.one / "f", os.O_RDWR) as file, mmap.mmap(file, 4096) as view:
        view[0:1] = b"A"
        with opened(machines.other / "f", os.O_RDWR) as other:
            assert os.pread(other, 1, 0) == b"A"
            os.pwrite(other, b"B", 100)
            os.fsync(other)
        eventually(lambda: view[100:101] == b"B", 10, "the map shows what the other machine wrote")
        view.flush()
    content = (machines.disk / "f").read_bytes()
    assert (content[:1], content[100:101]) == (b"A", b"B")


# --- files that have grown


def with_cp(source: Path, target: Path) -> None:
    subprocess.run(["cp", source, target], check=True, timeout=60)


@pytest.mark.parametrize("copy", [with_cp, shutil.copyfile])
def test_a_file_that_has_grown_is_copied_whole(machines: Machines, copy: Callable[[Path, Path], object]) -> None:
    """By copy_file_range and sendfile: both ask the kernel where the file ends, and not us."""
    machines.put("f", b"x" * 1000)
    assert (machines.one / "f").stat().st_size == 1000
    (machines.other / "f").write_bytes(b"y" * 5000)
    copy(machines.one / "f", machines.one / "copy")
    assert (machines.disk / "copy").read_bytes() == b"y" * 5000


# --- names that others replace


def _reads(path: Path, content: bytes) -> bool:
    return path.read_bytes() == content


def test_an_open_file_stays_itself_whatever_takes_its_name(machines: Machines) -> None:
    """Its FID is renewed when its oplock is gone, and that is by the name."""
    machines.put("f", b"old")
    with opened(machines.one / "f", os.O_RDWR) as file:
        assert os.pread(file, 10, 0) == b"old"
        for turn in range(5):
            (machines.other / "g").write_bytes(b"new %d" % turn)
            (machines.other / "g").rename(machines.other / "f")
            assert os.pread(file, 10, 0) == b"old"
            by_name = partial(_reads, machines.one / "f", b"new %d" % turn)
            eventually(by_name, 10, "this machine knows of the other file")
            assert os.pread(file, 10, 0) == b"old"
        os.pwrite(file, b"OLD", 0)
        os.fsync(file)
        assert os.pread(file, 10, 0) == b"OLD"
    assert (machines.disk / "f").read_bytes() == b"new 4"
