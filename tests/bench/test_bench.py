"""The bench itself: that its arithmetic is right, that a peer's failure stays the peer's, and that it runs at all."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.__main__ import PEERS, arguments, main
from tests.bench.chart import write_chart
from tests.bench.child import timed
from tests.bench.circumstances import FAR, LINKS, LOOPBACK, NOUNIX, SETTINGS, SIGNED, UNIX, UNSIGNED, Sizes
from tests.bench.counting import Count
from tests.bench.document import write_json
from tests.bench.measure import Contender, Result, Series, contenders, measure
from tests.bench.peers import Peer
from tests.bench.report import disagreements, failures, rows, verdict_line
from tests.bench.stage import Stage
from tests.bench.targets import TARGETS, Results, Target, judge, per_round_trip, requests, times, wire_time
from tests.bench.wire import Wire
from tests.bench.workloads import WORKLOADS
from tests.bench.workloads.base import Around, Sample, Workload
from tests.support.child import WorkError


def never(_peer: Peer, _stage: Stage, _sizes: Sizes, _around: Around = nullcontext) -> Sample:
    raise AssertionError("not to be measured")


def workload(**different: Any) -> Workload:  # noqa: ANN401 - fields of it
    made = Workload(name="w", title="a rate", unit="MB/s", measure=never, amount=lambda _: 1 << 30, counted=False)
    return replace(made, **different)


def series(*values: float, cpu: float | None = None) -> Series:
    return Series([Sample(value, cpu) for value in values])


def result(ours: Series, theirs: Series, what: Workload | None = None) -> Result:
    """Of one setting on loopback."""
    by = {Contender("smbfuse", (UNIX,)): ours, Contender("smbnetfs", UNSIGNED): theirs}
    return Result(what or workload(), LOOPBACK, by)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Without its servers running: nothing here talks to them."""
    stage = Stage()
    yield stage
    stage.__exit__()


# -- arithmetic --------------------------------------------------------------------------------------------------------


def test_median_and_spread() -> None:
    found = series(4.0, 1.0, 2.0)
    assert found.median == 2.0
    assert found.spread == 1.5


def test_a_series_that_failed_has_no_figures() -> None:
    failed = Series([Sample(1.0, 1.0)], failure="OSError: gone")
    assert (failed.median, failed.spread, failed.cpu) == (None, None, None)


@pytest.mark.parametrize(("what", "ratio"), [(workload(), 3.0), (workload(unit="s"), 1 / 3)])
def test_ratios_say_how_much_better_we_are(what: Workload, ratio: float) -> None:
    found = result(series(3e6), series(1e6), what)
    assert found.ratio("smbnetfs", UNIX) == pytest.approx(ratio)
    assert found.ratio("smbclient", UNIX) is None
    assert found.ratio("smbnetfs", NOUNIX) is None


def test_who_stands_in_which_line() -> None:
    found = contenders(LOOPBACK)
    assert [who.settings for who in found if who.peer == "smbfuse"] == [(setting,) for setting in SETTINGS]
    assert [who.settings for who in found if who.peer == "smbnetfs"] == [UNSIGNED, SIGNED]
    assert Contender("local", SETTINGS) in found
    assert contenders(FAR, [NOUNIX]) == [Contender(peer, (NOUNIX,)) for peer in ("smbfuse", "smbnetfs", "smbclient")]


# -- what is printed and written ---------------------------------------------------------------------------------------


def test_a_row_shows_figures_ratio_cpu_and_requests() -> None:
    found = result(series(2e6, 3e6, 4e6, cpu=1.5), series(1e6))
    found.counts[UNIX] = Count(Counter(READ_ANDX=257), 257)
    (row,) = rows(found)
    assert row.split() == [
        "a",
        "rate",
        "MB/s",
        "unix",
        "3",
        "±33%",
        "1.50",
        "s/GiB",
        "257",
        "1",
        "±0%",
        "(3x)",
        "-",
        "-",
    ]


def test_what_went_wrong_is_told() -> None:
    found = result(series(1.0), Series(failure="WorkError: no such luck"))
    found.counts[UNIX] = Count(Counter(CLOSE=2, NT_CREATE_ANDX=1), 4)
    assert failures([found]) == ["w, loopback, unix: smbnetfs: WorkError: no such luck"]
    assert disagreements([found]) == ["w, unix: the tap saw 3 requests, smbd 4"]


def test_json_has_every_run(tmp_path: Path) -> None:
    found = result(series(2.0, 4.0), series(1.0))
    found.counts[UNIX] = Count(Counter(CLOSE=2), 2)
    verdicts = list(judge(Results([found]), [Target("w", times(4, "smbnetfs"))]))
    write_json(tmp_path / "new" / "bench.json", [found], {"loopback": Wire(1e-4, None)}, verdicts, quick=True)
    document = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert document["quick"]
    (written,) = document["workloads"]
    assert written["unit"] == "bytes/s"
    assert written["series"][0]["runs"] == [2.0, 4.0]
    assert written["times_better"] == {"unix": {"smbnetfs": 3.0}}
    assert written["requests"] == {"unix": {"total": 2, "by_smbd": 2, "CLOSE": 2}}
    assert [verdict["reached"] for verdict in document["targets"]] == [False]


