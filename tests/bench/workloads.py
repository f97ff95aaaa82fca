"""What is measured: one function for each workload, and the table of them.

Most functions prepare something in the served directory, past all clients, and return the work to be timed, which gets
the share's root as the peer shows it. Each measurement has a fresh mount, so all of them are cold: a mount's page cache
goes with it. The server's files are warm for every peer alike.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tests.bench.child import timed
from tests.bench.peers import FileSystem, Smbclient
from tests.bench.stage import Stage, touch_memory

DEADLINE = 300.0
"""Seconds for one measurement of one peer."""
MIB = 1 << 20
SMALL = os.urandom(4096)
FILE_SYSTEMS = ("smbfuse", "smbnetfs", "local")

Work = Callable[[Path], None]
Unit = Literal["MB/s", "/s", "s", "MB"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything. `big` is in bytes, the others are counts."""

    big: int = 256 * MIB
    random_reads: int = 2000
    files: int = 500
    stats: int = 1000
    entries: int = 5000
    walked: int = 1000
    copied: int = 300


QUICK = Sizes(big=32 * MIB, random_reads=300, files=60, stats=150, entries=600, walked=150, copied=40)


@dataclass(frozen=True, slots=True)
class Workload:
    """A row of the table. `measure` gives a rate, or seconds or bytes where `unit` says so."""

    name: str
    title: str
    unit: Unit
    measure: Callable[[FileSystem | Smbclient, Stage, Sizes], float]
    peers: tuple[str, ...] = FILE_SYSTEMS
    marks: tuple[tuple[str, float], ...] = ()
    """Peer and the ratio to it that is aimed at."""

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")


# -- helpers -----------------------------------------------------------------------------------------------------------


def _names(count: int) -> list[str]:
    return [f"file {number:05}.dat" for number in range(count)]


def _fill(directory: Path, count: int) -> list[str]:
    """Make `count` files of 4 KiB, and return their names."""
    directory.mkdir(parents=True, exist_ok=True)
    names = _names(count)
    for name in names:
        (directory / name).write_bytes(SMALL)
    return names


