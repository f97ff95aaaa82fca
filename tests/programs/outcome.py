"""What became of a program: the tests or steps that it consists of, by name."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

FAILURES = (OSError, RuntimeError, AssertionError, sqlite3.Error, subprocess.SubprocessError)
"""What a file system's fault looks like to a step."""


LOST: Final = "all of it"
"""Stands for the tests of a program that came to no end."""


MAX_SHOWN: Final = 400
"""Characters of a value, where two of them differ."""


@dataclass(slots=True)
class Outcome:
    """The texts tell why."""

    ran: int = 0
    """Tests or steps, the failed and the left out ones too."""
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """What the program's own tests skip: often since they found the file system to be unfit for them."""
    seconds: float = 0.0

    @classmethod
    def lost(cls, text: str) -> Outcome:
        """Of a program that came to no end of its own."""
        return cls(1, {LOST: text})


class Steps:
    """Runs the steps of a program; one that fails is noted, and the next one goes on all the same."""

    def __init__(self) -> None:
        self.outcome = Outcome()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note the block's failure under this name."""
        self.outcome.ran += 1
        try:
            yield
        except FAILURES as error:
            self.outcome.failures[name] = f"{type(error).__name__}: {error}"


def same(found: object, wanted: object) -> None:
    """AssertionError that shows both, or where two dicts differ."""
    if found == wanted:
        return
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
        shown = [f"{key}: {_short(found.get(key))} instead of {_short(wanted.get(key))}" for key in keys[:5]]
        raise AssertionError(f"{len(keys)} differ: {'; '.join(shown)}")
    raise AssertionError(f"{_short(found)} instead of {_short(wanted)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"
