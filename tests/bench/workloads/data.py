"""Big files: read, written, read in places, by one program and by several at once."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.circumstances import MIB, Sizes
from tests.bench.peers import Smbclient
from tests.bench.stage import Stage, touch_memory
from tests.bench.workloads.base import EVERYBODY, Job, Workload, expect, rate

AT_ONCE: Final = 8
PAGE: Final = 4096
LINE: Final = b"x" * 99 + b"\n"


def _big_file(path: Path, size: int) -> None:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for done in range(0, size, MIB):
            file.write(block[: size - done])


def _read_through(path: Path, size: int) -> None:
    buffer, done = bytearray(MIB), 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            done += count
    expect(done == size, f"{done} bytes instead of {size}")


def _all_at_once(work: Callable[[int], None]) -> None:
    """work(0), work(1), ... in threads, which wait for the file system and not for each other."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(work, range(AT_ONCE)))


def sequential_read(stage: Stage, sizes: Sizes) -> Job:
    _big_file(stage.served / "big", sizes.big)
    return Job(lambda root: _read_through(root / "big", sizes.big))


def warm_read(stage: Stage, sizes: Sizes) -> Job:
    """Once more what was read just before, by another program."""
    cold = sequential_read(stage, sizes)
    return Job(cold.work, before=cold.work)


def parallel_reads(stage: Stage, sizes: Sizes) -> Job:
    part = sizes.big // AT_ONCE
    for number in range(AT_ONCE):
        _big_file(stage.served / f"big {number}", part)
    return Job(lambda root: _all_at_once(lambda number: _read_through(root / f"big {number}", part)))


def sequential_write(_stage: Stage, sizes: Sizes) -> Job:
    block = os.urandom(MIB)

    def work(root: Path) -> None:
        with (root / "big").open("wb", buffering=0) as file:
            for _ in range(sizes.big // MIB):
                file.write(block)
            os.fsync(file)

    return Job(work)


def random_reads(stage: Stage, sizes: Sizes, *, streams: int) -> Job:
    _big_file(stage.served / "big", sizes.big)
    # The same places for every peer.
    places = random.Random(1).sample(range(sizes.big // PAGE), sizes.random_reads)

    def read_some(root: Path, number: int) -> None:
        with (root / "big").open("rb", buffering=0) as file:
            for place in places[number::streams]:
                found = len(os.pread(file.fileno(), PAGE, place * PAGE))
                expect(found == PAGE, f"{found} bytes at {place * PAGE}")

    def work(root: Path) -> None:
        if streams == 1:
            read_some(root, 0)
        else:
            _all_at_once(partial(read_some, root))

    return Job(work)


def appends(_stage: Stage, sizes: Sizes) -> Job:
    """A log that is written line by line."""

    def work(root: Path) -> None:
        with (root / "log").open("ab", buffering=0) as file:
            for _ in range(sizes.appends):
                file.write(LINE)

    return Job(work)


def transfer_in(client: Smbclient, stage: Stage, sizes: Sizes) -> float:
    _big_file(stage.served / "big", sizes.big)
    touch_memory(2 * sizes.big)
    return client.get("big", sizes.big)


def transfer_out(client: Smbclient, stage: Stage, sizes: Sizes) -> float:
    _big_file(stage.local / "big", sizes.big)
    touch_memory(2 * sizes.big)
    return client.put(stage.local / "big", "big", sizes.big)


def _big(sizes: Sizes) -> int:
    return sizes.big


def _reads(sizes: Sizes) -> int:
    return sizes.random_reads


def _appends(sizes: Sizes) -> int:
    return sizes.appends


_one_stream = partial(random_reads, streams=1)
_many_streams = partial(random_reads, streams=AT_ONCE)

WORKLOADS: Final = (
    Workload(
        name="read",
        title="sequential read, cold",
        unit="MB/s",
        measure=rate(sequential_read, _big, transfer_in),
        amount=_big,
        peers=EVERYBODY,
    ),
    Workload(name="reread", title="sequential read, warm", unit="MB/s", measure=rate(warm_read, _big), amount=_big),
    Workload(
        name="write",
        title="sequential write + fsync",
        unit="MB/s",
        measure=rate(sequential_write, _big, transfer_out),
        amount=_big,
        peers=EVERYBODY,
    ),
    Workload(
        name="readers", title="8 readers in parallel", unit="MB/s", measure=rate(parallel_reads, _big), amount=_big
    ),
    Workload(name="random", title="random 4 KiB reads", unit="/s", measure=rate(_one_stream, _reads), amount=_reads),
    Workload(
        name="random8", title="the same, 8 at once", unit="/s", measure=rate(_many_streams, _reads), amount=_reads
    ),
    Workload(name="append", title="appends of 100 bytes", unit="/s", measure=rate(appends, _appends), amount=_appends),
)
