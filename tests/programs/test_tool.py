"""The tool itself: that it counts right, finds what is wrong, and lets nothing hang it."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.programs.__main__ import arguments, main, try_all
from tests.programs.catalogue import PROGRAMS, Program
from tests.programs.cpython import failures, read
from tests.programs.judge import judge
from tests.programs.known import KNOWN, MODES, reason
from tests.programs.outcome import LOST, Outcome, Steps, same
from tests.programs.place import SHORT, CommandError, Place, run
from tests.programs.report import findings, reasons, row
from tests.programs.stage import DISK, SETTINGS, Setting, Stage
from tests.programs.stress import alone, ended
from tests.programs.trees import facts, make_tree
from tests.support.processes import processes

UNIX = next(setting for setting in SETTINGS if setting.server and setting.unix)
NT = next(setting for setting in SETTINGS if not setting.unix)


def test_a_step_that_fails_does_not_stop_the_next() -> None:
    steps = Steps()
    with steps.step("first"):
        raise OSError(errno.EIO, "broken")
    with steps.step("second"):
        same({"a": 1, "b": 2}, {"a": 1, "b": 3})
    with steps.step("third"):
        pass
    assert steps.outcome.ran == 3
    assert list(steps.outcome.failures) == ["first", "second"]
    assert "1 differ: b: 2 instead of 3" in steps.outcome.failures["second"]
    with steps.step("long"):
        same("x" * 100_000, "y" * 100_000)
    assert len(steps.outcome.failures["long"]) < 1000


def test_failures_are_shared_known_or_findings() -> None:
    outcome = Outcome(9, {"both": "x", "test.MakedirTests.test_mode": "1 != 2", "new": "y"}, {"skip": "macOS only"})
    disk = Outcome(9, {"both": "x"}, {"skip": "macOS only"})
    result = judge("test_os", NT, outcome, disk)
    assert result.failed.shared == {"both": "x"}
    assert result.failed.known == {"test.MakedirTests.test_mode": MODES.text}
    assert result.failed.findings == {"new": "y"}
    assert result.left_out.findings == {}
    assert findings([result]) == [f"failed: test_os, {NT.name}: new: y"]
    assert reasons([result]) == [f"{MODES.text} ({NT.name} test_os 1)"]
    assert row(result).split() == ["test_os", NT.name, "9", "3", "1", "1", "1", "1", "1", "0", "0", "0"]
    # Whoever came to no end on the disk was no measure for others.
    assert judge("test_os", UNIX, Outcome.lost("x"), Outcome.lost("x")).failed.findings == {LOST: "x"}
    # With the UNIX extensions the same is none of the known.
    assert len(judge("test_os", UNIX, outcome, disk).failed.findings) == 2


def test_reasons_fit_programs_that_there_are() -> None:
    names = [program.name for program in PROGRAMS]
    for known in KNOWN:
        assert any(fnmatchcase(name, known.program) for name in names), known
        assert any(known.reason.applies(setting) for setting in SETTINGS), known
        assert not known.reason.applies(DISK), known
    assert reason(NT, "test_os", "anything", "at all") is None


OUTPUT = """
======================================================================
ERROR: test_a (test.test_x.T.test_a) [message] (name='@test_77_tmpæ')
----------------------------------------------------------------------
Traceback (most recent call last):
  File "test_x.py", line 1, in test_a
    os.symlink('a', 'b')
PermissionError: [Errno 1] Operation not permitted

======================================================================
FAIL: test_b (test.test_x.T.test_b)
What it is about.
----------------------------------------------------------------------
Traceback (most recent call last):
  File "test_x.py", line 2, in test_b
    self.assertEqual(1, 2)
AssertionError: 1 != 2
- 1
+ 2

