"""The file system, what all of it has in common: reaching files, lookups, attributes.

Methods of this and the other parts are named by system call and raise OSError. Everything is in terms of inode numbers
and handle numbers, as the kernel passes them, and of plain values. Changes of names are in `namespace.py`, directories
in `listings.py`, open files in `filesystem.py`, which puts the parts together. What may be answered from cache is for
`metacache.py` to say, what the server is asked and how for the backend. Changes go through the settler: once begun they
are finished, whoever waits.
"""

from __future__ import annotations

import errno
import functools
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import trio

from smbfuse.core.cache.changes import LastChanges
from smbfuse.core.cache.echoes import Echoes
from smbfuse.core.cache.inodes import ROOT, Inode, InodeTable
from smbfuse.core.cache.known import Absent, Present
from smbfuse.core.cache.metacache import CEILING, MetaCache
from smbfuse.core.cache.oldnames import OldNames
from smbfuse.core.cache.remembered import Remembered
from smbfuse.core.cache.secondtries import SecondTries
from smbfuse.core.calls.kernel import Kernel
from smbfuse.core.errno_map import as_oserror
from smbfuse.core.files.handles import HandleTable
from smbfuse.core.files.opens import OpenTable
from smbfuse.core.files.silly import Silly
from smbfuse.core.files.writetimes import WriteTimes
from smbfuse.core.server.attrs import Attributes, OwnerPolicy, Stat, alike, without_privileges
from smbfuse.core.server.backend import Backend, Change, Space, server_path
from smbfuse.core.server.names import from_kernel, is_snapshot, to_kernel
from smbfuse.core.server.statuses import NOT_THERE
from smbfuse.core.settle import GRACE
from smbfuse.core.underway import UnderWay
from smbfuse.errors import MountError, SmbfuseError, StatusError
from smbfuse.ntstatus import STATUS_DELETE_PENDING
from smbfuse.wire.const import OPLOCK_BATCH, OPLOCK_NONE

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.files.opens import Opener
    from smbfuse.core.settle import Settler
    from smbfuse.settings import MountSettings

log: Final = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V", bound="Vfs")

ABSENCE: Final = 1.0
"""Seconds for which the kernel may keep that there is no such name; what comes later is answered from here.

It cannot be made to forget a name in a spelling that we do not know: `Readme` and `README` are one for most servers.
"""
SMALL: Final = 15 * 4096
"""Bytes of a file that come with its open. In a chain no answer is larger than what our MaxBufferSize allows."""
REPLACEMENTS: Final = 10
"""How often a name is looked for that we replace each time meanwhile."""


@dataclass(slots=True)
class Entry:
    """What the kernel is told of a file, and for how many seconds it may believe it. `number` 0: no such name."""

    number: int
    stat: Stat | None
    entry_timeout: float
    attr_timeout: float


