"""A question that goes right behind another request, so that both cost one wait.

For what an answer should tell and does not. It may be asked by path, since a server that takes one message after the
other has done the first by then. One that does not may answer for what was there before, or for nothing at all, and so
may one to which others have come between: whoever asks has to see that the answer fits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from smbfuse.client.tree import Tree

T = TypeVar("T")


class Alongside(Generic[T]):
    """One question, `ask`, on a tree."""

    def __init__(self, tree: Tree, ask: Callable[[], Awaitable[T]]) -> None:
        self._tree = tree
        self._ask = ask
        self._answer: T | None = None
        self._done: trio.Event | None = None
        """Of the question that is under way: there is none where the connection was lost before it could be asked."""

    def begin(self, _cancel: Callable[[], None]) -> None:
        """The other request is on the wire (`on_sent` of `Connection.request`): on that of now, perhaps a new one."""
        done = trio.Event()
        if self._tree.session.connection.spawn(self._run, done):
            self._done = done

    async def _run(self, done: trio.Event) -> None:
        try:
            self._answer = await self._ask()
        finally:  # a lost connection ends it
            done.set()

    async def answer(self) -> T | None:
        """What came; None if nothing was asked, or nothing came. To be awaited when the other answer is here."""
        if self._done is not None:
            with trio.move_on_after(self._tree.session.connection.timeout):
                await self._done.wait()
        return self._answer
