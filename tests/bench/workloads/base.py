"""What a workload is, and how one is timed.

Each measurement has a fresh mount, so all of them are cold: a mount's page cache goes with it. The server's files are
warm for every peer alike.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol

from tests.bench.child import timed
from tests.bench.circumstances import Sizes
from tests.bench.peers import FileSystem, Peer, Smbclient
from tests.bench.stage import Stage, touch_memory
from tests.support.child import call

DEADLINE: Final = 300.0
"""Seconds for one measurement of one peer."""
SMALL: Final = os.urandom(4096)

SUBJECT: Final = "smbfuse"
MOUNTS: Final = (SUBJECT, "smbnetfs")
FILE_SYSTEMS: Final = (*MOUNTS, "local")
EVERYBODY: Final = (*FILE_SYSTEMS, "smbclient")

Unit = Literal["MB/s", "/s", "s", "MB"]
Step = Callable[[Path], object]
"""Something done with the share's root as a peer shows it."""
Around = Callable[[], AbstractContextManager[object]]
"""Makes what is entered before the work and left after it."""
Amount = Callable[[Sizes], int]
Transfer = Callable[[Smbclient, Stage, Sizes], float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: a rate, or what else the workload's unit says. `cpu`: seconds of the mount's processes."""

    figure: float
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The work to be timed, and what is done on the mount just before, untimed."""

    work: Step
    before: Step | None = None


Prepare = Callable[[Stage, Sizes], Job]
"""Prepares something in the served directory, past all clients."""


class Measure(Protocol):
    """Measures a peer once."""

    def __call__(self, peer: Peer, stage: Stage, sizes: Sizes, around: Around = ..., /) -> Sample: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A part of the table. `measure` gives a rate, or seconds or bytes where `unit` says so."""

    name: str
    title: str
    unit: Unit
    measure: Measure
    amount: Amount
    """Of what a rate is per second: bytes or operations; 1 of what is done once."""
    peers: tuple[str, ...] = FILE_SYSTEMS
    far: bool = True
    """Whether there is something to see over a slow link."""
    counted: bool = True
    """Whether it is known what requests belong to it."""
    most_runs: int | None = None
    """Of what takes long and hardly varies."""

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")


def rate(prepare: Prepare, amount: Amount, transfer: Transfer | None = None) -> Measure:
    """Measure `amount` per second of work through a fresh mount, or of smbclient's own `transfer`."""

    def measure(peer: Peer, stage: Stage, sizes: Sizes, around: Around = nullcontext) -> Sample:
        if isinstance(peer, Smbclient):
            assert transfer is not None
            return Sample(amount(sizes) / transfer(peer, stage, sizes))
        assert isinstance(peer, FileSystem)
        job = prepare(stage, sizes)
        with peer.mounted() as root:
            touch_memory(2 * sizes.big)
            if job.before is not None:
                call(partial(job.before, root), DEADLINE)
            before = peer.cpu()
            with around():
                seconds = timed(partial(job.work, root), DEADLINE)
            return Sample(amount(sizes) / seconds, peer.cpu() - before)

    return measure


def names(count: int) -> list[str]:
    return [f"file {number:05}.dat" for number in range(count)]


def fill(directory: Path, count: int) -> list[str]:
    """Make `count` files of 4 KiB, and return their names."""
    directory.mkdir(parents=True, exist_ok=True)
    made = names(count)
    for name in made:
        (directory / name).write_bytes(SMALL)
    return made


def run(*command: str | Path) -> None:
    """Run a program of the machine's. Raises RuntimeError with its first complaint."""
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {done.stderr.partition(chr(10))[0]}")


def expect(truth: bool, otherwise: str) -> None:
    """RuntimeError, which comes through from a child, where a peer did not do what it was asked for."""
    if not truth:
        raise RuntimeError(otherwise)
