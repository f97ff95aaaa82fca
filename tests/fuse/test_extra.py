"""Real programs on a real mount whose file system knows locks, copy_file_range, lseek and fallocate."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import pytest

from tests.fuse.conftest import PATIENCE, Mount, Mounter, mounted
from tests.fuse.extra import BACKGROUND, SIZE

pytestmark = pytest.mark.fuse

TO_EOF = (1 << 63) - 1
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, COLLAPSE_RANGE = 1, 2, 0x10, 8  # FALLOC_FL_*
OFD_SETLK, OFD_SETLKW = 37, 38  # F_*, not in Python 3.11's fcntl
EVERYTHING = ["copy_file_range", "fallocate", "flock", "getlk", "lseek", "setlk"]

libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    if libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


@contextmanager
def fails(expected: int) -> Iterator[None]:
    """The block ends with that errno."""
    with pytest.raises(OSError, match=re.escape(f"[Errno {expected}]")):
        yield


def struct_flock(kind: int, start: int, length: int) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR)
    try:
        yield fd
    finally:
        os.close(fd)


# A process with a lock. It prints `holds` or an errno's name, and ends when its input does.
LOCKER = """
import ctypes, errno, fcntl, os, signal, sys
path, call, caught = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGINT, signal.SIG_DFL)
if caught != "none":
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, caught == "interrupting")
fd = os.open(path, os.O_RDWR)
if call == "flock":
    failed = libc.flock(fd, fcntl.LOCK_EX)
else:
    failed = libc.lockf(fd, os.F_LOCK, ctypes.c_int64(0))
