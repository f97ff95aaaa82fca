"""What may be served without asking the server, and for how long. [MS-SMB] 2.2.4.7.2 (SMB_UNIQUE_FILE_NAME).

One policy answers for attributes, names that are there, names that are not, and listings: 60 seconds where the server
promises that no file has two names, else `actimeo` (one second by default), enough for one command. 60 is a ceiling
that no option lifts: an age is counted from the moment in which the question was sent, and what the kernel is told to
keep is only what remains of it. Our own changes change the cache at once, and an answer to a question that was asked
before such a change never enters it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smbfuse.core.attrs import Attributes
    from smbfuse.core.inodes import Inode

CEILING: Final = 60.0
"""Seconds for which a share with SMB_UNIQUE_FILE_NAME lets names be cached; no option lifts it."""
MAX_ENTRIES: Final = 100_000
"""Entries of all listings together; the listings longest unused go first."""


@dataclass(slots=True)
class Listing:
    """A whole directory as the server listed it. Keys are names as the server compares them.

    Attributes of None: the name is there, but we changed the file since, and the server has to be asked.
    """

    entries: dict[str, tuple[str, Attributes | None]]
    until: float


@dataclass(slots=True)
class Absent:
    """A name that is known not to be there, until when."""

    until: float


@dataclass(slots=True)
class Present:
    """A name that is known to be there: how it is spelled, what it is, until when."""

    name: str
    attrs: Attributes
    until: float


@dataclass(slots=True)
class CacheStatistics:
    """How often the cache could answer."""

    hits: int = 0
    misses: int = 0


class MetaCache:
    """The cache of one mount. `clock` gives seconds that only go forward."""

    def __init__(
        self, lifetime: float, key: Callable[[str], str], clock: Callable[[], float], limit: int = MAX_ENTRIES
    ) -> None:
        self.lifetime = min(lifetime, CEILING)
        self.statistics = CacheStatistics()
        self.changes = 0
        """How many changes of ours there were; the last one of an inode is its `version`."""
        self._key = key
        self._clock = clock
        self._limit = limit
        self._listed: OrderedDict[Inode, None] = OrderedDict()
        """Directories with a listing, the one used last at the end."""
        self._entries = 0

    def now(self) -> float:
        """The moment from which an answer's age counts: to be taken before the question is sent."""
        return self._clock()

    def remaining(self, until: float) -> float:
        """Seconds for which something may still be served, 0 at least."""
        return max(until - self._clock(), 0.0)

    # --- attributes of an inode

    def attributes(self, inode: Inode) -> Attributes | None:
        """What the server said of it, if that may still be served."""
        if inode.attrs is not None and self._clock() < inode.attrs_until:
            self.statistics.hits += 1
            return inode.attrs
        self.statistics.misses += 1
        return None

    def learn(self, inode: Inode, attrs: Attributes, asked: float, version: int | None = None) -> None:
        """Keep an answer whose question was sent at `asked`, unless we changed the file (past `version`) meanwhile."""
        if version is not None and version != inode.version:
            return
        until = asked + self.lifetime
        if until >= inode.attrs_until or inode.attrs is None:
            inode.attrs, inode.attrs_until = attrs, until

    def changed(self, inode: Inode) -> None:
        """We changed the file (or the directory's contents): ask again, whatever listings said of it."""
        self.changes += 1
        inode.version = self.changes
        inode.attrs_until = 0.0
        for parent, name in inode.names.values():
            if parent.listing is not None and (key := self._key(name)) in parent.listing.entries:
                parent.listing.entries[key] = (name, None)

    def wrote(self, inode: Inode, start: int, end: int, now_ns: int) -> bool:
        """We changed data from `start` to `end`, and nobody else can: what that does to what is known of the file.

        False if too little is known.
        """
        known = inode.attrs
        if known is None or self._clock() >= inode.attrs_until:
            return False
        until = inode.attrs_until
        self.changed(inode)
        size = max(known.size, end)
        grown = max(end - max(start, known.size), 0)
        allocated = known.allocated + grown
        inode.attrs = replace(known, size=size, allocated=allocated, mtime_ns=now_ns, ctime_ns=now_ns)
        inode.attrs_until = until
        return True

    # --- names in a directory

    def name(self, directory: Inode, name: str) -> Present | Absent | None:
        """What the directory's listing says of a name; None: it says nothing (any more)."""
        listing = self.listing(directory)
        if listing is None:
            return None
        known = listing.entries.get(self._key(name))
        if known is None:
            self.statistics.hits += 1
            return Absent(listing.until)
        spelling, attrs = known
        if attrs is None:
            return None
        self.statistics.hits += 1
        return Present(spelling, attrs, listing.until)

    def listing(self, directory: Inode) -> Listing | None:
        """The whole listing, if it may still be served."""
        listing = directory.listing
        if listing is None:
            return None
        if self._clock() >= listing.until:
            self._forget(directory)
            return None
        self._listed.move_to_end(directory)
        return listing

    def learn_listing(
        self, directory: Inode, entries: dict[str, tuple[str, Attributes | None]], asked: float, version: int
    ) -> None:
        """Keep a listing begun at `asked`, unless we changed the directory since it had `version`."""
        self._forget(directory)
        if version != directory.version or self.lifetime <= 0 or len(entries) > self._limit:
            return
        directory.listing = Listing(entries, asked + self.lifetime)
        self._listed[directory] = None
        self._entries += len(entries)
        self._trim()

    def added(self, directory: Inode, name: str, attrs: Attributes | None) -> None:
        """We put a name there (None: its attributes are not known). The directory's own times changed with it."""
        self.changed(directory)
        if directory.listing is None:
            return
        entries, key = directory.listing.entries, self._key(name)
        self._entries += key not in entries
        spelling = entries[key][0] if key in entries else name  # it may have been there before, and spelled otherwise
        entries[key] = (spelling, attrs)
        self._trim()

    def removed(self, directory: Inode, name: str) -> None:
        """We took a name away."""
        self.changed(directory)
        if directory.listing is not None and directory.listing.entries.pop(self._key(name), None) is not None:
            self._entries -= 1

    def update(self, directory: Inode, name: str, attrs: Attributes) -> None:
        """A newer answer about one name replaces what the listing said of it; its age stays the listing's."""
        key = self._key(name)
        if directory.listing is not None and key in directory.listing.entries:
            spelling, _ = directory.listing.entries[key]
            directory.listing.entries[key] = (spelling, attrs)

    def stale(self, directory: Inode) -> None:
        """The listing is not to be believed any more."""
        self._forget(directory)

    def _trim(self) -> None:
        while self._entries > self._limit:
            self._forget(next(iter(self._listed)))

    def _forget(self, directory: Inode) -> None:
        if directory.listing is not None:
            self._entries -= len(directory.listing.entries)
            directory.listing = None
            del self._listed[directory]
