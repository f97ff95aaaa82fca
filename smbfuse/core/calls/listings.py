"""Reading directories: listings that programs go through in steps, while others and they themselves change names.

A listing is taken whole when reading begins, so that each name comes once and positions mean the same all along. What
we change meanwhile is accounted for entry by entry: the kernel takes the attributes that come with a name for the
newest ones, and would see a removed file again, or an older size, if it were told what the listing says.
"""

from __future__ import annotations

import stat
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from smbfuse.core.cache.foresight import Foresight
from smbfuse.core.cache.known import Absent, Listing
from smbfuse.core.calls.vfs import Entry, Vfs, system_call
from smbfuse.core.files.handles import DirHandle
from smbfuse.core.server.attrs import Attributes, Stat, count_links
from smbfuse.core.server.names import to_kernel
from smbfuse.core.underway import UnderWay

if TYPE_CHECKING:
    from collections.abc import Callable

    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.handles import Place

_DIRECTORY: Final = Stat(stat.S_IFDIR | 0o755, 1, 0, 0, 0, 0, 0, 0, 0, 0)
"""For `.` and `..`, of which the kernel takes number and kind only."""
_SMALL: Final = 1000
"""Entries of a directory that is listed anew for every reader that others' changes leave behind."""
_RENEWAL: Final = 1.0
"""Seconds from one listing to the next for readers of larger ones."""
_GAPS: Final = 1000
"""Places of names that are gone which a listing may have beside as many as it has names."""


Entries = list[tuple[str, Attributes]]


