"""Do work in a process of its own, with a deadline.

A file system under test may hang; whoever waits for it then must not be the process that has to clean up. A child also
leaves no open file behind that would keep the mount busy.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")

# Forked, not started anew: the work is a closure over what was prepared.
_FORK = multiprocessing.get_context("fork")
KILL_TIMEOUT = 5.0


class WorkError(RuntimeError):
    """The work failed, or did not end in time. The text says how."""


def call(work: Callable[[], T], deadline: float) -> T:
    """What `work` returns in a child. Raises WorkError, after `deadline` seconds at the latest.

    What the work raises comes up as its name and text, if it is OSError or RuntimeError. Programs that it started end
    with it.
    """
    ours, theirs = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_run, args=(work, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        result: T = _result(ours, deadline)
        return result
    finally:
        ours.close()
        assert child.pid is not None
        _kill_group(child.pid)
        # One that hangs in the file system dies when that is unmounted.
        child.join(KILL_TIMEOUT)


def _kill_group(pid: int) -> None:
    """A child that has not come to lead its group yet is killed alone."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _result(pipe: Connection, deadline: float) -> Any:  # noqa: ANN401 - what the work returned
    if not pipe.poll(deadline):
        raise WorkError(f"not done after {deadline:g} s")
    try:
        well, result = pipe.recv()
    except EOFError:
        raise WorkError("the process that did the work died") from None
    if not well:
        raise WorkError(result)
    return result


def _run(work: Callable[[], object], pipe: Connection) -> None:
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Programs that the work starts are silent: their output would come between our own.
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    try:
        pipe.send((True, work()))
    except (OSError, RuntimeError) as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
