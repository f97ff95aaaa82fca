"""The bench itself: that its arithmetic is right, that a peer's failure stays the peer's, and that it runs at all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.__main__ import arguments, main
from tests.bench.child import timed
from tests.bench.measure import Result, Series, measure
from tests.bench.peers import FileSystem, Local, Smbclient
from tests.bench.report import failures, row, write_json
from tests.bench.stage import Stage
from tests.bench.workloads import QUICK, WORKLOADS, Sizes, Workload
from tests.support.child import WorkError


def never(_peer: FileSystem | Smbclient, _stage: Stage, _sizes: Sizes) -> float:
    raise AssertionError("not to be measured")


RATE = Workload("rate", "a rate", "MB/s", never, ("smbfuse", "local"), (("local", 1.5),))
DURATION = Workload("duration", "a duration", "s", never, ("smbfuse", "local"))


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Without its server running: nothing here talks to it."""
    stage = Stage()
    yield stage
    stage.__exit__()


def test_median_and_spread() -> None:
    series = Series([4.0, 1.0, 2.0])
    assert series.median == 2.0
    assert series.spread == 1.5


def test_a_series_that_failed_has_no_figures() -> None:
    series = Series([1.0, 2.0], failure="OSError: gone")
    assert series.median is None
    assert series.spread is None


@pytest.mark.parametrize(("workload", "ratio"), [(RATE, 3.0), (DURATION, 1 / 3)])
def test_ratios_say_how_much_better_we_are(workload: Workload, ratio: float) -> None:
    result = Result(workload, {"smbfuse": Series([3e6]), "local": Series([1e6])})
    assert result.ratio("local") == pytest.approx(ratio)
    assert result.ratio("smbnetfs") is None


def test_a_row_shows_figures_ratio_and_mark() -> None:
    result = Result(RATE, {"smbfuse": Series([2e6, 3e6, 4e6]), "local": Series([1e6])})
    assert row(result).split() == ["a", "rate", "MB/s", "3", "±33%", "-", "-", "1", "±0%", "(3x,", ">=1.5)"]


def test_peers_take_turns_and_a_failing_one_is_out(stage: Stage) -> None:
    calls: list[str] = []

    def figure(peer: FileSystem | Smbclient, stage: Stage, _sizes: Sizes) -> float:
        assert not list(stage.served.iterdir()), "left by the measurement before"
        (stage.served / "left").touch()
        calls.append(peer.name)
        if peer.name == "smbclient":
            raise WorkError("no such luck")
        return 1.0

    workload = Workload("x", "x", "s", figure, ("local", "smbclient", "absent"))
    result = measure(workload, {"local": Local(stage), "smbclient": Smbclient(stage)}, stage, QUICK, 3)
    assert calls == ["local", "smbclient", "local", "local"]
    assert result.series["local"].values == [1.0, 1.0, 1.0]
    assert failures([result]) == ["x: smbclient: WorkError: no such luck"]


def test_json_has_every_run(tmp_path: Path) -> None:
    result = Result(RATE, {"smbfuse": Series([2.0, 4.0]), "local": Series([1.0])})
    write_json(tmp_path / "new" / "bench.json", [result], quick=True)
    document = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert document["quick"]
    rate = document["workloads"]["rate"]
    assert rate["unit"] == "bytes/s"
    assert rate["peers"]["smbfuse"]["runs"] == [2.0, 4.0]
    assert rate["times_better_than"] == {"local": 3.0}


# -- the child ---------------------------------------------------------------------------------------------------------


def test_work_is_done_in_a_child(tmp_path: Path) -> None:
    seconds = timed(lambda: (tmp_path / "pid").write_text(str(os.getpid())), 10)
    assert 0 < seconds < 10
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def fail() -> None:
    raise FileNotFoundError(2, "not there")


@pytest.mark.parametrize(
    ("work", "deadline", "message"),
    [
        (fail, 10, "FileNotFoundError.*not there"),
        (lambda: os._exit(3), 10, "died"),
        (lambda: time.sleep(60), 0.05, r"not done after 0\.05 s"),
    ],
)
def test_work_that_fails(work: object, deadline: float, message: str) -> None:
    assert callable(work)
    with pytest.raises(WorkError, match=message):
        timed(work, deadline)


# -- all of it ---------------------------------------------------------------------------------------------------------


def test_options() -> None:
    chosen = arguments(["--only", "read", "--only", "ls", "--runs", "3", "--quick"])
    assert (chosen.only, chosen.runs, chosen.quick) == (["read", "ls"], 3, True)
    with pytest.raises(SystemExit):
        arguments(["--only", "no such workload"])
    with pytest.raises(SystemExit):
        arguments(["--runs", "0"])


def test_names_are_unique() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)


@pytest.mark.samba
@pytest.mark.fuse
def test_it_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One workload of small files and one with smbclient, really measured."""
    path = tmp_path / "bench.json"
    status = main(["--quick", "--runs", "1", "--only", "read", "--only", "stat", "--json", str(path)])
    output = capfd.readouterr()
    assert status == 0, output
    for workload in json.loads(path.read_text())["workloads"].values():
        assert workload["peers"]["smbfuse"]["median"] > 0
        assert workload["title"] in output.out
