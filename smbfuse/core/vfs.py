"""The file system: lookups, attributes, names. Methods are named by system call and raise OSError.

Everything is in terms of inode numbers and handle numbers, as the kernel passes them, and of plain values; `files.py`
has the part that reads and writes. What may be answered from cache is for `metacache.py` to say, what the server is
asked and how for the backend. Changes go through the settler: once begun they are finished, whoever waits.
"""

from __future__ import annotations

import errno
import functools
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from smbfuse.core.attrs import ANYBODY, Attributes, Owner, OwnerPolicy, Stat
from smbfuse.core.backend import Backend, Change, Space, server_path
from smbfuse.core.changes import applied
from smbfuse.core.errno_map import as_oserror
from smbfuse.core.handles import HandleTable
from smbfuse.core.inodes import ROOT, Inode, InodeTable
from smbfuse.core.kernel import Kernel
from smbfuse.core.metacache import CEILING, Absent, MetaCache, Present
from smbfuse.core.names import as_text, from_kernel, is_snapshot, to_kernel
from smbfuse.core.opens import OpenTable
from smbfuse.core.remembered import Remembered
from smbfuse.core.settle import GRACE
from smbfuse.core.silly import Silly
from smbfuse.core.underway import UnderWay
from smbfuse.core.writetimes import WriteTimes
from smbfuse.errors import MountError, SmbfuseError, StatusError
from smbfuse.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_NO_MORE_FILES,
    STATUS_NO_SUCH_FILE,
    STATUS_OBJECT_NAME_INVALID,
    STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_PATH_NOT_FOUND,
    STATUS_SHARING_VIOLATION,
)
from smbfuse.wire.const import OPLOCK_BATCH, OPLOCK_NONE

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.opens import Opener, SharedOpen
    from smbfuse.core.settle import Settler
    from smbfuse.settings import MountSettings

log: Final = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V", bound="Vfs")

RENAME_NOREPLACE: Final = 1
"""renameat2(2): fail if the target exists."""

REPLACEMENTS: Final = 10
"""How often a name is looked for that we replace each time meanwhile."""

_NOT_THERE: Final = frozenset(
    {
        STATUS_NO_MORE_FILES,
        STATUS_NO_SUCH_FILE,
        STATUS_OBJECT_NAME_INVALID,
        STATUS_OBJECT_NAME_NOT_FOUND,
        STATUS_OBJECT_PATH_NOT_FOUND,
    }
)
"""How servers say that a name stands for nothing."""


