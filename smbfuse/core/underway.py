"""Work on files that others had better wait for.

Several kinds on each mount. Closes: close(2) does not wait for the end of that: the kernel tells of it when the program
is going on already, perhaps to take the file's name away. A server finds the file in use then: smbd 4.17 lets a DELETE
lie for 200 ms and looks again, and refuses a rename over the file. So what takes a name away waits for closes that are
under way. Dates: so does what sets a file's time, while we are at setting it to what programs were told before.
Replacements: where a rename over a file takes several requests the name is missing for a moment, in which nobody is to
look for it. Listings: one of a directory is enough for all who want it. And what the kernel waits for holding locks,
before it is told to forget something (`Vfs.forget_data`).

What may live here: that waiting. Which FIDs there are is for `opens.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio


class UnderWay:
    """What is under way, of one kind, on one mount: by inode, or by directory and name."""

    def __init__(self) -> None:
        self._ends: dict[Hashable, list[trio.Event]] = {}

    def __contains__(self, what: Hashable) -> bool:
        return what in self._ends

    @contextmanager
    def of(self, what: Hashable) -> Iterator[None]:
        """It is under way while the block runs."""
        end = trio.Event()
        ends = self._ends.setdefault(what, [])
        ends.append(end)
        try:
            yield
        finally:
            ends.remove(end)
            if not ends:
                del self._ends[what]
            end.set()

    @asynccontextmanager
    async def alone(self, what: Hashable) -> AsyncIterator[None]:
        """As `of`, as soon as nobody else is at it."""
        while what in self:
            await self.ended(what)
        with self.of(what):
            yield

    async def ended(self, what: Hashable) -> None:
        """Wait for what is under way now; all of it has its requests' deadlines."""
        for end in self._ends.get(what, [])[:]:
            await end.wait()
