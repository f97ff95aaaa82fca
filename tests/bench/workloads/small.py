"""Many small files in one directory: made, read, renamed, removed, looked at."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench.circumstances import Sizes
from tests.bench.stage import Stage
from tests.bench.workloads.base import SMALL, Amount, Job, Prepare, Workload, expect, fill, names, rate

DIRECTORY: Final = "small"


def _write(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(handle, SMALL)
    finally:
        os.close(handle)


def _read(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        found = os.read(handle, 2 * len(SMALL))
    finally:
        os.close(handle)
    expect(found == SMALL, f"{path.name} reads back as something else")


def create_files(stage: Stage, sizes: Sizes) -> Job:
    (stage.served / DIRECTORY).mkdir()

    def work(root: Path) -> None:
        for name in names(sizes.files):
            _write(root / DIRECTORY / name)

    return Job(work)


def _with_each(action: Callable[[Path], object], amount: Amount, *, old: bool = False) -> Prepare:
    """What is done with one file after the other, none of them looked at before."""

    def prepare(stage: Stage, sizes: Sizes) -> Job:
        found = fill(stage.served / DIRECTORY, amount(sizes))
        if old:
            time.sleep(sizes.age)

        def work(root: Path) -> None:
            for name in found:
                action(root / DIRECTORY / name)

        return Job(work)

    return prepare


def _files(sizes: Sizes) -> int:
    return sizes.files


def _stats(sizes: Sizes) -> int:
    return sizes.stats


def _workload(name: str, title: str, prepare: Prepare, amount: Amount = _files) -> Workload:
    return Workload(name=name, title=title, unit="/s", measure=rate(prepare, amount), amount=amount)


WORKLOADS: Final = (
    _workload("create", "create 4 KiB files", create_files),
    _workload("open", "open + read 4 KiB files", _with_each(_read, _files, old=True)),
    _workload("rename", "rename", _with_each(lambda path: path.rename(f"{path}.new"), _files)),
    _workload("unlink", "unlink", _with_each(Path.unlink, _files)),
    _workload("stat", "stat, cold", _with_each(Path.stat, _stats), _stats),
)
