"""Data of one file that programs have written and the server has not yet: pieces that do not overlap.

No I/O and no clock here. What was written last counts; pieces keep the buffers that they came in, uncopied, until they
are sent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from smbfuse.wire.codec import Buffer


class Piece(NamedTuple):
    """Bytes from offset `start` on."""

    start: int
    data: memoryview

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Dirty:
    """The pieces, in the order of the file."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self.size = 0
        """Bytes in all."""

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)

    @property
    def end(self) -> int:
        """One more than the last byte, 0 if there is none."""
        return self._pieces[-1].end if self._pieces else 0

    def put(self, start: int, data: Buffer) -> None:
        """Enter what was written; it must not change any more."""
        if not len(data):
            return
        new = Piece(start, memoryview(data).toreadonly())
        self._cut(new.start, new.end)
        insort(self._pieces, new, key=_start)
        self.size += len(new.data)

    def _cut(self, start: int, end: int) -> None:
        """Take out the bytes from `start` to `end`."""
        first = bisect_right(self._pieces, start, key=_start)
        if first and self._pieces[first - 1].end > start:
            first -= 1
        last = bisect_left(self._pieces, end, key=_start)
        left: list[Piece] = []
        for piece in self._pieces[first:last]:
            self.size -= len(piece.data)
            if piece.start < start:
                left.append(Piece(piece.start, piece.data[: start - piece.start]))
            if piece.end > end:
                left.append(Piece(end, piece.data[end - piece.start :]))
        self.size += sum(len(piece.data) for piece in left)
        self._pieces[first:last] = left

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any of the bytes from `start` to `end` are here."""
        index = bisect_left(self._pieces, end, key=_start)
        return bool(index) and self._pieces[index - 1].end > start

    def runs(self, size: int) -> Iterator[Piece]:
        """What there is, small neighbours joined into pieces of up to `size` bytes; larger ones stay what they are."""
        run: list[Piece] = []
        for piece in self._pieces:
            if run and (run[-1].end != piece.start or piece.end - run[0].start > size):
                yield _joined(run)
                run = []
            run.append(piece)
        if run:
            yield _joined(run)


def _start(piece: Piece) -> int:
    return piece.start


def _joined(run: list[Piece]) -> Piece:
    if len(run) == 1:
        return run[0]
    return Piece(run[0].start, memoryview(b"".join(piece.data for piece in run)))
