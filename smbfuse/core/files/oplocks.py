"""Oplocks: what the server's promises let us keep, and what is to be done when it takes one back.

An oplock belongs to a FID. As long as one is held nobody else changes the file's data (level II: nobody has, so far)
without our being told first:

    held        what may be kept                      given back when
    level II    data that were read                   another writes: we are told after it, and answer nothing
    exclusive   that, and writes not yet sent         another opens: the server waits for our answer
    batch       that, and the FID after the close     another opens, renames or deletes: likewise

    held        left over   first             then
    exclusive   level II    write what is due answer
    exclusive   none        write, forget     answer
    batch       either      as exclusive; a FID that no program has open any more is closed, which is the answer
    level II    none        forget            -

[MS-CIFS] 3.2.5.42. What may live here: that table, and the tasks that follow it. What "write" and "forget" are is the
file system's business.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from smbfuse.wire.const import OPLOCK_BATCH, OPLOCK_EXCLUSIVE, OPLOCK_LEVEL_II, OPLOCK_NONE

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.opens import OpenTable, SharedOpen
    from smbfuse.core.settle import Settler

log: Final = logging.getLogger(__name__)

PATIENCE: Final = 20.0
"""Seconds for writing and forgetting; the server gives the other client its open after 35 s all the same."""


class Reaction(NamedTuple):
    """What has to be done before a break is answered."""

    write: bool
    forget: bool


REACTIONS: Final = {
    (OPLOCK_EXCLUSIVE, OPLOCK_LEVEL_II): Reaction(write=True, forget=False),
    (OPLOCK_EXCLUSIVE, OPLOCK_NONE): Reaction(write=True, forget=True),
    (OPLOCK_BATCH, OPLOCK_LEVEL_II): Reaction(write=True, forget=False),
    (OPLOCK_BATCH, OPLOCK_NONE): Reaction(write=True, forget=True),
    (OPLOCK_LEVEL_II, OPLOCK_NONE): Reaction(write=False, forget=True),
}
"""By (oplock held, what is left of it). Other breaks take nothing."""


def keeps_reads(file: OpenFile) -> bool:
    """Whether data that were read by this FID may be kept."""
    return file.oplock != OPLOCK_NONE and file.breaking != OPLOCK_NONE and not file.gone


def keeps_writes(file: OpenFile) -> bool:
    """Whether data that are written by this FID may wait."""
    return file.oplock in (OPLOCK_EXCLUSIVE, OPLOCK_BATCH) and file.breaking is None and not file.gone


def keeps_fid(file: OpenFile) -> bool:
    """Whether the FID may stay open when no program has the file open any more."""
    return file.oplock == OPLOCK_BATCH and file.breaking is None and not file.gone


Task = Callable[["Inode"], Awaitable[None]]


class Oplocks:
    """Answers the breaks of one mount.

    `write` sends what waits of a file; errors are not its business, but that of fsync and close. `forget` makes the
    kernel forget its data, for which that waits for reads under way: they must not wait for the end of a break. What
    was changed in maps is written then; where nothing is to be forgotten, by `write_maps`.
    """

    def __init__(self, opens: OpenTable, settler: Settler, write: Task, forget: Task, write_maps: Task) -> None:
        self._opens = opens
        self._settler = settler
        self._write = write
        self._forget = forget
        self._write_maps = write_maps
        opens.entered = self._entered

    def keeps_reads(self, inode: Inode) -> bool:
        """Whether what is known of the file's data is true until we are told otherwise."""
        return any(keeps_reads(share.file) for share in self._opens.shares(inode))

    def _entered(self, inode: Inode, share: SharedOpen) -> None:
        """A FID came into use."""
        file = share.file
        share.renewable = file.oplock != OPLOCK_NONE
        share.contested = share.contested and not share.renewable
        file.on_break = partial(self._noticed, inode, share, file)

    def _noticed(self, inode: Inode, share: SharedOpen, file: OpenFile) -> None:
        """Called by the reader: from here on nothing new is kept, and a task does the rest."""
        if file.breaking == OPLOCK_NONE:
            inode.pages_hold = False
            share.contested = True
        self._settler.soon(partial(self._answer, inode, share, file))

    async def _answer(self, inode: Inode, share: SharedOpen, file: OpenFile) -> None:
        if await self._opens.drop_unused(inode, share):
            await self._forget(inode)
            return
        with trio.move_on_after(PATIENCE) as patience:
            left = None
            while file.breaking not in (None, left):  # a break to level II may become one to none meanwhile
                left = file.breaking
                reaction = REACTIONS[file.oplock, left]
                if reaction.write and not reaction.forget:
                    await self._write_maps(inode)
                if reaction.write:
                    await self._write(inode)
                if reaction.forget:
                    await self._forget(inode)
        if patience.cancelled_caught:
            log.warning("%s: an oplock is given back before all was written", file.path)
        file.settle_break()
