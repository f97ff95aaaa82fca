"""The programs that are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.programs import builds, copies, cpython, databases, edits, stress, versions
from tests.programs.outcome import Outcome
from tests.programs.place import Place


@dataclass(frozen=True, slots=True)
class Program:
    """`run` works in a child, which has `deadline` seconds."""

    name: str
    run: Callable[[Place], Outcome]
    deadline: float = 1800.0


PROGRAMS = (
    *(Program(name, partial(cpython.module, name)) for name in cpython.MODULES),
    Program("git", versions.versions),
    Program("sqlite-journal", partial(databases.database, "delete")),
    Program("sqlite-wal", partial(databases.database, "wal")),
    Program("rsync", copies.rsync),
    Program("copies", copies.copies),
    Program("archives", copies.archives),
    Program("editors", edits.edits),
    Program("make-gcc", builds.builds),
    Program("fio", stress.fio),
    Program("stress-each", stress.each_stressor),
    Program("stress-all", stress.all_stressors),
)
