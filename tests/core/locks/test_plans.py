"""How mandatory locks are changed: the plan, against a server that keeps the rules."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from smbfuse.core.locks.locktable import Mode, Ranges, Span
from smbfuse.core.locks.serverlocks import plan

SIZE = 16
edges = st.integers(0, SIZE - 1).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, SIZE)))
spans = st.builds(
    lambda edge, mode: Span(edge[0], edge[1], mode), edges, st.sampled_from([Mode.SHARED, Mode.EXCLUSIVE])
)


@dataclass
class Mandatory:
    """A server that keeps the rules of LOCKING_ANDX for one FID."""

    entries: list[Span]

    def lock(self, span: Span) -> None:
        for entry in self.entries:
            stacked = span.mode == Mode.SHARED
            assert stacked or not span.overlaps(entry), "an exclusive lock on one of our own is refused"
        self.entries.append(span)

    def unlock(self, span: Span) -> None:
        same = [entry for entry in self.entries if (entry.start, entry.end) == (span.start, span.end)]
        assert same, "not locked"
        self.entries.remove(max(same, key=lambda entry: entry.mode))

    @property
    def modes(self) -> list[Mode]:
        covering = ([entry.mode for entry in self.entries if entry.start <= at < entry.end] for at in range(SIZE))
        return [max(modes, default=Mode.NONE) for modes in covering]


def _ranges(content: list[Span]) -> Ranges:
    made = Ranges()
    for span in content:
        made.set(span)
    return made


@given(st.lists(st.tuples(st.lists(spans, max_size=5), st.sampled_from([1, 2, 3])), min_size=2, max_size=6))
def test_a_plan_keeps_the_rules_and_shared_locks(goals: list[tuple[list[Span], int]]) -> None:
    """Also from where the first or the second of its steps were done and the next refused."""
    server, entries = Mandatory([]), list[Span]()
    for content, steps in goals:
        before, wanted = server.modes, _ranges(content)
        todo = plan(entries, wanted)
        for span in todo.shared:
            server.lock(span)
            entries.append(span)
        if steps > 1:
            for span in todo.unlocks:
                server.unlock(span)
                entries.remove(span)
        between = server.modes
        if steps > 2:
            for span in todo.exclusive:
                server.lock(span)
                entries.append(span)
        assert sorted(server.entries) == sorted(entries), "we know what is held"
        after = Mandatory(list(wanted)).modes
        assert steps < 3 or server.modes == after
        for old, meanwhile, new in zip(before, between, after, strict=True):
            if old and new == Mode.SHARED:
                assert meanwhile, "a byte that stays locked was unlocked for a moment"
