"""Files whose FIDs are being closed.

close(2) does not wait for the end of that: the kernel tells of it when the program goes on already, perhaps to take the
file's name away. A server finds the file in use then: smbd 4.17 lets a DELETE lie for 200 ms and looks again, and
refuses a rename over the file. So what takes a name away waits for closes that are under way.

What may live here: that waiting. Which FIDs there are is for `opens.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from smbfuse.core.inodes import Inode


class Closing:
    """The closes under way on one mount."""

    def __init__(self) -> None:
        self._ends: dict[Inode, list[trio.Event]] = {}

    @contextmanager
    def of(self, inode: Inode) -> Iterator[None]:
        """While the block runs a handle of the file is being closed, and with it perhaps a FID."""
        end = trio.Event()
        ends = self._ends.setdefault(inode, [])
        ends.append(end)
        try:
            yield
        finally:
            ends.remove(end)
            if not ends:
                del self._ends[inode]
            end.set()

    async def ended(self, inode: Inode | None) -> None:
        """Wait for the closes that are under way now; each of them has its request's deadline."""
        if inode is not None:
            for end in self._ends.get(inode, [])[:]:
                await end.wait()
