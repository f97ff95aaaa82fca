"""Interleaved runs and what follows from them: medians, spreads, ratios. No printing here.

All peers of a workload take turns, and every second round goes backwards, so that a machine that grows slower or busier
in the meantime does so for all of them.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench.peers import FileSystem, Smbclient
from tests.bench.stage import Stage
from tests.bench.workloads import Sizes, Workload
from tests.samba.smbd import SmbclientError
from tests.support.child import WorkError

SUBJECT = "smbfuse"

_FAILURES = (WorkError, SmbclientError, AssertionError, OSError, RuntimeError, subprocess.SubprocessError)
"""What a peer's bad day looks like; AssertionError is a mount's that failed."""


@dataclass(slots=True)
class Series:
    """The figures of one peer for one workload, or why there are none."""

    values: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values and self.failure is None else None

    @property
    def spread(self) -> float | None:
        """From the lowest to the highest figure, as a part of the median: how noisy it was."""
        median = self.median
        return (max(self.values) - min(self.values)) / median if median else None


@dataclass(slots=True)
class Result:
    """A workload with the series of each peer that was asked for."""

    workload: Workload
    series: dict[str, Series]

    def ratio(self, peer: str) -> float | None:
        """How many times better than `peer` smbfuse is; None where one of the two has no figures."""
        ours, theirs = (self._median(name) for name in (SUBJECT, peer))
        if not ours or not theirs:
            return None
        return ours / theirs if self.workload.more_is_better else theirs / ours

    def _median(self, name: str) -> float | None:
        return self.series[name].median if name in self.series else None


def measure(
    workload: Workload, peers: Mapping[str, FileSystem | Smbclient], stage: Stage, sizes: Sizes, runs: int
) -> Result:
    """Measure a workload with all of its peers that are there. A peer that fails is out, the others go on."""
    series = {name: Series() for name in workload.peers if name in peers}
    for turn in range(runs):
        for name in sorted(series, key=workload.peers.index, reverse=bool(turn % 2)):
            if series[name].failure is None:
                _measure_once(workload, peers[name], stage, sizes, series[name])
    return Result(workload, series)


def _measure_once(workload: Workload, peer: FileSystem | Smbclient, stage: Stage, sizes: Sizes, series: Series) -> None:
    try:
        series.values.append(workload.measure(peer, stage, sizes))
    except _FAILURES as error:
        series.failure = f"{type(error).__name__}: {error}"
    finally:
        stage.clear()
