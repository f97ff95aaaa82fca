"""`make fuzz`: damaged messages, streams, sessions and mounts, for a minute each; or as many as you say.

    python -m tests.fuzz                                   60 s of each
    python -m tests.fuzz --only messages --count 1000000   a long run
    python -m tests.fuzz --only messages --seconds 600 --save   and keep what was found

What fails is a traceback of ours, an operation that does not end, tasks that are left, or memory that grows by more
than a tenth. It is shown with the seed, with which the same comes again (sessions and mounts: about the same).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Final

from tests.fuzz import messages, mounts, sessions, streams
from tests.fuzz.corpus import found, save
from tests.fuzz.figures import Figures
from tests.support.interruptible import interruptible

GROWTH: Final = 0.1


def _messages(count: int, seed: int, figures: Figures, keep: bool) -> None:
    new = messages.run(count, seed, figures)
    figures.outcomes["outcomes that are new"] = len(new)
    if keep:
        save({**found(), **new})


TARGETS: Final[dict[str, Callable[[int, int, Figures, bool], None]]] = {
    "messages": _messages,
    "streams": lambda count, seed, figures, _: streams.run(count, seed, figures),
    "sessions": lambda count, seed, figures, _: sessions.Sessions(seed).run(count, figures),
    "mounts": lambda count, seed, figures, _: mounts.run(count, seed, figures),
}
UNITS: Final = {"streams": "messages to the engine"}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Damage what servers say.")
    parser.add_argument("--only", action="append", choices=list(TARGETS), metavar="WHAT", help=", ".join(TARGETS))
    parser.add_argument("--count", type=int, help="how many; else as many as fit into the seconds")
    parser.add_argument("--seconds", type=float, help="how long each (60, if no count is given)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="(the time)")
    parser.add_argument("--save", action="store_true", help="add what messages find to the saved corpus")
    return parser.parse_args(words)


def one(target: str, chosen: argparse.Namespace) -> bool:
    """Run and print; whether all was well."""
    seconds = chosen.seconds or (None if chosen.count else 60.0)
    figures = Figures(UNITS.get(target, target), seconds)
    try:
        TARGETS[target](chosen.count or sys.maxsize, chosen.seed, figures, chosen.save)
    finally:
        print(f"{target} (seed {chosen.seed}): {figures.line()}", flush=True)
    if figures.growth > GROWTH:
        print(f"{target}: memory grows", flush=True)
        return False
    return True


def main(words: list[str] | None = None) -> int:
    """Run with these command line arguments, else the process's own."""
    chosen = arguments(words)
    with interruptible():
        well = [one(target, chosen) for target in chosen.only or TARGETS]
    return int(not all(well))


if __name__ == "__main__":
    sys.exit(main())
