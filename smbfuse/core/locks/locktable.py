"""Byte-range locks as data: who holds which bytes of a file, who is in whose way, what all of them hold together.

POSIX semantics (fcntl(2), advisory record locks): the locks of one owner never conflict with each other, a new one
replaces what that owner had there, neighbours of the same mode are one. Bytes are given as half-open ranges.

What may live here: ranges and owners. No server, no waiting, no inodes.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

END: Final = 1 << 63
"""One more than the last byte that a file can have: the end of a lock "to the end of the file"."""


class Mode(enum.IntEnum):
    """How a byte is locked. Of two modes the greater one keeps out more."""

    NONE = 0
    SHARED = 1
    EXCLUSIVE = 2

    def conflicts(self, other: Mode) -> bool:
        """Whether two owners cannot have these at once."""
        return bool(self and other) and Mode.EXCLUSIVE in (self, other)


class Span(NamedTuple):
    """Bytes from `start` up to but not including `end`, locked in one mode."""

    start: int
    end: int
    mode: Mode

    def overlaps(self, other: Span) -> bool:
        return self.start < other.end and other.start < self.end

    def conflicts(self, other: Span) -> bool:
        """Whether two owners cannot have these at once."""
        return self.mode.conflicts(other.mode) and self.overlaps(other)


class Ranges:
    """Locked bytes: spans in order, none of mode NONE, none overlapping, neighbours of one mode joined."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans = list(spans)

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans)

    def __bool__(self) -> bool:
        return bool(self._spans)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._spans == other._spans

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        return f"Ranges({self._spans})"

    def copy(self) -> Ranges:
        return Ranges(self._spans)

    def set(self, new: Span) -> None:
        """Lock these bytes in this mode, or unlock them by NONE, whatever they were."""
        parts = [part for span in self._spans for part in _without(span, new)]
        if new.mode:
            parts.append(new)
        self._spans = _joined(sorted(parts))

    def overlapping(self, wanted: Span) -> list[Span]:
        """The spans that have bytes in common with `wanted`, cut to it."""
        return [
            Span(max(span.start, wanted.start), min(span.end, wanted.end), span.mode)
            for span in self._spans
            if span.overlaps(wanted)
        ]

    def covers(self, spans: Iterable[Span]) -> bool:
        """Whether all these bytes are locked here, in modes at least as strong."""
        return all(
            sum(part.end - part.start for part in self.overlapping(span) if part.mode >= span.mode)
            == span.end - span.start
            for span in spans
            if span.mode
        )


def _without(span: Span, hole: Span) -> Iterator[Span]:
    """What is left of `span` outside of `hole`."""
    if span.start < hole.start:
        yield span._replace(end=min(span.end, hole.start))
    if span.end > hole.end:
        yield span._replace(start=max(span.start, hole.end))


def _joined(spans: Iterable[Span]) -> list[Span]:
    """The same bytes in as few spans as can be; `spans` are in order and do not overlap."""
    found: list[Span] = []
    for span in spans:
        if found and found[-1].end == span.start and found[-1].mode == span.mode:
            found[-1] = found[-1]._replace(end=span.end)
        else:
            found.append(span)
    return found


def strongest(several: Iterable[Ranges]) -> Ranges:
    """Each byte in the strongest mode that any has it in: what one who stands for all of them must hold."""
    spans = [span for ranges in several for span in ranges]
    union = Ranges()
    for mode in (Mode.SHARED, Mode.EXCLUSIVE):
        for span in spans:
            if span.mode == mode:
                union.set(span)
    return union


def differences(old: Ranges, new: Ranges) -> list[Span]:
    """What is to be set, to get from `old` to `new`; a span of mode NONE is to be unlocked."""
    edges = sorted({edge for ranges in (old, new) for span in ranges for edge in (span.start, span.end)})
    changed = []
    for start, end in itertools.pairwise(edges):
        cell = Span(start, end, Mode.NONE)
        before, after = _mode_of(old, cell), _mode_of(new, cell)
        if before != after:
            changed.append(cell._replace(mode=after))
    return _joined(changed)


def _mode_of(ranges: Ranges, cell: Span) -> Mode:
    """The mode of bytes that are all locked alike."""
    return next((span.mode for span in ranges.overlapping(cell)), Mode.NONE)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A lock of another owner that is in the way."""

    owner: int
    span: Span


class LockTable:
    """Locks of one kind on one file, by owner."""

    def __init__(self) -> None:
        self._ranges: dict[int, Ranges] = {}

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def of(self, owner: int) -> Ranges:
        """A copy of what the owner holds."""
        return self._ranges.get(owner, Ranges()).copy()

    def set(self, owner: int, span: Span) -> None:
        """Give the owner this lock, or take these bytes from it (NONE). Whether others allow it was asked before."""
        ranges = self.of(owner)
        ranges.set(span)
        self.replace(owner, ranges)

    def replace(self, owner: int, ranges: Ranges) -> None:
        """Let the owner hold this and nothing else."""
        if ranges:
            self._ranges[owner] = ranges.copy()
        else:
            self._ranges.pop(owner, None)

    def drop(self, owner: int) -> bool:
        """Take all from the owner. Whether there was anything."""
        return self._ranges.pop(owner, None) is not None

    def conflicts(self, owner: int, wanted: Span) -> Iterator[Conflict]:
        """Locks of others that `wanted` cannot be had beside."""
        for other, ranges in self._ranges.items():
            if other != owner:
                yield from (Conflict(other, span) for span in ranges if span.conflicts(wanted))

    def union(self) -> Ranges:
        """What all owners hold together."""
        return strongest(self._ranges.values())
