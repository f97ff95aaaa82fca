"""What a lost connection means for a mount, and what is done when there is another.

    at the loss     oplocks, FIDs and locks are gone: nothing is kept by their right any more. What is known of names
                    and attributes goes on answering for as long as it may.
    at the return   what was left half done is undone; what programs have open is opened again, the files with locks
                    first; then kernel and cache forget what they know, since nobody told us of changes meanwhile.

Whoever uses an open file in between opens it again by himself (`SharedOpen.use`), so nothing waits for all of this.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.errors import ConnectionLost

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.calls.locks import LockCalls
    from smbfuse.core.settle import Settler

log: Final = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Files that are opened again at the same time: the rest of the window is for programs."""


class Revival:
    """Of one mount."""

    def __init__(self, files: LockCalls, settler: Settler) -> None:
        self._files = files
        self._settler = settler
        tree = files.backend.tree
        tree.on_lost.append(self._lost)
        tree.on_revived.append(self._revived)

    def _lost(self) -> None:
        self._files.opens.disconnected()
        self._files.silly.disconnected()

    def _revived(self) -> None:
        self._files.doubt_all()
        self._settler.soon(self._open_again)

    async def _open_again(self) -> None:
        await self._files.backend.catch_up()
        files = sorted(self._files.opens.inodes(), key=lambda inode: inode not in self._files.locked)
        places = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for inode in files:
                nursery.start_soon(partial(self._open_one, inode, places))

    async def _open_one(self, inode: Inode, places: trio.CapacityLimiter) -> None:
        async with places:
            try:
                await self._files.opens.revive(inode)
            except ConnectionLost as exc:
                log.debug("not opened again: %s", exc)
        await self._files.forget_data(inode)
