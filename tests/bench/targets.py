"""What is aimed at, as a table, and what of it a run has reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.bench.circumstances import FAR, LOOPBACK, SIGNED, UNSIGNED, Link, Setting
from tests.bench.measure import Result
from tests.bench.workloads.base import SUBJECT


class Results:
    """All that was measured in a run, to be asked for by name."""

    def __init__(self, results: Iterable[Result], round_trip: float | None = None) -> None:
        self._results = {(result.workload.name, result.link.name): result for result in results}
        self.round_trip = round_trip
        """Seconds that one request takes over the slow link; None if that was not used."""

    def of(self, workload: str, link: Link) -> Result | None:
        return self._results.get((workload, link.name))

    def on_wire(self, workload: str, setting: Setting) -> float | None:
        """Seconds that the workload's requests, as counted on loopback, take one by one over the slow link."""
        result = self.of(workload, LOOPBACK)
        if result is None or setting not in result.counts or self.round_trip is None:
            return None
        return result.counts[setting].total * self.round_trip


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached: `figure` gives what was, in the goal's own terms; None where that was not measured."""

    bound: float
    terms: str
    figure: Callable[[Results, Result, Setting], float | None]
    least: bool = True
    """Whether the figure shall be at least `bound`, else at most."""
    peer: str | None = None
    """Who has to be measured, too."""

    def reached(self, figure: float) -> bool:
        return figure >= self.bound if self.least else figure <= self.bound


def times(bound: float, peer: str) -> Goal:
    """So many times as good as a peer in the same run."""
    return Goal(bound, f"x {peer}", lambda _, result, setting: result.ratio(peer, setting), peer=peer)


def own(bound: float, terms: str, *, scale: float = 1.0, least: bool = True) -> Goal:
    """The workload's own figure, in a unit of `scale`."""

    def figure(_results: Results, result: Result, setting: Setting) -> float | None:
        median = result.median(SUBJECT, setting)
        return None if median is None else median / scale

    return Goal(bound, terms, figure, least)


def requests(bound: int) -> Goal:
    """At most so many requests in all."""

    def figure(_results: Results, result: Result, setting: Setting) -> float | None:
        return result.counts[setting].total if setting in result.counts else None

    return Goal(bound, "requests", figure, least=False)


def per_round_trip(bound: float) -> Goal:
    """So many operations in each round trip of a bare client that asks one thing after the other."""

    def figure(results: Results, result: Result, setting: Setting) -> float | None:
        median = result.median(SUBJECT, setting)
        return None if median is None or results.round_trip is None else median * results.round_trip

    return Goal(bound, "per round trip", figure)


def wire_time(bound: float) -> Goal:
    """So many times as fast as its requests would be one after the other, each taking a round trip."""

    def figure(results: Results, result: Result, setting: Setting) -> float | None:
        median, on_wire = result.median(SUBJECT, setting), results.on_wire(result.workload.name, setting)
        if median is None or on_wire is None:
            return None
        return on_wire * median / result.workload.amount(result.link.sizes)

    return Goal(bound, "x its requests one by one", figure)


def beside_round_trips(bound: float) -> Goal:
    """At most so many seconds beside the round trips of its requests."""

    def figure(results: Results, result: Result, setting: Setting) -> float | None:
        median, on_wire = result.median(SUBJECT, setting), results.on_wire(result.workload.name, setting)
        return None if median is None or on_wire is None else median - on_wire

    return Goal(bound, "s beside its round trips", figure, least=False)


def per_entry(bound: float) -> Goal:
    """At most so many bytes more than idle for each file that was walked."""

    def figure(results: Results, result: Result, setting: Setting) -> float | None:
        idle = results.of("memory", LOOPBACK)
        walked = result.median(SUBJECT, setting)
        before = None if idle is None else idle.median(SUBJECT, setting)
        return None if walked is None or before is None else (walked - before) / result.link.sizes.remembered

    return Goal(bound, "bytes for each file", figure, least=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A goal for a workload, in each of these settings."""

    workload: str
    goal: Goal
    link: Link = LOOPBACK
    settings: tuple[Setting, ...] = UNSIGNED


_MB: Final = 1e6
_SMALL: Final = (("create", 20.0), ("open", 40.0), ("rename", 40.0), ("unlink", 40.0))

TARGETS: Final = (
    Target("read", times(2.5, "smbnetfs")),
    Target("read", times(0.7, "smbclient")),
    Target("read", times(2.0, "smbnetfs"), settings=SIGNED),
    Target("read", times(0.7, "smbclient"), settings=SIGNED),
    Target("read", own(100, "MB/s", scale=_MB), FAR),
    Target("reread", times(10, "smbnetfs")),
    Target("reread", times(0.3, "local")),
    Target("reread", requests(0)),
    Target("write", times(15, "smbnetfs")),
    Target("write", times(0.8, "smbclient")),
    Target("write", times(2.0, "smbnetfs"), settings=SIGNED),
    Target("write", times(0.7, "smbclient"), settings=SIGNED),
    Target("write", own(80, "MB/s", scale=_MB), FAR),
    Target("readers", times(2, "smbnetfs")),
    Target("random", times(1, "smbnetfs")),
    Target("random", per_round_trip(1), FAR),
    Target("random8", per_round_trip(8), FAR),
    *(Target(name, times(1.5, "smbnetfs")) for name, _ in _SMALL),
    *(Target(name, own(least, "/s"), FAR) for name, least in _SMALL),
    Target("stat", times(1.5, "smbnetfs")),
    Target("stat", own(600, "/s"), FAR),
    Target("ls", times(3, "smbnetfs")),
    Target("ls", wire_time(1), FAR),
    Target("walk", times(2, "smbnetfs")),
    Target("walk", own(1500, "/s"), FAR),
    *(Target(name, times(1.5, "smbnetfs")) for name in ("copy-in", "copy-out")),
    *(Target(name, own(10, "/s"), FAR) for name in ("copy-in", "copy-out")),
    Target("append", times(2, "smbnetfs")),
    Target("append", requests(10)),
    Target("mount", own(0.6, "s", least=False)),
    Target("mount", beside_round_trips(0.6), FAR),
    Target("memory", own(60, "MB", scale=_MB, least=False)),
    Target("memory-walk", per_entry(600)),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a target in one setting."""

    target: Target
    result: Result
    setting: Setting
    figure: float | None

    @property
    def reached(self) -> bool:
        """Whether it was; not if nothing was measured."""
        return self.figure is not None and self.target.goal.reached(self.figure)


def judge(results: Results, targets: Iterable[Target] = TARGETS) -> Iterator[Verdict]:
    """The verdict for every target whose workload was measured in that setting."""
    for target in targets:
        result = results.of(target.workload, target.link)
        if result is None:
            continue
        for setting in target.settings:
            if setting in result.settings:
                yield Verdict(target, result, setting, target.goal.figure(results, result, setting))
