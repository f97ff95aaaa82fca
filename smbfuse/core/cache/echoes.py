"""Our own changes of names, as the server tells us of them: no news, and nothing is to be forgotten for them.

An expectation stands from before the request until the server has told of it, or some time after the answer: the
telling goes another way and may come earlier or later. They are kept in order, name by name: what is told out of order
was done by others, and then nothing is taken for ours until we do something again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Final

EXPIRY: Final = 0.3
"""Seconds after our change for which the server may still tell of it."""

Place = tuple[int, str]
"""A directory's inode number and a name in it, as the server compares names."""


class Kind(Enum):
    """What can happen to a name."""

    COMES = auto()
    GOES = auto()


@dataclass(slots=True, eq=False)
class Expected:
    """A change of ours that the server will tell of."""

    place: Place
    kind: Kind
    until: float = inf


class Echoes:
    """What is expected, on one mount. `clock` gives seconds that only go forward."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.armed = False
        """Whether the server tells of changes at all."""
        self._clock = clock
        self._expected: dict[Place, list[Expected]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._expected.values()))

    @contextmanager
    def of(self, *changes: tuple[Place, Kind]) -> Iterator[None]:
        """The block makes these changes; if it fails, none of them."""
        if not self.armed:
            yield
            return
        ours = [Expected(place, kind) for place, kind in changes]
        for expected in ours:
            self._drop_old(expected.place)
            self._expected.setdefault(expected.place, []).append(expected)
        done = False
        try:
            yield
            done = True
        finally:
            for expected in ours:
                expected.until = self._clock() + EXPIRY if done else -inf
                self._drop_old(expected.place)

    def withdraw(self, place: Place, kind: Kind) -> None:
        """What is being done does not have that effect: the file was there already."""
        waiting = self._expected.get(place, [])
        index = next((index for index in reversed(range(len(waiting))) if waiting[index].kind is kind), None)
        if index is not None:
            del waiting[index]

    def clear(self) -> None:
        """The server could not tell all: what we did may have been among the rest."""
        self._expected.clear()

    def matches(self, place: Place, kind: Kind) -> bool:
        """Whether what the server tells is what we did ourselves; each change is told once."""
        self._drop_old(place)
        waiting = self._expected.pop(place, [])
        index = next((index for index, expected in enumerate(waiting) if expected.kind is kind), None)
        if index is None:
            return False
        if rest := waiting[index + 1 :]:
            self._expected[place] = rest
        return True

    def _drop_old(self, place: Place) -> None:
        now = self._clock()
        waiting = [expected for expected in self._expected.get(place, ()) if expected.until > now]
        if waiting:
            self._expected[place] = waiting
        else:
            self._expected.pop(place, None)
