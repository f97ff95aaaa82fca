"""MIDs: never one that is waited on, never the server's own, and all of them before it says no."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.errors import LocalProtocolError
from smbfuse.proto.mids import OPLOCK_BREAK_MID, MidTable


def test_all_are_given_out_but_the_servers_own() -> None:
    table: MidTable[int] = MidTable()
    given_out = [table.add(number) for number in range(65_534)]
    assert sorted(given_out) == list(range(1, OPLOCK_BREAK_MID))
    with pytest.raises(LocalProtocolError, match="all MIDs are in use"):
        table.add(0)
    del table.pending[777]
    assert table.add(0) == 777


def test_numbers_go_round_and_pass_over_what_is_waited_on() -> None:
    table: MidTable[str] = MidTable()
    stays = [table.add("slow") for _ in range(3)]
    for _ in range(200_000):
        mid = table.add("quick")
        assert mid not in stays
        assert 0 < mid < OPLOCK_BREAK_MID
        del table.pending[mid]
    assert sorted(table.pending) == stays


def test_a_number_is_not_used_again_at_once() -> None:
    """A server's late answer must not find a new request under its MID."""
    table: MidTable[str] = MidTable()
    seen = set()
    for _ in range(65_534):
        mid = table.add("")
        seen.add(mid)
        del table.pending[mid]
    assert len(seen) == 65_534


@given(st.lists(st.booleans(), max_size=200))
def test_no_two_wait_under_one(steps: list[bool]) -> None:
    table: MidTable[int] = MidTable()
    mine: set[int] = set()
    for add in steps:
        if add or not mine:
            mid = table.add(0)
            assert mid not in mine
            mine.add(mid)
        else:
            gone = mine.pop()
            del table.pending[gone]
    assert set(table.pending) == mine
