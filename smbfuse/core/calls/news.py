"""What the server tells of changes, and what follows from it for what is known here and in the kernel.

An event says that something happened to a name, not what is there now: the name may have come, gone and come again, and
answers to questions of ours are on their way all the time. So an event never teaches anything, it only makes us ask
again: about the name, the file that it stood for, and its directory, whose times changed with it.

Our own changes are told of, too. Those of names are known by `echoes.py`. Whether a file's data or attributes were
changed by us or by others no event tells; if we have just changed it, it is asked about a little later, once.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.core.cache.echoes import Kind
from smbfuse.core.server.names import acceptable, to_kernel
from smbfuse.wire.const import (
    FILE_ACTION_ADDED,
    FILE_ACTION_REMOVED,
    FILE_ACTION_RENAMED_NEW_NAME,
    FILE_ACTION_RENAMED_OLD_NAME,
)

if TYPE_CHECKING:
    from smbfuse.client.notify import Event
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.calls.vfs import Vfs
    from smbfuse.core.files.oplocks import Oplocks

log: Final = logging.getLogger(__name__)

OURS: Final = 0.1
"""Seconds after a change of ours in which the server tells of it, as a rule."""
TOGETHER: Final = 0.03
"""Seconds by which files are asked about too early, together with others."""

_KINDS: Final = {
    FILE_ACTION_ADDED: Kind.COMES,
    FILE_ACTION_RENAMED_NEW_NAME: Kind.COMES,
    FILE_ACTION_REMOVED: Kind.GOES,
    FILE_ACTION_RENAMED_OLD_NAME: Kind.GOES,
}
"""What actions say of a name; all others are about what it stands for."""


@dataclass(slots=True)
class NewsStatistics:
    """What the server told."""

    events: int = 0
    ours: int = 0
    """Of them, changes of names that we made."""
    overflows: int = 0
    """How often more had happened than the server could tell."""


@dataclass(slots=True)
class _Notices:
    """What the kernel is to forget, each thing once, in order."""

    names: dict[tuple[int, bytes], None] = field(default_factory=dict)
    attributes: dict[int, None] = field(default_factory=dict)
    data: dict[Inode, None] = field(default_factory=dict)
    directories: dict[tuple[Inode, str], None] = field(default_factory=dict)
    """Names that stood for directories."""


class News:
    """Takes events to the cache and to the kernel."""

    def __init__(self, files: Vfs, oplocks: Oplocks) -> None:
        self.statistics = NewsStatistics()
        self._files = files
        self._oplocks = oplocks
        self._later: dict[Inode, float] = {}
        """Files that will be asked about, and from when on; the first comes first."""

    def tell(self, directory: Inode, events: list[Event]) -> None:
        """These happened below `directory`; if there are none, more than could be told."""
        if not events:
            self.statistics.overflows += 1
            self.nothing_is_sure(directory)
        notices = _Notices()
        for event in events:
            self.statistics.events += 1
            self._one(directory, event, notices)
        self._send(notices)

    def nothing_is_sure(self, directory: Inode) -> None:
        """Nobody told what happened below: what the kernel was told may be believed no longer, either."""
        files, notices = self._files, _Notices()
        files.echoes.clear()
        for inode in list(files.inodes):
            if not files.inodes.is_below(inode, directory):
                continue
            if files.cache.remaining(inode.attrs_until) > 0:
                notices.attributes[inode.number] = None
            if inode.kind != stat.S_IFDIR:  # each would have to be asked for
                for name in inode.names:
                    self._forget_name(name.directory, name.spelling, notices)
            files.cache.doubt(inode)
            files.cache.stale(inode)
            files.handles.outdated(inode)
        self._send(notices)

    def _one(self, directory: Inode, event: Event, notices: _Notices) -> None:
        kind = _KINDS.get(event.action)
        places = [place for place in self._places(directory, event.name) if not self._files.silly.hides(*place)]
        if kind is not None and any(self._is_ours(parent, name, kind) for parent, name in places):
            return
        for parent, name in places:
            if kind is None:
                self._modified(parent, name, notices)
            else:
                log.debug("told that %s %s", name, kind.name)
                self._moved(parent, name, notices)

    def _is_ours(self, parent: Inode, name: str, kind: Kind) -> bool:
        ours = self._files.echoes.matches((parent.number, self._files.style.key(name)), kind)
        if ours:
            log.debug("told that %s %s, which we did", name, kind.name)
            self.statistics.ours += 1
        return ours

    def _places(self, directory: Inode, path: str) -> Iterator[tuple[Inode, str]]:
        r"""Which names may be meant, as (directory, name as programs see it).

        Just one, but where a name may hold a backslash: smbd 4.17 joins by backslashes all the same. Then it is what is
        in a directory of that name, if there is one: to doubt the directories above with each change below them would
        cost a listing of each, for names that hardly anybody gives. Such a name is seen when its time is over. Below
        directories that nobody has asked about nothing is known that could be wrong.
        """
        style = self._files.style
        parts = [style.from_server(part) for part in path.replace("/", "\\").split("\\")]
        for index, part in enumerate(parts[:-1]):
            whole = "\\".join(parts[index:])
            if style.separator == "/" and (self._knows(directory, whole) or not self._knows(directory, part)):
                yield directory, whole
            below = self._files.inodes.find(directory, part)
            if below is None or below.kind != stat.S_IFDIR:
                return
            directory = below
        if acceptable(parts[-1]):
            yield directory, parts[-1]

    def _knows(self, directory: Inode, name: str) -> bool:
        """Whether there is such a name, as far as is known here."""
        files = self._files
        return files.inodes.find(directory, name) is not None or files.cache.lists(directory, name)

    def _moved(self, parent: Inode, name: str, notices: _Notices) -> None:
        """Others made the name, or took it away."""
        files = self._files
        self._forget_name(parent, name, notices)
        notices.attributes[parent.number] = None
        known = files.inodes.find(parent, name)
        if known is not None:
            files.cache.doubt(known)
            notices.attributes[known.number] = None
        files.cache.doubt_name(parent, name)
        files.handles.outdated(parent)

    def _forget_name(self, parent: Inode, name: str, notices: _Notices) -> None:
        """In the spelling of the server's and in the one that programs used."""
        known = self._files.inodes.find(parent, name)
        if known is not None and known.kind == stat.S_IFDIR:
            notices.directories[parent, name] = None
            return
        notices.names[parent.number, to_kernel(name)] = None
        if known is not None:
            for other in known.names:
                if other.directory is parent:
                    notices.names[parent.number, to_kernel(other.spelling)] = None

    def _modified(self, parent: Inode, name: str, notices: _Notices) -> None:
        """The file or directory changed that the name stands for."""
        files = self._files
        known = files.inodes.find(parent, name)
        if known is None:
            files.cache.doubt_attributes(parent, name)
        elif files.cache.now() >= known.changed_at + OURS:
            self._doubt(known, notices)
        elif known not in self._later:
            self._later[known] = files.cache.now() + OURS
            if len(self._later) == 1:
                files.soon(self._ask_later)

    def _doubt(self, inode: Inode, notices: _Notices) -> None:
        files = self._files
        files.cache.doubt(inode)
        notices.attributes[inode.number] = None
        share = files.opens.of(inode)
        if share is not None and not share.write and not self._oplocks.keeps_reads(inode):
            notices.data[inode] = None

    async def _ask_later(self) -> None:
        """Until there are none. Together, as far as they fall together: there may be a thousand in a second."""
        while self._later:
            await trio.sleep(max(next(iter(self._later.values())) - self._files.cache.now(), 0))
            now, notices = self._files.cache.now() + TOGETHER, _Notices()
            for inode in [inode for inode, due in self._later.items() if due <= now]:
                del self._later[inode]
                self._doubt(inode, notices)
            self._send(notices)

    def _send(self, notices: _Notices) -> None:
        """Without waiting for the kernel, which may wait for us."""
        files = self._files
        if notices.names:
            files.soon(partial(files.forget_names, list(notices.names)))
        if notices.attributes:
            files.soon(partial(files.kernel.forget_attributes_of, list(notices.attributes)))
        for inode in notices.data:
            files.soon(partial(files.forget_data, inode))
        for parent, name in notices.directories:
            files.soon(partial(self._forget_directory, parent, name))

    async def _forget_directory(self, parent: Inode, name: str) -> None:
        """Unless it is there: to forget that would take it away under programs that are in it."""
        files = self._files
        known = files.inodes.find(parent, name)
        if known is not None and not await files.is_there(known):
            await files.forget_names([(parent.number, to_kernel(name))])
