"""All figures of a run as JSON: every single sample, what they were measured under, the verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.bench.circumstances import Setting
from tests.bench.measure import Contender, Result, Series
from tests.bench.report import goal_text
from tests.bench.targets import Verdict
from tests.bench.wire import Wire
from tests.bench.workloads.base import SUBJECT, Unit
from tests.support.machine import machine

_UNITS: Final[dict[Unit, str]] = {"MB/s": "bytes/s", "MB": "bytes"}
"""What the figures are in, where the table shows them in another scale."""


def write_json(
    path: Path, results: Iterable[Result], wires: Mapping[str, Wire], verdicts: Iterable[Verdict], **about: object
) -> None:
    """`wires` by the names of links. `about` says more about the circumstances."""
    document = {
        "machine": machine(),
        **about,
        "links": {name: asdict(wire) for name, wire in wires.items()},
        "workloads": [_result(result) for result in results],
        "targets": [_verdict(verdict) for verdict in verdicts],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _result(result: Result) -> dict[str, Any]:
    workload = result.workload
    return {
        "name": workload.name,
        "title": workload.title,
        "link": result.link.name,
        "unit": _UNITS.get(workload.unit, workload.unit),
        "amount": workload.amount(result.link.sizes),
        "series": [_series(contender, series) for contender, series in result.series.items()],
        "times_better": {setting.name: _ratios(result, setting) for setting in result.settings},
        "requests": {
            setting.name: {"total": count.total, "by_smbd": count.by_server, **dict(count.requests.most_common())}
            for setting, count in result.counts.items()
        },
    }


def _series(contender: Contender, series: Series) -> dict[str, Any]:
    return {
        "peer": contender.peer,
        "settings": [setting.name for setting in contender.settings],
        "median": series.median,
        "spread": series.spread,
        "runs": series.values,
        "cpu": series.cpu,
        "failure": series.failure,
    }


def _ratios(result: Result, setting: Setting) -> dict[str, float | None]:
    peers = dict.fromkeys(contender.peer for contender in result.series if contender.peer != SUBJECT)
    return {peer: result.ratio(peer, setting) for peer in peers}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "workload": verdict.target.workload,
        "link": verdict.target.link.name,
        "setting": verdict.setting.name,
        "goal": goal_text(verdict.target),
        "figure": verdict.figure,
        "reached": verdict.reached,
    }
