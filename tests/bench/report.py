"""How results look: a line for each workload as it is done, and all of it as JSON. Rates are in 10^6 bytes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bench.measure import SUBJECT, Result, Series

COLUMNS = (SUBJECT, "smbnetfs", "smbclient", "local")
_SCALE = {"MB/s": 1e6, "MB": 1e6}
_WIDTHS = (26, 6, 15, *(24,) * (len(COLUMNS) - 1))

LEGEND = """Medians of {runs} interleaved runs. ±: half of highest minus lowest, as a part of the median. In brackets:
how many times better than this peer smbfuse is, and what is aimed at. local: the served directory itself, on {where}.
"""


def heading() -> str:
    return _line("workload", "unit", *COLUMNS)


def row(result: Result) -> str:
    """The table's line for one workload."""
    return _line(result.workload.title, result.workload.unit, *(_cell(result, name) for name in COLUMNS)).rstrip()


def _line(*cells: str) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _cell(result: Result, name: str) -> str:
    series = result.series.get(name)
    if series is None:
        return "-"
    if series.median is None:
        return "failed"
    shown = _figure(series, result.workload.unit)
    return shown if name == SUBJECT else f"{shown} ({_against(result, name)})"


def _figure(series: Series, unit: str) -> str:
    assert series.median is not None
    assert series.spread is not None
    return f"{_short(series.median / _SCALE.get(unit, 1))} ±{series.spread / 2:.0%}"


def _against(result: Result, name: str) -> str:
    ratio, mark = result.ratio(name), dict(result.workload.marks).get(name)
    times = "?" if ratio is None else f"{_short(ratio)}x"
    return times if mark is None else f"{times}, >={mark:g}"


def _short(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def failures(results: Iterable[Result]) -> list[str]:
    """A line for each series that came to nothing."""
    return [
        f"{result.workload.name}: {name}: {series.failure}"
        for result in results
        for name, series in result.series.items()
        if series.failure is not None
    ]


# -- JSON --------------------------------------------------------------------------------------------------------------


def write_json(path: Path, results: Iterable[Result], **about: object) -> None:
    """Everything that was measured, every single run too. `about` says more about the circumstances."""
    document = {
        "machine": machine(),
        **about,
        "workloads": {result.workload.name: _as_json(result) for result in results},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "title": result.workload.title,
        "unit": "bytes/s"
        if result.workload.unit == "MB/s"
        else "bytes"
        if result.workload.unit == "MB"
        else result.workload.unit,
        "peers": {name: _series_as_json(series) for name, series in result.series.items()},
        "times_better_than": {name: result.ratio(name) for name in result.series if name != SUBJECT},
        "aimed_at": dict(result.workload.marks),
    }


def _series_as_json(series: Series) -> dict[str, Any]:
    return {"median": series.median, "spread": series.spread, "runs": series.values, "failure": series.failure}


def machine() -> dict[str, Any]:
    """What figures depend on."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
        "commit": _output("git", "describe", "--always", "--dirty"),
        "samba": _output("smbclient", "--version"),
    }


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
