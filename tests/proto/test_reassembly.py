"""Transactions in parts: any cut in any order gives the whole, and nothing else passes for a whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.errors import RemoteProtocolError
from smbfuse.proto.reassembly import MAX_TRANSACTION, Assembly, Part, Transaction, slices


def part(
    parameters: bytes = b"",
    data: bytes = b"",
    *,
    at: tuple[int, int] = (0, 0),
    totals: tuple[int, int],
    setup: bytes = b"",
) -> Part:
    return Part(totals[0], totals[1], at[0], at[1], setup, parameters, data)


def assemble(parts: list[Part]) -> Transaction | None:
    """What the parts give; only the last may complete it."""
    assembly = Assembly()
    whole = None
    for one in parts:
        assert whole is None, "complete before the last part"
        whole = assembly.add(one)
    return whole


# --- both ways


@given(
    parameters=st.binary(max_size=300),
    data=st.binary(max_size=3000),
    room=st.lists(st.integers(1, 700), min_size=1, max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_what_is_cut_comes_together_in_any_order(
    parameters: bytes, data: bytes, room: list[int], order: object
) -> None:
    totals = len(parameters), len(data)
    parts = [part(chunk, rest, at=(p, d), totals=totals) for p, chunk, d, rest in slices(parameters, data, room)]
    order.shuffle(parts)  # type: ignore[attr-defined] # hypothesis' own Random
    assert assemble(parts) == Transaction(b"", parameters, data)


@given(
    parameters=st.binary(max_size=300),
    data=st.binary(max_size=3000),
    first=st.integers(1, 500),
    more=st.integers(1, 500),
)
def test_slices_fit_their_messages(parameters: bytes, data: bytes, first: int, more: int) -> None:
    cut = slices(parameters, data, [first, more])
    assert [len(p) + len(d) <= (more if index else first) for index, (_, p, _, d) in enumerate(cut)] == [True] * len(
        cut
    )
    assert b"".join(p for _, p, _, _ in cut) == parameters
    assert b"".join(d for _, _, _, d in cut) == data
    assert [at for at, _, _, _ in cut] == [sum(len(p) for _, p, _, _ in cut[:i]) for i in range(len(cut))]
    assert all(p or d for _, p, _, d in cut[1:])


def test_nothing_is_one_slice() -> None:
    assert slices(b"", b"", [100]) == [(0, b"", 0, b"")]


def test_setup_is_that_of_the_first_part_that_has_one() -> None:
    whole = assemble([part(b"ab", totals=(4, 0), setup=b"\x01\x00"), part(b"cd", at=(2, 0), totals=(4, 0))])
    assert whole == Transaction(b"\x01\x00", b"abcd", b"")


# --- totals that shrink


def test_totals_may_shrink() -> None:
    whole = assemble([part(data=b"abc", totals=(0, 10)), part(data=b"de", at=(0, 3), totals=(0, 5))])
    assert whole == Transaction(b"", b"", b"abcde")


def test_what_lies_beyond_a_total_that_shrank_fills_no_hole() -> None:
    assembly = Assembly()
    assert assembly.add(part(data=b"x" * 10, at=(0, 90), totals=(0, 100))) is None
    with pytest.raises(RemoteProtocolError, match="past their total"):
        assembly.add(part(data=b"y" * 40, totals=(0, 50)))


# --- what is refused


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([part(data=b"abc", totals=(0, 2))], "past their total"),
        ([part(b"abc", totals=(2, 0))], "past their total"),
        ([part(data=b"abc", at=(0, 8), totals=(0, 10))], "past their total"),
        ([part(data=b"abc", totals=(0, 10)), part(data=b"cd", at=(0, 2), totals=(0, 10))], "overlap"),
        ([part(data=b"abc", at=(0, 4), totals=(0, 10)), part(data=b"12345", totals=(0, 10))], "overlap"),
        ([part(data=b"abc", totals=(0, 10)), part(data=b"abc", totals=(0, 10))], "overlap"),
        ([part(data=b"abc", totals=(0, 10)), part(totals=(0, 10))], "empty"),
        ([part(data=b"", totals=(0, MAX_TRANSACTION + 1))], "past their total"),
    ],
)
def test_refused(parts: list[Part], why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        assemble(parts)


def test_a_hole_keeps_it_waiting() -> None:
    assert assemble([part(data=b"ab", totals=(0, 6)), part(data=b"ef", at=(0, 4), totals=(0, 6))]) is None


def test_byte_by_byte_from_the_end_stays_quick() -> None:
    """65,536 parts: with a check that looks at all parts each time this would take a quarter of an hour."""
    assembly = Assembly()
    size = 65_536
    whole = None
    for at in [*range(size - 1, 0, -2), *range(0, size, 2)]:
        whole = assembly.add(part(data=bytes([at & 0xFF]), at=(0, at), totals=(0, size)))
    assert whole is not None
    assert whole.data == bytes(at & 0xFF for at in range(size))


@given(
    st.lists(
        st.builds(
            Part,
            total_parameters=st.integers(0, 12),
            total_data=st.integers(0, 12),
            parameter_displacement=st.integers(0, 12),
            data_displacement=st.integers(0, 12),
            setup=st.just(b""),
            parameters=st.binary(max_size=6),
            data=st.binary(max_size=6),
        ),
        max_size=8,
    )
)
def test_a_whole_has_every_byte_from_some_part(parts: list[Part]) -> None:
    """Whatever a server sends: a RemoteProtocolError, nothing yet, or a whole of which each byte was sent."""
    assembly = Assembly()
    known: dict[int, int] = {}
    for one in parts:
        known.update(enumerate(one.data, one.data_displacement))
        try:
            whole = assembly.add(one)
        except RemoteProtocolError:
            return
        if whole is not None:
            assert len(whole.data) == one.total_data
            assert len(whole.parameters) == one.total_parameters
            assert dict(enumerate(whole.data)) == {at: known[at] for at in range(len(whole.data))}
            return
