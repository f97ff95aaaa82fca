"""What may be served without asking the server, and for how long. [MS-SMB] 2.2.4.7.2 (SMB_UNIQUE_FILE_NAME).

One policy answers for attributes, names that are there, names that are not, and listings: 60 seconds where the server
promises that no file has two names, else `actimeo` (one second by default), enough for one command. 60 is a ceiling
that no option lifts: an age is counted from the moment in which the question was sent, and what the kernel is told to
keep is only what remains of it. Our own changes change the cache at once, and so does what the server tells of others'
(`news.py`); an answer to a question that was asked before a change never enters it. What is known of a directory whose
names we change remains known: only its times are others, and those the server's clock tells.

An oplock makes none of that last longer: it covers data, but another machine's chmod breaks none, and smbd 4.17 hears
of no chmod on its own disk.
"""

from __future__ import annotations

import stat
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from smbfuse.core.cache.known import SERVED, Absent, Listing, Present, Why

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.server.attrs import Attributes

CEILING: Final = 60.0
"""Seconds for which a share with SMB_UNIQUE_FILE_NAME lets names be cached; no option lifts it."""
MAX_ENTRIES: Final = 100_000
"""Entries of all listings together; the listings longest unused go first."""


@dataclass(slots=True)
class Asked:
    """A listing that is being asked for. Names that change meanwhile are as we know them, whatever it says."""

    when: float
    names: dict[str, tuple[str, Attributes | None] | None] = field(default_factory=dict)
    """What became of them, as in a Listing; None: gone."""
    doubted: set[str] = field(default_factory=set)
    """Names of which it will tell whether they are there, and no more."""
    void: bool = False
    """Whether something happened of which that cannot be told."""

    def corrected(self, entries: dict[str, tuple[str, Attributes | None]]) -> None:
        """Put right what the server answered."""
        for key in self.doubted & entries.keys():
            entries[key] = (entries[key][0], None)
        for key, known in self.names.items():
            if known is None:
                entries.pop(key, None)
            else:
                entries[key] = known


class Verdict(NamedTuple):
    """Until when something may be served (a time of the cache's clock; the past: not at all), and why."""

    until: float
    why: Why


@dataclass(slots=True)
class CacheStatistics:
    """What the cache was asked, and what became of it."""

    verdicts: Counter[Why] = field(default_factory=Counter)
    evicted: int = 0
    """Listings that had to go for want of room."""

    @property
    def hits(self) -> int:
        """How often it could answer."""
        return sum(count for why, count in self.verdicts.items() if why in SERVED)

    @property
    def misses(self) -> int:
        """How often the server had to be asked."""
        return self.verdicts.total() - self.hits


