"""POSIX byte-range locks and flock as a model: a mode for each owner and cell, and who waits for what.

A cell stands for some bytes of a file; the last one for all that follow. Nothing here knows of files or servers.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

CELLS = 12

Owner = tuple[str, str]
"""A program, and as what it locks: as a process, or by an open file description."""
Cells = range
"""Cells that a lock is for."""


class Mode(enum.IntEnum):
    """How a cell is locked."""

    NONE = 0
    SHARED = 1
    EXCLUSIVE = 2


def excludes(one: Mode, other: Mode) -> bool:
    """Whether two owners cannot have these."""
    return bool(one and other) and Mode.EXCLUSIVE in (one, other)


@dataclass
class Held:
    """Locks of one kind. Owners are whatever the test names them by."""

    modes: dict[Owner, list[Mode]] = field(default_factory=dict)

    def of(self, owner: Owner) -> list[Mode]:
        """The owner's modes, cell by cell."""
        return self.modes.get(owner, [Mode.NONE] * CELLS)

    def in_the_way(self, owner: Owner, cells: Cells, mode: Mode) -> set[Owner]:
        """Who keeps the owner from such a lock."""
        return {
            other
            for other, modes in self.modes.items()
            if other != owner and any(excludes(mode, modes[cell]) for cell in cells)
        }

    def set(self, owner: Owner, cells: Cells, mode: Mode) -> None:
        """A lock was had, or given back."""
        modes = self.of(owner)
        self.modes[owner] = [mode if cell in cells else modes[cell] for cell in range(CELLS)]

    def drop(self, owner: Owner) -> None:
        """The owner is gone."""
        self.modes.pop(owner, None)


@dataclass(eq=False)
class Waiter:
    """Who waits for a lock."""

    owner: Owner
    cells: Cells
    mode: Mode


@dataclass
class Queue:
    """Those who wait, longest waiting first."""

    held: Held
    waiters: list[Waiter] = field(default_factory=list)

    def ready(self) -> Iterator[Waiter]:
        """Whose lock must come now; of several that exclude each other one."""
        for waiter in self.waiters:
            if not self._holders(waiter):
                yield waiter

    def would_block_for_ever(self, new: Waiter) -> bool:
        """Whether the new one would wait for a program that waits for it."""
        held = {program for program, _ in self.held.in_the_way(new.owner, new.cells, new.mode)}
        return new.owner[0] in self._ahead(held)

    def _ahead(self, programs: set[str]) -> set[str]:
        """These programs, and those for which they wait."""
        seen: set[str] = set()
        while programs - seen:
            found = (programs - seen).pop()
            seen.add(found)
            for waiter in self.waiters:
                if waiter.owner[0] == found:
                    programs = programs | {program for program, _ in self._holders(waiter)}
        return seen

    def _holders(self, waiter: Waiter) -> set[Owner]:
        return self.held.in_the_way(waiter.owner, waiter.cells, waiter.mode)
