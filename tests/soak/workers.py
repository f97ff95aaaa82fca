"""The load: one kind of work in a process of its own, until its standard input ends. Prints what it did as JSON.

    python -m tests.soak.workers KIND DIRECTORY SEED

Each worker knows what must be true and looks; what is not, and each error, is a complaint. It gets no error that a
program without faults would not get: the mount hides them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import select
import sys
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

BLOCK = 16 * 1024
BLOCKS = 64
MAX_COMPLAINTS = 20


@dataclass
class Report:
    """What a worker did. `files`: SHA-256 of what must be on the server's disk, by name."""

    kind: str
    rounds: int = 0
    written: int = 0
    """Bytes whose fsync or close came back without an error."""
    read: int = 0
    complaints: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def complain(self, text: str) -> None:
        if len(self.complaints) < MAX_COMPLAINTS:
            self.complaints.append(f"round {self.rounds}: {text}")


def record(seed: int, number: int) -> bytes:
    """The nth thing that is appended: its number, bytes that follow from it, their checksum."""
    body = random.Random(f"{seed}/{number}").randbytes(37 + number % 411)
    return b"%08d %08x " % (number, zlib.crc32(body)) + body


def block(seed: int, index: int, generation: int) -> bytes:
    head = b"%08d %08d " % (index, generation)
    return head + random.Random(f"{seed}/{index}/{generation}").randbytes(BLOCK - len(head))


class Work:
    """One kind of load. `step` does a little of it; `end` leaves what `report.files` tells."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.seed = seed
        self.numbers = random.Random(seed)
        self.report = Report(type(self).__name__.lower())

    def step(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Nothing is left to do."""


class Append(Work):
    """Appends to one file, opened anew now and then; each record is there once, in its place."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self._path = directory / f"append{seed}"
        self._file: int | None = None
        self._digest = hashlib.sha256()
        self._number = 0

    def step(self) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        size = 0
        for _ in range(self.numbers.randrange(1, 30)):
            data = record(self.seed, self._number)
            self._number += 1
            while data:
                count = os.write(self._file, data)
                self._digest.update(data[:count])
                size += count
                data = data[count:]
        if self.numbers.random() < 0.7:
            os.fsync(self._file)
        else:
            self._close()
        self.report.written += size

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def end(self) -> None:
        self._close()
        self.report.files[self._path.name] = self._digest.hexdigest()


class Rewrite(Work):
    """Writes blocks of one file again and again, and reads back what it wrote."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self._path = directory / f"rewrite{seed}"
        self._generations = [0] * BLOCKS
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        os.write(self._file, b"".join(block(seed, index, 0) for index in range(BLOCKS)))

    def step(self) -> None:
        for _ in range(self.numbers.randrange(1, 6)):
            index = self.numbers.randrange(BLOCKS)
            self._generations[index] += 1
            os.pwrite(self._file, block(self.seed, index, self._generations[index]), index * BLOCK)
            self.report.written += BLOCK
        os.fsync(self._file)
        index = self.numbers.randrange(BLOCKS)
        found = os.pread(self._file, BLOCK, index * BLOCK)
        self.report.read += len(found)
        if found != block(self.seed, index, self._generations[index]):
            self.report.complain(f"block {index} is {found[:18]!r}, not of generation {self._generations[index]}")

    def end(self) -> None:
        os.close(self._file)
        whole = b"".join(block(self.seed, *pair) for pair in enumerate(self._generations))
        self.report.files[self._path.name] = hashlib.sha256(whole).hexdigest()


class Verify(Work):
    """Reads a file that nobody changes, here and there, opened anew each time."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self._path = directory / f"verify{seed}"
        self._path.write_bytes(b"".join(block(seed, index, 0) for index in range(BLOCKS)))

    def step(self) -> None:
        with self._path.open("rb", 0) as file:
            for _ in range(self.numbers.randrange(1, 8)):
                index = self.numbers.randrange(BLOCKS)
                found = os.pread(file.fileno(), BLOCK, index * BLOCK)
                self.report.read += len(found)
                if found != block(self.seed, index, 0):
                    self.report.complain(f"block {index} is {found[:18]!r} ({len(found)} bytes)")


class Rename(Work):
    """Saves a file as editors do: a new one is written and takes the old one's place."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self._place = directory / f"rename{seed}"
        self._place.mkdir()
        self._target = self._place / "target"
        self._target.write_bytes(record(seed, 0))

    def step(self) -> None:
        number = self.report.rounds + 1
        draft = self._place / f"draft{number}"
        draft.write_bytes(record(self.seed, number))
        draft.rename(self._target)
        self.report.written += len(record(self.seed, number))
        found = self._target.read_bytes()
        if found != record(self.seed, number):
            self.report.complain(f"the file holds {found[:18]!r} after the rename")
        if names := set(os.listdir(self._place)) - {"target"}:
            self.report.complain(f"{sorted(names)} are left")


class Make(Work):
    """Makes files and directories that must be new, and removes them."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self._place = directory / f"make{seed}"
        self._place.mkdir()

    def step(self) -> None:
        name = self._place / f"new{self.report.rounds}"
        content = record(self.seed, self.report.rounds)
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(content)
        self.report.written += len(content)
        if (size := name.stat().st_size) != len(content):
            self.report.complain(f"{size} bytes, {len(content)} were written")
        below = self._place / f"dir{self.report.rounds}"
        below.mkdir()
        moved = below / "moved"
        name.rename(moved)
        if moved.read_bytes() != content:
            self.report.complain("the file changed when it was moved")
        moved.unlink()
        below.rmdir()
        if names := os.listdir(self._place):
            self.report.complain(f"{names} are left")

    def end(self) -> None:
        self._place.rmdir()


KINDS: dict[str, Callable[[Path, int], Work]] = {
    "append": Append,
    "rewrite": Rewrite,
    "verify": Verify,
    "rename": Rename,
    "make": Make,
}


def run(work: Work) -> Report:
    """Work until standard input ends. An error of the system is a complaint, and the end of the work."""
    try:
        while not select.select([sys.stdin], [], [], 0)[0]:
            work.step()
            work.report.rounds += 1
        work.end()
    except OSError as exc:
        work.report.complain(f"{errno.errorcode.get(exc.errno or 0)}: {exc}")
        work.report.files.clear()
    return work.report


def main(kind: str, directory: str, seed: str) -> None:
    report = run(KINDS[kind](Path(directory), int(seed)))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main(*sys.argv[1:])
