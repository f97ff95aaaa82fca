"""The server's clock, reckoned from what it tells."""

from __future__ import annotations

import pytest

import smbfuse.client.clock as clock_module
from smbfuse.client.clock import GRAIN_NS, ServerClock

SECOND = 10**9
HOUR = 3600 * SECOND
THEN = 1_790_000_000 * SECOND + 123_456_700
"""What the server's clock showed at the beginning; no round time."""


class Machine:
    """This machine, for how long it runs."""

    def __init__(self) -> None:
        self.ns = 5 * HOUR

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(clock_module, "since_boot_ns", made)
    return made


@pytest.fixture
def clock(machine: Machine) -> ServerClock:
    made = ServerClock()
    made.shows(THEN)
    return made


def test_it_goes_on_by_itself(clock: ServerClock, machine: Machine) -> None:
    assert clock.now_ns() == THEN
    machine.ns += 3 * SECOND
    assert clock.now_ns() == THEN + 3 * SECOND


def test_it_ticks_as_servers_do(clock: ServerClock, machine: Machine) -> None:
    machine.ns += 199
    assert clock.now_ns() == THEN + 100


def test_a_file_of_later_shows_that_it_was_reckoned_late(clock: ServerClock, machine: Machine) -> None:
    clock.dated(THEN + 700_000, clock.now_ns())
    assert clock.now_ns() == THEN + 700_000
    machine.ns += SECOND
    assert clock.now_ns() == THEN + 700_000 + SECOND


def test_a_file_of_meanwhile_shows_nothing(clock: ServerClock, machine: Machine) -> None:
    since = clock.now_ns()
    machine.ns += 5 * SECOND
    for told in (since, since + SECOND, since + 5 * SECOND, since - GRAIN_NS):
        clock.dated(told, since)
        assert clock.now_ns() == THEN + 5 * SECOND


@pytest.mark.parametrize("hours", [-7, 7])
def test_somebody_set_it(clock: ServerClock, machine: Machine, hours: int) -> None:
    since = clock.now_ns()
    machine.ns += SECOND
    clock.dated(since + hours * HOUR, since)
    assert clock.now_ns() == THEN + hours * HOUR


def test_a_time_rounded_up_is_not_taken_for_now(clock: ServerClock) -> None:
    """Windows rounds times on FAT up to the next even second."""
    rounded = THEN // GRAIN_NS * GRAIN_NS + GRAIN_NS
    clock.dated(rounded, clock.now_ns())
    assert clock.now_ns() == THEN
    clock.dated(rounded + HOUR, clock.now_ns())  # but that is no rounding
    assert clock.now_ns() == rounded + HOUR


@pytest.mark.parametrize("nothing", [0, -11_644_473_600 * SECOND])
def test_no_time_is_no_clock(clock: ServerClock, nothing: int) -> None:
    clock.dated(nothing, clock.now_ns())
    assert clock.now_ns() == THEN