print(errno.errorcode[ctypes.get_errno()] if failed else "holds", flush=True)
sys.stdin.read()
"""

Locker = subprocess.Popen[str]


@contextmanager
def locker(path: Path, call: str = "lockf", caught: str = "none") -> Iterator[Locker]:
    """A process that locks a whole file, and what it does with SIGALRM: none, interrupting or restarting."""
    command = [sys.executable, "-c", LOCKER, str(path), call, caught]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: Locker) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def unanswered(mount: Mount) -> int:
    mount.ask("count")
    return mount.numbers("count")[0]


def wait_for_unanswered(mount: Mount, count: int) -> None:
    deadline = monotonic() + PATIENCE
    while unanswered(mount) != count:
        assert monotonic() < deadline


# What the kernel passes.


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("all", EVERYTHING), ("unlocked", ["copy_file_range", "fallocate", "lseek"]), ("absent", [])],
)
def test_the_file_system_knows_what_is_passed(mount_extra: Mounter, mode: str, expected: list[str]) -> None:
    mount = mount_extra(mode)
    assert not (mount.path / "missing").exists()  # an answer: the mount is up
    mount.ask("passed")
    mount.expect(" ".join(["passed", *expected]))


def test_figures_for_background_requests_reach_the_kernel(
    mount_extra: Mounter, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mount = mount_extra("background")
    connection = str(os.minor((mount.path / "data").stat().st_dev))
    control = tmp_path_factory.mktemp("fusectl")
    subprocess.run(["mount", "-t", "fusectl", "none", control], check=True, timeout=PATIENCE)
    try:
        figures = [(control / connection / name).read_text() for name in ("max_background", "congestion_threshold")]
    finally:
        subprocess.run(["umount", control], check=True, timeout=PATIENCE)
    assert [int(figure) for figure in figures] == list(BACKGROUND)


# Byte-range locks.


def test_a_lock_arrives_with_its_numbers(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 50)
        inode, fh, owner, *lock = mount.numbers("setlk")
        assert (inode, fh, lock) == (2, 101, [fcntl.F_WRLCK, 50, 149, os.getpid(), 0])
        assert owner
        fcntl.lockf(fd, fcntl.LOCK_SH, 0, 1 << 40)
        assert mount.numbers("setlk") == [2, 101, owner, fcntl.F_RDLCK, 1 << 40, TO_EOF, os.getpid(), 1]
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, TO_EOF)
        assert mount.numbers("setlk") == [2, 101, owner, fcntl.F_UNLCK, TO_EOF, TO_EOF, 0, 1]


def test_a_lock_of_another_process_is_in_the_way(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with locker(mount.path / "data") as other, opened(mount.path / "data") as fd:
        assert said(other) == "holds"
        with pytest.raises(BlockingIOError):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct_flock(fcntl.F_RDLCK, 7, 3))
        assert struct.unpack("hhqqi4x", answer) == (fcntl.F_WRLCK, os.SEEK_SET, 0, 0, other.pid)
        inode, _fh, _owner, *lock = mount.numbers("getlk")
        assert (inode, lock) == (2, [fcntl.F_RDLCK, 7, 9, 0])


def test_no_lock_is_in_the_way(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct_flock(fcntl.F_WRLCK, 7, 3))
        assert struct.unpack("hhqqi4x", answer)[0] == fcntl.F_UNLCK


@pytest.mark.parametrize("call", ["lockf", "flock"])
def test_a_waiting_lock_is_granted_when_the_other_closes(mount_extra: Mounter, call: str) -> None:
    mount = mount_extra("all")
    name = "setlk" if call == "lockf" else "flock"
    with locker(mount.path / "data", call) as first, locker(mount.path / "other", call) as elsewhere:
        assert said(first) == said(elsewhere) == "holds"
        mount.numbers(name)
        mount.numbers(name)
        with locker(mount.path / "data", call) as second:
            mount.numbers(name)
            assert unanswered(mount) == 1
            first.kill()
            assert said(second) == "holds"
            assert unanswered(mount) == 0


@pytest.mark.parametrize("call", ["lockf", "flock"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGALRM], ids=lambda number: number.name)
def test_a_signal_ends_waiting(mount_extra: Mounter, call: str, number: signal.Signals) -> None:
    mount = mount_extra("all")
    with locker(mount.path / "data", call) as first:
        assert said(first) == "holds"
        with locker(mount.path / "data", call) as second:
            wait_for_unanswered(mount, 1)
            second.send_signal(number)
            assert second.wait(PATIENCE) == -number
        assert unanswered(mount) == 0


@pytest.mark.parametrize("call", ["lockf", "flock"])
def test_a_handled_signal_makes_it_eintr(mount_extra: Mounter, call: str) -> None:
    mount = mount_extra("all")
    name = "setlk" if call == "lockf" else "flock"
    with locker(mount.path / "data", call) as first:
        assert said(first) == "holds"
        mount.numbers(name)
        with locker(mount.path / "data", call, "interrupting") as second:
            mount.numbers(name)
            second.send_signal(signal.SIGALRM)
            assert said(second) == "EINTR"


@pytest.mark.parametrize("call", ["lockf", "flock"])
def test_a_signal_that_restarts_system_calls_repeats_the_request(mount_extra: Mounter, call: str) -> None:
    mount = mount_extra("all")
    name = "setlk" if call == "lockf" else "flock"
    with locker(mount.path / "data", call) as first:
        assert said(first) == "holds"
        mount.numbers(name)
        with locker(mount.path / "data", call, "restarting") as second:
            asked = mount.numbers(name)
            second.send_signal(signal.SIGALRM)
            assert mount.numbers(name) == asked
            first.kill()
            assert said(second) == "holds"


def test_many_locks_at_once_leave_nothing_behind(mount_extra: Mounter) -> None:
    """Contended, through ten open files, by the two calls whose owner is the open file."""
    mount = mount_extra("all")
    inside = 0

    def lock_and_unlock(number: int) -> None:
        nonlocal inside
        with opened(mount.path / "data") as fd:
            for _ in range(50):
                fcntl.flock(fd, fcntl.LOCK_EX)
                inside += 1
                assert inside == 1
                inside -= 1
                fcntl.flock(fd, fcntl.LOCK_UN)
                fcntl.fcntl(fd, OFD_SETLKW, struct_flock(fcntl.F_WRLCK, 0, 10))
                fcntl.fcntl(fd, OFD_SETLK, struct_flock(fcntl.F_UNLCK, 0, 10))

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lock_and_unlock, range(10)))
    assert unanswered(mount) == 0


# Whose locks end with a close.


def test_closing_tells_whose_locks_end(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        _, fh, owner, *_ = mount.numbers("setlk")
    assert mount.numbers("flush") == [fh, owner]
    assert mount.numbers("release") == [fh, 0]


def test_releasing_tells_whose_flock_ends(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        inode, fh, owner, operation = mount.numbers("flock")
        assert (inode, operation) == (2, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert mount.numbers("flush")[1] != owner
    assert mount.numbers("release") == [fh, owner]


def test_nothing_tells_of_the_end_of_locks_of_an_open_file_description(mount_extra: Mounter) -> None:
    """Which is why release ends whatever was locked through its handle."""
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        fcntl.fcntl(fd, OFD_SETLK, struct_flock(fcntl.F_WRLCK, 0, 10))
        _, fh, owner, *_ = mount.numbers("setlk")
    assert mount.numbers("flush")[1] not in (owner, 0)
    assert mount.numbers("release") == [fh, 0]


def test_reads_and_writes_tell_whose_they_are(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        owner = mount.numbers("setlk")[2]
        os.pread(fd, 10, 0)
        assert mount.numbers("read") == [owner]
        os.pwrite(fd, b"few", 0)
        assert mount.numbers("write") == [owner]
        os.pwrite(fd, bytes(1 << 18), 0)  # so large that libfuse leaves it in a pipe
        assert mount.numbers("write") == [owner]
        os.ftruncate(fd, 10)
        assert mount.numbers("setattr") == [owner]
    os.utime(mount.path / "data")
    assert mount.numbers("setattr") == [0]


# The others.


def test_copying_a_range(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as source, opened(mount.path / "other") as target:
        assert os.copy_file_range(source, target, 5000, 100, 1 << 33) == 4999
    assert mount.numbers("copy_file_range") == [2, 101, 100, 3, 102, 1 << 33, 5000, 0]


def test_looking_for_data_and_holes(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        assert os.lseek(fd, 10, os.SEEK_HOLE) == 1010
        assert mount.numbers("lseek") == [2, 101, 10, os.SEEK_HOLE]
        assert os.lseek(fd, 20, os.SEEK_DATA) == 1020
        assert mount.numbers("lseek") == [2, 101, 20, os.SEEK_DATA]
        with fails(errno.ENXIO):
            os.lseek(fd, SIZE, os.SEEK_DATA)
        assert os.lseek(fd, 7, os.SEEK_SET) == 7


def test_allocating(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "data") as fd:
        os.posix_fallocate(fd, 3, 1 << 34)
        assert mount.numbers("fallocate") == [2, 101, 0, 3, 1 << 34]
        for mode in (ZERO_RANGE, COLLAPSE_RANGE):
            with fails(errno.EOPNOTSUPP):
                fallocate(fd, mode, 0, 4096)
        assert mount.numbers("fallocate")[2] == ZERO_RANGE
        for mode in (KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE):  # one that is not supported did not turn off the rest
            fallocate(fd, mode, 4096, 8192)
            assert mount.numbers("fallocate") == [2, 101, mode, 4096, 8192]


# What must not happen.


def test_nonsense_becomes_eio(mount_extra: Mounter) -> None:
    mount = mount_extra("all")
    with opened(mount.path / "wrong") as fd, opened(mount.path / "other") as target:
        calls: list[Callable[[], object]] = [
            lambda: fcntl.fcntl(fd, fcntl.F_GETLK, struct_flock(fcntl.F_WRLCK, 0, 1)),
            lambda: fcntl.lockf(fd, fcntl.LOCK_EX),
            lambda: fcntl.flock(fd, fcntl.LOCK_EX),
            lambda: os.copy_file_range(fd, target, 10),
            lambda: os.lseek(fd, 0, os.SEEK_HOLE),
            lambda: os.lseek(fd, 0, os.SEEK_DATA),
            lambda: fallocate(fd, 0, 0, 1),
        ]
        for call in calls:
            with fails(errno.EIO):
                call()
        assert unanswered(mount) == 0
        fcntl.lockf(target, fcntl.LOCK_EX)  # it lives


@pytest.mark.parametrize(("mode", "expected"), [("unserved", errno.ENOTCONN), ("raising", errno.EIO)])
def test_without_an_answer_the_request_fails(mount_extra: Mounter, mode: str, expected: int) -> None:
    mount = mount_extra(mode)
    with opened(mount.path / "data") as fd:
        for _ in range(2):
            with fails(expected):
                fcntl.flock(fd, fcntl.LOCK_EX)
            if mode == "raising":
                mount.expect("unraisable RuntimeError('on purpose')")
    assert unanswered(mount) == 0


@pytest.mark.parametrize(
    ("mode", "holders", "expected"),
    [("all", 1, {"ENOTCONN"}), ("dropping", 0, {"ENOTCONN", "ECONNABORTED"})],
)
def test_the_end_of_the_mount_ends_waiting(tmp_path: Path, mode: str, holders: int, expected: set[str]) -> None:
    """Also where an answer will never come; the file system itself looks whether it has left something."""
    with ExitStack() as processes:
        with mounted(tmp_path, "extra", mode) as mount:
            for _ in range(holders):
                assert said(processes.enter_context(locker(mount.path / "data"))) == "holds"
            waiting = processes.enter_context(locker(mount.path / "data"))
            wait_for_unanswered(mount, 1)
        assert said(waiting) in expected


# Where it is not wanted or not there, all is as if pyfuse3 were alone.


def assert_locks_are_local(mount: Mount) -> None:
    for call in ("lockf", "flock"):
        with locker(mount.path / "data", call) as other, opened(mount.path / "data") as fd:
            assert said(other) == "holds"
            with pytest.raises(BlockingIOError):
                (fcntl.flock if call == "flock" else fcntl.lockf)(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            other.terminate()
            assert other.wait(PATIENCE) == -signal.SIGTERM
            (fcntl.flock if call == "flock" else fcntl.lockf)(fd, fcntl.LOCK_EX)


@pytest.mark.parametrize("mode", ["unlocked", "default", "absent"])
def test_unwanted_locks_are_the_kernels_own(mount_extra: Mounter, mode: str) -> None:
    assert_locks_are_local(mount_extra(mode))


@pytest.mark.parametrize("mode", ["default", "absent"])
def test_operations_without_handlers_are_the_kernels_own(mount_extra: Mounter, mode: str) -> None:
    mount = mount_extra(mode)
    with opened(mount.path / "data") as fd, opened(mount.path / "other") as target:
        for _ in range(2):
            assert os.lseek(fd, 10, os.SEEK_HOLE) == SIZE
            assert os.lseek(fd, 10, os.SEEK_DATA) == 10
            assert os.copy_file_range(fd, target, 5000, 100, 0) == 5000
            with fails(errno.EOPNOTSUPP):
                fallocate(fd, KEEP_SIZE, 0, 10)


# The native module's functions without a mount.


def test_what_the_module_refuses() -> None:
    program = """
from smbfuse.fuse import extra, native
for call in (
    lambda: extra.prepare(["getlk", "ioctl"]),
    lambda: extra.prepare([], max_background=65536),
    lambda: extra.prepare([], congestion_threshold=-1),
    lambda: native.reply_err(1, 512),
    lambda: native.reply_err(1, -1),
    lambda: native.reply_err(1, 1 << 70),
    lambda: native.reply_err("1", 0),
    lambda: native.reply_lock(1, 0, 5, 4, 0),
    lambda: native.reply_lock(1, 9, 0, 4, 0),
    lambda: native.reply_write(1, 1 << 32),
    lambda: native.reply_lseek(1, -1),
    lambda: native.set_request_callback(1),
):
    try:
        print("no error:", call())
    except (ValueError, TypeError, OverflowError):
        pass
print(native.reply_err(1, 0), native.reply_lock(1, 0, 0, 4, 0), native.reply_write(1, 5), native.reply_lseek(1, 5))
print(extra.passed(), native.pending_requests(), native.current_lock_owner())
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert result.stdout.splitlines() == ["False False False False", "frozenset() 0 0"]
    assert result.stderr == ""
