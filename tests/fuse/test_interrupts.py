"""Signals end what programs wait for: the policy on texts of /proc, the table, and real programs on a real mount."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from math import inf
from time import monotonic

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from smbfuse.fuse import native
from smbfuse.fuse.interrupts import AT_ONCE as WAITING
from smbfuse.fuse.interrupts import (
    CALLER_UNKNOWN,
    LOOK_AGAIN,
    RELEASING,
    TIMED,
    USUAL,
    Interrupts,
    grace,
    grace_of,
)
from tests.fuse.conftest import PATIENCE as GIVE_UP
from tests.fuse.conftest import Mounter

AT_ONCE = 0.0
SOON = 1.0
NEVER = inf


def status(**masks: list[int]) -> bytes:
    """A caller's /proc/PID/status with these signals in its masks."""
    lines = ["Name:\tcat", "SigQ:\t0/15419"]
    for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"):
        mask = sum(1 << (number - 1) for number in masks.get(name, []))
        lines.append(f"{name}:\t{mask:016x}")
    return "\n".join([*lines, "CapInh:\t0000000000000000", ""]).encode()


TERM, KILL, INT, ALRM = signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGALRM
CHLD, URG, STOP, TSTP = signal.SIGCHLD, signal.SIGURG, signal.SIGSTOP, signal.SIGTSTP


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (status(ShdPnd=[KILL]), AT_ONCE),
        (status(SigPnd=[KILL], SigCgt=[INT, TERM]), AT_ONCE),
        (status(ShdPnd=[TERM]), AT_ONCE),
        (status(SigPnd=[TERM]), AT_ONCE),
        (status(ShdPnd=[signal.SIGQUIT]), AT_ONCE),
        (status(ShdPnd=[ALRM]), AT_ONCE),
        (status(ShdPnd=[signal.SIGRTMAX]), AT_ONCE),
        (status(ShdPnd=[INT], SigCgt=[INT]), SOON),
        (status(SigPnd=[TERM], SigCgt=[INT, TERM]), SOON),
        (status(ShdPnd=[INT, ALRM], SigCgt=[INT, ALRM]), SOON),
        (status(ShdPnd=[INT, TERM], SigCgt=[INT]), AT_ONCE),
        (status(ShdPnd=[ALRM], SigCgt=[ALRM]), TIMED.grace),
        (status(SigPnd=[URG], SigCgt=[URG]), NEVER),
        (status(SigPnd=[signal.SIGPROF], SigCgt=[signal.SIGPROF]), NEVER),
        (status(ShdPnd=[CHLD]), NEVER),
        (status(ShdPnd=[TERM, URG], SigBlk=[TERM], SigCgt=[URG]), NEVER),
        (status(ShdPnd=[INT], SigIgn=[INT]), NEVER),
        (status(ShdPnd=[STOP]), NEVER),
        (status(ShdPnd=[TSTP]), NEVER),
        (status(), NEVER),
        (b"", CALLER_UNKNOWN),
        (b"SigPnd:\t0000000000000000\n", CALLER_UNKNOWN),
    ],
)
def test_grace(text: bytes, expected: float) -> None:
    assert grace(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (status(ShdPnd=[KILL], SigCgt=[ALRM]), AT_ONCE),
        (status(ShdPnd=[TERM]), AT_ONCE),
        (status(ShdPnd=[TERM], SigCgt=[TERM]), NEVER),
        (status(ShdPnd=[ALRM], SigCgt=[ALRM]), NEVER),
    ],
)
def test_only_what_kills_ends_an_unlock_soon(text: bytes, expected: float) -> None:
    assert grace(text, RELEASING) == expected


@given(st.binary() | st.from_regex(rb"(SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt):\s*[0-9a-f]*\n"))
def test_any_text_has_a_grace(text: bytes) -> None:
    assert grace(text) == CALLER_UNKNOWN


def test_who_cannot_be_looked_at_is_not_waited_for() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait(GIVE_UP)
    assert grace_of(gone.pid) == grace_of(0) == CALLER_UNKNOWN


