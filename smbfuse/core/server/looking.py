"""What became of a change of names whose answer was lost with the connection. It is looked for, not guessed.

    change              was done if
    delete, rmdir       the name is gone, or is another file's now
    rename              the old name is gone, and the new one is there: that of the same file, where there are ids
    hard link           both names are one file's
    mkdir, create       the name is there, and was made after we asked. So it counts as ours unless another machine made
                        it in just that time: nothing on the wire tells the two apart
    symbolic link       the name leads where it was to lead

What was not done is done then. `ServerPath.file_id` says which file was meant.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from smbfuse.client.clock import GRAIN_NS
from smbfuse.core.server.attrs import alike
from smbfuse.core.server.statuses import NOT_THERE
from smbfuse.errors import StatusError

if TYPE_CHECKING:
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.server.attrs import Attributes
    from smbfuse.core.server.backend import Backend


class Looking:
    """Looks by a backend's own questions, which wait for the next connection."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def _find(self, path: ServerPath) -> Attributes | None:
        try:
            return await self._backend.stat(path)
        except StatusError as exc:
            if exc.status in NOT_THERE:
                return None
            raise

    async def is_gone(self, path: ServerPath) -> bool:
        """Whether the file that was meant has not this name any more."""
        found = await self._find(path)
        return found is None or bool(path.file_id and found.file_id and found.file_id != path.file_id)

    async def is_renamed(self, old: ServerPath, new: ServerPath) -> bool:
        """Whether the file that was `old` is `new` now."""
        found = await self._find(new)
        if found is None:
            return False
        if old.file_id and found.file_id:
            return old.file_id == found.file_id
        return await self.is_gone(old)

    async def is_linked(self, old: ServerPath, new: ServerPath) -> bool:
        """Whether both are names of one file."""
        one, other = await self._find(old), await self._find(new)
        if one is None or other is None:
            return False
        return one.file_id == other.file_id if one.file_id and other.file_id else alike(one, other)

    async def is_made(self, path: ServerPath, kind: int, since_ns: int) -> bool:
        """Whether a new and empty thing of this kind was made there since then (by the server's clock)."""
        found = await self._find(path)
        if found is None or found.kind != kind or (found.size and kind == stat.S_IFREG):
            return False
        since_ns -= GRAIN_NS
        if found.btime_ns is not None:
            return found.btime_ns >= since_ns
        if min(found.atime_ns, found.mtime_ns, found.ctime_ns) < since_ns:
            return False
        return kind != stat.S_IFDIR or await self._is_empty(path)

    async def _is_empty(self, directory: ServerPath) -> bool:
        pages = self._backend.list(directory)
        try:
            return not await pages.next_page()
        finally:
            await pages.close()

    async def leads_to(self, path: ServerPath, target: str) -> bool:
        """Whether there is a symbolic link to `target`."""
        try:
            return await self._backend.read_link(path) == target
        except OSError:
            return False
        except StatusError as exc:
            if exc.status in NOT_THERE:
                return False
            raise