----------------------------------------------------------------------
Ran 3 tests in 0.1s
"""


def test_cpythons_results_are_read(tmp_path: Path) -> None:
    assert failures(OUTPUT) == {
        "test.test_x.T.test_a [message] (name='@test_N_tmpæ')": "PermissionError: [Errno 1] Operation not permitted",
        "test.test_x.T.test_b": "AssertionError: 1 != 2\n- 1\n+ 2",
    }
    report = tmp_path / "junit.xml"
    assert list(read(report, "Fatal Python error").failures.values()) == ["Fatal Python error"]
    report.write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><skipped>no</skipped></testcase>'
        "</testsuite></testsuites>"
    )
    outcome = read(report, "")
    assert (outcome.ran, outcome.failures, outcome.left_out) == (2, {}, {"b": "no"})


def test_a_program_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(CommandError, match=r"sh: status 3: no such luck"):
        run("sh", "-c", "echo no such luck >&2; exit 3")
    assert run("cat", text="in\n") == "in\n"


def test_trees_differ_by_all_that_a_copy_can_lose(tmp_path: Path) -> None:
    make_tree(tmp_path, 20, unix=True)
    before = facts(tmp_path, unix=True)
    special = tmp_path / "special"
    (special / "private").chmod(0o755)
    os.utime(special / "sparse", ns=(1, 1))
    (special / "link").unlink()
    (special / "link").symlink_to("second")
    (special / "second").unlink()
    (special / "second").write_bytes((special / "first").read_bytes())
    os.removexattr(special / "attributes", "user.comment")
    after = facts(tmp_path, unix=True)
    changed = {Path(name).name for name in before if before[name] != after[name]}
    assert changed == {"private", "sparse", "link", "second", "attributes", "special"}


def test_a_program_that_hangs_is_ended() -> None:
    def hang(_place: Place) -> Outcome:
        run("sleep", "60")
        raise AssertionError("not to be reached")

    def leave(place: Place) -> Outcome:
        (place.path.parent / "left").touch()
        return Outcome(1)

    with Stage.of(DISK) as stage:
        assert stage.attempt(Program("hang", hang, deadline=0.2), SHORT).failures == {LOST: "not done after 0.2 s"}
        assert stage.attempt(Program("leave", leave), SHORT).failures == {"left behind": "left"}


def test_a_stressor_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    left = tmp_path / "pid"
    status, output = ended(["sh", "-c", f"echo said; sleep 60 & echo $! >{left}; wait"], 2.0)
    assert output == "said\n"
    assert re.fullmatch(r"none after 2 s, sh S in \S+, sleep S in \S+", str(status))
    assert not [one for one in processes() if one.pid == int(left.read_text())]
    assert ended(["sh", "-c", "exit 3"], 60) == (3, "")


def test_a_stressor_sees_no_other_fuse_mounts(tmp_path: Path) -> None:
    mounts = run(*alone(["cat", "/proc/mounts"], tmp_path))
    assert os.geteuid() != 0 or " fuse" not in mounts


def test_a_mount_that_does_not_end_costs_no_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def of(setting: Setting) -> Iterator[Stage]:
        with _stage_of(setting) as stage:
            yield stage
        raise AssertionError("busy")

    _stage_of = Stage.of
    monkeypatch.setattr(Stage, "of", of)
    well = Program("well", lambda _place: Outcome(1))
    results = try_all([well], [DISK], SHORT)
    assert [(result.program, result.failed.findings) for result in results] == [
        ("well", {}),
        ("mount and umount", {LOST: "busy"}),
    ]
    assert "mount and umount" in capsys.readouterr().out


def test_what_a_machine_lacks_is_said() -> None:
    needy = Program("needy", lambda _place: Outcome(1), ("sh", "no-such-command"), "json.no_such")
    assert needy.missing() == ["no-such-command", "json.no_such"]
    assert Program("content", lambda _place: Outcome(1), ("sh",), "json.decoder").missing() == []


def test_options() -> None:
    chosen = arguments(["git", "rsync", "--setting", "nt", "--short"])
    assert (chosen.names, chosen.setting, chosen.short) == (["git", "rsync"], ["nt"], True)
    with pytest.raises(SystemExit):
        arguments(["no such program"])


def test_it_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "programs.json"
    assert main(["editors", "--setting", "disk", "--short", "--json", str(path)]) == 0, capfd.readouterr()
    (result,) = json.loads(path.read_text())["results"]
    assert (result["program"], result["failed"]["shared"]) == ("editors", {})
