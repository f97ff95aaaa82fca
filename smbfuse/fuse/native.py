"""The native module's Python side: loads it, and knows what to do where it is missing.

pyfuse3 3.5 reads the FUSE device with the GIL held and blocking, though a request that epoll announced may be gone by
then (its caller was killed): the whole event loop, and with it every connection, stands still until the next request.
It also drops the kernel's FUSE_INTERRUPT requests, so that a signal cannot free a program that waits for us, and has
no handlers for locks, copy_file_range, lseek and fallocate. The functions in `_native.c` mend all this by standing in
front of libfuse's, which works only if they are loaded before pyfuse3 is: `smbfuse/fuse/__init__.py` imports this
module first for that reason.

What may live here: loading, and the one choice between the native module and what must do without it. What an
interrupt means may not, that is `interrupts.py`; nor what the further requests mean, that is `extra.py`.
"""

from __future__ import annotations

import atexit
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


def _nothing(*_arguments: object) -> None:
    pass


def _none_passed() -> list[str]:
    return []


def _nothing_pending(*_arguments: object) -> bool:
    return False


current_unique: Callable[[], int] = _nothing_current
"""The kernel's number of the request under way, for the first lines of its handler up to the first `await`.

0 where it is not known; the kernel itself never uses 0.
"""

current_pid: Callable[[], int] = _nothing_current
"""The thread that waits for the request under way, to be read when `current_unique` is.

0 where nobody waits or the caller lives in another pid namespace (and where the native module is missing).
"""

current_lock_owner: Callable[[], int] = _nothing_current
"""Whose byte-range locks the request under way concerns, to be read when `current_unique` is; 0 if it does not say.

flush: the process (in the kernel's words: the table of open files) whose locks on the file end with this close(2).
release: the open file whose flock(2) ends, 0 unless one was taken through it. read, write and setattr of the size: who
does it, to be let through its own locks; 0 for pages that the kernel moves. The numbers are those of `extra.py`'s
`lock_owner`.
"""

ATIME_NOW = 1 << 7
MTIME_NOW = 1 << 8
"""Of `current_times_now`: FATTR_ATIME_NOW and FATTR_MTIME_NOW of the kernel."""

current_times_now: Callable[[], int] = _nothing_current
"""Which times the setattr under way sets to now, to be read when `current_unique` is.

pyfuse3 gives the time that this machine has then, as if a program had named it. 0 where the native module is missing.
"""

current_kills_privileges: Callable[[], int] = _nothing_current
"""Whether the request under way takes set-user-id and set-group-id from its file, to be read when `current_unique` is.

The kernel leaves that to the file system, for setattr, write, and open or create with O_TRUNC: else it would ask for
the xattr security.capability before every write. It says nothing of copy_file_range and fallocate, which do so, too.
Where the native module is missing, or libfuse older than 3.14, the kernel asks, sets modes itself, and this is 0.
"""

current_writes_pages: Callable[[], int] = _nothing_current
"""Whether the write under way is of pages that were changed in a map, to be read when `current_unique` is.

The kernel sends them by any handle of the file's, also by one with O_APPEND, and they have their place all the same.
"""

set_interrupt_callback: Callable[[Callable[[int], object] | None], None] = _nothing
"""Register what is called, in the event loop's thread, with the number of each request the kernel wants ended.

What it raises goes to `sys.unraisablehook`. Without the native module it is never called.
"""

configure_session: Callable[[tuple[str, ...], int, int], None] = _nothing
"""Say, before `pyfuse3.init`, which further operations are wanted, `max_background` and `congestion_threshold`.

The numbers are those of FUSE_INIT, 0 leaves the kernel's; unknown names are a ValueError.
"""

passed_operations: Callable[[], list[str]] = _none_passed
"""The wanted operations that the kernel passes on this mount; none before it has greeted it."""

set_request_callback: Callable[[Callable[[str, int, tuple[int, ...]], object] | None], None] = _nothing
"""Register what is called, in the event loop's thread, with the name, the token and the numbers of a further request.

Where nobody is registered they fail with ENOTCONN; where the callback raises (to `sys.unraisablehook`) with EIO.
"""

pending_requests: Callable[[], int] = _nothing_current
"""How many further requests have not been answered."""

reply_err: Callable[[int, int], bool] = _nothing_pending
"""Answer the request of that token with an errno, 0 for success of setlk, flock and fallocate.

As of all replies: returns False, and does nothing, if it has been answered. Raises, and leaves it pending, where the
kernel would not take the numbers (ValueError, OverflowError, TypeError).
"""

reply_lock: Callable[[int, int, int, int, int], bool] = _nothing_pending
"""Answer getlk: token, type, first byte, last byte (2**63 - 1: to the end of the file), pid."""

reply_write: Callable[[int, int], bool] = _nothing_pending
"""Answer copy_file_range: token, bytes copied."""

reply_lseek: Callable[[int, int], bool] = _nothing_pending
"""Answer lseek: token, offset."""

_BOUND = (
    "current_unique",
    "current_pid",
    "current_lock_owner",
    "current_times_now",
    "current_kills_privileges",
    "current_writes_pages",
    "set_interrupt_callback",
    "configure_session",
    "passed_operations",
    "set_request_callback",
    "pending_requests",
    "reply_err",
    "reply_lock",
    "reply_write",
    "reply_lseek",
)


def _load() -> str:
    """Load the native module and bind its functions; return why that failed, or an empty string."""
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
    if not all(hasattr(_native, name) for name in _BOUND):
        return "the native module is another version's; install smbfuse again"
    globals().update({name: getattr(_native, name) for name in _BOUND})
    return ""


def install_stall_timer() -> None:
    """Let a timer signal end reads of the FUSE device that found nothing, every `STALL_BOUND` seconds.

    For the main thread only, which must be the one that runs the event loop; the timer does not survive a fork.
    """
    signal.signal(signal.SIGALRM, lambda _signum, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, STALL_BOUND, STALL_BOUND)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # Python forgets its handler first: SIGALRM would kill


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
