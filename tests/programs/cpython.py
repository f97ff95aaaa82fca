"""CPython's own tests of files, with the working directory and TMPDIR on the file system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.programs.outcome import Outcome
from tests.programs.place import Place

MODULES = (
    *("test_os", "test_shutil", "test_posix", "test_posixpath", "test_pathlib", "test_tempfile", "test_glob"),
    *("test_zipfile", "test_tarfile", "test_mmap", "test_fileio", "test_io", "test_fcntl", "test_mailbox"),
    *("test_dbm_dumb", "test_sqlite3", "test_largefile"),
)
RESOURCES = "largefile"
TIMEOUT = 900.0
"""Seconds for one module."""

# Failed subtests are in no element of the XML file, but all failures are in the output:
#     FAIL: test_x (test.test_os.Class.test_x) [message] (subtest)
_HEADING = re.compile(r"^(?:FAIL|ERROR): \w+ \((?P<test>[\w.]+)\)(?P<subtest>.*)$", re.MULTILINE)
_RULE = "\n====="


def module(name: str, place: Place) -> Outcome:
    """Run one module of the interpreter's own `test` package."""
    report = place.local / "junit.xml"
    command = (
        *("nice", sys.executable, "-m", "test", "-v", "-u", RESOURCES),
        *("--timeout", str(TIMEOUT), "--tempdir", str(place.path), "--junit-xml", str(report), name),
    )
    done = subprocess.run(
        command,
        cwd=place.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=TIMEOUT + 60,
        check=False,
        env={**os.environ, "TMPDIR": str(place.path)},
    )
    outcome = read(report, done.stdout)
    if done.returncode and not outcome.failures:
        outcome.failures[name] = f"status {done.returncode}: {done.stdout[-400:]}"
    return outcome


def read(report: Path, output: str) -> Outcome:
    """What the XML file and the verbose output of `python -m test` tell. Without a file the run did not end well."""
    if not report.exists() or not report.stat().st_size:
        return Outcome.lost(output[-2000:])
    cases = list(ET.parse(report).getroot().iter("testcase"))
    left_out = {
        case.get("name", "?"): str(case.findtext("skipped")) for case in cases if case.find("skipped") is not None
    }
    return Outcome(len(cases), failures(output), left_out)


def failures(output: str) -> dict[str, str]:
    """Failed tests and subtests, with the last line of each traceback."""
    found = {}
    for heading in _HEADING.finditer(output):
        body = output[heading.end() :].partition(_RULE)[0].partition("\n\n----")[0]
        test = heading["test"] + heading["subtest"]
        found[re.sub(r"_\d+_tmp", "_N_tmp", test)] = _last_exception(body)
    return found


def _last_exception(traceback: str) -> str:
    """The exception's own lines: those after the last one of the indented calls."""
    lines = traceback.strip().splitlines()
    last_call = max((number for number, line in enumerate(lines) if line.startswith("    ")), default=-1)
    return "\n".join(lines[last_call + 1 :])[:500]
