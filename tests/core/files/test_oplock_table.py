"""The table in man/smbfuse.1 of what happens when a server takes an oplock back is the one that the code follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from smbfuse.core.files.oplocks import REACTIONS
from smbfuse.wire.const import OPLOCK_BATCH, OPLOCK_EXCLUSIVE, OPLOCK_LEVEL_II, OPLOCK_NONE

PAGE = Path(__file__).parents[3] / "man" / "smbfuse.1"
BEGIN, END = '.\\" oplocks: begin (make man-table)\n', '.\\" oplocks: end\n'
NAMES = {OPLOCK_BATCH: "batch", OPLOCK_EXCLUSIVE: "exclusive", OPLOCK_LEVEL_II: "level II", OPLOCK_NONE: "none"}


def table() -> str:
    rows = [".TS", "l l l.", "held\ttaken back to\tbefore the other machine goes on", ".sp 0.3v"]
    for (held, left), reaction in REACTIONS.items():
        first = [word for word, due in (("write what waits", reaction.write), ("forget", reaction.forget)) if due]
        first += ["(the server does not wait)"] if held == OPLOCK_LEVEL_II else ["answer"]
        rows.append(f"{NAMES[held]}\t{NAMES[left]}\t{', '.join(first).replace(', (', ' (')}")
    return "\n".join([*rows, ".TE", ""])


def test_the_man_page_draws_the_table_that_the_code_follows(pytestconfig: pytest.Config) -> None:
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    shown, tail = rest.split(END)
    if pytestconfig.getoption("--write-table"):
        PAGE.write_text(head + BEGIN + table() + END + tail)
        return
    assert shown == table(), "the table in the man page is stale: make man-table"
