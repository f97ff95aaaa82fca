"""`make bench`: smbfuse beside other clients of the same server, in the same run.

Prints a table, a line as soon as a workload is done, and writes all figures as JSON. Whatever happens, Ctrl-C and
SIGTERM included, the mounts, the server and their directory are gone at the end. No figure is judged here.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.bench.measure import SUBJECT, Result, measure
from tests.bench.peers import FileSystem, Local, Smbclient, Smbfuse, Smbnetfs
from tests.bench.report import LEGEND, failures, heading, row, write_json
from tests.bench.stage import Stage
from tests.bench.workloads import QUICK, WORKLOADS, Sizes, Workload
from tests.support.interruptible import interruptible

JSON = Path("build/bench.json")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure smbfuse beside its peers.")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each workload and peer (5)")
    parser.add_argument("--quick", action="store_true", help="small amounts: shows that it works, proves nothing")
    parser.add_argument("--json", type=Path, default=JSON, metavar="PATH", help=f"where to write all figures ({JSON})")
    chosen = parser.parse_args(words)
    if chosen.runs < 1:
        parser.error("--runs: at least 1")
    return chosen


def available(stage: Stage) -> dict[str, FileSystem | Smbclient]:
    """The peers that this machine has; says which it has not."""
    peers: dict[str, FileSystem | Smbclient] = {}
    for peer in (Smbfuse(stage), Smbnetfs(stage), Smbclient(stage), Local(stage)):
        if reason := peer.missing():
            print(f"missing: {peer.name}: {reason}", flush=True)
        else:
            peers[peer.name] = peer
    return peers


def bench(workloads: list[Workload], sizes: Sizes, runs: int) -> list[Result]:
    """Measure and print."""
    results = []
    with ExitStack() as stack:
        stage = stack.enter_context(Stage())
        peers = available(stage)
        print(LEGEND.format(runs=runs, where="tmpfs" if stage.in_memory else "disk"), heading(), sep="\n", flush=True)
        for workload in workloads:
            results.append(measure(workload, peers, stage, sizes, runs))
            print(row(results[-1]), flush=True)
    return results


def main(words: list[str] | None = None) -> int:
    """Run with these command line arguments (else the process's own). The exit status tells whether smbfuse worked."""
    chosen = arguments(words)
    with interruptible():
        return run(chosen)


def run(chosen: argparse.Namespace) -> int:
    workloads = [workload for workload in WORKLOADS if not chosen.only or workload.name in chosen.only]
    try:
        results = bench(workloads, QUICK if chosen.quick else Sizes(), chosen.runs)
    except KeyboardInterrupt:
        print("\nInterrupted: unmounted, server ended, no JSON written.", flush=True)
        return 130
    write_json(chosen.json, results, runs=chosen.runs, quick=chosen.quick)
    print(f"\nAll figures: {chosen.json}")
    for line in failures(results):
        print(f"failed: {line}", file=sys.stderr)
    return int(any(result.series[SUBJECT].failure for result in results))


if __name__ == "__main__":
    sys.exit(main())
