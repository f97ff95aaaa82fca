"""The manual pages: they render cleanly, and no option of the table is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from smbfuse import __version__
from smbfuse.cli.exitcode import ExitCode
from smbfuse.cli.options import supported

MAN = Path(__file__).parents[2] / "man"
PAGES = [MAN / "smbfuse.1", MAN / "mount.smbfuse.8"]

needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed (make setup)")


def plain(path: Path) -> str:
    """The source without the marks of roff."""
    text = re.sub(r'^\.\\".*\n', "", path.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\\f(?:\[?[A-Z]+\]?|\[\])", "", text)
    return text.replace(r"\-", "-").replace(r"\e", "\\").replace('"', "")


def described(text: str) -> set[str]:
    """Words that stand in the tag of a paragraph (.TP) of section OPTIONS."""
    section = text.partition(".SH OPTIONS\n")[2].partition("\n.SH ")[0]
    tags = re.findall(r"^\.TP\n(.*)$", section, flags=re.MULTILINE)
    return {word for tag in tags for word in re.findall(r"[a-z_]\w*", tag)}


def test_every_option_that_works_is_described() -> None:
    tags = described(plain(PAGES[0]))
    assert [name for option in supported() for name in option.names if name not in tags] == []


def test_no_option_is_described_that_does_not_work() -> None:
    assert described(plain(PAGES[0])) <= {name for option in supported() for name in option.names}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_version_and_exit_statuses(page: Path) -> None:
    text = plain(page)
    assert f"smbfuse {__version__}" in text
    section = text.partition(".SH EXIT STATUS")[2].partition(".SH ")[0]
    assert set(map(int, re.findall(r"^\.B (\d+)$", section, flags=re.MULTILINE))) == set(ExitCode)


@needs_groff
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_renders_without_warnings(page: Path) -> None:
    command = ["groff", "-t", "-man", "-ww", "-Tutf8", "-rLL=80n", str(page)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stderr == ""
    assert "EXIT STATUS" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", result.stdout)
