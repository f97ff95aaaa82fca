"""FIDs shared among the handles of a file: one open per inode and access, not one per open(2).

In SMB1 oplocks and byte-range locks belong to a FID, so a second open of our own would break our own oplock and be
kept out by our own locks. A handle therefore holds a share in a FID; when more access is wanted than the FID has, a
wider one takes its place under all the handles, and only where the server refuses that do two stand beside each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED, STATUS_SHARING_VIOLATION

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.inodes import Inode

Opener = Callable[[bool, bool], Awaitable["OpenFile"]]
"""Opens the file at the server for (reading, writing)."""

_REFUSED: Final = frozenset({STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED, STATUS_SHARING_VIOLATION})
"""How a server refuses access that we wanted in advance; what the program asked for may be had all the same."""


@dataclass(slots=True, eq=False)
class SharedOpen:
    """A FID and what it may be used for. `file` changes when a wider FID takes its place: look at it anew each time."""

    file: OpenFile
    read: bool
    write: bool
    users: int = 0

    def covers(self, read: bool, write: bool) -> bool:
        """Whether a handle that wants this may share it."""
        return self.read >= read and self.write >= write


@dataclass(slots=True, eq=False)
class _FileOpens:
    shared: list[SharedOpen] = field(default_factory=list)
    lock: trio.Lock = field(default_factory=trio.Lock)
    """Held while a FID is asked for, so that two handles opened at once do not get two."""
    waiting: int = 0


class OpenTable:
    """Which inodes are open at the server, and by which FIDs."""

    def __init__(self) -> None:
        self._opens: dict[Inode, _FileOpens] = {}
        self.moving: Callable[[Inode, OpenFile, OpenFile], Awaitable[None]] | None = None
        """Called before a wider FID takes another's place: what hangs on the FID itself is to be moved."""

    def __len__(self) -> int:
        return sum(len(opens.shared) for opens in self._opens.values())

    def of(self, inode: Inode, *, write: bool = False) -> OpenFile | None:
        """Some FID of this file (for writing), if it is open."""
        opens = self._opens.get(inode)
        if opens is None:
            return None
        return next((share.file for share in opens.shared if share.write >= write), None)

    def inodes(self) -> list[Inode]:
        """All inodes with a FID."""
        return [inode for inode, opens in self._opens.items() if opens.shared]

    def files(self) -> list[OpenFile]:
        """All FIDs."""
        return [share.file for opens in self._opens.values() for share in opens.shared]

    async def acquire(self, inode: Inode, read: bool, write: bool, opener: Opener) -> SharedOpen:
        """A share in a FID that may be used so; `opener` asks for one if there is none. Cancelled, it takes none."""
        opens = self._opens.setdefault(inode, _FileOpens())
        opens.waiting += 1
        try:
            async with opens.lock:
                share = _covering(opens, read, write)
                if share is None:
                    share = await self._open(inode, opens, read, write, opener)
                share.users += 1
                return share
        finally:
            opens.waiting -= 1
            self._drop_empty(inode, opens)

    async def _open(self, inode: Inode, opens: _FileOpens, read: bool, write: bool, opener: Opener) -> SharedOpen:
        """A FID that covers what the others do too, if the server gives it; else just what is asked for."""
        if opens.shared:
            wide_read = read or any(share.read for share in opens.shared)
            wide_write = write or any(share.write for share in opens.shared)
            try:
                return await self._put(inode, opens, await opener(wide_read, wide_write), wide_read, wide_write)
            except StatusError as exc:
                if exc.status not in _REFUSED or (wide_read, wide_write) == (read, write):
                    raise
        return await self._put(inode, opens, await opener(read, write), read, write)

    async def adopt(self, inode: Inode, file: OpenFile, read: bool, write: bool) -> SharedOpen:
        """A share in a FID that was just made, by creating the file; it may have been open already."""
        opens = self._opens.setdefault(inode, _FileOpens())
        opens.waiting += 1
        try:
            async with opens.lock:
                share = _covering(opens, read, write)
                if share is None:
                    share = await self._put(inode, opens, file, read, write)
                else:
                    file.close_soon()
                share.users += 1
                return share
        finally:
            opens.waiting -= 1
            self._drop_empty(inode, opens)

    async def _put(self, inode: Inode, opens: _FileOpens, file: OpenFile, read: bool, write: bool) -> SharedOpen:
        """Enter a new FID, in the place of one that it covers."""
        narrower = next((share for share in opens.shared if read >= share.read and write >= share.write), None)
        if narrower is None:
            share = SharedOpen(file, read, write)
            opens.shared.append(share)
            return share
        if self.moving is not None:
            with trio.CancelScope(shield=True):  # half moved it would be in nobody's account; it does not last
                await self.moving(inode, narrower.file, file)
        narrower.file.close_when_idle()
        narrower.file, narrower.read, narrower.write = file, read, write
        return narrower

    def release(self, inode: Inode, share: SharedOpen) -> OpenFile | None:
        """A handle gives its share back. Returns the FID if nobody uses it any more: it is to be closed."""
        share.users -= 1
        if share.users:
            return None
        opens = self._opens[inode]
        opens.shared.remove(share)
        self._drop_empty(inode, opens)
        return share.file

    def _drop_empty(self, inode: Inode, opens: _FileOpens) -> None:
        if not opens.shared and not opens.waiting:
            self._opens.pop(inode, None)


def _covering(opens: _FileOpens, read: bool, write: bool) -> SharedOpen | None:
    return next((share for share in opens.shared if share.covers(read, write)), None)
