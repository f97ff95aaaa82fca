"""The process that stays behind: forked before trio runs, given up to the background only when the mount is live.

The one who called waits on a pipe. It carries one byte 0 when the mount is live, or an exit status and a line of
text when it failed; an end without either means that the child died. Until then the child keeps standard error, for
warnings; from then on it holds nothing of the caller's: no terminal, no pipe (`$(smbfuse ...)` returns), no directory,
no lock file.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import select
import signal
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from smbfuse.cli import logs
from smbfuse.cli.exitcode import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LAUNCH_DEADLINE: Final = 120.0
"""Seconds in which a mount succeeds or fails. The child's own deadlines are shorter; this one is for a stuck child."""
_GRACE: Final = 5.0
"""Seconds that a child has between SIGTERM and SIGKILL."""
_PR_SET_PDEATHSIG: Final = 1


class Outcome(NamedTuple):
    """How an attempt to mount ended: exit status, and a line for the user or nothing."""

    status: int
    line: str = ""


def in_background(
    job: Callable[[Callable[[], None]], Outcome], *, keep: Iterable[int] = (), deadline: float = LAUNCH_DEADLINE
) -> Outcome:
    """Run `job(ready)` in a child and return when it called `ready` (status 0) or ended before that.

    `keep`: inherited file descriptors that the child still needs. In the child this function never returns. Raises
    OSError if there can be no child. KeyboardInterrupt ends the child first.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _leave_caller(parent, {writing, *keep})
        _serve(job, writing)
    os.close(writing)
    try:
        return _outcome(child, _read_report(reading, deadline))
    except TimeoutError:
        _end(child)
        return Outcome(ExitCode.MOUNT, f"there was no mount after {deadline:g} s: try again with -d to see why")
    except KeyboardInterrupt:
        _end(child)
        raise
    finally:
        os.close(reading)


def descriptor_of(mountpoint: str) -> int | None:
    """The descriptor that stands for a mountpoint `/dev/fd/N`, as mount.fuse3 passes it with drop_privileges."""
    match = re.fullmatch(r"/dev/fd/([0-9]{1,9})", mountpoint)
    return int(match[1]) if match else None


def _leave_caller(parent: int, keep: set[int]) -> None:
    """Child: be on our own, but die with the caller for as long as he waits (Ctrl-C, kill, a unit's timeout)."""
    os.setsid()
    os.chdir("/")
    # A lock file that the calling script holds open would stay locked as long as the mount.
    for low, high in itertools.pairwise([2, *sorted(keep - {0, 1, 2}), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(low + 1, high)
    _die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it went before the line above was in force
        raise SystemExit(ExitCode.INTERRUPTED)


def _die_with_parent(number: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _serve(job: Callable[[Callable[[], None]], Outcome], writing: int) -> NoReturn:
    """Child: run the job; report once, when it is ready or when it failed before."""
    reported = False

    def ready() -> None:
        nonlocal reported
        reported = True
        _die_with_parent(0)
        logs.to_syslog()
        _drop_standard_files()
        _report(writing, Outcome(ExitCode.OK))

    outcome = job(ready)
    if not reported:
        _report(writing, outcome)
    raise SystemExit(outcome.status)


def _drop_standard_files() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    if null > 2:
        os.close(null)


def _report(writing: int, outcome: Outcome) -> None:
    try:
        os.write(writing, bytes([outcome.status]) + outcome.line.encode("utf-8", "backslashreplace")[:4000])
    except BrokenPipeError:
        pass  # nobody waits any more; whoever wants us gone knows how to unmount
    finally:
        os.close(writing)


def _read_report(reading: int, deadline: float) -> bytes:
    """Parent: all that the child says. Raises TimeoutError."""
    if not _readable(reading, deadline):
        raise TimeoutError
    return os.read(reading, 8192)  # a report is one write, smaller than PIPE_BUF


def _outcome(child: int, report: bytes) -> Outcome:
    if report:
        return Outcome(report[0], report[1:].decode("utf-8", "replace"))
    _, status = os.waitpid(child, 0)
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
    return Outcome(ExitCode.MOUNT, f"the mounting process ended without a word ({how}): try again with -d")


def _end(child: int) -> None:
    """Parent: ask the child to go, then make it."""
    os.kill(child, signal.SIGTERM)
    handle = os.pidfd_open(child)
    try:
        if not _readable(handle, _GRACE):
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(handle)
    os.waitpid(child, 0)


def _readable(descriptor: int, timeout: float) -> bool:
    """Whether there is something to read, or an end to see, within `timeout` seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
