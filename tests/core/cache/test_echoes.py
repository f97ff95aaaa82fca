"""Which of the changes that a server tells of are our own."""

from __future__ import annotations

import pytest

from smbfuse.core.cache.echoes import EXPIRY, Echoes, Kind
from tests.core.support import Clock

A, B = (1, "A"), (1, "B")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def echoes(clock: Clock) -> Echoes:
    made = Echoes(clock)
    made.armed = True
    return made


def test_each_change_is_told_once(echoes: Echoes) -> None:
    with echoes.of((A, Kind.COMES)):
        pass
    assert not echoes.matches(B, Kind.COMES)
    assert echoes.matches(A, Kind.COMES)
    assert not echoes.matches(A, Kind.COMES)


def test_it_may_be_told_before_the_answer(echoes: Echoes) -> None:
    with echoes.of((A, Kind.GOES), (B, Kind.COMES)):
        assert echoes.matches(A, Kind.GOES)
        assert echoes.matches(B, Kind.COMES)
    assert len(echoes) == 0


def test_what_failed_was_not_done(echoes: Echoes) -> None:
    with pytest.raises(OSError, match="no"), echoes.of((A, Kind.COMES)):
        raise OSError("no")
    assert not echoes.matches(A, Kind.COMES)
    assert len(echoes) == 0


def test_after_a_while_it_is_not_ours_any_more(echoes: Echoes, clock: Clock) -> None:
    with echoes.of((A, Kind.COMES)):
        clock.pass_(1000)  # the server may take its time
    clock.pass_(EXPIRY - 0.1)
    with echoes.of((A, Kind.GOES)):
        pass
    clock.pass_(0.2)
    assert not echoes.matches(A, Kind.COMES)


def test_what_is_told_out_of_order_was_done_by_others(echoes: Echoes) -> None:
    for kind in (Kind.COMES, Kind.GOES, Kind.COMES):
        with echoes.of((A, kind)):
            pass
    assert echoes.matches(A, Kind.GOES)  # that it came was not told; it will not be any more
    assert echoes.matches(A, Kind.COMES)
    assert not echoes.matches(A, Kind.COMES)


def test_what_others_do_in_between_ends_all_expectations(echoes: Echoes) -> None:
    with echoes.of((A, Kind.COMES)):
        pass
    assert not echoes.matches(A, Kind.GOES)
    assert not echoes.matches(A, Kind.COMES)


def test_a_file_that_was_there_did_not_come(echoes: Echoes) -> None:
    with echoes.of((A, Kind.GOES)):
        pass
    with echoes.of((A, Kind.COMES)):
        echoes.withdraw(A, Kind.COMES)
    assert not echoes.matches(A, Kind.COMES)
    with echoes.of((A, Kind.COMES)):
        echoes.withdraw(A, Kind.GOES)
    assert echoes.matches(A, Kind.COMES)


def test_what_could_not_be_told_is_expected_no_longer(echoes: Echoes) -> None:
    with echoes.of((A, Kind.COMES)):
        echoes.clear()
    assert not echoes.matches(A, Kind.COMES)


def test_nothing_is_expected_of_a_server_that_tells_nothing(echoes: Echoes) -> None:
    echoes.armed = False
    with echoes.of((A, Kind.COMES)):
        pass
    assert len(echoes) == 0
