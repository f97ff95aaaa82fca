"""Listings fetched before they are asked for: for lookups in a directory one by one, and for walks of a tree.

A request takes as long as the way to the server and back, whatever it carries. So when a program asks about a few names
of a directory, its listing is fetched, which answers the rest; and when a program goes from directory to directory, as
find, du, rsync and git do, the next ones are listed while it is at work with the last.

Guesses may be wrong, so they are bounded: a listing that lookups made us fetch has no more pages than there were such
lookups, and some; a walk has a few listings under way or waiting to be used, more with each one that was used, fewer
when one was not.

A listing that answers lookups, and the attributes of the directories above it, are asked for again before their time is
over, so that nobody has to wait then: as late as the last listing and the pace of the lookups allow.
"""

from __future__ import annotations

import math
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode, InodeTable
    from smbfuse.core.cache.metacache import MetaCache
    from smbfuse.core.server.attrs import Attributes
    from smbfuse.core.underway import UnderWay

FEW: Final = 3
"""Lookups in one directory, within the lifetime of an answer, after which its listing is fetched."""
PAGES: Final = 4
"""Pages of a listing beyond the number of lookups."""
AHEAD: Final = 16
"""Listings for a walk that are under way or not used yet, at most."""
PLANS: Final = 256
"""Directories whose subdirectories are remembered, in the order in which they were listed."""
LATE: Final = 2.0
"""How many times as long as a listing takes its time may still last when it is asked for again."""
MEMORY: Final = 10.0
"""Seconds for which what a program did tells what it will do."""


@dataclass(slots=True)
class _Lookups:
    """Of names in one directory that nothing was known of."""

    since: float
    count: int = 0
    pages: int = 0
    """How many its listing has at least, if it had too many."""
    took: float = 0.0
    """Seconds for which its listing was under way."""
    served: float = -math.inf
    """When the last one was answered without asking."""
    quiet_until: float = 0.0
    """When to see again whether something is to be renewed."""

    @classmethod
    def after(cls, before: _Lookups | None, now: float) -> _Lookups:
        """Counted anew from now on."""
        return cls(now) if before is None else cls(now, pages=before.pages, took=before.took)


@dataclass(slots=True)
class _Plan:
    """The subdirectories of a directory that a program has listed, in that order and by name."""

    when: float
    listed: list[str]
    named: list[str] = field(default_factory=list)
    last: str | None = None
    """The one that the program listed last."""
    by_name: bool = False
    """Whether it takes them by name."""

    def visit(self, name: str) -> None:
        """The program lists this one; the second one tells by which order it goes."""
        if self.last is not None:
            self.by_name = self._next(self.listed, self.last) != name and self.last < name
        self.last = name

    @staticmethod
    def _next(order: list[str], name: str) -> str | None:
        try:
            return order[order.index(name) + 1]
        except (ValueError, IndexError):
            return None

    def following(self) -> Iterator[str]:
        """Those that it will list next, if it goes on."""
        if self.by_name and not self.named:
            self.named = sorted(self.listed)
        order = self.named if self.by_name else self.listed
        start = order.index(self.last) + 1 if self.last in order else 0
        return iter(order[start : start + AHEAD])


class Lister(Protocol):
    """Who lists directories, and keeps what it found (listings.py)."""

    cache: MetaCache
    inodes: InodeTable
    fetching: UnderWay
    """Directories that are being listed ahead."""

    def soon(self, work: Callable[[], Awaitable[object]]) -> None: ...

    async def fetch(self, directory: Inode, goes_on: Callable[[int], bool] = ..., *, anew: bool = False) -> bool: ...

    def renew(self, directory: Inode) -> None: ...