def system_call(
    method: Callable[Concatenate[V, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[V, P], Coroutine[Any, Any, T]]:
    """Make OSError of what the floors below raise; the method's name is the system call's."""
    operation = method.__name__

    @functools.wraps(method)
    async def wrapped(self: V, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(self, *args, **kwargs)
        except SmbfuseError as exc:
            raise as_oserror(exc, operation) from exc

    return wrapped


class Vfs:
    """One mounted share."""

    def __init__(
        self,
        backend: Backend,
        mount: MountSettings,
        settler: Settler,
        clock: Callable[[], float],
        *,
        unique_file_names: bool,
    ) -> None:
        self.backend = backend
        self.mount = mount
        self.style = backend.style
        self.owners = OwnerPolicy.of(mount)
        self.remembered = Remembered(mount.dynperm)
        self.read_only = mount.read_only
        self.inodes = InodeTable(Inode(ROOT, stat.S_IFDIR), self.style.key, server_numbers=mount.serverino)
        self.handles = HandleTable()
        self.kernel = Kernel()
        self.opens = OpenTable()
        self.cache_mode = mount.cache
        self.closing = UnderWay()
        self.replacing = UnderWay()
        self.reading = UnderWay()
        """Inodes of which the kernel waits for data, ..."""
        self.naming = UnderWay()
        """... and directories, by number, in which it waits for names."""
        self.old_names = OldNames(self._forget_old_name, self.soon, clock)
        self.inodes.renamed = self.old_names.taken
        self.second_tries = SecondTries(self.inodes, self.soon, clock)
        self.write_times = WriteTimes(backend.now_ns, late=backend.late_times)
        self.dating = UnderWay()
        """Inodes whose time is being set, for a program or at their close."""
        self.silly = Silly(self.backend, self.inodes, self.path)
        self.cache = MetaCache(CEILING if unique_file_names else mount.actimeo, self.style.key, clock)
        self.echoes = Echoes(clock)
        self._last_changes = LastChanges(clock)
        self._prefix = [part for part in mount.prefix.split("/") if part]
        self._settler = settler
        self._space: Space | None = None
        """What the server said last."""
        self.opens.reopener = self._reopener
        self.opens.apart = partial(settler.run, grace=0)

    # --- common ground

    def path(self, inode: Inode, *more: str) -> ServerPath:
        """Where the server has it now. OSError(ENOENT) if the file was deleted."""
        hidden = self.silly.path(inode) if inode.deleted else None
        if hidden is not None:
            return hidden
        return server_path([*self._prefix, *self.inodes.components(inode), *more], self.style)

    def check_writable(self, inode: Inode) -> None:
        """OSError(EROFS) where nothing may be changed."""
        if self.read_only or inode.snapshot:
            raise OSError(errno.EROFS, "read-only")

    def entry(self, inode: Inode, attrs: Attributes, entry_until: float | None = None) -> Entry:
        """What to tell the kernel of an inode with these attributes."""
        attr_timeout = self.cache.remaining(inode.attrs_until)
        entry_timeout = attr_timeout if entry_until is None else self.cache.remaining(entry_until)
        shown = self.owners.stat(self.remembered.shown(inode, attrs))
        if (hidden := self.silly.names_of(inode)) or inode.deleted:
            shown = shown._replace(nlink=max(attrs.nlink - hidden, 0))
        elif inode.linked and attrs.dos is not None and shown.nlink < len(inode.names):
            shown = shown._replace(nlink=len(inode.names))  # NT searches do not tell
        return Entry(inode.number, shown, entry_timeout, attr_timeout)

    async def change(
        self, work: Callable[[], Awaitable[T]], undo: Callable[[T], None] | None = None, grace: float = GRACE
    ) -> T:
        """Do something that is finished even if the caller is killed; `undo` is for what then nobody wants."""
        return await self._settler.run(work, undo, grace)

    def soon(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do something in the background, as long as the mount lives."""
        self._settler.soon(work)

    def listed(self, directory: Inode) -> None:
        """A directory is in use; others' changes there are of interest. Nobody cares without `filesystem.py`."""

    def missed(self, directory: Inode) -> None:
        """Nothing is known of a name in this directory. It is just asked for without `listings.py`."""

    def served(self, directory: Inode) -> None:
        """A name in this directory was not asked for, since that is known. Nobody cares without `listings.py`."""

    def doubt_all(self) -> None:
        """Nobody told us of changes for a while: ask again for everything. Nobody does without `filesystem.py`."""

    async def forget_data(self, inode: Inode) -> None:
        """Have the kernel drop a file's pages, when it waits for none of them.

        A thread of ours that waits in the kernel for a page cannot be killed. If we were, nobody would answer for that
        page, nor close the device as long as the thread is there: unmounting, and sync(2) of all the machine, would
        wait for ever.
        """
        await self.reading.ended(inode)
        await self.kernel.forget_data(inode.number)

    async def forget_names(self, names: list[tuple[int, bytes]]) -> None:
        """Have the kernel forget names: (directory's number, name) each. Likewise for the locks of directories."""
        for directory in dict.fromkeys(number for number, _ in names):
            await self.naming.ended(directory)
        await self.kernel.forget_names(names)

    async def _forget_old_name(self, inode: Inode, place: tuple[int, bytes]) -> None:
        """Others have given the file another name. A FID that nobody uses may have been had by the old one since."""
        await self.forget_names([place])
        await self.opens.drop_idle(inode)

    async def left_alone(self, directory: Inode) -> None:
        """Give back what we have open of a directory (and below) for purposes of our own: it is to move, or to go."""

    async def write_back(self, inode: Inode) -> None:
        """Send what of the file's data waits here. Nothing does without `filesystem.py`."""

    def unwritten_end(self, inode: Inode) -> int:
        """Where what waits ends, in bytes from the start of the file."""
        return 0

    async def check_root(self) -> None:
        """See that the root is there and a directory. StatusError, MountError."""
        asked = self.cache.now()
        attrs = await self.backend.stat(self.path(self.inodes.root))
        if not attrs.is_dir:
            there = "/".join(self._prefix)
            raise MountError(f"'{there}' on the share is a file; name the directory that it is in")
        self.cache.learn(self.inodes.root, attrs, asked)

    # --- reaching files

    def oplock_for(self, inode: Inode | None) -> int:
        """The oplock to ask for in an open. What is in a snapshot changes no more."""
        keeps = self.cache_mode != "none" and (inode is None or not inode.snapshot)
        return OPLOCK_BATCH if keeps else OPLOCK_NONE

    def opener(self, inode: Inode) -> Opener:
        """How to get a FID of this file. What the answer tells of the file is what counts from then on."""

        async def opener(read: bool, write: bool) -> OpenFile:
            return (await self._open_file(inode, read, write))[0]

        return opener

    async def _open_file(self, inode: Inode, read: bool, write: bool) -> tuple[OpenFile, Attributes]:
        oplock = self.oplock_for(inode)
        async with self._reached(inode) as path:
            version = inode.version
            file, attrs = await self.backend.open(path, read, write, oplock, self._head_size(inode, read, write))
        with file.kept():
            if not attrs.file_id and inode.file_id > ROOT and self.opens.in_use(inode):
                attrs.file_id = await self.backend.file_id(file)  # programs hold the file, whatever has its name now
            if self.inodes.is_another(inode, attrs) and not await self.is_there(inode):
                raise self._another(inode)
            if inode.version == version:
                await self._compare(inode, attrs)
                self.read_with_open(inode, file, attrs)
            else:  # what the kernel has been told may be older than both, and it reads no further than its size
                await self.kernel.forget_attributes(inode.number)
        return file, attrs

    def _head_size(self, inode: Inode, read: bool, write: bool) -> int:
        """How many bytes to ask for with an open: a small file's, if it is for reading and they may be kept.

        No more than it has, since others may have locked what is behind; and none if we have it open already, and may
        have locked it ourselves.
        """
        if not read or write or self.cache_mode == "none" or inode.attrs is None or self.opens.shares(inode):
            return 0
        if not self.backend.may_have_head(inode.attrs):
            return 0
        size = inode.attrs.size
        return size if size <= min(SMALL, self.backend.tree.sizes.read) else 0

    def read_with_open(self, inode: Inode, file: OpenFile, attrs: Attributes) -> None:
        """Keep the head that came with an open. Nobody reads without `filesystem.py`."""

    @asynccontextmanager
    async def _reached(self, inode: Inode) -> AsyncIterator[ServerPath]:
        """Where a file is, for the block, which asks for it by that. OSError(ESTALE) if it is not there any more.

        Then another may stand under the name: ESTALE makes the kernel look again.
        """
        for name in inode.names:
            await self.replacing.ended(name.place)
        if inode.deleted and not self.silly.names_of(inode):
            raise self._stale(inode, "the file was deleted")
        try:
            yield self.path(inode)
        except StatusError as exc:
            if exc.status not in NOT_THERE and exc.status != STATUS_DELETE_PENDING:
                raise
            self._disbelieve(inode)
            raise self._stale(inode, "the name is gone") from exc

    async def check_name(self, inode: Inode) -> None:
        """OSError(ESTALE) if the kernel may mean another file. It looks again, but once: the server is asked then."""
        try:
            await self.old_names.check(inode)
        except OSError:
            self._disbelieve(inode)
            self.second_tries.refused(inode)
            raise

    def _another(self, inode: Inode) -> OSError:
        """For raising where others have put another file under its name."""
        self._disbelieve(inode)
        return self._stale(inode, "another file has taken the name")

    def _stale(self, inode: Inode, why: str) -> OSError:
        """For raising, upon which the kernel looks the name up anew and tries once more."""
        self.second_tries.refused(inode)
        return OSError(errno.ESTALE, why)

    def _disbelieve(self, inode: Inode) -> None:
        """It is not that file's name any more, whatever listings said. The kernel looks again after an ESTALE."""
        self.cache.changed(inode)
        for name in inode.names:
            self.cache.stale(name.directory)

    async def _compare(self, inode: Inode, attrs: Attributes) -> None:
        """Have kernel and cache forget what they know of a file that has changed, as the server tells it now."""
        known = inode.attrs
        if known is not None and (known.size, known.mtime_ns) != (attrs.size, attrs.mtime_ns):
            self.cache.changed(inode)
        if inode.version != inode.told_version:
            # The kernel may not have heard yet of what the cache knows, or dropped an answer that crossed with it:
            # who asks how long the file is, now that it is open, must not be told of before. Our own changes count as
            # well: an append may have gone elsewhere than the kernel thinks.
            inode.told_version = inode.version
            await self.kernel.forget_attributes(inode.number)

    def _reopener(self, inode: Inode) -> Opener:
        """How to get one again, of the same file. OSError(ESTALE) if another stands there."""

        async def reopener(read: bool, write: bool) -> OpenFile:
            known = inode.attrs
            file, attrs = await self._open_file(inode, read, write)
            with file.kept():
                found = await self.backend.file_id(file) if inode.file_id > ROOT else 0
                another = found != inode.file_id if found else known is not None and not alike(known, attrs)
                if another:
                    raise OSError(errno.ESTALE, "another file has taken the name")
            return file

        return reopener

    # --- lookup and attributes

    @system_call
    async def lookup(self, parent_number: int, raw_name: bytes) -> Entry:
        """Find a name in a directory; an Entry with number 0 says for how long there is none."""
        with self.naming.of(parent_number):
            parent, name = self.inodes.get(parent_number), from_kernel(raw_name)
            entry, tries = await self._lookup(parent, name), REPLACEMENTS
            while entry.number and tries and not await self._is_for_second_try(parent, name, entry):
                self.inodes.forget(entry.number, 1)  # the kernel is not told of this one
                entry, tries = await self._lookup(parent, name), tries - 1
            return entry

    async def _is_for_second_try(self, parent: Inode, name: str, entry: Entry) -> bool:
        """Whether this may be told to the kernel, which perhaps looks again for something that it will try again."""
        return await self.second_tries.looked_up(self._key(parent, name), self.inodes.get(entry.number))

    async def _lookup(self, parent: Inode, name: str) -> Entry:
        known, version, found = await self._find_settled(parent, name)
        if isinstance(found, Absent):
            self.inodes.unlink(parent, name)
            timeout = min(self.cache.remaining(found.until), ABSENCE)
            return Entry(0, None, timeout, timeout)
        await self._tell_links(parent, found.name, found.attrs)
        inode = self.inodes.enter(parent, found.name, found.attrs)
        inode.lookups += 1
        self.old_names.looked_up(inode)
        asked_of = version if inode is known else inode.version
        attrs = await self._learn_found(inode, found, asked_of)
        if inode.version == asked_of:
            self.cache.update(parent, found.name, attrs)
        return self.entry(inode, attrs, found.until)

    async def _tell_links(self, parent: Inode, name: str, attrs: Attributes) -> None:
        """See to it that `attrs` tells how many names a file has where it is known by another one already.

        A hard link has that name, too; a file that others renamed has not, nor has a new one that got the number of
        a deleted one. To mistake these would be to open one file by the path of another.
        """
        if attrs.dos is None or attrs.new or attrs.nlink > 1 or not self.inodes.is_by_another_name(parent, name, attrs):
            return
        try:
            attrs.nlink = await self.backend.count_names(self.path(parent, name))
        except StatusError as exc:
            log.debug("how many names %s has cannot be told: %s", name, exc)

    def _key(self, parent: Inode, name: str) -> tuple[int, str]:
        """A name in a directory, as the inode table has it."""
        return parent.number, self.style.key(name)

    async def _find_settled(self, parent: Inode, name: str) -> tuple[Inode | None, int, Present | Absent]:
        """A name, what was known under it before, and in which version. While we replace the file it is not missing."""
        for _ in range(REPLACEMENTS):
            await self.replacing.ended(self._key(parent, name))
            known = self.inodes.find(parent, name)
            before, version = parent.version, known.version if known is not None else 0
            found = await self._find(parent, name)
            if isinstance(found, Absent):
                await self.replacing.ended(self._key(parent, name))
            if isinstance(found, Present) or parent.version == before:
                break
        return known, version, found

    async def _find(self, parent: Inode, name: str) -> Present | Absent:
        """A name, by the listing of its directory or by asking."""
        if (is_snapshot(name) and parent.snapshot) or self.silly.hides(parent, name):
            return Absent(self.cache.now())  # a snapshot has no snapshots
        known = None if is_snapshot(name) else self.cache.name(parent, name)
        if known is not None:
            self.served(parent)
            return known
        if not is_snapshot(name):
            self.missed(parent)
        path, asked = self.path(parent, name), self.cache.now()
        try:
            attrs = await self.backend.stat(path)
        except StatusError as exc:
            if exc.status in NOT_THERE:
                return Absent(asked + self.cache.lifetime)
            raise
        return Present(name, attrs, asked + self.cache.lifetime)

    async def _learn_found(self, inode: Inode, found: Present, version: int) -> Attributes:
        """Attributes of a name just found. Of a file that we have open for writing only its FID tells the size."""
        if self.opens.of(inode, write=True) is not None:
            return await self._refresh(inode)
        self.cache.learn(inode, found.attrs, found.until - self.cache.lifetime, version)
        return found.attrs

    async def is_there(self, inode: Inode) -> bool:
        """Whether the server still has this very file under its name. StatusError."""
        try:
            attrs = await self.backend.stat(self.path(inode))
        except StatusError as exc:
            if exc.status in NOT_THERE:
                return False
            raise
        return not self.inodes.is_another(inode, attrs)

    @system_call
    async def getattr(self, number: int) -> Entry:
        """Attributes of an inode, from cache or from the server."""
        inode = self.inodes.get(number)
        attrs = self.cache.attributes(inode)
        if attrs is None and inode is self.inodes.root and inode.attrs is not None:
            attrs = await self._unless_away(partial(self._refresh, inode)) or inode.attrs
        if attrs is None:
            attrs = await self._refresh(inode)
        self.write_times.tell(inode)
        return self.entry(inode, attrs)

    async def _refresh(self, inode: Inode) -> Attributes:
        """Ask the server; by FID where the file is open, since that is right for deleted files and for sizes too.

        OSError(ESTALE) if another file has come to stand under the name: the kernel then looks the path up anew.
        """
        asked, version = self.cache.now(), inode.version
        share, waiting = self.opens.of(inode), self.unwritten_end(inode)
        if share is not None:
            attrs = self.write_times.corrected(inode, await share.use(self.backend.stat_open))
            # What waited when we asked may be written by now, but after the server has answered.
            attrs.size = max(attrs.size, waiting, self.unwritten_end(inode))
        elif inode.deleted and inode.kind == stat.S_IFDIR and inode.attrs is not None:
            return replace(inode.attrs, nlink=0)  # a program has it open, or is in it: nothing is left to be asked
        else:
            async with self._reached(inode) as path:
                attrs = await self.backend.stat(path)
        if self.inodes.is_another(inode, attrs):
            raise self._another(inode)
        self.cache.learn(inode, attrs, asked, version)
        return attrs

    async def kill_privileges(self, inode: Inode) -> None:
        """Take set-user-id and set-group-id from a file whose data or owner are about to change.

        The kernel has left that to us, and is told of it. Almost always there is nothing to do. Where the server does
        not let us, what we write there is not the owner's, and the server's own kernel takes them away with it.
        """
        if inode.attrs is None or inode.kind != stat.S_IFREG:
            return
        permissions = stat.S_IMODE(self.owners.stat(self.remembered.shown(inode, inode.attrs)).mode)
        kept = without_privileges(permissions)
        if kept != permissions:
            with suppress(PermissionError):
                await self.setattr(inode.number, Change(permissions=kept))
            await self.kernel.forget_attributes(inode.number)

    @system_call
    async def setattr(self, number: int, change: Change, kills: bool = False) -> Entry:
        """Change size, mode, owner or times. `kills`: if the file has privileges, they go."""
        inode = self.inodes.get(number)
        self.check_writable(inode)
        if kills and change.permissions is None:
            await self.kill_privileges(inode)
        if change.size is not None and not self.opens.in_use(inode):
            await self.check_name(inode)
        before, until = self._known(inode)
        if before is None and change.permissions is not None:
            before, until = await self._refresh(inode), inode.attrs_until
        change, version = self._dated(change, before), -1

        async def by(file: OpenFile | None) -> None:
            nameless = inode.deleted and not self.silly.names_of(inode)
            if nameless and file is None:
                raise self._stale(inode, "nothing is left by which to reach the file")
            path = None if nameless else self.path(inode)  # then there is nothing but the open file
            await self.backend.change(path, file, change, before)

        async def work() -> None:
            nonlocal version
            await self.write_back(inode)
            dates = change.mtime_ns is not None or change.size is not None
            async with self.dating.alone(inode) if dates else nullcontext():
                share = self.opens.of(inode, write=True)  # now: it may have been closed meanwhile
                try:
                    await (by(None) if share is None else share.use(by))
                    self._note_times(inode, change)
                    self.remembered.note(inode, change)
                finally:
                    self.cache.changed(inode)
                    version = inode.version

        await self.change(work)
        if before is None or change.size is not None:
            return self.entry(inode, await self._refresh(inode))
        after = change.applied_to(before)
        self._last_changes.note(inode, after, version, until)
        return self.entry(inode, after)  # with timeout 0: the change time is the server's

    def _known(self, inode: Inode) -> tuple[Attributes | None, float]:
        """Its attributes before a change, as far as nobody has to be asked, and until when they may be used."""
        attrs = self.cache.attributes(inode)
        return self._last_changes.of(inode) if attrs is None else (attrs, inode.attrs_until)

    def _dated(self, change: Change, before: Attributes | None) -> Change:
        """With the server's time in the place of now.

        A new size dates the file by itself. For POSIX so does one that is no new one, but smbd 4.17 does nothing then.
        """
        if change.size is not None and change.mtime_ns is None:
            change = replace(change, mtime_now=before is None or before.size == change.size)
        return change.dated(self.backend.now_ns())

    def _note_times(self, inode: Inode, change: Change) -> None:
        """Keep account of a change, as far as it dates a file that is open."""
        if self.opens.of(inode) is None:
            return
        if change.mtime_ns is not None:
            self.write_times.was_set(inode)
        elif change.size is not None:
            self.write_times.changed(inode)

    @system_call
    async def readlink(self, number: int) -> bytes:
        """Target of a symbolic link."""
        return to_kernel(await self.backend.read_link(self.path(self.inodes.get(number))))

    @system_call
    async def statfs(self) -> Space:
        """Size and free space of the share; while the server is away, what it said last. umount(8) asks for it."""
        self._space = await self._unless_away(self.backend.space) or self._space
        if self._space is None:
            raise OSError(errno.EHOSTDOWN, "the server is away")
        return self._space

    async def _unless_away(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the server says; None as soon as it is away: umount(8) asks, and must not wait until it is back."""
        tree = self.backend.tree
        with trio.CancelScope() as scope:
            if tree.at.lost:
                return None
            tree.on_lost.append(scope.cancel)
            try:
                return await ask()
            finally:
                tree.on_lost.remove(scope.cancel)
        return None

    def forget(self, forgotten: list[tuple[int, int]]) -> None:
        """The kernel gives back lookups: (number, count) each."""
        for number, count in forgotten:
            self.inodes.forget(number, count)
