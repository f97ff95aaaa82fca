"""`make bench`: smbfuse beside other clients of the same server, in the same run.

Prints a table, lines as soon as a workload is done, and what of the targets was reached; writes all figures as JSON and
a chart of them. Whatever happens, Ctrl-C and SIGTERM included, the mounts, the servers and their directory are gone at
the end. Whether targets are reached does not change the exit status: figures of a busy machine prove little.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.chart import write_chart
from tests.bench.circumstances import LINKS, SETTINGS, Link, Setting
from tests.bench.document import write_json
from tests.bench.measure import Result, contenders, measure
from tests.bench.peers import Local, Peer, Smbclient, Smbfuse
from tests.bench.report import LEGEND, about, disagreements, failures, rows, verdict_line
from tests.bench.smbnetfs import Smbnetfs
from tests.bench.stage import Stage
from tests.bench.targets import Results, judge
from tests.bench.wire import Wire, measure_wire
from tests.bench.workloads import WORKLOADS
from tests.bench.workloads.base import SUBJECT, Workload
from tests.support.interruptible import interruptible

JSON: Final = Path("build/bench.json")
PEERS: Final[dict[str, type[Peer]]] = {peer.name: peer for peer in (Smbfuse, Smbnetfs, Smbclient, Local)}


@dataclass(slots=True)
class Findings:
    """What a run has found so far."""

    results: list[Result] = field(default_factory=list)
    wires: dict[str, Wire] = field(default_factory=dict)

    def for_judgement(self) -> Results:
        slow = [wire.round_trip for wire in self.wires.values() if wire.rate is not None]
        return Results(self.results, slow[0] if slow else None)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure smbfuse beside its peers.")
    workloads = _by_name(WORKLOADS)
    # argparse cannot have choices for a list that may be empty.
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"all, or of: {', '.join(workloads)}")
    _add_choice(parser, "--link", _by_name(LINKS))
    _add_choice(parser, "--setting", _by_name(SETTINGS))
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each contender (5)")
    parser.add_argument("--quick", action="store_true", help="small amounts: shows that it works, proves nothing")
    parser.add_argument("--json", type=Path, default=JSON, metavar="PATH", help=f"where to write all figures ({JSON})")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="where to draw them (beside the JSON, .svg)")
    chosen = parser.parse_args(words)
    if unknown := [name for name in chosen.workloads if name not in workloads]:
        parser.error(f"no such workload: {', '.join(unknown)}")
    if chosen.runs < 1:
        parser.error("--runs: at least 1")
    return chosen


def _by_name(things: Iterable[Link | Setting | Workload]) -> list[str]:
    return [thing.name for thing in things]


def _add_choice(parser: argparse.ArgumentParser, option: str, names: list[str]) -> None:
    parser.add_argument(
        option, action="append", choices=names, metavar="NAME", help=f"only this one; of: {'; '.join(names)}"
    )


def available() -> dict[str, type[Peer]]:
    """The peers that this machine has; says which it has not."""
    for peer in PEERS.values():
        if reason := peer.missing():
            print(f"missing: {peer.name}: {reason}", flush=True)
    return {name: peer for name, peer in PEERS.items() if not peer.missing()}


def bench(chosen: argparse.Namespace, findings: Findings) -> None:
    """Measure and print."""
    workloads = [workload for workload in WORKLOADS if workload.name in (chosen.workloads or _by_name(WORKLOADS))]
    settings = [setting for setting in SETTINGS if setting.name in (chosen.setting or _by_name(SETTINGS))]
    links = [link for link in LINKS if link.name in (chosen.link or _by_name(LINKS))]
    peers = available()
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        where, load = "tmpfs" if stage.in_memory else "disk", f"{os.getloadavg()[0]:.1f}"
        print(LEGEND.format(runs=chosen.runs, where=where, load=load), end="", flush=True)
        for link in links:
            used = link.quick() if chosen.quick else link
            wire = findings.wires[link.name] = measure_wire(stage, used)
            print(about(link, wire), flush=True)
            for workload in workloads:
                if link.delay is None or workload.far:
                    taking_part = contenders(link, settings)
                    findings.results.append(measure(workload, used, taking_part, peers, stage, chosen.runs))
                    print(*rows(findings.results[-1]), sep="\n", flush=True)


def main(words: list[str] | None = None) -> int:
    """Run with these command line arguments (else the process's own). The exit status tells whether smbfuse worked."""
    chosen = arguments(words)
    with interruptible():
        return run(chosen)


def run(chosen: argparse.Namespace) -> int:
    findings = Findings()
    try:
        bench(chosen, findings)
    except KeyboardInterrupt:
        print("\nInterrupted: unmounted, servers ended, no JSON written.", flush=True)
        return 130
    verdicts = list(judge(findings.for_judgement()))
    print("\nTargets:", *map(verdict_line, verdicts), sep="\n")
    write_json(chosen.json, findings.results, findings.wires, verdicts, runs=chosen.runs, quick=chosen.quick)
    chart = chosen.chart or chosen.json.with_suffix(".svg")
    write_chart(chart, findings.results)
    print(f"\nAll figures: {chosen.json}, drawn: {chart}")
    for line in [*failures(findings.results), *disagreements(findings.results)]:
        print(f"notice: {line}", file=sys.stderr)
    ours = [series for result in findings.results for who, series in result.series.items() if who.peer == SUBJECT]
    return int(any(series.failure for series in ours))


if __name__ == "__main__":
    sys.exit(main())
