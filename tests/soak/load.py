"""Runs the workers on a mount while faults happen, and judges what came of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.samba.smbd import Share, Smbd
from tests.soak.faults import Faults
from tests.soak.workers import Report, record
from tests.support.mount import Mount
from tests.support.processes import eventually
from tests.support.relay import Relay
from tests.support.told import number_told

MIX = ("append", "append", "rewrite", "rewrite", "verify", "rename", "make", "make")
"""Eight processes."""
PATIENCE = 60.0
"""Seconds in which a worker that is told to end does."""
SAMPLES = 60


@dataclass
class Verdict:
    """What a run showed."""

    seconds: float
    faults: Counter[str]
    reports: list[Report]
    lost: list[str] = field(default_factory=list)
    """Files that do not hold what was confirmed, or hold it twice."""
    hung: int = 0
    connections: int = 0
    """Connections that the mount lost."""
    memory: list[int] = field(default_factory=list)
    """Resident bytes of the mount's process, over time."""
    descriptors: list[int] = field(default_factory=list)
    pending: int = -1
    """Requests without an answer at the end."""
    left_open: int = -1
    """Files that the server has open at the end."""

    @property
    def complaints(self) -> list[str]:
        return [f"{report.kind}: {text}" for report in self.reports for text in report.complaints]

    @property
    def growth(self) -> float:
        """Of memory, from a fifth of the time (all is warm then) to the end, as a part of it."""
        if len(self.memory) < 10:
            return 0.0
        warm = max(self.memory[: len(self.memory) // 5 + 1])
        return self.memory[-1] / warm - 1

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        lines = [
            f"{self.seconds:.0f} s, {self.faults.total()} faults ({faults}), {self.connections} connections lost",
            *(
                f"{report.kind}: {report.rounds} rounds, {report.written / 1e6:.1f} MB confirmed, "
                f"{report.read / 1e6:.1f} MB read"
                for report in self.reports
            ),
            f"wrong on the server's disk: {len(self.lost)}; complaints: {len(self.complaints)}; hung: {self.hung}",
            f"at the end: {self.pending} requests without an answer, {self.left_open} files open at the server, "
            f"{self.descriptors[-1] if self.descriptors else 0} file descriptors",
            f"memory: {self.memory[0] >> 20} MiB, {self.memory[-1] >> 20} MiB at the end, "
            f"{self.growth:+.1%} after the warm-up",
            *self.lost,
            *self.complaints,
        ]
        return "\n".join(lines)


class Load:
    """The workers, on directories of their own below a mount's root."""

    def __init__(self, directory: Path, seed: int) -> None:
        directory.mkdir()
        self._directory = directory
        self._workers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.soak.workers", kind, str(directory), str(seed + index)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for index, kind in enumerate(MIX)
        ]

    def end(self) -> tuple[list[Report], int]:
        """Tell them to end: what they report, and how many did not end."""
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.close()
        deadline = time.monotonic() + PATIENCE
        reports, hung = [], 0
        for worker in self._workers:
            assert worker.stdout is not None
            try:
                worker.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                hung += 1
                worker.kill()
            with worker.stdout:
                said = worker.stdout.read()
            if said:
                reports.append(Report(**json.loads(said)))
        return reports, hung

    def kill(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()


def wrong_files(reports: list[Report], directory: Path) -> list[str]:
    """Those that do not hold what they must, on the server's own disk."""
    wanted = {name: digest for report in reports for name, digest in report.files.items()}
    found = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in wanted}
    return [f"{name} is damaged: {damage(directory / name)}" for name in wanted if found[name] != wanted[name]]


def damage(path: Path) -> str:
    """Where a file of appended records goes wrong, for whoever has to find out why."""
    if not path.name.startswith("append"):
        return "another content"
    seed, content, at = int(path.name.removeprefix("append")), path.read_bytes(), 0
    for number in itertools.count():
        expected = record(seed, number)
        found = content[at : at + len(expected)]
        if found != expected:
            same = next(
                (index for index, pair in enumerate(zip(found, expected, strict=False)) if len(set(pair)) > 1), 0
            )
            elsewhere = content.find(expected[:18], at + 1)
            return (
                f"record {number} at {at} of {len(content)} differs from byte {same} on: "
                f"{found[same : same + 40]!r}, its begin is at {elsewhere}"
            )
        at += len(expected)
    raise AssertionError


def resident(pid: int) -> int:
    """Bytes of a process's memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def files_open(server: Smbd, share: Path) -> int:
    """How many files of the share are open in the process that serves the mount now: the one begun last.

    Where a connection was cut without the server's knowledge, another goes on to hold what was open.
    """
    newest = max(server.pids(), key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[19]))
    count = 0
    for link in Path(f"/proc/{newest}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        count += target.startswith(f"{share}/") and Path(target).is_file()
    return count


def run(
    base: Path,
    seconds: float,
    *,
    pause: float = 2.0,
    seed: int = 1,
    options: dict[str, object] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Verdict, Mount]:
    """Load and faults for so long; the server is smbd, its share below `base`. The mount's log is complete then."""
    share, mountpoint = base / "share", base / "mnt"
    share.mkdir(parents=True)
    mountpoint.mkdir()
    with Smbd([Share(name="share", path=share)]) as server, Relay(server.port) as relay:
        chosen = {"port": relay.port, "echo_interval": 1, **(options or {})}
        mounted = Mount.of(server, "share", mountpoint, chosen)
        mounted.guard.expect("connecting again$|connected again after")
        with mounted:
            faults = Faults(server, relay, seed)
            verdict = Verdict(seconds, faults.happened, [])
            load = Load(mounted.path / "load", seed * 1000)
            try:
                _trouble(faults, verdict, mounted, seconds, pause, tell)
                verdict.reports, verdict.hung = load.end()
            finally:
                load.kill()
            verdict.lost = wrong_files(verdict.reports, share / "load")
            verdict.connections = mounted.log().count("; connecting again")
            _look_for_leaks(verdict, mounted, server, share)
    return verdict, mounted


def _trouble(
    faults: Faults, verdict: Verdict, mounted: Mount, seconds: float, pause: float, tell: Callable[[str], None]
) -> None:
    begun = time.monotonic()
    sampled = begun
    while (now := time.monotonic()) < begun + seconds:
        if now >= sampled:
            sampled += seconds / SAMPLES
            verdict.memory.append(resident(mounted.pid))
            verdict.descriptors.append(len(os.listdir(f"/proc/{mounted.pid}/fd")))
            tell(f"{now - begun:.0f} s: {faults.happened.total()} faults, {verdict.memory[-1] >> 20} MiB")
        time.sleep(pause)
        faults.one()


def _look_for_leaks(verdict: Verdict, mounted: Mount, server: Smbd, share: Path) -> None:
    """What is left when nobody wants anything any more; files are kept open for ten seconds after their close."""
    eventually(lambda: number_told(mounted.path, "files open at the server") == 0, 30, "idle files are closed")
    eventually(lambda: number_told(mounted.path, "directories watched") == 1, 30, "the share is watched")
    # A watch is between an answer and its next request now and then.
    verdict.pending = min(number_told(mounted.path, "requests under way") for _ in range(20))
    eventually(lambda: files_open(server, share) == 0, 30, "the server has no open files")
    verdict.left_open = files_open(server, share)
    verdict.memory.append(resident(mounted.pid))
    verdict.descriptors.append(len(os.listdir(f"/proc/{mounted.pid}/fd")))
