"""Names that are made, moved and taken away.

However a change ends, what was asked of its directory before it is not believed after it, and a name that stood for an
open file leaves that file alive. Servers differ in what they do in one step; what takes several is finished or undone
whoever waits, and nobody here sees the steps between.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from smbfuse.core.cache.echoes import Kind
from smbfuse.core.calls.vfs import Entry, Vfs, system_call
from smbfuse.core.server.attrs import ANYBODY, Attributes, Owner
from smbfuse.core.server.backend import Change
from smbfuse.core.server.names import as_text, from_kernel, is_snapshot
from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED, STATUS_SHARING_VIOLATION

if TYPE_CHECKING:
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.opens import SharedOpen

T = TypeVar("T")

RENAME_NOREPLACE: Final = 1
"""renameat2(2): fail if the target exists."""

_IN_USE: Final = frozenset({STATUS_SHARING_VIOLATION, STATUS_ACCESS_DENIED})
"""How servers refuse what open files are in the way of."""


class NameCalls(Vfs):
    """The system calls that change names."""

    @system_call
    async def mkdir(self, parent_number: int, raw_name: bytes, permissions: int, caller: Owner = ANYBODY) -> Entry:
        """Make a directory."""
        parent, name, path = self._target(parent_number, raw_name)
        owner = self.owners.of_new(caller, parent.attrs)
        asked = self.cache.now()

        async def work() -> Entry:
            attrs = await self.backend.make_directory(path, permissions, owner)
            return await self._made(parent, name, attrs, asked, Change.to(permissions, owner))

        return await self._change_names(parent, work, self._unwanted, comes=name)

    @system_call
    async def symlink(self, parent_number: int, raw_name: bytes, target: bytes, caller: Owner = ANYBODY) -> Entry:
        """Make a symbolic link."""
        parent, name, path = self._target(parent_number, raw_name)
        owner = self.owners.of_new(caller, parent.attrs)
        text = as_text(target)

        async def work() -> Entry:
            await self.backend.make_symlink(path, text, owner)
            return await self._made(parent, name, None, self.cache.now(), Change.to(None, owner))

        return await self._change_names(parent, work, self._unwanted, comes=name)

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

        return await self._change_names(parent, work, self._unwanted, comes=name)

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
                await self._end_idle(inode)
            self._gone(parent, name)

        await self._change_names(parent, work, goes=name)

    @system_call
    async def rmdir(self, parent_number: int, raw_name: bytes) -> None:
        """Remove an empty directory."""
        parent, name, path = self._target(parent_number, raw_name)

        inode = self.inodes.find(parent, name)

        async def work() -> None:
            if inode is not None:
                await self.left_alone(inode)
            await self.backend.remove_directory(path)
            self._gone(parent, name)

        await self._change_names(parent, work, goes=name)

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
                    await self.left_alone(inode)
            with self._accounted(new_parent), self.replacing.of(self._key(new_parent, new)):
                if not over or target is None or target is moving:
                    await self._move(moving, partial(move, over))
                elif target.kind == stat.S_IFDIR:
                    await self._replace_directory(moving, new_path, partial(move, False))
                else:
                    await self._replace_file(move, new_path, new_parent, target)
            await self._end_idle(target)
            for inode in (moving, target):
                if inode is not None:
                    self.cache.changed(inode)  # link counts and change times
            self._left(old_parent, old, -_is_directory(moving))
            more = _is_directory(moving) - _is_directory(target)
            self.cache.added(new_parent, new, None, self.backend.now_ns(), more)

        with self.naming.of(new_parent_number), self.echoes.of((self._key(new_parent, new), Kind.COMES)):
            await self._change_names(old_parent, work, goes=old)

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

    async def _end_idle(self, inode: Inode | None) -> None:
        """The FID of a file that was hidden may have become idle before that, and nobody else would end it.

        Not while a name is being replaced: an open of the file waits for that, and this would wait for the open.
        """
        if inode is not None and self.silly.names_of(inode) and await self.opens.drop_idle(inode):
            await self.silly.closed(inode)

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
                await self.backend.undo(partial(self.backend.make_directory, new, 0o777))

    # --- steps of these

    def _target(self, parent_number: int, raw_name: bytes) -> tuple[Inode, str, ServerPath]:
        """Directory, name and path of something to be made or removed."""
        parent, name = self.inodes.get(parent_number), from_kernel(raw_name)
        self.check_writable(parent)
        if is_snapshot(name):
            raise OSError(errno.EROFS, "this name stands for a snapshot")
        known = self.inodes.find(parent, name)
        return parent, name, self.path(parent, name)._replace(file_id=0 if known is None else known.file_id)

    async def _change_names(
        self,
        parent: Inode,
        work: Callable[[], Awaitable[T]],
        undo: Callable[[T], None] | None = None,
        *,
        comes: str | None = None,
        goes: str | None = None,
    ) -> T:
        """Do `work`, by which a name comes into `parent`, or goes from there.

        However it ends, what was asked before is not believed after: `work` accounts for what it has done.
        """
        kinds = ((comes, Kind.COMES), (goes, Kind.GOES))
        echoes = [(self._key(parent, name), kind) for name, kind in kinds if name is not None]

        async def accounted() -> T:
            with self._accounted(parent), self.echoes.of(*echoes):
                return await work()

        with self.naming.of(parent.number):
            return await self.change(accounted, undo)

    @contextmanager
    def _accounted(self, parent: Inode) -> Iterator[None]:
        """If the block fails nothing is sure of the directory: perhaps it was done, or the listing was wrong."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self.cache.stale(parent)
                self.cache.changed(parent)

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
        # When a new file was made the directory changed, too; of a file that was there nothing tells whether it did.
        # A link of mfsymlinks was made before it was written.
        when_ns = None if new is None or attrs.kind == stat.S_IFLNK else attrs.ctime_ns
        self.cache.added(parent, name, attrs, when_ns, int(attrs.is_dir))
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
        self._left(parent, name, -_is_directory(inode))

    def _left(self, parent: Inode, name: str, links: int) -> None:
        """A name is not there any more: neither for lookups nor for who is reading the directory."""
        self.cache.removed(parent, name, self.backend.now_ns(), links)
        self.handles.left(parent, self.style.key(name))


def _is_directory(inode: Inode | None) -> bool:
    return inode is not None and inode.kind == stat.S_IFDIR


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
