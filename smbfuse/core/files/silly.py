"""Files that lose their name while they are in use: they live on under a hidden one until the last close.

SMB has no name-less files. A server refuses to delete a file that is open, or keeps its name until it is closed; the
POSIX unlink of the UNIX extensions takes the name, but smbd 4.17 then refuses to change size, times and mode by FID. So
such a file is renamed first and then marked for deletion at its last close, which the server does even if we die.
It goes to the root of the mount, so that its directory can be removed, and stays in that directory only where the root
does not take it. Here is nothing about who may be in use: `vfs.py` and `filesystem.py` say when.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_OBJECT_NAME_NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smbfuse.client.tree import ServerPath
    from smbfuse.core.cache.inodes import Inode, InodeTable
    from smbfuse.core.files.opens import SharedOpen
    from smbfuse.core.server.backend import Backend

log: Final = logging.getLogger(__name__)

PREFIX: Final = ".smbfuse"


@dataclass(slots=True, eq=False)
class Hidden:
    """A file under a name of ours."""

    inode: Inode | None
    directory: Inode
    name: str
    doomed: bool = False
    """Whether the server deletes it at the last close; else we have to, after it."""


class Silly:
    """The hidden files of one mount. `path(directory, name)` says where the server has a name."""

    def __init__(self, backend: Backend, inodes: InodeTable, path: Callable[[Inode, str], ServerPath]) -> None:
        self._backend = backend
        self._inodes = inodes
        self._path = path
        self._names: dict[tuple[int, str], Hidden] = {}
        self._by_inode: dict[Inode, list[Hidden]] = {}
        self._root_takes = True
        self._lock = trio.Lock()
        """Held while a name is taken away: the file may be closed meanwhile."""

    def hides(self, directory: Inode, name: str) -> bool:
        """Whether the name is ours, and not to be shown."""
        return bool(self._names) and (directory.number, name) in self._names

    def path(self, inode: Inode) -> ServerPath | None:
        """Where a file without a name is."""
        hidden = self._by_inode.get(inode)
        return self._path(hidden[-1].directory, hidden[-1].name) if hidden else None

    def names_of(self, inode: Inode) -> int:
        """How many names of this file are hidden, and to be left out of its link count."""
        return len(self._by_inode.get(inode, ()))

    async def take_away(
        self,
        inode: Inode | None,
        parent: Inode,
        path: ServerPath,
        share: Callable[[], SharedOpen | None],
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Take the name at `path`, in `parent`, from a file that is in use.

        `share` gives our FID of it, None when it is others who use it. `then` may put something else in its place; the
        file gets its name back if that fails. StatusError.
        """
        async with self._lock:
            hidden = await self._hide(inode if share() else None, parent, path)
            done = False
            try:
                if then is not None:
                    await then()
                await self._doom(hidden, share())
                done = True
            finally:
                if not done:
                    own = self._path(hidden.directory, hidden.name)
                    await self._backend.undo(partial(self._backend.rename, own, path, False))
                    self._drop(hidden)
            if inode is not None and share() is None:
                await self._finish(inode)  # closed while we were at it

    async def _hide(self, inode: Inode | None, parent: Inode, path: ServerPath) -> Hidden:
        """Give the file a hidden name, in the root of the mount if it can be."""
        if not self._root_takes or parent is self._inodes.root:
            return await self._hide_in(parent, inode, path)
        try:
            return await self._hide_in(self._inodes.root, inode, path)
        except StatusError as exc:
            log.debug("files in use stay in their directories: %s", exc)
        hidden = await self._hide_in(parent, inode, path)
        self._root_takes = False  # it was not the file that was not to be moved
        return hidden

    async def _hide_in(self, directory: Inode, inode: Inode | None, path: ServerPath) -> Hidden:
        hidden = Hidden(inode, directory, f"{PREFIX}{secrets.token_hex(8)}")
        self._enter(hidden)  # before it is there: a listing may be under way
        renamed = False
        try:
            await self._backend.rename(path, self._path(directory, hidden.name), False)
            renamed = True
        finally:
            if not renamed:
                self._drop(hidden)
        return hidden

    async def _doom(self, hidden: Hidden, share: SharedOpen | None) -> None:
        """Have it deleted at its last close.

        smbd 4.17 marks the file and not the name: of a file with further names only we can delete one, and not
        before the close.
        """
        try:
            if share is not None and (await share.use(self._backend.stat_open)).nlink > 1:
                return
            await self._backend.delete_when_closed(self._path(hidden.directory, hidden.name))
            hidden.doomed = True
        except StatusError as exc:
            if hidden.inode is None:
                raise
            log.debug("%s is deleted when it was closed: %s", hidden.name, exc)

    def disconnected(self) -> None:
        """All FIDs are gone: what was to be deleted at the last close is, unless the server had no time for it."""
        for hidden in self._names.values():
            hidden.doomed = False

    async def closed(self, inode: Inode) -> None:
        """Nobody here uses the file any more. StatusError if it cannot be deleted."""
        if inode in self._by_inode:
            async with self._lock:
                await self._finish(inode)

    async def _finish(self, inode: Inode) -> None:
        for hidden in self._by_inode.get(inode, [])[:]:
            path = self._path(hidden.directory, hidden.name)
            self._drop(hidden)
            if not hidden.doomed:
                try:
                    await self._backend.unlink(path)
                except StatusError as exc:
                    if exc.status != STATUS_OBJECT_NAME_NOT_FOUND:
                        raise

    async def end(self) -> None:
        """At the end of the mount, when all FIDs are closed: leave nothing behind that we can take away."""
        for inode in list(self._by_inode):
            try:
                await self.closed(inode)
            except StatusError as exc:
                log.warning("a hidden file is left on the share: %s", exc)

    def _enter(self, hidden: Hidden) -> None:
        self._names[hidden.directory.number, hidden.name] = hidden
        hidden.directory.children += 1
        if hidden.inode is not None:
            self._by_inode.setdefault(hidden.inode, []).append(hidden)

    def _drop(self, hidden: Hidden) -> None:
        del self._names[hidden.directory.number, hidden.name]
        hidden.directory.children -= 1
        self._inodes.drop_unused(hidden.directory)
        if hidden.inode is not None:
            mine = self._by_inode[hidden.inode]
            mine.remove(hidden)
            if not mine:
                del self._by_inode[hidden.inode]
