"""How results look: a line for each as soon as it is there, the findings, the reasons, and all of it as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.programs.judge import Judgement, Result
from tests.support.machine import machine

COLUMNS = (
    "program",
    "setting",
    "ran",
    "failed",
    "disk too",
    "known",
    "new",
    "left out",
    "disk too",
    "known",
    "new",
    "s",
)
_WIDTHS = (17, 14, 6, 8, 10, 7, 6, 10, 10, 7, 6, 6)


def heading() -> str:
    return _line(COLUMNS)


def row(result: Result) -> str:
    """The table's line for one program in one setting."""
    return _line(
        (
            *(result.program, result.setting.name, result.outcome.ran),
            *_counts(result.failed),
            *_counts(result.left_out),
            f"{result.outcome.seconds:.0f}",
        )
    )


def _counts(judged: Judgement) -> tuple[int, int, int, int]:
    return len(judged), len(judged.shared), len(judged.known), len(judged.findings)


def _line(cells: Iterable[object]) -> str:
    return "".join(
        str(cell).ljust(width) if number < 2 else str(cell).rjust(width)
        for number, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )


def findings(results: Iterable[Result]) -> list[str]:
    """A line for each thing that neither the disk shows nor anybody knows."""
    return [
        f"{kind}: {result.program}, {result.setting.name}: {test}: {text}"
        for result in results
        for kind, judged in (("failed", result.failed), ("left out", result.left_out))
        for test, text in judged.findings.items()
    ]


def reasons(results: Iterable[Result]) -> list[str]:
    """Why the known ones are so, with how many tests each reason stands for in each program and setting."""
    counted = Counter(
        (why, result.setting.name, result.program)
        for result in results
        for judged in (result.failed, result.left_out)
        for why in judged.known.values()
    )
    lines = []
    for why in dict.fromkeys(key[0] for key in counted):
        where = [f"{name} {program} {count}" for (found, name, program), count in counted.items() if found == why]
        lines.append(f"{why} ({', '.join(where)})")
    return lines


def write_json(path: Path, results: Iterable[Result], **about: object) -> None:
    """All of it. `about` says more about the circumstances."""
    document = {"machine": machine(), **about, "results": [_as_json(result) for result in results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "program": result.program,
        "setting": result.setting.name,
        "ran": result.outcome.ran,
        "seconds": result.outcome.seconds,
        "failed": asdict(result.failed),
        "left_out": asdict(result.left_out),
    }
