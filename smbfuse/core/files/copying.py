"""Copying within the mount: what is read from one file is written to another, block by block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.errors import SmbfuseError

if TYPE_CHECKING:
    from smbfuse.client.sizes import TransferSizes
    from smbfuse.wire.codec import Buffer

PATIENCE: Final = 0.5
"""Seconds after which a copy ends with what it has: a call repeated after a signal must have got somewhere, so this is
shorter than the time that an interrupted operation still has."""
_MOST: Final = 1 << 20
_WRITES: Final = 16
"""Requests for writing one block at most, where they are small."""


def block_size(sizes: TransferSizes) -> int:
    """Bytes to be read or written at a time: some full requests, which are under way together."""
    return min(_MOST, _WRITES * sizes.write)


@dataclass(slots=True)
class Copy:
    """One copy of `length` bytes; offsets count from its begin. Two blocks are in memory at most."""

    read: Callable[[int, int], Awaitable[Buffer]]
    """Gives bytes from an offset on: as many as asked for, fewer at the end of the file only."""
    write: Callable[[int, Buffer], Awaitable[None]]
    length: int
    block: int
    done: int = 0
    """Bytes written without a gap."""

    async def run(self) -> None:
        """Write each block while the next one is read, until the end of the file or of patience.

        Raises the first error of the two; `done` is right then too, and the block behind it may be written in part.
        """
        until = trio.current_time() + PATIENCE
        asked = min(self.block, self.length)
        data = await self.read(0, asked)
        while data:
            end = self.done + len(data)
            last = len(data) < asked or trio.current_time() >= until
            asked = 0 if last else min(self.block, self.length - end)
            data = await self._step(data, end, asked)

    async def _step(self, data: Buffer, end: int, asked: int) -> Buffer:
        following: Buffer = b""
        errors: list[Exception] = []

        async def read_ahead() -> None:
            nonlocal following
            with _kept(errors):
                following = await self.read(end, asked)

        async with trio.open_nursery() as nursery:
            if asked:
                nursery.start_soon(read_ahead)
            with _kept(errors):
                await self.write(self.done, data)
                self.done = end
            if self.done != end:
                nursery.cancel_scope.cancel()
        if errors:
            raise errors[0]
        return following


@contextmanager
def _kept(errors: list[Exception]) -> Iterator[None]:
    """Nurseries would put an error in a group."""
    try:
        yield
    except (OSError, SmbfuseError) as exc:
        errors.append(exc)
