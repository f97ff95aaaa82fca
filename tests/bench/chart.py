"""The chart of a run: how many times better than smbnetfs smbfuse is, over each link, as SVG without any library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Final

from tests.bench.circumstances import UNIX
from tests.bench.measure import Result
from tests.bench.report import short

PEER: Final = "smbnetfs"
LOWEST, HIGHEST = 0.5, 500.0
"""Ends of the scale, which is logarithmic: what lies outside is drawn up to them, and its number says more."""
_TICKS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
_LEFT, _WIDTH, _RIGHT = 190, 480, 70
_LINE, _TOP = 17, 60
_COLOURS: Final = ("#2f6db5", "#e08a2c", "#3c9a5f")


def write_chart(path: Path, results: Iterable[Result]) -> None:
    """Nothing where no workload was measured beside the peer."""
    lines = list(_lines(results))
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_drawn(lines))


def _lines(results: Iterable[Result]) -> Iterator[tuple[str, str, float]]:
    """(workload, link, ratio), those of one workload behind each other."""
    by_workload: dict[str, list[tuple[str, float]]] = {}
    for result in results:
        if UNIX in result.settings and (ratio := result.ratio(PEER, UNIX)):
            by_workload.setdefault(result.workload.title, []).append((result.link.name, ratio))
    for title, bars in by_workload.items():
        for link, ratio in bars:
            yield title, link, ratio


def _at(ratio: float) -> float:
    """Where on the scale, in pixels."""
    part = math.log(min(max(ratio, LOWEST), HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return _LEFT + _WIDTH * part


def _drawn(lines: list[tuple[str, str, float]]) -> str:
    links = list(dict.fromkeys(link for _, link, _ in lines))
    colours = dict(zip(links, _COLOURS, strict=False))
    titles = list(dict.fromkeys(title for title, _, _ in lines))
    height = _TOP + len(lines) * _LINE + len(titles) * 6 + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">smbfuse: times better than {PEER}</text>',
        *_legend(links, colours),
        *_scale(height),
        *_bars(lines, colours),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(links: list[str], colours: dict[str, str]) -> Iterator[str]:
    for number, link in enumerate(links):
        x = _LEFT + 180 + number * 110
        yield f'<rect x="{x}" y="10" width="12" height="12" fill="{colours[link]}"/>'
        yield f'<text x="{x + 18}" y="20">{escape(link)}</text>'


def _scale(height: int) -> Iterator[str]:
    for tick in _TICKS:
        x = _at(tick)
        colour = "#888" if tick == 1 else "#ddd"
        yield f'<line x1="{x:.1f}" y1="{_TOP - 12}" x2="{x:.1f}" y2="{height - 8}" stroke="{colour}"/>'
        yield f'<text x="{x:.1f}" y="{_TOP - 17}" text-anchor="middle" fill="#666">{tick}</text>'


def _bars(lines: list[tuple[str, str, float]], colours: dict[str, str]) -> Iterator[str]:
    y, previous = float(_TOP - 6), ""
    for title, link, ratio in lines:
        if title != previous:
            y += 6
            yield f'<text x="{_LEFT - 8}" y="{y + 11:.1f}" text-anchor="end">{escape(title)}</text>'
        start, end = sorted((_at(1), _at(ratio)))
        yield (
            f'<rect x="{start:.1f}" y="{y:.1f}" width="{max(end - start, 1):.1f}" height="{_LINE - 4}" '
            f'fill="{colours[link]}"/>'
        )
        yield f'<text x="{end + 5:.1f}" y="{y + 11:.1f}">{short(ratio)}</text>'
        y, previous = y + _LINE, title
