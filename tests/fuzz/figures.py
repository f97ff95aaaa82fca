"""What a run shows: how many, how fast, how slow at worst, and whether memory grows."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HANG: Final = 240.0
"""Seconds without a step after which the run ends, with the tracebacks of all threads."""
WARM: Final = 0.2
"""Share of a run after which memory is looked at for the first time: by then all is loaded and made."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def memory() -> int:
    """Bytes of this process that are in memory; what is free is given back first."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _armed(before: threading.Timer | None) -> threading.Timer:
    """Ends the run HANG seconds from now, instead of what was armed before."""
    if before is not None:
        before.cancel()
    made = threading.Timer(HANG, _interrupt)
    made.daemon = True
    made.start()
    return made


def _interrupt() -> None:
    """As Ctrl-C, so that servers and mounts are taken down."""
    faulthandler.dump_traceback()
    os.kill(os.getpid(), signal.SIGINT)


@dataclass
class Figures:
    """Of one run. `unit` is what is counted."""

    unit: str
    seconds: float | None = None
    """Time after which the run ends before its count is full; None: never."""
    done: int = 0
    took: float = 0.0
    slowest: float = 0.0
    slowest_input: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    warm: int = 0
    end: int = 0
    """Bytes in memory after a fifth of the run, and at its end."""

    def counted(self, count: int) -> Iterator[int]:
        """Steps of the run."""
        begun = now = time.monotonic()
        until = begun + (self.seconds or float("inf"))
        armed = 0.0
        guard: threading.Timer | None = None
        try:
            for self.done in range(1, count + 1):
                if now > armed + HANG / 10:
                    guard = _armed(guard)
                    armed = now
                yield self.done
                now = time.monotonic()
                if not self.warm and (self.done >= count * WARM or now > begun + self._length * WARM):
                    self.warm = memory()
                if now > until:
                    break
        finally:
            if guard is not None:
                guard.cancel()
            self.took = time.monotonic() - begun
            self.end = memory()

    @property
    def _length(self) -> float:
        return self.seconds or float("inf")

    @contextmanager
    def timed(self, what: bytes) -> Iterator[None]:
        """One step; an error that comes up takes the input with it."""
        begun = time.thread_time()  # others use the processor, too
        try:
            yield
        except BaseException as error:
            error.add_note(f"input: {what.hex()}")
            raise
        took = time.thread_time() - begun
        if took > self.slowest:
            self.slowest, self.slowest_input = took, what.hex()

    @property
    def growth(self) -> float:
        """Of memory, since it was warm: 0.1 is a tenth more."""
        return self.end / self.warm - 1 if self.warm else 0.0

    def line(self) -> str:
        outcomes = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.most_common(8))
        return (
            f"{self.done:,} {self.unit} in {self.took:,.0f} s ({self.done / max(self.took, 1e-9):,.0f}/s): {outcomes}; "
            f"the slowest took {self.slowest * 1000:,.0f} ms; memory {self.warm >> 20} -> {self.end >> 20} MiB "
            f"({self.growth:+.1%})"
        )