class Foresight:
    """Of one mount; it asks for nothing where nothing may be kept."""

    def __init__(self, files: Lister) -> None:
        self._files = files
        self._lookups: OrderedDict[Inode, _Lookups] = OrderedDict()
        self._plans: OrderedDict[Inode, _Plan] = OrderedDict()
        self._ahead: OrderedDict[Inode, float] = OrderedDict()
        """Directories listed ahead and not used yet, and until when that may be."""
        self._window = 0
        self.fetched = 0
        """Listings fetched for walks, ..."""
        self.used = 0
        """... and how many of them programs wanted."""

    # --- lookups

    def missed(self, directory: Inode) -> None:
        """A name in this directory has to be asked for."""
        files, now = self._files, self._files.cache.now()
        if files.cache.lifetime <= 0:
            return
        lookups = self._lookups.get(directory)
        if lookups is None or now > lookups.since + files.cache.lifetime:
            lookups = self._lookups[directory] = _Lookups.after(lookups, now)
            _bound(self._lookups)
        self._lookups.move_to_end(directory)
        lookups.count += 1
        if lookups.count >= max(FEW, lookups.pages) and directory not in files.fetching:
            files.soon(partial(self._fetch, directory, lookups))

    def served(self, directory: Inode) -> None:
        """A lookup in this directory was answered by its listing."""
        lookups = self._lookups.get(directory)
        if lookups is None:
            return
        lookups.count += 1
        now, before = self._files.cache.now(), lookups.served
        lookups.served = now
        if not lookups.took or now < lookups.quiet_until:
            return
        # The next lookup may come too late for that, as programs do other things, too.
        late = LATE * lookups.took + min(2 * (now - before), self._files.cache.lifetime / 2)
        lookups.quiet_until = now + lookups.took / 2
        listing = directory.listing
        wanted = lookups.count >= max(FEW, lookups.pages) and directory not in self._files.fetching
        if wanted and listing is not None and listing.until < now + late:
            self._files.soon(partial(self._fetch, directory, lookups, anew=True))
            lookups.since, lookups.count = now, 0
        for inode in self._files.inodes.upwards(directory):
            if now < inode.attrs_until < now + late:
                self._files.renew(inode)

    async def _fetch(self, directory: Inode, lookups: _Lookups, *, anew: bool = False) -> None:
        began = self._files.cache.now()
        if await self._files.fetch(directory, partial(self._goes_on, lookups, lookups.count + PAGES), anew=anew):
            lookups.took = self._files.cache.now() - began

    @staticmethod
    def _goes_on(lookups: _Lookups, limit: int, pages: int) -> bool:
        lookups.pages = pages
        return pages < max(limit, lookups.count + PAGES)

    # --- walks

    def listed(self, directory: Inode, entries: list[tuple[str, Attributes]]) -> None:
        """A program reads this directory."""
        files, now = self._files, self._files.cache.now()
        if files.cache.lifetime <= 0:
            return
        self._count_use(directory, now)
        parent = files.inodes.parent(directory)
        plan = self._plans.get(parent) if parent is not directory else None
        self._plans[directory] = _Plan(now, [name for name, attrs in entries if attrs.kind == stat.S_IFDIR])
        self._plans.move_to_end(directory)
        _bound(self._plans)
        if plan is None or now > plan.when + MEMORY:
            self._window = 0
            return
        plan.when = now
        plan.visit(_name_in(directory, parent))
        self._window = min(max(self._window, 1) * 2, AHEAD)
        if self._window > 2:  # not yet with the first: it may have been the one that was wanted
            self._list_ahead(parent, plan, self._window)

    def read_through(self, directory: Inode) -> None:
        """A program has read all of this directory, and may go on below it."""
        plan = self._plans.get(directory)
        if plan is not None and self._window > 2:
            self._list_ahead(directory, plan, min(len(self._ahead) + self._window, 2 * AHEAD))

    def _count_use(self, directory: Inode, now: float) -> None:
        if self._ahead.pop(directory, None) is not None:
            self.used += 1
        for inode, until in list(self._ahead.items()):
            if until > now:
                break
            del self._ahead[inode]
            self._window //= 2  # the program does not go where we thought, or not so fast

    def _list_ahead(self, parent: Inode, plan: _Plan, limit: int) -> None:
        files = self._files
        for name in plan.following():
            if len(self._ahead) >= limit:
                return
            inode = files.inodes.find(parent, name)
            if inode is None or inode in self._ahead or inode.snapshot:
                continue
            if inode in files.fetching or files.cache.listing(inode) is not None:
                continue
            self._ahead[inode] = files.cache.now() + files.cache.lifetime
            self.fetched += 1
            files.soon(partial(files.fetch, inode))


def _name_in(directory: Inode, parent: Inode) -> str:
    return next(name.spelling for name in reversed(directory.names) if name.directory is parent)


def _bound(memory: OrderedDict[Inode, _Lookups] | OrderedDict[Inode, _Plan]) -> None:
    while len(memory) > PLANS:
        memory.popitem(last=False)
