"""A question that is under way before anybody waits for its answer, so that two answers cost one wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from smbfuse.errors import ConnectionLost, SmbfuseError

if TYPE_CHECKING:
    from smbfuse.client.connection import Connection

T = TypeVar("T")


class Ahead(Generic[T]):
    """One question, `ask`, which raises SmbfuseError and whose requests have their deadlines.

    It ends with the connection on which it was begun, even if `ask` would wait for the next one.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self.begun = trio.Event()
        self._done = trio.Event()
        self._done.set()  # nothing is under way yet
        self._answers: list[T] = []
        self._failure: SmbfuseError = ConnectionLost("the connection was lost with a question under way")

    def begin(self, connection: Connection) -> bool:
        """Ask on that connection; False if it is lost already."""
        done = trio.Event()
        if not connection.spawn(self._run, done):
            return False
        self._done = done
        return True

    async def _run(self, done: trio.Event) -> None:
        self.begun.set()
        try:
            self._answers.append(await self._ask())
        except SmbfuseError as exc:
            self._failure = exc
        finally:  # with the connection it ends without either
            done.set()

    async def answer(self) -> T:
        """What came; raises what came instead, ConnectionLost if the question was not asked or not answered."""
        await self._done.wait()
        if not self._answers:
            raise self._failure
        return self._answers[-1]