def _fill_tree(root: Path, count: int) -> None:
    """`count` files, ten in each directory, ten directories in each branch."""
    for number in range(-(-count // 10)):
        _fill(root / f"branch {number // 10:02}" / f"leaf {number:03}", min(10, count - number * 10))


def _big_file(path: Path, size: int) -> None:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)


def _run(*command: str | Path) -> None:
    """Run a program of the machine's. Raises RuntimeError with its first complaint."""
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {done.stderr.partition(chr(10))[0]}")


def _write_small(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(handle, SMALL)
    finally:
        os.close(handle)


def _read_small(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        found = os.read(handle, 2 * len(SMALL))
    finally:
        os.close(handle)
    if found != SMALL:
        raise RuntimeError(f"{path.name} reads back as something else")


# -- big files ---------------------------------------------------------------------------------------------------------


def sequential_read(stage: Stage, sizes: Sizes) -> Work:
    _big_file(stage.served / "big", sizes.big)

    def work(root: Path) -> None:
        buffer, done = bytearray(MIB), 0
        with (root / "big").open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                done += count
        if done != sizes.big:
            raise RuntimeError(f"{done} bytes instead of {sizes.big}")

    return work


def sequential_write(_stage: Stage, sizes: Sizes) -> Work:
    block = os.urandom(MIB)

    def work(root: Path) -> None:
        with (root / "big").open("wb", buffering=0) as file:
            for _ in range(sizes.big // MIB):
                file.write(block)
            os.fsync(file)

    return work


def random_reads(stage: Stage, sizes: Sizes) -> Work:
    _big_file(stage.served / "big", sizes.big)
    # The same places for every peer.
    places = random.Random(1).sample(range(sizes.big // 4096), sizes.random_reads)

    def work(root: Path) -> None:
        with (root / "big").open("rb", buffering=0) as file:
            for place in places:
                if len(os.pread(file.fileno(), 4096, place * 4096)) != 4096:
                    raise RuntimeError(f"short read at {place * 4096}")

    return work


def transfer_in(client: Smbclient, stage: Stage, sizes: Sizes) -> float:
    _big_file(stage.served / "big", sizes.big)
    touch_memory(2 * sizes.big)
    return client.get("big", sizes.big)


def transfer_out(client: Smbclient, stage: Stage, sizes: Sizes) -> float:
    _big_file(stage.local / "big", sizes.big)
    touch_memory(2 * sizes.big)
    return client.put(stage.local / "big", "big", sizes.big)


# -- small files -------------------------------------------------------------------------------------------------------


def create_files(stage: Stage, sizes: Sizes) -> Work:
    (stage.served / "small").mkdir()

    def work(root: Path) -> None:
        for name in _names(sizes.files):
            _write_small(root / "small" / name)

    return work


def read_files(stage: Stage, sizes: Sizes) -> Work:
    names = _fill(stage.served / "small", sizes.files)

    def work(root: Path) -> None:
        for name in names:
            _read_small(root / "small" / name)

    return work


def rename_files(stage: Stage, sizes: Sizes) -> Work:
    names = _fill(stage.served / "small", sizes.files)

    def work(root: Path) -> None:
        for name in names:
            (root / "small" / name).rename(root / "small" / f"{name}.new")

    return work


def unlink_files(stage: Stage, sizes: Sizes) -> Work:
    names = _fill(stage.served / "small", sizes.files)

    def work(root: Path) -> None:
        for name in names:
            (root / "small" / name).unlink()

    return work


def stat_files(stage: Stage, sizes: Sizes) -> Work:
    names = _fill(stage.served / "small", sizes.stats)

    def work(root: Path) -> None:
        for name in names:
            (root / "small" / name).stat()

    return work


# -- directories -------------------------------------------------------------------------------------------------------


def list_directory(stage: Stage, sizes: Sizes) -> Work:
    _fill(stage.served / "wide", sizes.entries)
    return lambda root: _run("ls", "-l", root / "wide")


def walk_tree(stage: Stage, sizes: Sizes) -> Work:
    _fill_tree(stage.served / "tree", sizes.walked)
    # A size makes find ask for the attributes of each file.
    return lambda root: _run("find", root / "tree", "-printf", "%s %p\\n")


def copy_in(stage: Stage, sizes: Sizes) -> Work:
    _fill_tree(stage.local / "tree", sizes.copied)
    return lambda root: _run("cp", "-a", stage.local / "tree", root / "copy")


def copy_out(stage: Stage, sizes: Sizes) -> Work:
    _fill_tree(stage.served / "tree", sizes.copied)
    # smbnetfs 0.6.3 loses its connection when asked for the list of a file's extended attributes.
    return lambda root: _run("cp", "-a", "--no-preserve=xattr", root / "tree", stage.local / "copy")


# -- the mount itself --------------------------------------------------------------------------------------------------


def mount_time(peer: FileSystem | Smbclient, stage: Stage, _sizes: Sizes) -> float:
    """Seconds from the command to the first listing of the share."""
    assert isinstance(peer, FileSystem)
    (stage.served / "here").touch()
    start = time.perf_counter()
    with peer.mounted() as root:
        until_mounted = time.perf_counter() - start
        return until_mounted + timed(lambda: _expect(os.listdir(root) == ["here"]), DEADLINE)


def _expect(truth: bool) -> None:
    if not truth:
        raise RuntimeError("the share does not show what is in it")


def memory_idle(peer: FileSystem | Smbclient, stage: Stage, _sizes: Sizes) -> float:
    """Resident bytes after a first listing; of further processes of a peer only what they do not share."""
    assert isinstance(peer, FileSystem)
    with peer.mounted() as root:
        timed(lambda: _expect(os.listdir(root) == []), DEADLINE)
        first, *others = peer.pids()
        return _memory(first, "Rss:") + sum(_memory(pid, "Private_Clean:", "Private_Dirty:") for pid in others)


def _memory(pid: int, *fields: str) -> float:
    """Bytes: the sum of these fields of a process's smaps."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {field: int(value) for field, value, *_ in map(str.split, lines)}
    return sum(kib[field] for field in fields) * 1024


# -- the table ---------------------------------------------------------------------------------------------------------

Amount = Callable[[Sizes], int]
Transfer = Callable[[Smbclient, Stage, Sizes], float]


def _rate(
    make: Callable[[Stage, Sizes], Work], amount: Amount, transfer: Transfer | None = None
) -> Callable[..., float]:
    """Measure `amount` per second of work through a fresh mount, or of smbclient's own `transfer`."""

    def measure(peer: FileSystem | Smbclient, stage: Stage, sizes: Sizes) -> float:
        if isinstance(peer, Smbclient):
            assert transfer is not None
            return amount(sizes) / transfer(peer, stage, sizes)
        work = make(stage, sizes)
        with peer.mounted() as root:
            touch_memory(2 * sizes.big)
            return amount(sizes) / timed(partial(work, root), DEADLINE)

    return measure


def _big(sizes: Sizes) -> int:
    return sizes.big


def _files(sizes: Sizes) -> int:
    return sizes.files


def _copied(sizes: Sizes) -> int:
    return sizes.copied


_TRANSFER = (*FILE_SYSTEMS, "smbclient")
_MOUNTS = ("smbfuse", "smbnetfs")

WORKLOADS = (
    Workload(
        "read",
        "sequential read, cold",
        "MB/s",
        _rate(sequential_read, _big, transfer_in),
        _TRANSFER,
        (("smbnetfs", 1.5),),
    ),
    Workload("write", "sequential write + fsync", "MB/s", _rate(sequential_write, _big, transfer_out), _TRANSFER),
    Workload("random", "random 4 KiB reads", "/s", _rate(random_reads, lambda sizes: sizes.random_reads)),
    Workload("create", "create 4 KiB files", "/s", _rate(create_files, _files)),
    Workload("open", "open + read 4 KiB files", "/s", _rate(read_files, _files)),
    Workload("rename", "rename", "/s", _rate(rename_files, _files)),
    Workload("unlink", "unlink", "/s", _rate(unlink_files, _files)),
    Workload("stat", "stat, cold", "/s", _rate(stat_files, lambda sizes: sizes.stats)),
    Workload("ls", "ls -l, entries", "/s", _rate(list_directory, lambda sizes: sizes.entries)),
    Workload("walk", "tree walk, files", "/s", _rate(walk_tree, lambda sizes: sizes.walked)),
    Workload("copy-in", "cp -a in, files", "/s", _rate(copy_in, _copied)),
    Workload("copy-out", "cp -a out, files", "/s", _rate(copy_out, _copied)),
    Workload("mount", "command to usable mount", "s", mount_time, _MOUNTS),
    Workload("memory", "resident, idle", "MB", memory_idle, _MOUNTS),
)
