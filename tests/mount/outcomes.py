"""What came out of the POSIX suite, and the table of it in the man page.

A row is a topic: what it says holds in a setting if all its checks passed there. A cell stays open where not all of
them were run, as with `pytest -k`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from tests.mount.posix import CHAPTERS, CHECKS, Check
from tests.mount.stage import SETTINGS

PAGE = Path(__file__).parents[2] / "man" / "smbfuse.1"
BEGIN = '.\\" The table below is made by `make man-table` from what the POSIX suite finds.\n'
END = '.\\" Here it ends.\n'

_PAIRS = (("unix", "unix-signed"), ("nounix", "nounix-signed"))
"""Settings that differ in signing only: one column for both where no row differs."""
_WIDTHS = {2: (32, 14), 3: (27, 12), 4: (17, 11)}
"""By the number of columns, for 80 characters: that of the topic's, and of each of the others."""


@dataclass(frozen=True)
class Row:
    """A topic, and what is said of it in each of SETTINGS; None where not all its checks were run."""

    chapter: str
    topic: str
    cells: dict[str, str | None]

    @property
    def known(self) -> bool:
        return None not in self.cells.values()

    def text(self, columns: tuple[tuple[str, ...], ...]) -> str:
        """The row in the language of tbl(1), each cell a block of text that may be broken into lines."""
        blocks = [self.topic, *(self.cells[column[0]] or "" for column in columns)]
        return "\t".join(f"T{{\n{roff(block)}\nT}}" for block in blocks) + "\n"


@dataclass
class Outcomes:
    """Of this run: which checks hold in which setting, by their names."""

    holds: dict[tuple[str, str], bool] = field(default_factory=dict)

    def note(self, kind: str, check: Check, *, holds: bool) -> None:
        self.holds[kind, check.name] = holds

    def rows(self) -> list[Row]:
        """All topics, in the order of their chapters and of the checks in them."""
        order = list(CHAPTERS)
        checks = sorted(CHECKS, key=lambda check: order.index(check.chapter))  # keeps the order within a chapter
        topics: dict[tuple[str, str], list[Check]] = {}
        for check in checks:
            topics.setdefault((check.chapter, check.topic), []).append(check)
        return [
            Row(chapter, topic, {setting: self._cell(mine, setting) for setting in SETTINGS})
            for (chapter, topic), mine in topics.items()
        ]

    def _cell(self, checks: list[Check], setting: str) -> str | None:
        found = [self.holds.get((setting, check.name)) for check in checks]
        if None in found:
            return None
        instead = [SETTINGS[setting].expects(check) for check, holds in zip(checks, found, strict=True) if not holds]
        return f"no: {instead[0]}" if instead else "yes"


def roff(text: str) -> str:
    r"""Plain text for roff: `\` and `-` escaped, and nothing at the beginning that would be a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped


def merged(rows: list[Row]) -> tuple[tuple[str, ...], ...]:
    """The columns: a pair of settings is one where all rows say the same of both."""
    columns: list[tuple[str, ...]] = []
    for pair in _PAIRS:
        same = all(row.cells[pair[0]] == row.cells[pair[1]] for row in rows)
        columns += [pair] if same else [(setting,) for setting in pair]
    return tuple(columns)


def table(rows: list[Row]) -> str:
    """The whole table, for tbl(1); left adjusted and without hyphens, since its columns are narrow."""
    columns = merged(rows)
    topic, cell = _WIDTHS[len(columns)]
    lines = [".na\n", ".nh\n", ".TS\n", " ".join([f"lw({topic}n)", *[f"lw({cell}n)"] * len(columns)]) + ".\n"]
    lines.append("".join(f"\tT{{\n\\fB{_title(column)}\\fP\nT}}" for column in columns) + "\n")
    for chapter, mine in groupby(rows, key=lambda row: row.chapter):
        lines += [".sp\n", f"\\fI{roff(CHAPTERS[chapter])}\\fP\n", *(row.text(columns) for row in mine)]
    return "".join([*lines, ".TE\n", ".ad\n", ".hy\n"])


def _title(column: tuple[str, ...]) -> str:
    title = {"unix": "UNIX extensions", "nounix": "without them"}[column[0].partition("-")[0]]
    return title if len(column) > 1 else f"{title}, {'signed' if 'signed' in column[0] else 'unsigned'}"


def split_page(text: str) -> tuple[str, str, str]:
    """What is before the table, the table, and what is behind it."""
    head, begin, rest = text.partition(BEGIN)
    shown, end, tail = rest.partition(END)
    assert begin, f"no line {BEGIN!r} in the man page"
    assert end, f"no line {END!r} in the man page"
    return head + begin, shown, end + tail
