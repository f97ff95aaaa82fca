"""The mount itself: how soon it can be used, how much memory it takes."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Final

from tests.bench.child import timed
from tests.bench.circumstances import Sizes
from tests.bench.peers import FileSystem, Peer
from tests.bench.stage import Stage
from tests.bench.workloads.base import DEADLINE, MOUNTS, Around, Sample, Workload, expect
from tests.bench.workloads.trees import walk
from tests.support.child import call

IN_A_DIRECTORY: Final = 100


def mount_time(peer: Peer, stage: Stage, _sizes: Sizes, around: Around = nullcontext) -> Sample:
    """Seconds from the command to the first listing of the share."""
    assert isinstance(peer, FileSystem)
    (stage.served / "here").touch()
    with ExitStack() as stack:
        with around():
            start = time.perf_counter()
            root = stack.enter_context(peer.mounted())
            until_mounted = time.perf_counter() - start
            seconds = until_mounted + timed(lambda: _shows(root, ["here"]), DEADLINE)
        return Sample(seconds, peer.cpu())


def _shows(root: Path, names: list[str]) -> None:
    expect(os.listdir(root) == names, "the share does not show what is in it")


def memory_idle(peer: Peer, _stage: Stage, _sizes: Sizes, _around: Around = nullcontext) -> Sample:
    """Resident bytes after a first listing."""
    assert isinstance(peer, FileSystem)
    with peer.mounted() as root:
        call(lambda: _shows(root, []), DEADLINE)
        return Sample(resident(peer))


def memory_walked(peer: Peer, stage: Stage, sizes: Sizes, _around: Around = nullcontext) -> Sample:
    """Resident bytes after a walk through many files."""
    assert isinstance(peer, FileSystem)
    _fill_empty(stage.served / "many", sizes.remembered)
    with peer.mounted() as root:
        call(lambda: walk(root / "many"), DEADLINE)
        return Sample(resident(peer))


def _fill_empty(root: Path, count: int) -> None:
    for first in range(0, count, IN_A_DIRECTORY):
        directory = root / f"directory {first // IN_A_DIRECTORY:04}"
        directory.mkdir(parents=True)
        for number in range(first, min(first + IN_A_DIRECTORY, count)):
            os.mknod(directory / f"file {number:06}.dat")


def resident(peer: FileSystem) -> float:
    """Bytes of memory; of further processes of a peer only what they do not share."""
    first, *others = peer.pids()
    return _memory(first, "Rss:") + sum(_memory(pid, "Private_Clean:", "Private_Dirty:") for pid in others)


def _memory(pid: int, *fields: str) -> float:
    """Bytes: the sum of these fields of a process's smaps."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {field: int(value) for field, value, *_ in map(str.split, lines)}
    return sum(kib[field] for field in fields) * 1024


def _once(_sizes: Sizes) -> int:
    return 1


WORKLOADS: Final = (
    Workload(name="mount", title="command to usable mount", unit="s", measure=mount_time, amount=_once, peers=MOUNTS),
    Workload(
        name="memory",
        title="resident, idle",
        unit="MB",
        measure=memory_idle,
        amount=_once,
        peers=MOUNTS,
        far=False,
        counted=False,
    ),
    Workload(
        name="memory-walk",
        title="resident, 100,000 walked",
        unit="MB",
        measure=memory_walked,
        amount=_once,
        peers=MOUNTS,
        far=False,
        counted=False,
        most_runs=1,
    ),
)
