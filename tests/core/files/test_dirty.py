"""Written data that wait, against a plain picture of the file."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from smbfuse.core.files.dirty import Dirty

WRITES = st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=20)), max_size=30)


def picture(writes: list[tuple[int, bytes]]) -> dict[int, int]:
    """What each byte is after all writes."""
    return {start + index: byte for start, data in writes for index, byte in enumerate(data)}


@given(WRITES)
def test_what_was_written_last_counts(writes: list[tuple[int, bytes]]) -> None:
    dirty = Dirty()
    for start, data in writes:
        dirty.put(start, data)
    wanted = picture(writes)
    pieces = list(dirty)
    assert {piece.start + index: byte for piece in pieces for index, byte in enumerate(piece.data)} == wanted
    assert all(one.end <= other.start for one, other in itertools.pairwise(pieces))
    assert dirty.size == len(wanted)
    assert dirty.end == max(wanted, default=-1) + 1
    assert bool(dirty) == bool(wanted)


@given(WRITES, st.integers(0, 90), st.integers(1, 30))
def test_overlaps(writes: list[tuple[int, bytes]], start: int, length: int) -> None:
    dirty = Dirty()
    for where, data in writes:
        dirty.put(where, data)
    assert dirty.overlaps(start, start + length) == any(start <= at < start + length for at in picture(writes))


@given(WRITES, st.integers(1, 64))
def test_runs_hold_all_and_join_neighbours(writes: list[tuple[int, bytes]], size: int) -> None:
    dirty = Dirty()
    for start, data in writes:
        dirty.put(start, data)
    largest = max((len(piece.data) for piece in dirty), default=0)
    runs = list(dirty.runs(size))
    assert {run.start + index: byte for run in runs for index, byte in enumerate(run.data)} == picture(writes)
    assert all(len(run.data) <= max(size, largest) for run in runs)


def test_small_appends_become_one_run() -> None:
    dirty = Dirty()
    for index in range(100):
        dirty.put(index * 10, b"0123456789")
    assert [(run.start, len(run.data)) for run in dirty.runs(4096)] == [(0, 1000)]
    assert len(list(dirty.runs(100))) == 10
