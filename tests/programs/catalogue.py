"""The programs that are tried."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.programs import builds, copies, cpython, databases, edits, stress, tools, versions
from tests.programs.outcome import Outcome
from tests.programs.place import Place


@dataclass(frozen=True, slots=True)
class Program:
    """`run` works in a child, which has `deadline` seconds."""

    name: str
    run: Callable[[Place], Outcome]
    commands: tuple[str, ...] = ()
    module: str = ""
    """A Python module that it is made of."""
    deadline: float = 1800.0

    def missing(self) -> list[str]:
        """What it needs and this machine has not."""
        modules = [self.module] if self.module and not _is_there(self.module) else []
        return [name for name in self.commands if not shutil.which(name)] + modules


def _is_there(name: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):  # the package that it would be in
        return importlib.util.find_spec(name) is not None
    return False


PROGRAMS = (
    # A Debian Python has these tests in a package of their own, and not all of them.
    *(Program(name, partial(cpython.module, name), module=f"test.{name}") for name in cpython.MODULES),
    Program("git", versions.versions, ("git",)),
    Program("sqlite-journal", partial(databases.database, "delete"), ("sqlite3",)),
    Program("sqlite-wal", partial(databases.database, "wal"), ("sqlite3",)),
    Program("rsync", copies.rsync, ("rsync",)),
    Program("copies", copies.copies),
    Program("archives", copies.archives, ("tar", "zip", "unzip")),
    Program("editors", edits.edits, ("vim.tiny", "patch")),
    Program("tools", tools.tools, ("gzip", "shred", "perl", "flock", "/sbin/mkfs.ext4", "/sbin/debugfs")),
    Program("make-gcc", builds.builds, ("make", "gcc", "ar", "strip", "objcopy")),
    Program("fio", stress.fio, ("fio",)),
    Program("stress-each", stress.each_stressor, ("stress-ng",), deadline=7200.0),  # each has a deadline of its own
    Program("stress-all", stress.all_stressors, ("stress-ng",)),
)