class MetaCache:
    """The cache of one mount. `clock` gives seconds that only go forward."""

    def __init__(
        self, lifetime: float, key: Callable[[str], str], clock: Callable[[], float], limit: int = MAX_ENTRIES
    ) -> None:
        self.lifetime = min(lifetime, CEILING)
        self._served: Final = Why.PROMISED if self.lifetime >= CEILING else Why.YOUNG
        self.statistics = CacheStatistics()
        self.changes = 0
        """How many changes there were, ours and those that we were told of; an inode's last one is its `version`."""
        self._key = key
        self._clock = clock
        self._limit = limit
        self._listed: OrderedDict[Inode, None] = OrderedDict()
        """Directories with a listing, the one used last at the end."""
        self._entries = 0
        self._asked: dict[Inode, list[Asked]] = {}

    def now(self) -> float:
        """The moment from which an answer's age counts: to be taken before the question is sent."""
        return self._clock()

    def remaining(self, until: float) -> float:
        """Seconds for which something may still be served, 0 at least."""
        return max(until - self._clock(), 0.0)

    @property
    def entries(self) -> int:
        """How many entries all listings have together."""
        return self._entries

    # --- attributes of an inode

    def verdict(self, inode: Inode) -> Verdict:
        """Whether what the server said of it may still be served."""
        if inode.attrs is None:
            return Verdict(0.0, Why.NEVER_ASKED)
        if self._clock() < inode.attrs_until:
            return Verdict(inode.attrs_until, self._served)
        return Verdict(inode.attrs_until, inode.unsure or Why.EXPIRED)

    def attributes(self, inode: Inode) -> Attributes | None:
        """What the server said of it, if that may still be served."""
        why = self.verdict(inode).why
        self.statistics.verdicts[why] += 1
        return inode.attrs if why in SERVED else None

    def learn(self, inode: Inode, attrs: Attributes, asked: float, version: int | None = None) -> None:
        """Keep an answer whose question was sent at `asked`, unless the file was changed (past `version`) meanwhile."""
        if version is not None and version != inode.version:
            return
        until = asked + self.lifetime
        if until >= inode.attrs_until or inode.attrs is None:
            inode.attrs, inode.attrs_until, inode.unsure = attrs, until, None

    def changed(self, inode: Inode) -> None:
        """We changed the file (or the directory's contents): ask again, whatever listings said of it."""
        inode.changed_at = self._clock()
        self._ask_again(inode, Why.CHANGED)

    def doubt(self, inode: Inode) -> None:
        """Others may have changed it: ask again."""
        self._ask_again(inode, Why.TOLD)

    def _ask_again(self, inode: Inode, why: Why) -> None:
        self.changes += 1
        inode.version = self.changes
        inode.attrs_until, inode.unsure = 0.0, why
        for name in inode.names:
            self._doubt_attributes(name.directory, name.key, name.spelling)

    def wrote(self, inode: Inode, start: int, end: int, now_ns: int) -> bool:
        """We changed data from `start` to `end`, and nobody else can: what that does to what is known of the file.

        False if too little is known. What is too old to be served may be true all the same, and remains so.
        """
        known, until = inode.attrs, inode.attrs_until
        if known is None or inode.unsure is not None:
            return False
        self.changed(inode)
        size = max(known.size, end)
        grown = max(end - max(start, known.size), 0)
        allocated = known.allocated + grown
        inode.attrs = replace(known, size=size, allocated=allocated, mtime_ns=now_ns, ctime_ns=now_ns)
        inode.attrs_until, inode.unsure = until, None
        return True

    # --- names in a directory

    def name(self, directory: Inode, name: str) -> Present | Absent | None:
        """What is known of a name, by the directory's listing if there is one; None: nothing (any more)."""
        listing = self.listing(directory)
        if listing is None:
            return self._subdirectory(directory, name)
        known = listing.entries.get(self._key(name))
        if known is not None and known[1] is None:
            return None
        self.statistics.verdicts[self._served] += 1
        if known is None:
            return Absent(listing.until)
        spelling, attrs = known
        assert attrs is not None  # noqa: S101 - looked at above
        return Present(spelling, attrs, listing.until)

    def _subdirectory(self, directory: Inode, name: str) -> Present | None:
        """What is known of a directory holds for its name: it has no other, and is never asked for by a FID."""
        inode = directory.entries.get(self._key(name)) if directory.entries is not None else None
        if inode is None or inode.kind != stat.S_IFDIR or inode.attrs is None or self._clock() >= inode.attrs_until:
            return None
        self.statistics.verdicts[self._served] += 1
        return Present(inode.spelling, inode.attrs, inode.attrs_until)

    def lists(self, directory: Inode, name: str) -> bool:
        """Whether the name is in a listing of the directory, however old that is."""
        return directory.listing is not None and self._key(name) in directory.listing.entries

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

    @contextmanager
    def asking(self, directory: Inode) -> Iterator[Asked]:
        """The block asks for the names of a directory, to be learned at its end."""
        asked = Asked(self.now())
        self._asked.setdefault(directory, []).append(asked)
        try:
            yield asked
        finally:
            self._asked[directory].remove(asked)
            if not self._asked[directory]:
                del self._asked[directory]

    def learn_listing(self, directory: Inode, entries: dict[str, tuple[str, Attributes | None]], asked: Asked) -> None:
        """Keep what the server answered, put right by what happened since it was asked."""
        self._forget(directory)
        asked.corrected(entries)
        if asked.void or self.lifetime <= 0 or len(entries) > self._limit:
            return
        self._drop_old()
        directory.listing = Listing(entries, asked.when + self.lifetime)
        self._listed[directory] = None
        self._entries += len(entries)
        self._trim()

    def added(
        self, directory: Inode, name: str, attrs: Attributes | None, when_ns: int | None = None, links: int = 0
    ) -> None:
        """We put a name there (None: its attributes are not known). As to the rest see `_names_changed`."""
        self._names_changed(directory, when_ns, links)
        for asked in self._asked.get(directory, ()):
            asked.names[self._key(name)] = (name, attrs)
        self._enter(directory, name, attrs)

    def removed(self, directory: Inode, name: str, when_ns: int | None = None, links: int = 0) -> None:
        """We took a name away."""
        self._names_changed(directory, when_ns, links)
        for asked in self._asked.get(directory, ()):
            asked.names[self._key(name)] = None
        if directory.listing is not None and directory.listing.entries.pop(self._key(name), None) is not None:
            self._entries -= 1

    def _names_changed(self, directory: Inode, when_ns: int | None, links: int) -> None:
        """The directory's own times changed with its names: `when_ns` by the server's clock, if that is known.

        `links`: how many more subdirectories it has, each of which counts as a link where directories are counted.
        """
        known, until = directory.attrs, directory.attrs_until
        self.changed(directory)
        if when_ns is None or known is None or self._clock() >= until:
            return
        nlink = known.nlink + links if known.nlink > 1 else known.nlink
        directory.attrs = replace(known, mtime_ns=when_ns, ctime_ns=when_ns, nlink=nlink)
        directory.attrs_until, directory.unsure = until, None

    def _enter(self, directory: Inode, name: str, attrs: Attributes | None) -> None:
        if directory.listing is None:
            return
        entries, key = directory.listing.entries, self._key(name)
        self._entries += key not in entries
        spelling = entries[key][0] if key in entries else name  # it may have been there before, and spelled otherwise
        entries[key] = (spelling, attrs)
        self._trim()

    def doubt_name(self, directory: Inode, name: str) -> None:
        """Others made a name, or took it away: which of the two holds now, the server will say when it is asked."""
        self.doubt(directory)
        for asked in self._asked.get(directory, ()):
            asked.names[self._key(name)] = (name, None)
        self._enter(directory, name, None)

    def doubt_attributes(self, directory: Inode, name: str) -> None:
        """What a listing says of the file of this name is not to be believed; that there is one, is."""
        self._doubt_attributes(directory, self._key(name), name)

    def _doubt_attributes(self, directory: Inode, key: str, name: str) -> None:
        for asked in self._asked.get(directory, ()):
            if asked.names.get(key) is not None:
                asked.names[key] = (name, None)
            else:
                asked.doubted.add(key)
        if directory.listing is not None and key in directory.listing.entries:
            directory.listing.entries[key] = (directory.listing.entries[key][0], None)

    def update(self, directory: Inode, name: str, attrs: Attributes) -> None:
        """A newer answer about one name replaces what the listing said of it; its age stays the listing's."""
        key = self._key(name)
        if directory.listing is not None and key in directory.listing.entries:
            spelling, _ = directory.listing.entries[key]
            directory.listing.entries[key] = (spelling, attrs)

    def stale(self, directory: Inode) -> None:
        """The listing is not to be believed any more, nor one that is under way."""
        self._forget(directory)
        for asked in self._asked.get(directory, ()):
            asked.void = True

    def _drop_old(self) -> None:
        """Let go of listings whose time is over, beginning with the ones unused longest.

        And of what they said of files that nobody has open: the kernel may know these for as long as it likes.
        """
        while self._listed:
            directory = next(iter(self._listed))
            listing = directory.listing
            if listing is None or self._clock() < listing.until:
                return
            for key, (_, attrs) in listing.entries.items():
                inode = directory.entries.get(key) if directory.entries is not None else None
                if inode is not None and inode.attrs is attrs and self._is_over(inode):
                    inode.attrs, inode.attrs_until = None, 0.0
            self._forget(directory)

    def _is_over(self, inode: Inode) -> bool:
        """Whether what is known of it is of no use any more: of directories the owner is (of what is made there)."""
        return inode.kind != stat.S_IFDIR and not inode.handles and self._clock() >= inode.attrs_until

    def _trim(self) -> None:
        while self._entries > self._limit:
            self.statistics.evicted += 1
            self._forget(next(iter(self._listed)))

    def _forget(self, directory: Inode) -> None:
        if directory.listing is not None:
            self._entries -= len(directory.listing.entries)
            directory.listing = None
            del self._listed[directory]
