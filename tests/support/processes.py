"""Look at processes and wait for their end, by events (pidfd) rather than by sleeping.

Linux only, reads /proc. Nothing here signals a process that the caller did not name by its id.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc: `name` is the kernel's (15 bytes at most)."""

    pid: int
    name: str
    state: str
    parent: int
    session: int

    @property
    def ended(self) -> bool:
        """Dead, though somebody (a container's init) may not have reaped it yet."""
        return self.state in "ZX"

    def environment(self) -> frozenset[bytes]:
        """Entries `NAME=VALUE` that it was started with; empty where they are none of our business."""
        return frozenset(_proc_list(self.pid, "environ"))

    def waits_in(self) -> str:
        """The kernel's function that it sleeps in; 0 where it runs, empty where that is none of our business."""
        try:
            return Path(f"/proc/{self.pid}/wchan").read_text()
        except OSError:
            return ""

    def argv(self) -> list[str]:
        return [os.fsdecode(word) for word in _proc_list(self.pid, "cmdline")]


def _proc_list(pid: int, name: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")[:-1]
    except OSError:  # ended meanwhile, or another user's
        return []


def processes() -> Iterator[Process]:
    """All processes that have not ended."""
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            continue
        # The name stands in parentheses and may itself hold any character.
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, parent, _group, session = rest.split()[:4]
        process = Process(pid, name, state, int(parent), int(session))
        if not process.ended:
            yield process


def cpu_seconds(pid: int) -> float:
    """Processors' time that a process has used, its ended children's left out."""
    rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return (int(rest[11]) + int(rest[12])) / os.sysconf("SC_CLK_TCK")


def wait_gone(pids: Iterable[int], timeout: float) -> set[int]:
    """Wait until these processes have ended; the result is those that have not after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    left = set()
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not _readable(handle, max(0.0, deadline - time.monotonic())):
                left.add(pid)
        finally:
            os.close(handle)
    return left


def _readable(handle: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def end(find: Callable[[], Iterable[int]], polite: float = 5.0) -> None:
    """End the processes that `find` names: SIGTERM, and SIGKILL after `polite` seconds.

    Looks again after each round, since a process may have had children meanwhile.
    """
    for number, patience in ((signal.SIGTERM, polite), (signal.SIGKILL, 5.0), (signal.SIGKILL, 5.0)):
        pids = set(find())
        for pid in pids:
            send(pid, number)
        wait_gone(pids, patience)
    if left := set(find()):
        raise TimeoutError(f"processes that do not end: {sorted(left)}")


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended already. A stopped one is woken for a signal that it shall see."""
    try:
        os.kill(pid, number)
        if number is signal.SIGTERM:
            os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def eventually(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait for something that no event tells of. Raises TimeoutError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:g} s still not: {what}")
        time.sleep(0.02)
