"""`make programs`: other people's programs on mounts of all settings, beside the same on the disk.

Prints a line for each program and setting as soon as it is done, then the findings (what fails on a mount, not on the
disk, and has no reason in known.py) and the reasons of the rest. Whatever happens, mounts and servers are gone at the
end.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.programs.catalogue import PROGRAMS, Program
from tests.programs.judge import Result, judge
from tests.programs.outcome import Outcome
from tests.programs.place import FULL, SHORT, Scale
from tests.programs.report import findings, heading, reasons, row, write_json
from tests.programs.stage import DISK, SETTINGS, Setting, Stage
from tests.support.interruptible import interruptible

JSON = Path("build/programs.json")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    programs, settings = [program.name for program in PROGRAMS], [setting.name for setting in SETTINGS]
    parser = argparse.ArgumentParser(prog="python -m tests.programs", description="Run other people's programs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(programs)} (all)")
    parser.add_argument(
        "--setting",
        action="append",
        choices=settings,
        help=f"one of: {', '.join(settings)} (all); the disk always runs",
    )
    parser.add_argument("--short", action="store_true", help="small amounts, as in make test")
    parser.add_argument("--json", type=Path, default=JSON, metavar="PATH", help=f"where to write all results ({JSON})")
    chosen = parser.parse_args(words)
    if unknown := set(chosen.names) - set(programs):
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    return chosen


def available(programs: list[Program]) -> list[Program]:
    """Those that this machine has; says which it has not."""
    for program in programs:
        if missing := program.missing():
            print(f"missing: {program.name}: {', '.join(missing)}", flush=True)
    return [program for program in programs if not program.missing()]


def try_all(programs: list[Program], settings: list[Setting], scale: Scale) -> list[Result]:
    """Run and print."""
    results = []
    on_disk: dict[str, Outcome] = {}
    print(heading(), flush=True)

    def add(name: str, outcome: Outcome) -> None:
        # The disk comes first, and all that it shows is its own.
        results.append(judge(name, setting, outcome, on_disk.setdefault(name, outcome)))
        print(row(results[-1]), flush=True)

    for setting in settings:
        try:
            with Stage.of(setting) as stage:
                for program in programs:
                    add(program.name, stage.attempt(program, scale))
        except AssertionError as error:  # hours of results are not lost with it
            add("mount and umount", Outcome.lost(str(error)))
    return results


def main(words: list[str] | None = None) -> int:
    """Run with these command line arguments (else the process's own). The exit status tells of findings."""
    chosen = arguments(words)
    with interruptible():
        return run(chosen)


def run(chosen: argparse.Namespace) -> int:
    programs = [program for program in PROGRAMS if not chosen.names or program.name in chosen.names]
    settings = [
        setting for setting in SETTINGS if not chosen.setting or setting.name in chosen.setting or setting is DISK
    ]
    try:
        results = try_all(available(programs), settings, SHORT if chosen.short else FULL)
    except KeyboardInterrupt:
        print("\nInterrupted: unmounted, servers ended, no JSON written.", flush=True)
        return 130
    write_json(chosen.json, results, short=chosen.short)
    print("\nReasons of what is known:", *(f"  {line}" for line in reasons(results)), sep="\n")
    found = findings(results)
    print(f"\nAll results: {chosen.json}. Findings: {len(found)}")
    for line in found:
        print(line, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