def test_the_chart_has_a_bar_for_each_ratio(tmp_path: Path) -> None:
    found = [
        result(series(8.0), series(1.0), workload(title="a < b")),
        replace(result(series(900.0), series(1.0), workload(title="a < b")), link=FAR),
        result(series(1.0), Series(failure="gone")),
    ]
    write_chart(tmp_path / "chart.svg", found)
    texts = [text.text for text in ElementTree.parse(tmp_path / "chart.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in ("8", "900", "a < b")] == ["a < b", "8", "900"]


def test_no_chart_of_nothing(tmp_path: Path) -> None:
    write_chart(tmp_path / "chart.svg", [result(series(1.0), Series(failure="gone"))])
    assert not (tmp_path / "chart.svg").exists()


# -- targets -----------------------------------------------------------------------------------------------------------


def test_a_ratio_reaches_its_target_or_not() -> None:
    found = Results([result(series(3.0), series(1.0))])
    over, under = judge(found, [Target("w", times(3, "smbnetfs")), Target("w", times(3.5, "smbnetfs"))])
    assert (over.reached, under.reached) == (True, False)
    assert verdict_line(under).split() == [
        "MISSED",
        "a",
        "rate",
        "loopback",
        "unix",
        "3",
        "at",
        "least",
        "3.5",
        "x",
        "smbnetfs",
    ]


def test_what_was_not_measured_is_not_reached() -> None:
    (verdict,) = judge(Results([result(series(3.0), Series(failure="gone"))]), [Target("w", times(1, "smbnetfs"))])
    assert verdict.figure is None
    assert not verdict.reached
    assert not list(judge(Results([]), [Target("w", times(1, "smbnetfs"))]))


def test_requests_and_round_trips() -> None:
    near = result(series(1.0), series(1.0), workload(unit="/s", amount=lambda _: 100))
    near.counts[UNIX] = Count(Counter(FIND_NEXT2=10), 10)
    far = Result(near.workload, FAR, {Contender("smbfuse", (UNIX,)): series(400.0)})
    found = Results([near, far], round_trip=0.02)
    goals = [Target("w", requests(10)), Target("w", per_round_trip(8), FAR), Target("w", wire_time(1), FAR)]
    assert [verdict.figure for verdict in judge(found, goals)] == [10, 8, pytest.approx(0.8)]


def test_every_target_is_about_something_that_is_measured() -> None:
    known = {workload.name: workload for workload in WORKLOADS}
    assert len(known) == len(WORKLOADS)
    for target in TARGETS:
        assert target.link in LINKS
        assert set(target.settings) <= set(target.link.settings)
        assert known[target.workload].far or target.link is LOOPBACK
        assert target.goal.peer in (None, *known[target.workload].peers)


# -- turns -------------------------------------------------------------------------------------------------------------


def test_peers_take_turns_and_a_failing_one_is_out(stage: Stage) -> None:
    calls: list[str] = []

    def figure(peer: Peer, stage: Stage, _sizes: Sizes, _around: Around = nullcontext) -> Sample:
        assert not list(stage.served.iterdir()), "left by the measurement before"
        (stage.served / "left").touch()
        calls.append(peer.name)
        if peer.name == "smbclient":
            raise WorkError("no such luck")
        return Sample(1.0)

    what = workload(measure=figure, peers=("local", "smbclient"))
    taking_part = [Contender(peer, (UNIX,)) for peer in ("local", "smbclient", "smbnetfs")]
    found = measure(what, LOOPBACK, taking_part, PEERS, stage, 3)
    assert calls == ["local", "smbclient", "local", "local"]
    assert [one.values for one in found.series.values()] == [[1.0, 1.0, 1.0], []]
    assert failures([found]) == ["w, loopback, unix: smbclient: WorkError: no such luck"]


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
    chosen = arguments(["read", "ls", "--runs", "3", "--quick", "--link", "20 ms", "--setting", "nounix"])
    assert (chosen.workloads, chosen.runs, chosen.quick) == (["read", "ls"], 3, True)
    assert (chosen.link, chosen.setting) == (["20 ms"], ["nounix"])
    for wrong in (["no such workload"], ["--runs", "0"], ["--link", "carrier pigeon"]):
        with pytest.raises(SystemExit):
            arguments(wrong)


@pytest.mark.samba
@pytest.mark.fuse
def test_it_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One workload with smbclient, and one of small files over the slow link too, really measured and counted."""
    path = tmp_path / "bench.json"
    status = main(["read", "stat", "--quick", "--runs", "1", "--setting", "unix", "--json", str(path)])
    output = capfd.readouterr()
    assert status == 0, output
    document = json.loads(path.read_text())
    assert [(one["name"], one["link"]) for one in document["workloads"]] == [
        (name, link) for link in ("loopback", "20 ms") for name in ("read", "stat")
    ]
    for one in document["workloads"]:
        assert one["series"][0]["median"] > 0
        assert one["title"] in output.out
    assert document["workloads"][0]["requests"]["unix"]["READ_ANDX"] > 0
    assert document["links"]["20 ms"]["round_trip"] > 0.02
