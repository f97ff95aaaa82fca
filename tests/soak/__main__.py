"""`python -m tests.soak`: load and faults for ten minutes (or as long as is said), and figures at the end."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.load import run
from tests.support.interruptible import interruptible


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Load a mount while things fail.")
    parser.add_argument("--seconds", type=float, default=600, help="how long (600)")
    parser.add_argument("--pause", type=float, default=2, help="seconds from one fault to the next (2)")
    parser.add_argument("--seed", type=int, default=1, help="which faults, and which data (1)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME[=VALUE]", help="of the mount")
    chosen = parser.parse_args()
    options: dict[str, object] = {}
    for option in chosen.option:
        name, equals, value = option.partition("=")
        options[name] = value if equals else True
    with interruptible(), tempfile.TemporaryDirectory(prefix="smbfuse-soak-") as base:
        verdict, _ = run(
            Path(base),
            chosen.seconds,
            pause=chosen.pause,
            seed=chosen.seed,
            options=options,
            tell=lambda line: print(line, flush=True),
        )
    print(verdict)
    return 1 if verdict.lost or verdict.complaints or verdict.hung or verdict.pending or verdict.left_open else 0


if __name__ == "__main__":
    sys.exit(main())
