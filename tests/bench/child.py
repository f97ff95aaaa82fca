"""Run what is timed in a process of its own, with a deadline.

A file system under test may hang; whoever waits for it then must not be the process that has to clean up. A child also
leaves no open file behind that would keep the mount busy.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

# Forked, not started anew: the work is a closure over what was prepared.
_FORK = multiprocessing.get_context("fork")
KILL_TIMEOUT = 5.0


class WorkError(RuntimeError):
    """The work failed, or did not end in time. The text says how."""


def timed(work: Callable[[], object], deadline: float) -> float:
    """Seconds that `work` takes in a child. Raises WorkError, after `deadline` seconds at the latest."""
    ours, theirs = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_run, args=(work, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        return _result(ours, deadline)
    finally:
        ours.close()
        child.kill()
        # One that hangs in the file system dies when that is unmounted.
        child.join(KILL_TIMEOUT)


def _result(pipe: Connection, deadline: float) -> float:
    if not pipe.poll(deadline):
        raise WorkError(f"not done after {deadline:g} s")
    try:
        result: float | str = pipe.recv()
    except EOFError:
        raise WorkError("the process that did the work died") from None
    if isinstance(result, str):
        raise WorkError(result)
    return result


def _run(work: Callable[[], object], pipe: Connection) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Programs that the work starts are silent: a peer's warnings would go into the table.
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    gc.disable()
    start = time.perf_counter()
    try:
        work()
    except (OSError, RuntimeError) as error:
        pipe.send(f"{type(error).__name__}: {error}")
    else:
        pipe.send(time.perf_counter() - start)