class Requests:
    """Stands in for the native module: the requests that a test says are under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.unique = 0
        monkeypatch.setattr(native, "current_unique", lambda: self.unique)
        self._monkeypatch = monkeypatch

    def grace(self, seconds: float) -> None:
        self._monkeypatch.setattr("smbfuse.fuse.interrupts.grace_of", lambda _pid, _manner: seconds)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


async def test_an_interrupt_ends_its_own_operation_only(requests: Requests, autojump_clock: MockClock) -> None:
    interrupts = Interrupts()
    requests.grace(AT_ONCE)
    ended: dict[int, bool] = {}

    async def handle(unique: int) -> None:
        requests.unique = unique
        with interrupts.guard() as operation:
            await trio.sleep(unique)
        ended[unique] = operation.interrupted

    async with trio.open_nursery() as nursery:
        for unique in (4, 6, 8):
            nursery.start_soon(handle, unique)
        await trio.testing.wait_all_tasks_blocked()
        interrupts.interrupt(6)
        interrupts.interrupt(10)
    assert ended == {4: False, 6: True, 8: False}


@pytest.mark.parametrize(
    ("work", "deadline", "seconds", "interrupted", "lasts"),
    [
        (0.3, inf, 1.0, False, 0.3),
        (5.0, inf, 1.0, True, 1.0),
        (5.0, inf, 0.0, True, 0.0),
        (5.0, 0.5, 1.0, False, 0.5),
        (5.0, 2.0, 1.0, True, 1.0),
    ],
)
async def test_what_ends_an_operation_is_known(
    requests: Requests,
    autojump_clock: MockClock,
    work: float,
    deadline: float,
    seconds: float,
    interrupted: bool,
    lasts: float,
) -> None:
    interrupts = Interrupts()
    requests.unique = 2
    requests.grace(seconds)
    begun = trio.current_time()
    with interrupts.guard() as operation:
        operation.scope.deadline = begun + deadline
        interrupts.interrupt(2)
        await trio.sleep(work)
    assert operation.interrupted == interrupted
    assert trio.current_time() - begun == pytest.approx(lasts)


async def test_a_second_handler_of_a_request_is_not_taken_for_another_request(
    requests: Requests, autojump_clock: MockClock
) -> None:
    """As pyfuse3 calls them for setxattr with XATTR_CREATE; other requests were read in between."""
    interrupts = Interrupts()
    requests.grace(AT_ONCE)
    ended: list[str] = []

    async def handle(name: str) -> None:
        with interrupts.guard() as operation:
            await trio.sleep(1)
        ended.append(f"{name} {operation.interrupted}")

    async with trio.open_nursery() as nursery:
        requests.unique = 4
        nursery.start_soon(handle, "other")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(handle, "second")
        await trio.testing.wait_all_tasks_blocked()
        interrupts.interrupt(4)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["other True"]
    assert ended == ["other True", "second False"]


async def test_a_deadly_signal_shortens_the_grace_of_a_harmless_one(
    requests: Requests, autojump_clock: MockClock
) -> None:
    interrupts = Interrupts()
    requests.unique = 2
    begun = trio.current_time()
    with interrupts.guard() as operation:
        for seconds in (NEVER, AT_ONCE, SOON):
            requests.grace(seconds)
            interrupts.interrupt(2)
        await trio.sleep_forever()
    assert operation.interrupted
    assert trio.current_time() == begun


async def test_who_kills_after_a_tick_is_heard(
    requests: Requests, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The kernel tells of the first signal only."""
    interrupts = Interrupts()
    nursery.start_soon(interrupts.watch)
    for _ in range(2):
        requests.unique += 2
        requests.grace(NEVER)
        with interrupts.guard() as operation:
            interrupts.interrupt(requests.unique)
            await trio.sleep(1000)
            requests.grace(AT_ONCE)
            killed = trio.current_time()
            await trio.sleep_forever()
        assert operation.interrupted
        assert trio.current_time() - killed <= LOOK_AGAIN


