"""Interleaved runs and what follows from them: medians, spreads, ratios. No printing here.

All contenders of a workload take turns, and every second round goes backwards, so that a machine that grows slower or
busier in the meantime does so for all of them.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.bench.circumstances import SETTINGS, Link, Setting
from tests.bench.counting import Count, count
from tests.bench.peers import Peer
from tests.bench.stage import Stage
from tests.bench.workloads.base import SUBJECT, Sample, Workload
from tests.samba.smbd import SmbclientError
from tests.support.child import WorkError

FAILURES: Final = (WorkError, SmbclientError, AssertionError, OSError, RuntimeError, subprocess.SubprocessError)
"""What a peer's bad day looks like; AssertionError is a mount's that failed."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One that is measured: a peer, and the settings in whose lines of the table its figures stand."""

    peer: str
    settings: tuple[Setting, ...]


def contenders(link: Link, settings: Sequence[Setting] = SETTINGS) -> list[Contender]:
    """Who takes part over this link: we in each setting, others with signing and without.

    The peers have no UNIX extensions to be switched off; to the served directory itself all of it is the same.
    """
    wanted = tuple(setting for setting in link.settings if setting in settings)
    by_signing = [tuple(setting for setting in wanted if setting.signed is signed) for signed in (False, True)]
    found = [Contender(SUBJECT, (setting,)) for setting in wanted]
    found += [Contender(peer, group) for peer in ("smbnetfs", "smbclient") for group in by_signing if group]
    return found if link.delay is not None else [*found, Contender("local", wanted)]


@dataclass(slots=True)
class Series:
    """The figures of one contender for one workload, or why there are none."""

    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None

    @property
    def values(self) -> list[float]:
        return [sample.figure for sample in self.samples]

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values and self.failure is None else None

    @property
    def spread(self) -> float | None:
        """From the lowest to the highest figure, as a part of the median: how noisy it was."""
        median = self.median
        return (max(self.values) - min(self.values)) / median if median else None

    @property
    def cpu(self) -> float | None:
        """Median of the processors' seconds."""
        known = [sample.cpu for sample in self.samples if sample.cpu is not None]
        return statistics.median(known) if known and self.failure is None else None


@dataclass(slots=True)
class Result:
    """A workload over one link, with the series of each contender, and what it costs us in requests."""

    workload: Workload
    link: Link
    series: dict[Contender, Series]
    counts: dict[Setting, Count] = field(default_factory=dict)

    @property
    def settings(self) -> list[Setting]:
        """Those that there is a line for."""
        return [contender.settings[0] for contender in self.series if contender.peer == SUBJECT]

    def of(self, peer: str, setting: Setting) -> Series | None:
        """What stands in the line of this setting."""
        for contender, series in self.series.items():
            if contender.peer == peer and setting in contender.settings:
                return series
        return None

    def median(self, peer: str, setting: Setting) -> float | None:
        series = self.of(peer, setting)
        return None if series is None else series.median

    def ratio(self, peer: str, setting: Setting) -> float | None:
        """How many times better than `peer` smbfuse is; None where one of the two has no figures."""
        ours, theirs = self.median(SUBJECT, setting), self.median(peer, setting)
        if not ours or not theirs:
            return None
        return ours / theirs if self.workload.more_is_better else theirs / ours


def measure(
    workload: Workload,
    link: Link,
    taking_part: Sequence[Contender],
    peers: Mapping[str, type[Peer]],
    stage: Stage,
    runs: int,
) -> Result:
    """Measure a workload with all of its peers that are there. One that fails is out, the others go on."""
    series = {one: Series() for one in taking_part if one.peer in workload.peers and one.peer in peers}
    result = Result(workload, link, series)
    for turn in range(min(runs, workload.most_runs or runs)):
        for contender in list(series)[:: -1 if turn % 2 else 1]:
            if series[contender].failure is None:
                _measure_once(workload, link, contender, peers[contender.peer], stage, series[contender])
    if link.delay is None and workload.counted:
        _count(result, peers, stage)
    return result


def _measure_once(
    workload: Workload, link: Link, contender: Contender, peer: type[Peer], stage: Stage, series: Series
) -> None:
    setting = contender.settings[0]
    sizes = link.sizes if contender.peer == SUBJECT else link.peers
    try:
        made = peer(stage, stage.endpoint(link, signed=setting.signed), setting)
        series.samples.append(workload.measure(made, stage, sizes))
    except FAILURES as error:
        series.failure = f"{type(error).__name__}: {error}"
    finally:
        stage.clear()


def _count(result: Result, peers: Mapping[str, type[Peer]], stage: Stage) -> None:
    """One more run of ours in each setting, through the tap."""
    for setting in result.settings:
        series = result.of(SUBJECT, setting)
        if series is None or series.failure is not None:
            continue
        try:
            result.counts[setting] = count(result.workload, result.link, setting, peers[SUBJECT], stage)
        except FAILURES as error:
            series.failure = f"counting: {type(error).__name__}: {error}"
        finally:
            stage.clear()
