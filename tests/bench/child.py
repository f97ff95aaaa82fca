"""Time work in a process of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from tests.support.child import call


def timed(work: Callable[[], object], deadline: float) -> float:
    """Seconds that `work` takes in a child. Raises WorkError, after `deadline` seconds at the latest."""

    def measured() -> float:
        gc.disable()
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return call(measured, deadline)
