"""Which signal to a waiting program ends which operation, and when.

The kernel sends one FUSE_INTERRUPT for a request when the first signal of any kind reaches the thread that waits for
it, and nothing more for later ones. Ending every such operation would surprise programs: EINTR from stat(2) because a
profiler's timer ticked. Ending none would leave programs that cannot be killed. So the state of the caller decides:
its pending signals stay pending until the operation returns, and /proc shows them. It is looked at until then.

What may live here: the table of operations under way and the policy. No pyfuse3, no answers to the kernel.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final, Self, TypeAlias

import trio

from smbfuse.fuse import native


def _mask(*signals: int) -> int:
    """Signals as /proc shows sets of them: bit n - 1 for signal n."""
    return sum(1 << (number - 1) for number in signals)


_ALL = _mask(*range(1, 65))
_HARMLESS_BY_DEFAULT = _mask(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
_STOP_BY_DEFAULT = _mask(signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_ASK_TO_END = _mask(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Rule:
    """How long (seconds) an operation may go on when one of `signals` awaits its caller, who catches it or does not."""

    caught: bool
    signals: int
    grace: float


KILLED = Rule(caught=False, signals=_ALL & ~_HARMLESS_BY_DEFAULT & ~_STOP_BY_DEFAULT, grace=0.0)
ASKED = Rule(caught=True, signals=_ASK_TO_END, grace=1.0)  # a healthy server answers before that
TIMED = Rule(caught=True, signals=_mask(signal.SIGALRM), grace=20.0)
"""For programs that set themselves an alarm so as not to wait for ever. Others have it tick ten times a second."""

Manner: TypeAlias = tuple[Rule, ...]
"""By which rules signals end an operation; the shortest grace wins. Without any: the first signal of any kind does."""

USUAL: Final[Manner] = (KILLED, ASKED, TIMED)
AT_ONCE: Final[Manner] = ()
"""For what only waits, and loses nothing by it."""
RELEASING: Final[Manner] = (KILLED,)
"""For what no local file system lets a signal interrupt, and no program expects it to: an unlock."""

WRITING: Final[Manner] = (KILLED, Rule(caught=True, signals=_ASK_TO_END | _mask(signal.SIGALRM), grace=20.0))
"""For what programs do again after EINTR, while the server does it once more: an append would be there twice."""

CALLER_UNKNOWN: Final = 0.0
"""Seconds for a caller that cannot be looked at: gone, hidden, or in another pid namespace."""
LOOK_AGAIN: Final = 0.25
"""Seconds after which a caller whose first signal ended nothing is looked at again. The kernel tells of no second one,
and that may be the one that kills it."""

_MASKS = (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")
_MASK_LINE = re.compile(rb"^(%s):\s*([0-9a-f]{1,16})$" % b"|".join(_MASKS), re.MULTILINE)


def grace(status: bytes, manner: Manner = USUAL) -> float:
    """Seconds that an operation may still take whose caller's /proc/PID/status (proc(5)) reads so; 0: end it now.

    Infinite if no rule applies: a timer's tick, a stop, a signal that another thread has taken by now.
    """
    masks = {name: int(value, 16) for name, value in _MASK_LINE.findall(status)}
    if len(masks) < len(_MASKS):
        return CALLER_UNKNOWN
    arrived = (masks[b"SigPnd"] | masks[b"ShdPnd"]) & ~masks[b"SigBlk"] & ~masks[b"SigIgn"]
    caught = masks[b"SigCgt"]
    by_caught = {True: arrived & caught, False: arrived & ~caught}
    return min((rule.grace for rule in manner if by_caught[rule.caught] & rule.signals), default=inf)


def grace_of(pid: int, manner: Manner = USUAL) -> float:
    """Seconds that an operation may still take for which the thread `pid` waits."""
    if not manner:
        return 0.0
    if not pid:
        return CALLER_UNKNOWN
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return grace(status.read(), manner)
    except OSError:
        return CALLER_UNKNOWN


class Operation:
    """A request of the kernel's under way: the block that handles it, which an interrupt leaves early.

    `scope` is its cancel scope; the handler may set a deadline of its own on it. Interrupts count from the moment that
    the operation is made, so that it may be made here and entered in another task.
    """

    __slots__ = ("_manner", "_operations", "_pid", "_unique", "by_interrupt", "scope")

    def __init__(self, operations: dict[int, Operation], manner: Manner) -> None:
        self._operations = operations
        self._manner = manner
        self._unique = native.current_unique()
        self._pid = native.current_pid()
        self.scope = trio.CancelScope()
        self.by_interrupt = False
        """Whether the scope's deadline is an interrupt's."""
        # pyfuse3 calls two handlers for one setxattr with flags. The second begins under the number of whatever request
        # was read last, and must not be taken for that.
        operations.setdefault(self._unique, self)

    @property
    def under_way(self) -> bool:
        """Whether the block has not ended, as far as the table knows."""
        return self._operations.get(self._unique) is self

    @property
    def interrupted(self) -> bool:
        """Whether an interrupt ended the block, and not the block itself, its own deadline or somebody around it."""
        return self.by_interrupt and self.scope.cancelled_caught

    def __enter__(self) -> Self:
        self.scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.under_way:
            del self._operations[self._unique]
        return self.scope.__exit__(kind, error, trace)

    def interrupt(self) -> None:
        """Let the operation go on for as long as its caller's pending signals allow, and no longer."""
        due = trio.current_time() + grace_of(self._pid, self._manner)
        if due < self.scope.deadline:
            self.scope.deadline = due
            self.by_interrupt = True


class Interrupts:
    """The operations under way, by the kernel's number of their request. For the event loop's thread only."""

    def __init__(self) -> None:
        self._operations: dict[int, Operation] = {}
        self._interrupted: list[Operation] = []
        self._some = trio.Event()
        """Set while anything is in there."""

    def guard(self, manner: Manner = USUAL) -> Operation:
        """Make the request under way interruptible while the block runs; to be called before a handler's first `await`.

        with interrupts.guard() as operation:
            return await the_work()
        raise FUSEError(EINTR if operation.interrupted else ETIMEDOUT)
        """
        return Operation(self._operations, manner)

    def interrupt(self, unique: int) -> None:
        """Take the kernel's word that the caller of request `unique` wants to leave (see `native.mend`)."""
        operation = self._operations.get(unique)
        if operation is not None:  # else it was answered in the meantime
            operation.interrupt()
            self._interrupted.append(operation)
            self._some.set()

    async def watch(self) -> None:
        """Look at the callers of interrupted operations until these end. Never returns."""
        while True:
            await self._some.wait()
            await trio.sleep(LOOK_AGAIN)
            self._interrupted = [operation for operation in self._interrupted if operation.under_way]
            for operation in self._interrupted:
                operation.interrupt()
            if not self._interrupted:
                self._some = trio.Event()
