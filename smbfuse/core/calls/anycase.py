"""Names in another case, on a server that tells the cases of names apart (option nocase).

Such a server is asked for a name as it is typed, and only if there is none its directory's listing is searched for one
that differs by case alone. So of two files whose names differ by case each is reached by its own; with a third spelling
the first in order. What such a spelling stands for the kernel is to ask for each time, since a change under the other
spelling would not reach it. A new name is new only if there is none in any case.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from smbfuse.core.cache.known import Absent, Present
from smbfuse.core.calls.listings import ListingCalls
from smbfuse.core.calls.namespace import NameCalls
from smbfuse.core.calls.vfs import Entry
from smbfuse.core.files.handles import DirHandle
from smbfuse.core.server.names import WINDOWS_NAMES, from_kernel, is_snapshot
from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED

if TYPE_CHECKING:
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.cache.inodes import Inode

_REMEMBERED: Final = 1024
_folded = WINDOWS_NAMES.key


class AnyCase(NameCalls, ListingCalls):
    """Lookups and changes of names, whatever their case. Without the option, or the need for it, it does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Vfs's own
        super().__init__(*args, **kwargs)
        self._any_case = self.mount.nocase and self.style.case_sensitive
        self._spellings: OrderedDict[tuple[int, str], str] = OrderedDict()
        """(directory's number, name as it was typed) to the name that it stands for; what was used last at the end."""

    async def lookup(self, parent_number: int, raw_name: bytes) -> Entry:
        """Find a name in a directory, also one in another case."""
        entry = await super().lookup(parent_number, raw_name)
        if self._any_case and (entry.number == 0 or (parent_number, from_kernel(raw_name)) in self._spellings):
            entry.entry_timeout = 0.0
        return entry

    async def _find(self, parent: Inode, name: str) -> Present | Absent:
        found = await super()._find(parent, name)
        if not self._any_case or is_snapshot(name):
            return found
        self._spellings.pop((parent.number, name), None)
        if isinstance(found, Present) or (spelled := await self._another_case(parent, name)) is None:
            return found
        found = await super()._find(parent, spelled)
        if isinstance(found, Present):
            self._spellings[parent.number, name] = spelled
            if len(self._spellings) > _REMEMBERED:
                self._spellings.popitem(last=False)
        return found

    async def _another_case(self, parent: Inode, name: str) -> str | None:
        """A name of the directory that differs from this one by case only. None also where it cannot be listed."""
        wanted, listing = _folded(name), self.cache.listing(parent)
        if listing is not None:
            names = [spelled for spelled, _ in listing.entries.values()]
        else:
            handle = DirHandle(parent)
            try:
                await self._take_listing(handle)
            except StatusError as exc:
                if exc.status != STATUS_ACCESS_DENIED:
                    raise
            names = [place[0] for place in handle.entries if place is not None]
        return min(
            (spelled for spelled in names if len(spelled) == len(name) and _folded(spelled) == wanted), default=None
        )

    def _target(self, parent_number: int, raw_name: bytes) -> tuple[Inode, str, ServerPath]:
        parent, name, path = super()._target(parent_number, raw_name)
        spelled = self._spellings.get((parent_number, name))
        return (parent, name, path) if spelled is None else (parent, spelled, self.path(parent, spelled))
