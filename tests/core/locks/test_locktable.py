"""Locks as data, against a model that has a number for each byte."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from smbfuse.core.locks.locktable import END, LockTable, Mode, Ranges, Span, differences, strongest

SIZE = 24
OWNERS = (1, 2, 3)

edges = st.integers(0, SIZE - 1).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, SIZE)))
spans = st.builds(lambda edge, mode: Span(edge[0], edge[1], mode), edges, st.sampled_from(Mode))
locks = st.builds(
    lambda edge, mode: Span(edge[0], edge[1], mode), edges, st.sampled_from([Mode.SHARED, Mode.EXCLUSIVE])
)


def bytes_of(ranges: Ranges) -> list[Mode]:
    found = [Mode.NONE] * SIZE
    for span in ranges:
        found[span.start : span.end] = [span.mode] * (span.end - span.start)
    return found


def ranges_of(content: list[Span]) -> Ranges:
    made = Ranges()
    for span in content:
        made.set(span)
    return made


def is_tidy(ranges: Ranges) -> bool:
    """In order, without gaps of nothing, neighbours joined."""
    found = list(ranges)
    alone = all(span.mode and span.start < span.end for span in found)
    return alone and all(
        one.end < other.start or (one.end == other.start and one.mode != other.mode)
        for one, other in itertools.pairwise(found)
    )


@given(st.lists(spans))
def test_the_last_lock_of_a_byte_counts(content: list[Span]) -> None:
    model = [Mode.NONE] * SIZE
    for span in content:
        model[span.start : span.end] = [span.mode] * (span.end - span.start)
    ranges = ranges_of(content)
    assert bytes_of(ranges) == model
    assert is_tidy(ranges)


@given(st.lists(spans), st.lists(spans))
def test_differences_lead_from_one_to_the_other(old: list[Span], new: list[Span]) -> None:
    start, goal = ranges_of(old), ranges_of(new)
    steps = differences(start, goal)
    touched = sum(step.end - step.start for step in steps)
    unequal = sum(one != other for one, other in zip(bytes_of(start), bytes_of(goal), strict=True))
    assert touched == unequal, "a byte that stays as it is was touched"
    for step in steps:
        start.set(step)
    assert start == goal


@given(st.lists(st.lists(spans), max_size=4))
def test_the_union_has_the_strongest_mode_of_each_byte(several: list[list[Span]]) -> None:
    parts = [ranges_of(content) for content in several]
    union = strongest(parts)
    assert bytes_of(union) == [max(column) for column in zip([Mode.NONE] * SIZE, *map(bytes_of, parts), strict=True)]
    assert is_tidy(union)


@given(st.lists(spans), st.lists(spans))
def test_what_covers_has_every_byte_as_strongly(one: list[Span], other: list[Span]) -> None:
    holding, asked = ranges_of(one), ranges_of(other)
    expected = all(have >= want for have, want in zip(bytes_of(holding), bytes_of(asked), strict=True))
    assert holding.covers(asked) == expected
    assert strongest([holding, asked]).covers(asked)


@given(spans, spans)
def test_conflicts_are_those_of_single_bytes(one: Span, other: Span) -> None:
    common = set(range(one.start, one.end)) & set(range(other.start, other.end))
    exclusive = Mode.EXCLUSIVE in (one.mode, other.mode)
    assert one.conflicts(other) == bool(common and one.mode and other.mode and exclusive)


def test_a_lock_to_the_end_of_the_file_stays_one_lock() -> None:
    ranges = ranges_of([Span(0, END, Mode.SHARED), Span(10, 20, Mode.NONE), Span(10, 20, Mode.SHARED)])
    assert list(ranges) == [Span(0, END, Mode.SHARED)]


@dataclass
class _Model:
    """A mode per owner and byte."""

    held: dict[int, list[Mode]] = field(default_factory=lambda: {owner: [Mode.NONE] * SIZE for owner in OWNERS})

    def in_the_way(self, owner: int, wanted: Span) -> set[int]:
        return {
            other
            for other, modes in self.held.items()
            for mode in modes[wanted.start : wanted.end]
            if other != owner and mode.conflicts(wanted.mode)
        }


class LockTableMachine(RuleBasedStateMachine):
    """Owners lock and unlock as fcntl(2) lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LockTable()
        self.model = _Model()

    @rule(owner=st.sampled_from(OWNERS), wanted=locks)
    def lock(self, owner: int, wanted: Span) -> None:
        found = {conflict.owner for conflict in self.table.conflicts(owner, wanted)}
        assert found == self.model.in_the_way(owner, wanted)
        if not found:
            self.set(owner, wanted)

    @rule(owner=st.sampled_from(OWNERS), edge=edges)
    def unlock(self, owner: int, edge: list[int]) -> None:
        self.set(owner, Span(edge[0], edge[1], Mode.NONE))

    def set(self, owner: int, span: Span) -> None:
        self.table.set(owner, span)
        self.model.held[owner][span.start : span.end] = [span.mode] * (span.end - span.start)

    @rule(owner=st.sampled_from(OWNERS))
    def drop(self, owner: int) -> None:
        had = any(self.model.held[owner])
        assert self.table.drop(owner) == had
        self.model.held[owner] = [Mode.NONE] * SIZE

    @invariant()
    def owners_hold_what_the_model_says(self) -> None:
        for owner in OWNERS:
            assert bytes_of(self.table.of(owner)) == self.model.held[owner]
        assert bytes_of(self.table.union()) == [max(column) for column in zip(*self.model.held.values(), strict=True)]
        assert bool(self.table) == any(map(any, self.model.held.values()))


TestLockTable = LockTableMachine.TestCase