async def test_grace_counts_from_the_first_signal(
    requests: Requests, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    interrupts = Interrupts()
    nursery.start_soon(interrupts.watch)
    requests.unique = 2
    requests.grace(TIMED.grace)
    begun = trio.current_time()
    with interrupts.guard() as operation:
        interrupts.interrupt(2)
        await trio.sleep_forever()
    assert operation.interrupted
    assert trio.current_time() - begun == pytest.approx(TIMED.grace)


def test_what_only_waits_has_no_grace() -> None:
    assert grace_of(os.getpid(), WAITING) == AT_ONCE
    assert grace_of(os.getpid(), USUAL) == NEVER


async def test_an_interrupt_may_come_before_the_task_that_does_the_work(requests: Requests) -> None:
    interrupts = Interrupts()
    requests.unique = 2
    operation = interrupts.guard(WAITING)
    interrupts.interrupt(2)
    with operation:
        await trio.sleep_forever()
    assert operation.interrupted


async def test_cancellation_from_outside_is_no_interrupt(requests: Requests) -> None:
    interrupts = Interrupts()
    requests.unique = 2
    with trio.CancelScope() as outside, interrupts.guard() as operation:
        outside.cancel()
        await trio.sleep_forever()
    assert outside.cancelled_caught
    assert not operation.interrupted


async def test_an_answered_request_leaves_the_table(requests: Requests) -> None:
    interrupts = Interrupts()
    requests.unique = 2
    requests.grace(AT_ONCE)
    with pytest.raises(OSError, match="no such file"), interrupts.guard() as operation:
        raise OSError("no such file")
    interrupts.interrupt(2)
    assert not operation.by_interrupt


# Real programs on a real mount.


def best_of(tries: int, once: Callable[[], float]) -> float:
    """The shortest of some times, for a machine that others keep busy."""
    return min(once() for _ in range(tries))


@pytest.mark.fuse
@pytest.mark.parametrize("number", [TERM, KILL, INT], ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["endless", "endless-cached"])
def test_a_blocked_cat_is_gone_at_once(mount_tiny: Mounter, name: str, number: signal.Signals) -> None:
    mount = mount_tiny("native")

    def seconds_to_die() -> float:
        cat = subprocess.Popen(["cat", mount.path / name])
        mount.expect(f"begun {name}")
        begun = monotonic()
        cat.send_signal(number)
        assert cat.wait(GIVE_UP) == -number
        return monotonic() - begun

    # In the page cache the first read of the file stays under way, and nobody reads again.
    assert best_of(1 if name == "endless-cached" else 5, seconds_to_die) <= 0.1


@pytest.mark.fuse
def test_a_blocked_write_of_many_pages_is_ended(mount_tiny: Mounter) -> None:
    """libfuse may leave such requests in a pipe, where the native module has to look for who asks."""
    mount = mount_tiny("native")
    writer = subprocess.Popen(
        ["dd", "if=/dev/zero", f"of={mount.path / 'endless'}", "bs=128k", "count=1", "conv=notrunc"]
    )
    mount.expect("begun endless")
    writer.terminate()
    assert writer.wait(GIVE_UP) == -TERM


@pytest.mark.fuse
def test_a_failing_callback_kills_nothing(mount_tiny: Mounter) -> None:
    mount = mount_tiny("raising")
    for _ in range(2):
        cat = subprocess.Popen(["cat", mount.path / "endless"])
        mount.expect("begun endless")
        cat.terminate()
        mount.expect("unraisable RuntimeError('on purpose')")
        assert cat.wait(GIVE_UP) == -TERM


# One read(2) as the C library has it: Python's own would hide EINTR by reading again.
READ_ONCE = """
import ctypes, errno, os, signal, sys
path, number, delay = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(int(number), lambda *_: None)
data = ctypes.create_string_buffer(100)
fd = os.open(path, os.O_RDONLY)
if float(delay):
    signal.setitimer(signal.ITIMER_REAL, float(delay))
got = libc.read(fd, data, 100)
print(data.raw[:got].decode().strip() if got >= 0 else errno.errorcode[ctypes.get_errno()])
"""


def reader(path: str, number: int, delay: float = 0.0) -> subprocess.Popen[str]:
    """A program that catches a signal, sends itself SIGALRM after `delay` seconds, and reads once."""
    argv = [sys.executable, "-c", READ_ONCE, path, str(int(number)), str(delay)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


@pytest.mark.fuse
def test_a_tick_of_a_timer_does_not_cost_the_data(mount_tiny: Mounter) -> None:
    mount = mount_tiny("native")
    program = reader(str(mount.path / "slow"), ALRM, 0.1)
    assert program.communicate(timeout=GIVE_UP)[0].strip() == "the data"


@pytest.mark.fuse
@pytest.mark.parametrize("number", [INT, TERM], ids=lambda number: number.name)
def test_caught_signals_end_what_would_last_for_ever(mount_tiny: Mounter, number: signal.Signals) -> None:
    mount = mount_tiny("native")
    program = reader(str(mount.path / "endless"), number)
    mount.expect("begun endless")
    program.send_signal(number)
    assert program.communicate(timeout=GIVE_UP)[0].strip() == "EINTR"


@pytest.mark.fuse
@pytest.mark.parametrize("number", [TERM, KILL], ids=lambda number: number.name)
def test_who_has_caught_a_tick_can_still_be_killed(mount_tiny: Mounter, number: signal.Signals) -> None:
    """The kernel tells of no second signal."""
    mount = mount_tiny("native")
    program = reader(str(mount.path / "endless"), signal.SIGUSR1)
    mount.expect("begun endless")
    program.send_signal(signal.SIGUSR1)
    mount.ping()
    mount.ping()  # by now it has been told
    program.send_signal(number)
    program.communicate(timeout=GIVE_UP)
    assert program.returncode == -number


THREAD_READS = """
import sys, threading
reader = threading.Thread(target=lambda: open(sys.argv[1], "rb", 0).read(5))
reader.start()
reader.join()
"""


@pytest.mark.fuse
@pytest.mark.parametrize("number", [TERM, KILL, signal.SIGQUIT], ids=lambda number: number.name)
def test_a_process_dies_though_only_a_thread_of_it_waits(mount_tiny: Mounter, number: signal.Signals) -> None:
    mount = mount_tiny("native")
    program = subprocess.Popen([sys.executable, "-c", THREAD_READS, mount.path / "endless"])
    mount.expect("begun endless")
    program.send_signal(number)
    assert program.wait(GIVE_UP) == -number
