"""Nothing stalls the event loop: callers are killed at the worst moment while the loop has other things to do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from smbfuse.fuse import native
from tests.fuse.conftest import PATIENCE, Mount, Mounter

BUSY = 0.1
"""Seconds between the event loop's looks at what is new."""

STALLED = 1.5
"""Seconds without an answer that only a stall explains: a healthy loop needs a few times BUSY."""

KILLS = 16
"""A kill meets the moment between the look and the read in every second to third case."""


def kill_a_caller(mount: Mount, number: int) -> None:
    """Let a program ask for a name and kill it before the file system has read the request, mostly."""
    program = subprocess.Popen(["stat", mount.path / f"missing-{number}"], stderr=subprocess.DEVNULL)
    time.sleep(BUSY)  # the worst moment is a matter of time, not of any event that could be waited for
    program.kill()
    program.wait(PATIENCE)


@pytest.mark.fuse
@pytest.mark.parametrize("cure", ["native", "timer"])
def test_killed_callers_do_not_stall_the_loop(mount_tiny: Mounter, cure: str) -> None:
    mount = mount_tiny(cure, busy=BUSY)
    longest = 0.0
    for number in range(KILLS):
        kill_a_caller(mount, number)
        longest = max(longest, mount.ping())
    assert longest < STALLED


@pytest.mark.fuse
def test_without_a_cure_they_do(mount_tiny: Mounter) -> None:
    """The test above can fail: the recipe does bring about the stall that is cured."""
    mount = mount_tiny("none", busy=BUSY)
    for number in range(3 * KILLS):  # the first stall ends the test
        kill_a_caller(mount, number)
        if not mount.answers_within(STALLED):
            return
    pytest.fail("the event loop never stood still")


@pytest.mark.fuse
@pytest.mark.parametrize("cure", ["native", "timer"])
def test_unmounting_ends_the_loop(mount_tiny: Mounter, cure: str) -> None:
    mount = mount_tiny(cure)
    subprocess.run(["umount", mount.path], check=True, timeout=PATIENCE)
    mount.expect("")  # the connection has ended; the fixture looks at the exit status


@pytest.mark.fuse
@pytest.mark.parametrize(("cure", "most"), [("native", 1), ("timer", 3)])
def test_the_kernel_does_not_ask_for_privileges_before_every_write(mount_tiny: Mounter, cure: str, most: int) -> None:
    mount = mount_tiny(cure)
    asked = 0
    with (mount.path / "quick").open("r+b", buffering=0) as file:
        for _ in range(3):
            file.write(b"x")
            while (line := mount.next_line()) != "begun quick":
                assert line == "asked for security.capability"
                asked += 1
    assert asked == most


def output(program: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout.strip()


def test_the_module_is_built_and_loaded() -> None:
    assert output("from smbfuse.fuse import native; print(native.AVAILABLE, native.REASON)") == "True"


def test_pyfuse3_first_is_noticed() -> None:
    said = output("import pyfuse3; from smbfuse.fuse import native; print(native.AVAILABLE, native.REASON)")
    assert said == "False pyfuse3 was imported before smbfuse.fuse"


def test_loading_it_behind_our_back_is_noticed() -> None:
    """A module that the linker does not find first would mend nothing, silently."""
    path = next(Path(native.__file__).parent.glob("_native.*.so"))
    program = f"""
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("smbfuse.fuse._native", {str(path)!r})
try:
    module_from_spec(spec)
except ImportError as error:
    print(error)
"""
    assert output(program) == "loaded without RTLD_GLOBAL, or behind libfuse3"


def test_without_the_module_nothing_is_known_and_the_timer_runs() -> None:
    program = """
import signal, sys
sys.modules["smbfuse.fuse._native"] = None
from smbfuse.fuse import native
native.set_interrupt_callback(print)
native.mend(print)
signal.pause()
print(native.current_unique(), native.current_pid(), native.REASON)
"""
    assert output(program) == "0 0 smbfuse was installed without its native module"


def test_only_callables_are_called_back() -> None:
    program = """
from smbfuse.fuse import native
native.set_interrupt_callback(print)
native.set_interrupt_callback(None)
try:
    native.set_interrupt_callback(1)
except TypeError as error:
    print(error)
"""
    assert output(program) == "the interrupt callback must be callable or None"
