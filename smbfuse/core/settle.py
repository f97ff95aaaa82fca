"""Changes that are finished whoever stops waiting for them.

A program that waits for rename(2) may be killed at any moment. What consists of several requests must not stop half way
then, so changes run as tasks of the mount; their callers only wait.

Who killed the program takes its end for the end of its changes: a directory that it was at work in is removed at once.
So a caller leaves when its change is done, or does not get done in time.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import outcome
import trio

from smbfuse.errors import SmbfuseError

log: Final = logging.getLogger(__name__)

T = TypeVar("T")

GRACE: Final = 1.0
"""Seconds that a change may still take whose caller wants to leave."""


class Settler:
    """Runs changes in the mount's nursery."""

    def __init__(self, nursery: trio.Nursery, promising: Callable[[], bool] = lambda: True) -> None:
        """`promising`: whether what is under way may be done soon; else nobody stays who wants to leave."""
        self._nursery = nursery
        self._promising = promising

    async def run(
        self, work: Callable[[], Awaitable[T]], undo: Callable[[T], None] | None = None, grace: float = GRACE
    ) -> T:
        """Await `work()`, and let it go on if the caller is cancelled. Raises what it raises.

        One that is cancelled waits for `grace` seconds more, and what comes then is its own: it goes on up to its next
        checkpoint. `undo` gets a result that nobody waits for any more: a file that was opened is to be closed again.
        """
        done = trio.Event()
        result: list[outcome.Outcome[T]] = []
        abandoned = taken = False

        async def task() -> None:
            # An error belongs to the caller, not to the nursery, which it would end with all that runs there.
            result.append(await outcome.acapture(work))
            done.set()
            if abandoned:
                discard()

        def discard() -> None:
            if undo is not None and isinstance(result[0], outcome.Value):
                undo(result[0].value)

        self._nursery.start_soon(task)
        try:
            await done.wait()
            taken = True
        except trio.Cancelled:
            with trio.move_on_after(grace if self._promising() else 0, shield=True):
                await done.wait()
                taken = True
            if not taken:
                raise
        finally:
            if not taken:
                abandoned = True
                if result:  # it came in the very moment in which the grace was over
                    discard()
        return result[0].unwrap()

    def soon(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work()` in the background. An error of the server's is nobody's then, and is logged."""
        self._nursery.start_soon(_logged, work)


async def _logged(work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except (SmbfuseError, OSError) as exc:
        log.debug("in the background: %s", exc)