class ListingCalls(Vfs):
    """The system calls of directory streams."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Vfs's own
        super().__init__(*args, **kwargs)
        self.fetching = UnderWay()
        """Directories that are being listed."""
        self._renewing = UnderWay()
        """Directories whose attributes are being asked for ahead."""
        self.foresight = Foresight(self)

    def missed(self, directory: Inode) -> None:
        self.foresight.missed(directory)

    def served(self, directory: Inode) -> None:
        self.foresight.served(directory)

    @system_call
    async def opendir(self, number: int) -> int:
        """Begin to read a directory; returns a handle number."""
        return self.handles.add(DirHandle(self.inodes.get(number)))

    @system_call
    async def readdir(self, handle_number: int, start: int, emit: Callable[[bytes, Entry, int], bool]) -> None:
        """Give entries from offset `start` on to `emit(name, entry, next offset)` until it says False.

        `.` and `..` come first: programs rely on them. The kernel counts a lookup for every other entry it took.
        """
        handle = self.handles.directory(handle_number)
        with self.naming.of(handle.inode.number):
            await self._read_directory(handle, start, emit)

    async def _read_directory(self, handle: DirHandle, start: int, emit: Callable[[bytes, Entry, int], bool]) -> None:
        if start == 0 or not handle.taken or self._is_to_be_renewed(handle):
            await self._take_listing(handle)
        dots = ((b".", handle.inode), (b"..", self.inodes.parent(handle.inode)))
        for offset in range(start, len(dots)):
            name, inode = dots[offset]
            if not emit(name, Entry(inode.number, _DIRECTORY, 0.0, 0.0), offset + 1):
                return
        for index in range(max(start - len(dots), 0), len(handle.entries)):
            place = handle.entries[index]
            if place is None or (handle.gone and self.style.key(place[0]) in handle.gone):
                continue
            if not await self._emit_one(handle, place, index + len(dots) + 1, emit):
                return
        self.foresight.read_through(handle.inode)

    def _is_to_be_renewed(self, handle: DirHandle) -> bool:
        """Whether to show what others changed since; in a large directory that changes all the time, now and then."""
        return handle.outdated and (len(handle.entries) <= _SMALL or self.cache.now() >= handle.asked + _RENEWAL)

    async def _emit_one(
        self, handle: DirHandle, place: tuple[str, Attributes], offset: int, emit: Callable[[bytes, Entry, int], bool]
    ) -> bool:
        name, attrs = place
        asked = handle.asked
        known = self.inodes.find(handle.inode, name)
        if known is not None and known.version > handle.version:  # it was changed since
            found = await self._find(handle.inode, name)
            if isinstance(found, Absent):
                return True
            attrs, asked = found.attrs, found.until - self.cache.lifetime
        await self._tell_links(handle.inode, name, attrs)
        inode = self.inodes.enter(handle.inode, name, attrs)
        inode.lookups += 1
        taken = False
        try:
            if self.opens.of(inode, write=True) is not None:
                attrs = await self._refresh(inode)
            else:
                self.cache.learn(inode, attrs, asked)
            taken = emit(to_kernel(name), self.entry(inode, attrs, asked + self.cache.lifetime), offset)
        finally:
            if not taken:
                self.inodes.forget(inode.number, 1)
        return taken

    async def _take_listing(self, handle: DirHandle) -> None:
        """Have the directory's entries as they are now.

        Names that the handle had before stay in their places: to begin anew may be a seekdir to the first position, and
        then the program goes back to others.
        """
        directory = handle.inode
        handle.outdated = False
        await self.fetching.ended(directory)
        kept = self._kept(directory)
        found, handle.asked, handle.version = kept or await self._list_now(directory)
        self.foresight.listed(directory, found)
        handle.entries = in_old_places(handle.entries, found, self.style.key)
        handle.gone.clear()
        handle.taken = True

    def _kept(self, directory: Inode) -> tuple[Entries, float, int] | None:
        """What is known of all its entries, when that was asked for, and how many changes there were by now."""
        listing = self.cache.listing(directory)
        found = _complete(listing) if listing is not None else None
        if listing is None or found is None:
            return None
        return found, listing.until - self.cache.lifetime, self.cache.changes

    def _changed(self, directory: Inode, name: str, since: int) -> bool:
        """Whether a listing begun after so many changes may be older than what a file is now.

        Of one that is open for writing some of that may even wait still.
        """
        known = self.inodes.find(directory, name)
        return known is not None and (known.version > since or self.opens.of(known, write=True) is not None)

    async def _list_now(
        self, directory: Inode, goes_on: Callable[[int], bool] = lambda pages: True
    ) -> tuple[Entries, float, int]:
        """Ask for all its entries, and keep them if `goes_on` (told how many pages there are) lets them come.

        Returns them as `_kept` does.
        """
        at_all = self.cache.changes
        with self.cache.asking(directory) as asked:
            with self.fetching.of(directory):
                found, whole = await self._list(directory, goes_on)
            if whole:
                entries: dict[str, tuple[str, Attributes | None]] = {
                    self.style.key(name): (name, None if self._changed(directory, name, at_all) else attrs)
                    for name, attrs in found
                }
                self.cache.learn_listing(directory, entries, asked)
        self.listed(directory)
        return found, asked.when, at_all

    async def fetch(
        self, directory: Inode, goes_on: Callable[[int], bool] = lambda pages: True, *, anew: bool = False
    ) -> bool:
        """Have a directory's listing in the cache before it is asked for; `goes_on` as above. StatusError.

        Returns whether it was fetched: not if one is there, and none is wanted `anew`, nor if one is under way.
        """
        wanted = directory not in self.fetching and (anew or self._kept(directory) is None)
        if wanted:
            await self._list_now(directory, goes_on)
        return wanted

    def renew(self, directory: Inode) -> None:
        """Ask for a directory's attributes before they are asked for, if that is not under way."""
        if directory not in self._renewing:
            self.soon(partial(self._ask_ahead, directory))

    async def _ask_ahead(self, directory: Inode) -> None:
        if directory not in self._renewing:
            with self._renewing.of(directory):
                await self._refresh(directory)

    async def _list(self, directory: Inode, goes_on: Callable[[int], bool]) -> tuple[Entries, bool]:
        """The directory's entries, and whether that is all.

        Each name once: a directory that changes while it is listed may give one twice.
        """
        pages = self.backend.list(self.path(directory))
        found: dict[str, Attributes] = {}
        count, ended = 0, False
        try:
            while page := await pages.next_page():
                found.update(page)
                count += 1
                if not goes_on(count):
                    break
            else:
                ended = True
        finally:
            if not ended:
                await self._settler.run(pages.close)
        if self.inodes.server_numbers:
            count_links(found.values())
        shown = [(name, attrs) for name, attrs in found.items() if not self.silly.hides(directory, name)]
        return shown, ended

    @system_call
    async def releasedir(self, handle_number: int) -> None:
        """End reading a directory."""
        handle = self.handles.pop(handle_number)
        if handle is not None:
            self.inodes.close(handle.inode)


def in_old_places(old: list[Place], new: list[tuple[str, Attributes]], key: Callable[[str], str]) -> list[Place]:
    """The new entries, those whose names were there before in the places that they had; None where a name is gone.

    Where most places would be gaps, it is the new entries as they are.
    """
    places = {key(entry[0]): index for index, entry in enumerate(old) if entry is not None}
    merged: list[Place] = [None] * len(old)
    for entry in new:
        index = places.get(key(entry[0]))
        if index is None:
            merged.append(entry)
        else:
            merged[index] = entry
    return merged if len(merged) <= 2 * len(new) + _GAPS else list(new)


def _complete(listing: Listing) -> list[tuple[str, Attributes]] | None:
    """The entries, if the attributes of all are known."""
    found = [(name, attrs) for name, attrs in listing.entries.values() if attrs is not None]
    return found if len(found) == len(listing.entries) else None
