"""The helpers that other tests lean on: a guard that never fails guards nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.logguard import LogGuard
from tests.support.mount import is_mounted, join_options
from tests.support.processes import end, eventually, processes, wait_gone


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01 WARNING smbfuse.client: slow",
        "ERROR: gone",
        "Traceback (most recent call last):",
        "Fatal Python error: Segmentation fault",
    ],
)
def test_log_guard_finds(line: str) -> None:
    assert LogGuard().unexpected_lines(f"fine\n{line}\nfine") == [line]


def test_log_guard_passes_what_was_announced() -> None:
    guard = LogGuard()
    guard.expect(r"reconnect(ed|ing)")
    log = "INFO all is well\nWARNING reconnecting\nWARNING other\n"
    assert guard.unexpected_lines(log) == ["WARNING other"]


def test_log_guard_looks_at_levels_of_records() -> None:
    records = [logging.LogRecord("x", level, __file__, 1, "%s", (level,), None) for level in (20, 30, 40)]
    assert LogGuard().unexpected_records(records) == ["30", "40"]


def test_options_join_as_mount_wants_them() -> None:
    options = {"port": 4450, "guest": True, "ro": False, "credentials": None, "user": "me"}
    assert join_options(options) == "port=4450,guest,user=me"


def test_mountpoints_are_found(tmp_path: Path) -> None:
    assert is_mounted(Path("/proc"))
    assert not is_mounted(Path("/proc/self"))
    assert not is_mounted(tmp_path)


def test_processes_know_their_relations() -> None:
    mine = next(process for process in processes() if process.pid == os.getpid())
    assert mine.parent == os.getppid()
    assert mine.session == os.getsid(0)
    assert mine.argv() == sys.orig_argv


def test_end_insists() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert wait_gone([child.pid], 0) == {child.pid}
        end(lambda: [process.pid for process in processes() if process.pid == child.pid], polite=0.05)
        assert child.wait(5) == -signal.SIGKILL


def test_eventually_has_a_deadline() -> None:
    with pytest.raises(TimeoutError, match="pigs fly"):
        eventually(lambda: False, 0.01, "pigs fly")
