"""How results look: lines for each workload as it is done, and the verdicts at the end. Rates are in 10^6 bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tests.bench.circumstances import Link, Setting
from tests.bench.measure import Result, Series
from tests.bench.targets import Target, Verdict
from tests.bench.wire import Wire
from tests.bench.workloads.base import SUBJECT, Unit, Workload

PEERS: Final = ("smbnetfs", "smbclient", "local")
_SCALE: Final[dict[Unit, float]] = {"MB/s": 1e6, "MB": 1e6}
_GIB: Final = 1 << 30
_WIDTHS: Final = (26, 6, 16, 15, 14, 10, *(23,) * len(PEERS))

LEGEND: Final = """Medians of {runs} interleaved runs. ±: half of highest minus lowest, as a part of the median.
In brackets: how many times better than this peer smbfuse is. CPU: of the mount's process, for each GiB or operation.
requests: in all, through a tap in a run of its own. local: the served directory itself, on {where}.
Load of the machine: {load}.
"""


def about(link: Link, wire: Wire) -> str:
    """What a part of the table was measured over."""
    carries = "" if wire.rate is None else f"; the relay passes {wire.rate / 1e6:.0f} MB/s"
    return f"\n{link.name}: a bare request takes {wire.round_trip * 1e3:.3g} ms{carries}\n{heading()}"


def heading() -> str:
    return _line("workload", "unit", "setting", SUBJECT, "CPU", "requests", *PEERS)


def rows(result: Result) -> list[str]:
    """The table's lines for one workload, one for each setting."""
    return [_row(result, setting) for setting in result.settings]


def _row(result: Result, setting: Setting) -> str:
    ours = result.of(SUBJECT, setting)
    assert ours is not None, "settings are those with a series of ours"
    requests = str(result.counts[setting].total) if setting in result.counts else "-"
    peers = [_against(result, peer, setting) for peer in PEERS]
    workload = result.workload
    return _line(
        workload.title, workload.unit, setting.name, _figure(ours, workload.unit), _cpu(result, ours), requests, *peers
    )


def _line(*cells: str) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _figure(series: Series, unit: Unit) -> str:
    median, spread = series.median, series.spread
    if median is None or spread is None:
        return "failed"
    return f"{short(median / _SCALE.get(unit, 1))} ±{spread / 2:.0%}"


def _cpu(result: Result, series: Series) -> str:
    workload: Workload = result.workload
    if series.cpu is None:
        return "-"
    amount = workload.amount(result.link.sizes)
    if workload.unit == "MB/s":
        return f"{series.cpu * _GIB / amount:.2f} s/GiB"
    return f"{short(series.cpu / amount * 1e3)} ms each"


def _against(result: Result, peer: str, setting: Setting) -> str:
    series = result.of(peer, setting)
    if series is None:
        return "-"
    shown, ratio = _figure(series, result.workload.unit), result.ratio(peer, setting)
    return shown if ratio is None else f"{shown} ({short(ratio)}x)"


def short(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def failures(results: Iterable[Result]) -> list[str]:
    """A line for each series that came to nothing."""
    return [
        f"{result.workload.name}, {result.link.name}, {contender.settings[0].name}: {contender.peer}: {series.failure}"
        for result in results
        for contender, series in result.series.items()
        if series.failure is not None
    ]


def disagreements(results: Iterable[Result]) -> list[str]:
    """A line for each count of requests in which the server's own account differs from the tap's."""
    return [
        f"{result.workload.name}, {setting.name}: the tap saw {count.total} requests, smbd {count.by_server}"
        for result in results
        for setting, count in result.counts.items()
        if count.total != count.by_server
    ]


def goal_text(target: Target) -> str:
    """What is aimed at, in words."""
    goal = target.goal
    return f"{'at least' if goal.least else 'at most'} {short(goal.bound)} {goal.terms}"


def verdict_line(verdict: Verdict) -> str:
    """A target and what came of it."""
    figure = "not measured" if verdict.figure is None else f"{short(verdict.figure)}"
    cells = (
        "reached" if verdict.reached else "MISSED",
        verdict.result.workload.title,
        verdict.target.link.name,
        verdict.setting.name,
        figure,
        goal_text(verdict.target),
    )
    return "".join(cell.ljust(width) for cell, width in zip(cells, (9, 27, 10, 16, 14, 0), strict=True))
