"""Whole directories: listed, walked, copied."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from tests.bench.circumstances import Sizes
from tests.bench.stage import Stage
from tests.bench.workloads.base import Amount, Job, Prepare, Workload, fill, rate, run


def fill_tree(root: Path, count: int) -> None:
    """`count` files, ten in each directory, ten directories in each branch."""
    for number in range(-(-count // 10)):
        fill(root / f"branch {number // 10:02}" / f"leaf {number:03}", min(10, count - number * 10))


def list_directory(stage: Stage, sizes: Sizes) -> Job:
    fill(stage.served / "wide", sizes.entries)
    return Job(lambda root: run("ls", "-l", root / "wide"))


def walk_tree(stage: Stage, sizes: Sizes) -> Job:
    fill_tree(stage.served / "tree", sizes.walked)
    return Job(lambda root: walk(root / "tree"))


def walk(root: Path) -> None:
    """find, which asks for the attributes of each file because it is to print the size."""
    run("find", root, "-printf", "%s %p\\n")


def copy_in(stage: Stage, sizes: Sizes) -> Job:
    fill_tree(stage.local / "tree", sizes.copied)
    return Job(lambda root: run("cp", "-a", stage.local / "tree", root / "copy"))


def copy_out(stage: Stage, sizes: Sizes) -> Job:
    fill_tree(stage.served / "tree", sizes.copied)
    time.sleep(sizes.age)
    # smbnetfs 0.6.3 loses its connection when asked for the list of a file's extended attributes.
    return Job(lambda root: run("cp", "-a", "--no-preserve=xattr", root / "tree", stage.local / "copy"))


def _entries(sizes: Sizes) -> int:
    return sizes.entries


def _walked(sizes: Sizes) -> int:
    return sizes.walked


def _copied(sizes: Sizes) -> int:
    return sizes.copied


def _workload(name: str, title: str, prepare: Prepare, amount: Amount) -> Workload:
    return Workload(name=name, title=title, unit="/s", measure=rate(prepare, amount), amount=amount)


WORKLOADS: Final = (
    _workload("ls", "ls -l, entries", list_directory, _entries),
    _workload("walk", "tree walk, files", walk_tree, _walked),
    _workload("copy-in", "cp -a in, files", copy_in, _copied),
    _workload("copy-out", "cp -a out, files", copy_out, _copied),
)
