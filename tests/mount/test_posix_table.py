"""The table in man/smbfuse.1 says what the POSIX suite found in this very run: by its name it comes after that."""

from __future__ import annotations

import subprocess

import pytest

from tests.mount.outcomes import PAGE, Outcomes, Row, merged, split_page, table
from tests.mount.posix import CHAPTERS, CHECKS
from tests.mount.stage import SETTINGS


def test_the_checks_of_a_topic_say_the_same() -> None:
    """Else a row of the table would say of all what is true of one."""
    said: dict[str, tuple[str, str, str]] = {}
    for check in CHECKS:
        mine = (check.chapter, check.unix, check.nounix)
        assert (check.name, said.setdefault(check.topic, mine)) == (check.name, mine)
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {check.chapter for check in CHECKS} == set(CHAPTERS)


@pytest.mark.parametrize("settings", [("unix",), ("nounix-signed",), ("unix", "nounix")])
def test_settings_that_differ_in_signing_have_columns_of_their_own(settings: tuple[str, ...]) -> None:
    rows = [Row("data", "-x .", dict.fromkeys(SETTINGS, "yes")), Row("data", ".first", dict.fromkeys(SETTINGS, "yes"))]
    assert merged(rows) == (("unix", "unix-signed"), ("nounix", "nounix-signed"))
    rows[1].cells.update(dict.fromkeys(settings, "no: EOPNOTSUPP"))
    assert len(merged(rows)) == 2 + len(settings)
    page = f".TH X 1\n.SH Y\n{table(rows)}"
    command = ["groff", "-t", "-man", "-ww", "-Tutf8", "-rLL=80n"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert ".first" in done.stdout


def test_the_man_page_says_what_came_out(outcomes: Outcomes, pytestconfig: pytest.Config) -> None:
    head, shown, tail = split_page(PAGE.read_text())
    rows = outcomes.rows()
    if pytestconfig.getoption("--write-table"):
        assert all(row.known for row in rows), "the table takes all checks in all settings, run by root"
        PAGE.write_text(head + table(rows) + tail)
        return
    if all(row.known for row in rows):
        assert shown == table(rows), "the table in the man page is stale: make man-table"
    apart = tuple((setting,) for setting in SETTINGS)
    for row in rows:
        if row.known:
            assert any(row.text(columns) in shown for columns in (merged([row]), apart)), f"stale: {row}"
