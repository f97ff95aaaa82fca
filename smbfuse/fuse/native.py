"""The native module's Python side: loads it, and knows what to do where it is missing.

pyfuse3 3.5 reads the FUSE device with the GIL held and blocking, though a request that epoll announced may be gone by
then (its caller was killed): the whole event loop, and with it every connection, stands still until the next request.
It also drops the kernel's FUSE_INTERRUPT requests, so that a signal cannot free a program that waits for us. The
functions in `_native.c` mend both by standing in front of libfuse's, which works only if they are loaded before
pyfuse3 is: `smbfuse/fuse/__init__.py` imports this module first for that reason.

What may live here: loading, and the one choice between the native module and what must do without it. What an
interrupt means may not: that is `interrupts.py`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

STALL_BOUND = 0.25
"""Seconds for which the event loop may stand still where only the timer helps."""

AVAILABLE: bool
"""Whether the native module stands between libfuse and pyfuse3."""

REASON: str = ""
"""Why it does not, as part of a sentence; empty if it does."""


def _nothing_current() -> int:
    return 0


def _no_interrupts(callback: Callable[[int], object] | None, /) -> None:
    pass


current_unique: Callable[[], int] = _nothing_current
"""The kernel's number of the request under way, for the first lines of its handler up to the first `await`.

0 where it is not known; the kernel itself never uses 0.
"""

current_pid: Callable[[], int] = _nothing_current
"""The thread that waits for the request under way, to be read when `current_unique` is.

0 where nobody waits or the caller lives in another pid namespace (and where the native module is missing).
"""

set_interrupt_callback: Callable[[Callable[[int], object] | None], None] = _no_interrupts
"""Register what is called, in the event loop's thread, with the number of each request the kernel wants ended.

What it raises goes to `sys.unraisablehook`. Without the native module it is never called.
"""


def _load() -> str:
    """Load the native module and bind its functions; return why that failed, or an empty string."""
    global current_unique, current_pid, set_interrupt_callback
    if "pyfuse3" in sys.modules:
        return "pyfuse3 was imported before smbfuse.fuse"
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    try:
        import smbfuse.fuse._native as _native
    except ModuleNotFoundError:
        return "smbfuse was installed without its native module"
    except ImportError as error:
        return str(error)
    finally:
        sys.setdlopenflags(flags)
    current_unique = _native.current_unique
    current_pid = _native.current_pid
    set_interrupt_callback = _native.set_interrupt_callback
    return ""


def install_stall_timer() -> None:
    """Let a timer signal end reads of the FUSE device that found nothing, every `STALL_BOUND` seconds.

    For the main thread only, which must be the one that runs the event loop; the timer does not survive a fork.
    """
    signal.signal(signal.SIGALRM, lambda _signum, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, STALL_BOUND, STALL_BOUND)


def mend(interrupt: Callable[[int], object]) -> None:
    """Keep the event loop from standing still, with the native module or else with the timer.

    To be called once, in the process and the thread that will run the event loop. `interrupt` is called as
    `set_interrupt_callback` says; with the timer it never is, and waiting programs are freed by deadlines only.
    """
    if AVAILABLE:
        set_interrupt_callback(interrupt)
    else:
        install_stall_timer()


REASON = _load()
AVAILABLE = not REASON