_IN_USE: Final = frozenset({STATUS_SHARING_VIOLATION, STATUS_ACCESS_DENIED})
"""How servers refuse what open files are in the way of."""


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
        self.write_times = WriteTimes(backend.now_ns)
        self.silly = Silly(self.backend, self.inodes, self.path)
        self.cache = MetaCache(CEILING if unique_file_names else mount.actimeo, self.style.key, clock)
        self._prefix = [part for part in mount.prefix.split("/") if part]
        self._settler = settler

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

    async def write_back(self, inode: Inode) -> None:
        """Send what of the file's data waits here. Nothing does without `filesystem.py`."""

    def unwritten_end(self, inode: Inode) -> int:
        """Where what waits ends, in bytes from the start of the file."""
        return 0

    async def check_root(self) -> None:
        """See that the root is there and a directory. StatusError, MountError."""
        attrs = await self.backend.stat(self.path(self.inodes.root))
        if not attrs.is_dir:
            raise MountError(f"/{'/'.join(self._prefix)} on the share is a file, not a directory")

    # --- lookup and attributes

    @system_call
    async def lookup(self, parent_number: int, raw_name: bytes) -> Entry:
        """Find a name in a directory; an Entry with number 0 says for how long there is none."""
        parent, name = self.inodes.get(parent_number), from_kernel(raw_name)
        known, version, found = await self._find_settled(parent, name)
        if isinstance(found, Absent):
            self.inodes.unlink(parent, name)
            timeout = self.cache.remaining(found.until)
            return Entry(0, None, timeout, timeout)
        await self._tell_links(parent, found.name, found.attrs)
        inode = self.inodes.enter(parent, found.name, found.attrs)
        inode.lookups += 1
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
            return known
        path, asked = self.path(parent, name), self.cache.now()
        try:
            attrs = await self.backend.stat(path)
        except StatusError as exc:
            if exc.status in _NOT_THERE:
                return Absent(asked + self.cache.lifetime)
            raise
        return Present(name, attrs, asked + self.cache.lifetime)

    async def _learn_found(self, inode: Inode, found: Present, version: int) -> Attributes:
        """Attributes of a name just found. Of a file that we have open for writing only its FID tells the size."""
        if self.opens.of(inode, write=True) is not None:
            return await self._refresh(inode)
        self.cache.learn(inode, found.attrs, found.until - self.cache.lifetime, version)
        return found.attrs

    @system_call
    async def getattr(self, number: int) -> Entry:
        """Attributes of an inode, from cache or from the server."""
        inode = self.inodes.get(number)
        attrs = self.cache.attributes(inode)
        if attrs is None:
            attrs = await self._refresh(inode)
        self.write_times.tell(inode)
        return self.entry(inode, attrs)

    async def _refresh(self, inode: Inode) -> Attributes:
        """Ask the server; by FID where the file is open, since that is right for deleted files and for sizes too.

        OSError(ESTALE) if another file has come to stand under the name: the kernel then looks the path up anew.
        """
        asked, version = self.cache.now(), inode.version
        share = self.opens.of(inode)
        if share is not None:
            attrs = self.write_times.corrected(inode, await share.use(self.backend.stat_open))
            attrs.size = max(attrs.size, self.unwritten_end(inode))
        elif inode.deleted and inode.kind == stat.S_IFDIR and inode.attrs is not None:
            return replace(inode.attrs, nlink=0)  # a program has it open, or is in it: nothing is left to be asked
        else:
            async with self._reached(inode) as path:
                attrs = await self.backend.stat(path)
        if self.inodes.is_another(inode, attrs):
            self._disbelieve(inode)
            raise OSError(errno.ESTALE, "another file has taken the name")
        self.cache.learn(inode, attrs, asked, version)
        return attrs

    @system_call
    async def setattr(self, number: int, change: Change) -> Entry:
        """Change size, mode, owner or times."""
        inode = self.inodes.get(number)
        self.check_writable(inode)
        before = self.cache.attributes(inode)
        if before is None and change.permissions is not None:
            before = await self._refresh(inode)
        change = self._dated(change, before)

        async def by(file: OpenFile | None) -> None:
            nameless = inode.deleted and not self.silly.names_of(inode)
            if nameless and file is None:
                raise OSError(errno.ESTALE, "nothing is left by which to reach the file")
            path = None if nameless else self.path(inode)  # then there is nothing but the open file
            await self.backend.change(path, file, change, before)

        async def work() -> None:
            await self.write_back(inode)
            share = self.opens.of(inode, write=True)  # now: it may have been closed meanwhile
            try:
                await (by(None) if share is None else share.use(by))
                self._note_times(inode, change)
                self.remembered.note(inode, change)
            finally:
                self.cache.changed(inode)

        await self.change(work)
        if before is None or change.size is not None:
            return self.entry(inode, await self._refresh(inode))
        return self.entry(inode, applied(before, change))  # with timeout 0: the change time is the server's

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
            self.write_times.was_set(inode, for_good=not self.backend.late_times)
        elif self.backend.late_times and change.size is not None:
            self.write_times.wrote(inode)

    @system_call
    async def readlink(self, number: int) -> bytes:
        """Target of a symbolic link."""
        return to_kernel(await self.backend.read_link(self.path(self.inodes.get(number))))

    @system_call
    async def statfs(self) -> Space:
        """Size and free space of the share."""
        return await self.backend.space()

    def forget(self, forgotten: list[tuple[int, int]]) -> None:
        """The kernel gives back lookups: (number, count) each."""
        for number, count in forgotten:
            self.inodes.forget(number, count)

    # --- names

    @system_call
    async def mkdir(self, parent_number: int, raw_name: bytes, permissions: int, caller: Owner = ANYBODY) -> Entry:
        """Make a directory."""
        parent, name, path = self._target(parent_number, raw_name)
        owner = self.owners.of_new(caller, parent.attrs)
        asked = self.cache.now()

        async def work() -> Entry:
            attrs = await self.backend.make_directory(path, permissions, owner)
            return await self._made(parent, name, attrs, asked, Change.to(permissions, owner))

        return await self._change_names(parent, work, self._unwanted)

    @system_call
    async def symlink(self, parent_number: int, raw_name: bytes, target: bytes, caller: Owner = ANYBODY) -> Entry:
        """Make a symbolic link."""
        parent, name, path = self._target(parent_number, raw_name)
        owner = self.owners.of_new(caller, parent.attrs)
        text = as_text(target)

        async def work() -> Entry:
            await self.backend.make_symlink(path, text, owner)
            return await self._made(parent, name, None, self.cache.now(), Change.to(None, owner))

        return await self._change_names(parent, work, self._unwanted)

    @system_call
    async def link(self, number: int, parent_number: int, raw_name: bytes) -> Entry:
        """Give a file another name."""
        inode = self.inodes.get(number)
        parent, name, path = self._target(parent_number, raw_name)
        old = self.path(inode)

        async def work() -> Entry:
            await self.opens.drop_idle(inode)
            await self.backend.link(old, path)
            inode.linked = True
            self.cache.changed(inode)
            return await self._made(parent, name, None, self.cache.now())

        return await self._change_names(parent, work, self._unwanted)

    @system_call
    async def unlink(self, parent_number: int, raw_name: bytes) -> None:
        """Remove a name of a file. One that is open lives on until its last close."""
        parent, name, path = self._target(parent_number, raw_name)
        inode = self.inodes.find(parent, name)

        async def work() -> None:
            await self.closing.ended(inode)
            if inode is not None:
                await self.opens.drop_idle(inode)
            if inode is None or self.opens.of(inode) is None:
                done = await _unless_in_use(self.backend.unlink(path))
            else:
                done = False
            if not done:
                await self.silly.take_away(inode, parent, path, self._share_of(inode))
            self._gone(parent, name)

        await self._change_names(parent, work)

    @system_call
    async def rmdir(self, parent_number: int, raw_name: bytes) -> None:
        """Remove an empty directory."""
        parent, name, path = self._target(parent_number, raw_name)

        async def work() -> None:
            await self.backend.remove_directory(path)
            self._gone(parent, name)

        await self._change_names(parent, work)

    @system_call
    async def rename(
        self, old_parent_number: int, old_raw: bytes, new_parent_number: int, new_raw: bytes, flags: int
    ) -> None:
        """Rename, over an existing target too; the flags are renameat2's."""
        if flags & ~RENAME_NOREPLACE:
            raise OSError(errno.EINVAL, "only RENAME_NOREPLACE can be done")
        old_parent, old, old_path = self._target(old_parent_number, old_raw)
        new_parent, new, new_path = self._target(new_parent_number, new_raw)
        moving, target = self.inodes.find(old_parent, old), self.inodes.find(new_parent, new)
        over = not flags & RENAME_NOREPLACE

        async def move(over: bool) -> None:
            await self.backend.rename(old_path, new_path, over)
            self.inodes.rename(old_parent, old, new_parent, new)

        async def work() -> None:
            for inode in (moving, target):
                if inode is not None:
                    await self.opens.drop_idle(inode)
            try:
                with self.replacing.of(self._key(new_parent, new)):
                    if not over or target is None or target is moving:
                        await self._move(moving, partial(move, over))
                    elif target.kind == stat.S_IFDIR:
                        await self._replace_directory(moving, new_path, partial(move, False))
                    else:
                        await self._replace_file(move, new_path, new_parent, target)
            finally:
                self.cache.changed(new_parent)
            for inode in (moving, target):
                if inode is not None:
                    self.cache.changed(inode)  # link counts and change times
            self._left(old_parent, old)
            self.cache.added(new_parent, new, None)

        await self._change_names(old_parent, work)

    async def _move(self, moving: Inode | None, move: Callable[[], Awaitable[None]]) -> None:
        """Rename. Where the server renames no directory with open files below it, they are closed meanwhile.

        Only the UNIX extensions do without that. Files that programs have just closed are closed by then, too.
        """
        try:
            await move()
            return
        except StatusError as exc:
            if moving is None or moving.kind != stat.S_IFDIR or exc.status not in _IN_USE:
                raise
        below = [inode for inode in self.opens.inodes() if self.inodes.is_below(inode, moving)]
        for inode in below:
            await self.write_back(inode)
        async with self.opens.aside(below, self._reopener):
            await move()

    async def _replace_file(
        self, move: Callable[[bool], Awaitable[None]], new: ServerPath, parent: Inode, target: Inode
    ) -> None:
        """Rename over a file. Servers do that in one step; not if the file is open, which then gets out of the way."""
        await self.closing.ended(target)
        if self.opens.of(target) is None and await _unless_in_use(move(True)):
            return
        await self.silly.take_away(target, parent, new, self._share_of(target), lambda: move(False))

    def _share_of(self, inode: Inode | None) -> Callable[[], SharedOpen | None]:
        return lambda: None if inode is None else self.opens.of(inode)

    async def _replace_directory(
        self, moving: Inode | None, new: ServerPath, move: Callable[[], Awaitable[None]]
    ) -> None:
        """A directory may replace an empty one: that goes first, and comes back if the rest fails."""
        await self.backend.remove_directory(new)
        moved = False
        try:
            await self._move(moving, move)
            moved = True
        finally:
            if not moved:
                await self.backend.make_directory(new, 0o777)

    def oplock_for(self, inode: Inode | None) -> int:
        """The oplock to ask for in an open. What is in a snapshot changes no more."""
        keeps = self.cache_mode != "none" and (inode is None or not inode.snapshot)
        return OPLOCK_BATCH if keeps else OPLOCK_NONE

    def opener(self, inode: Inode) -> Opener:
        """How to get a FID of this file. What the answer tells of the file is what counts from then on."""

        async def opener(read: bool, write: bool) -> OpenFile:
            oplock = self.oplock_for(inode)
            async with self._reached(inode) as path:
                version = inode.version
                file, attrs = await self.backend.open(path, read, write, oplock)
            with file.kept():
                if inode.version == version:
                    await self._compare(inode, attrs)
            return file

        return opener

    @asynccontextmanager
    async def _reached(self, inode: Inode) -> AsyncIterator[ServerPath]:
        """Where a file is, for the block, which asks for it by that. OSError(ESTALE) if it is not there any more.

        Then another may stand under the name: ESTALE makes the kernel look again.
        """
        for key in list(inode.names):
            await self.replacing.ended(key)
        if inode.deleted and not self.silly.names_of(inode):
            raise OSError(errno.ESTALE, "the file was deleted")
        try:
            yield self.path(inode)
        except StatusError as exc:
            if exc.status not in _NOT_THERE:
                raise
            self._disbelieve(inode)
            raise OSError(errno.ESTALE, "the name is gone") from exc

    def _disbelieve(self, inode: Inode) -> None:
        """It is not that file's name any more, whatever listings said. The kernel looks again after an ESTALE."""
        self.cache.changed(inode)
        for parent, _ in inode.names.values():
            self.cache.stale(parent)

    async def _compare(self, inode: Inode, attrs: Attributes) -> None:
        """Have kernel and cache forget what they know of a file that has changed, as the server tells it now."""
        known = inode.attrs
        if known is not None and (known.size, known.mtime_ns) != (attrs.size, attrs.mtime_ns):
            self.cache.changed(inode)
            await self.kernel.forget_attributes(inode.number)

    def _reopener(self, inode: Inode) -> Opener:
        """How to get one again, of the same file. OSError(ESTALE) if another stands there."""
        opener = self.opener(inode)

        async def reopener(read: bool, write: bool) -> OpenFile:
            file = await opener(read, write)
            with file.kept():
                found = await self.backend.file_id(file) if inode.file_id > ROOT else 0
                if found not in (0, inode.file_id):
                    raise OSError(errno.ESTALE, "another file has taken the name")
            return file

        return reopener

    def _target(self, parent_number: int, raw_name: bytes) -> tuple[Inode, str, ServerPath]:
        """Directory, name and path of something to be made or removed."""
        parent, name = self.inodes.get(parent_number), from_kernel(raw_name)
        self.check_writable(parent)
        if is_snapshot(name):
            raise OSError(errno.EROFS, "this name stands for a snapshot")
        return parent, name, self.path(parent, name)

    async def _change_names(
        self, parent: Inode, work: Callable[[], Awaitable[T]], undo: Callable[[T], None] | None = None
    ) -> T:
        """Do `work`, which changes names in `parent`; however it ends, what was asked before is not believed after."""

        async def accounted() -> T:
            try:
                return await work()
            except (SmbfuseError, OSError):
                self.cache.stale(parent)  # perhaps it was done all the same, or the listing was wrong
                raise
            finally:
                self.cache.changed(parent)

        return await self.change(accounted, undo)

    async def _made(
        self, parent: Inode, name: str, attrs: Attributes | None, asked: float, new: Change | None = None
    ) -> Entry:
        """A name that we just made: attributes as the answer told them, or asked for now.

        `new`: what a new file was to be like; None for a name of a file that was there before.
        """
        if attrs is None:
            asked = self.cache.now()
            attrs = await self.backend.stat(self.path(parent, name))
        await self._tell_links(parent, name, attrs)
        self.cache.added(parent, name, attrs)
        inode = self.inodes.enter(parent, name, attrs)
        attrs.new = False
        inode.lookups += 1
        if new is not None:
            self.remembered.note(inode, new)
        self.cache.learn(inode, attrs, asked)
        return self.entry(inode, attrs)

    def _unwanted(self, entry: Entry) -> None:
        """The kernel was not told of this entry, so it will not give its lookup back."""
        self.inodes.forget(entry.number, 1)

    def _gone(self, parent: Inode, name: str) -> None:
        """A name that we just removed."""
        inode = self.inodes.unlink(parent, name)
        if inode is not None:
            self.cache.changed(inode)
        self._left(parent, name)

    def _left(self, parent: Inode, name: str) -> None:
        """A name is not there any more: neither for lookups nor for who is reading the directory."""
        self.cache.removed(parent, name)
        self.handles.left(parent, self.style.key(name))


async def _unless_in_use(work: Awaitable[None]) -> bool:
    """Take a name away; False if the server refuses as it does when the file is open somewhere.

    smbd 4.17 says STATUS_ACCESS_DENIED to a rename over a file that is open on the same connection.
    """
    try:
        await work
    except StatusError as exc:
        if exc.status not in _IN_USE:
            raise
        return False
    return True
