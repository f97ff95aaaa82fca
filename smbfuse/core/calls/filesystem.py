"""Open files: create, read, write, flush, close. The rest of the file system is `vfs.py`.

Data that were read stay in the kernel's page cache as long as an oplock covers them (`oplocks.py`), and writes may wait
under an exclusive one (`writeback.py`), until close(2) or fsync(2) at the latest.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from smbfuse.core.cache.echoes import Kind
from smbfuse.core.calls.anycase import AnyCase
from smbfuse.core.calls.extents import ExtentCalls
from smbfuse.core.calls.news import News
from smbfuse.core.calls.report import cache_report
from smbfuse.core.calls.vfs import SMALL, Entry, system_call
from smbfuse.core.calls.watch import Watch
from smbfuse.core.calls.xattrs import Fact, XattrCalls
from smbfuse.core.files.handles import FileHandle
from smbfuse.core.files.oplocks import Oplocks, keeps_fid, keeps_reads, keeps_writes
from smbfuse.core.files.readahead import ReadAhead
from smbfuse.core.files.writeback import WriteBack
from smbfuse.core.server.attrs import ANYBODY, Owner
from smbfuse.core.server.backend import Change, Creation
from smbfuse.errors import StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED
from smbfuse.wire.filelevels import FileBasicInfo
from smbfuse.wire.text import ns_to_filetime

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.opens import SharedOpen
    from smbfuse.core.server.attrs import Attributes
    from smbfuse.wire.codec import Buffer


log: Final = logging.getLogger(__name__)


def _modes(flags: int) -> tuple[bool, bool]:
    """(read, write) of open(2)'s flags."""
    mode = flags & os.O_ACCMODE
    return mode != os.O_WRONLY, mode != os.O_RDONLY


MAX_IDLE: Final = 128
"""FIDs kept open for files that no program has open: servers have some thousands in all."""
IDLE_TIME: Final = 10.0
"""Seconds for which they are kept."""
FAR: Final = 1 << 40
"""Bytes into a file from where on only the server knows whether there can be any: such writes do not wait."""
UNCOVERED_TIME: Final = 0.02
"""Seconds for which the kernel may keep what it read of a file that another machine writes."""


class Opened(NamedTuple):
    """A handle's number, and what the kernel may do with the file's pages."""

    number: int
    keep_pages: bool
    """Whether those that are there are good."""
    direct: bool
    """Whether there are to be none."""


class FileSystem(AnyCase, XattrCalls, ExtentCalls):
    """A mounted share with its open files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Vfs's own
        super().__init__(*args, **kwargs)
        self.writes = WriteBack(self._settler, self._send, lambda: self.backend.tree.sizes.write)
        self.ahead = ReadAhead(self._settler, lambda: self.backend.tree.sizes.read)
        self.oplocks = Oplocks(self.opens, self._settler, self.writes.write_back, self._forget, self._write_maps)
        self.news = News(self, self.oplocks)
        self.watch = Watch(self, self.news.tell, self.news.nothing_is_sure)
        self.second_tries.hold, self.second_tries.let_go = self._open, self.release
        self._named[b"smb.cache"] = Fact(self._report)
        self.opens.may_idle = self._may_idle
        self.opens.idled = self._idled
        self._reaping = False
        self._dropping: set[Inode] = set()

    @system_call
    async def open(self, number: int, flags: int, kills: bool = False) -> Opened:
        """Open a file that is there. O_TRUNC may come with it, and take its privileges."""
        inode = self.inodes.get(number)
        with self.second_tries.opening(inode, flags & os.O_ACCMODE):
            return await self._open_known(inode, flags, kills)

    async def _open_known(self, inode: Inode, flags: int, kills: bool) -> Opened:
        await self.check_name(inode)
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            self.check_writable(inode)
        if kills:
            await self.kill_privileges(inode)
        if flags & os.O_TRUNC:
            handle = await self.change(lambda: self._open_truncated(inode, flags), undo=self._unwanted_handle)
        else:
            handle = await self._open(inode, flags)
        return self._opened(inode, handle)

    def _opened(self, inode: Inode, handle: int) -> Opened:
        """Under an oplock pages outlive the open file, if they were read under it; else the kernel drops them now.

        What is in a snapshot never changes; with cache=loose the kernel drops pages when it sees another size or time.
        """
        holds = self.oplocks.keeps_reads(inode)
        keep, inode.pages_hold = inode.pages_hold and holds, holds
        return Opened(handle, keep or inode.snapshot or self.cache_mode == "loose", self.cache_mode == "none")

    async def _open(self, inode: Inode, flags: int) -> int:
        read, write = _modes(flags)
        known = self.opens.of(inode) is not None
        share = await self.opens.acquire(inode, read, write or bool(flags & os.O_TRUNC), self.opener(inode))
        number, done = self._add(inode, share, flags), False
        try:
            if known and self.cache_mode == "strict" and not self.oplocks.keeps_reads(inode):
                await self._compare(inode, await share.use(self.backend.stat_open))  # others may have changed it
            done = True
        finally:
            if not done:
                self._unwanted_handle(number)
        return number

    def read_with_open(self, inode: Inode, file: OpenFile, attrs: Attributes) -> None:
        head, file.head = file.head, None
        if head is not None and (keeps_reads(file) or inode.snapshot):
            whole = len(head) >= attrs.size
            self.ahead.put(inode, file, head, SMALL if whole else len(head))

    async def _open_truncated(self, inode: Inode, flags: int) -> int:
        before = self.cache.attributes(inode)
        number = await self._open(inode, flags)
        change = self._dated(Change(size=0), before)
        done = False
        try:
            await self.write_back(inode)
            share = self.handles.file(number).share
            await share.use(lambda file: self.backend.change(self.path(inode), file, change, before))
            self._note_times(inode, change)
            done = True
        finally:
            self.cache.changed(inode)
            if not done:
                self._unwanted_handle(number)
        return number

    def _add(self, inode: Inode, share: SharedOpen, flags: int) -> int:
        read, write = _modes(flags)
        append, direct = bool(flags & os.O_APPEND), bool(flags & os.O_DIRECT)
        told = self.writes.newest(inode)
        return self.handles.add(FileHandle(inode, share, write, append, read, direct, told))

    def _unwanted_handle(self, number: int) -> None:
        """The kernel was not told of this handle, so it will not release it."""
        handle = self.handles.pop(number)
        if isinstance(handle, FileHandle):
            file = self.opens.release(handle.inode, handle.share)
            if file is not None:
                file.close_soon()
            self.inodes.close(handle.inode)

    @system_call
    async def create(
        self,
        parent_number: int,
        raw_name: bytes,
        permissions: int,
        flags: int,
        caller: Owner = ANYBODY,
        kills: bool = False,
    ) -> tuple[Opened, Entry]:
        """Create a file, or open the one that is there unless O_EXCL says no. `kills` as for `open`."""
        parent, name, path = self._target(parent_number, raw_name)
        read, write = _modes(flags)
        exclusive, truncate = bool(flags & os.O_EXCL), bool(flags & os.O_TRUNC)
        write = write or truncate
        owner = self.owners.of_new(caller, parent.attrs)
        asked = self.cache.now()

        wanted = Creation(
            permissions=permissions,
            exclusive=exclusive,
            truncate=truncate,
            owner=owner,
            oplock=self.oplock_for(None),
        )

        async def work() -> tuple[Opened, Entry]:
            file, attrs = await self.backend.create(path, read, write, wanted)
            if not attrs.new:
                self.echoes.withdraw(self._key(parent, name), Kind.COMES)
            with file.kept():
                new = Change.to(permissions, owner) if attrs.new else None
                entry = await self._made(parent, name, attrs, asked, new)
                inode = self.inodes.get(entry.number)
                if truncate:
                    self.cache.changed(inode)  # it may have been there before
                if kills and new is None:
                    await self.kill_privileges(inode)
                share = await self.opens.adopt(inode, file, read, write)
            return self._opened(inode, self._add(inode, share, flags)), entry

        return await self._change_names(parent, work, self._unwanted_file, comes=name)

    def _unwanted_file(self, created: tuple[Opened, Entry]) -> None:
        opened, entry = created
        self._unwanted_handle(opened.number)
        self._unwanted(entry)

    @system_call
    async def mknod(self, parent_number: int, raw_name: bytes, mode: int, rdev: int, caller: Owner = ANYBODY) -> Entry:
        """Make a file without opening it; device nodes, FIFOs and sockets where the server has them."""
        parent, name, path = self._target(parent_number, raw_name)
        owner, permissions = self.owners.of_new(caller, parent.attrs), stat.S_IMODE(mode)
        asked = self.cache.now()

        async def work() -> Entry:
            attrs = None
            if stat.S_ISREG(mode):
                file, attrs = await self.backend.create(
                    path, False, True, Creation(permissions=permissions, exclusive=True, owner=owner)
                )
                await file.close()
            else:
                await self.backend.make_node(path, mode, rdev, owner)
            return await self._made(parent, name, attrs, asked, Change.to(permissions, owner))

        return await self._change_names(parent, work, self._unwanted, comes=name)

    @system_call
    async def read(self, handle_number: int, offset: int, size: int) -> Buffer:
        """Up to `size` bytes; fewer at the end of the file only."""
        handle = self.handles.file(handle_number)
        share, inode = handle.share, handle.inode
        strict = self.cache_mode == "strict"
        if strict and share.renewable and not keeps_reads(share.file) and share.file.breaking is None:
            await self._regain(handle)  # not during a break: its end waits for the reads that are under way
        if self.writes.overlaps(inode, offset, offset + size):
            await self.writes.write_back(inode)
        waiting = self.writes.end(inode)
        with self.reading.of(inode):
            data = await self._read(handle, offset, size)
        if len(data) < size and offset + len(data) < waiting:
            await self.writes.write_back(inode)  # the server's end of the file is not the file's
            with self.reading.of(inode):
                data = await self._read(handle, offset, size)
        if strict and share.contested and not keeps_reads(share.file):
            self._drop_soon(inode)
        return data

    async def _read(self, handle: FileHandle, offset: int, size: int) -> Buffer:
        share, inode = handle.share, handle.inode

        async def read() -> Buffer:
            return await self.by_fid(handle, lambda file: file.read(offset, size))

        covered = inode.snapshot or (keeps_reads(share.file) and inode not in self.writes)
        if covered and not handle.direct and self.cache_mode != "none":
            return await self.ahead.read(inode, share, offset, size, read)
        self.ahead.forget(inode)
        return await read()

    def _drop_soon(self, inode: Inode) -> None:
        """Another machine writes this file, and no oplock tells of it: the kernel is not to keep what it reads now."""
        if inode not in self._dropping:
            self._dropping.add(inode)
            self._settler.soon(partial(self._drop_uncovered, inode))

    async def _drop_uncovered(self, inode: Inode) -> None:
        await trio.sleep(UNCOVERED_TIME)
        self._dropping.discard(inode)
        await self._forget(inode)

    async def _regain(self, handle: FileHandle) -> None:
        """The kernel will keep what it reads now, and the oplock that covered it is gone: ask for another.

        Not under locks of ours: with any lock on a file smbd grants no oplock.
        """
        share, inode = handle.share, handle.inode
        if inode in self.locked:
            return
        try:
            await self.opens.renew(inode, share, self.opener(inode))
        except (StatusError, OSError) as exc:
            share.renewable = False
            log.debug("%s: no other oplock: %s", handle.file.path, exc)
        else:
            inode.pages_hold = keeps_reads(handle.file)

    @system_call
    async def write(
        self, handle_number: int, offset: int, data: Buffer, kills: bool = False, pages: bool = False
    ) -> int:
        """Write all of `data`; the server has it when this returns, or nobody else can see the file before it has.

        `kills`: if the file has privileges, they go. `pages`: these were changed in a map, and have their place in the
        file by whatever handle the kernel sends them.
        """
        handle = self.handles.file(handle_number)
        if kills:
            await self.kill_privileges(handle.inode)
        self._tell_failure_by_write(handle)
        appends, place = handle.append and not pages, offset
        if appends and self._may_wait(handle):
            place = await self._own_end(handle.inode)
        if self._may_wait(handle) and place + len(data) < FAR:  # still
            await self._write_later(handle, place, data)
        else:
            await self.writes.write_back(handle.inode)  # what is older goes first
            try:
                if appends:
                    place = (await handle.share.use(self.backend.stat_open)).size
                await self.write_by_fid(handle, place, data)
            finally:
                self.wrote(handle.inode)
        # Where that was not at `offset` the kernel has the data in a wrong place, until it sees the size, which it asks
        # for before it reads. To make it forget them now might cross with that, and then it would read no further than
        # it believes.
        return len(data)

    async def _own_end(self, inode: Inode) -> int:
        """Where the file ends, as long as nobody else can write: what the kernel takes for it may be older than that.

        The kernel lets one write of an inode through at a time, so appends of this machine never mix.
        """
        known = inode.attrs if inode.unsure is None else None
        return (known or await self._refresh(inode)).size

    def _may_wait(self, handle: FileHandle) -> bool:
        return not handle.direct and handle.inode not in self.locked and keeps_writes(handle.file)

    async def _write_later(self, handle: FileHandle, offset: int, data: Buffer) -> None:
        inode = handle.inode
        now_ns = self.write_times.wrote(inode)
        if not self.cache.wrote(inode, offset, offset + len(data), now_ns):
            self.cache.changed(inode)
        await self.writes.take(inode, offset, data)

    async def _send(self, inode: Inode, offset: int, data: memoryview) -> None:
        """A write that waited."""
        share = self.opens.of(inode, write=True)
        if share is None:
            raise OSError(errno.EIO, "the file was closed before all was written")
        await share.use(lambda file: file.write(offset, data))

    def _tell_failure(self, handle: FileHandle) -> None:
        """OSError for a waiting write that failed, if no fsync or close by this handle has told of it."""
        failure = self.writes.failure(handle.inode, handle.told)
        if failure is not None:
            handle.told = failure.number
            raise failure.told() from failure.error

    def _tell_failure_by_write(self, handle: FileHandle) -> None:
        """Likewise by the next write: early, and without taking it from fsync and close. Who tries again what he writes
        then has not written what was lost."""
        failure = self.writes.failure(handle.inode, max(handle.told, handle.told_by_write))
        if failure is not None:
            handle.told_by_write = failure.number
            raise failure.told() from failure.error

    @system_call
    async def flush(self, handle_number: int, lock_owner: int = 0) -> None:
        """One close(2) of a file, by the process that the kernel calls `lock_owner` where locks are concerned.

        0 where that is not known, and no locks are passed either. When it returns the server has all that was written.
        """
        handle = self.handles.file(handle_number)
        await self.writes.write_back(handle.inode)
        if lock_owner:
            await self.release_owner(handle, lock_owner)
        self._tell_failure(handle)

    @system_call
    async def fsync(self, handle_number: int) -> None:
        """Have the server bring the data to its disk: whoever wrote them, and whenever (sync(1) of a file)."""
        handle = self.handles.file(handle_number)
        await self.writes.write_back(handle.inode)
        self._tell_failure(handle)
        writing = self.opens.of(handle.inode, write=True)
        if writing is not None:
            await writing.use(_flush)
        elif not (self.read_only or handle.inode.snapshot):
            await self._flush_by_reader(handle)

    async def _flush_by_reader(self, handle: FileHandle) -> None:
        """By a FID for reading, which smbd takes. Windows wants one for writing; who gets none has written nothing."""
        try:
            await handle.share.use(_flush)
            return
        except StatusError as exc:
            if exc.status != STATUS_ACCESS_DENIED:
                raise
        try:
            own, _ = await self.backend.open(self.path(handle.inode), read=False, write=True)
        except StatusError as exc:
            if exc.status not in (STATUS_ACCESS_DENIED, STATUS_MEDIA_WRITE_PROTECTED):
                raise
            return
        try:
            await own.flush()
        finally:
            own.close_soon()

    @system_call
    async def release(self, handle_number: int) -> None:
        """The last close of an open file."""
        handle = self.handles.pop(handle_number)
        if not isinstance(handle, FileHandle):
            return
        if handle.write:
            self.cache.changed(handle.inode)  # from here on it is not told by the FID any more how long the file is
        try:
            try:
                with self.closing.of(handle.inode):
                    await self._close(handle)
            finally:
                await self._closed(handle.inode)
        finally:
            if handle.write:
                self.cache.changed(handle.inode)  # servers set the time of writing when a file is closed
            self.inodes.close(handle.inode)

    async def _close(self, handle: FileHandle) -> None:
        with ExitStack() as dating:
            try:
                await self.writes.write_back(handle.inode)  # pages of a map are written after the close of the file
                await self.release_locks(handle)
                await handle.share.back()
                await self._set_date(handle, dating)
            finally:
                file = self.opens.release(handle.inode, handle.share)
                if not self.opens.in_use(handle.inode):
                    self.ahead.forget(handle.inode)
                if file is not None:  # whatever has failed before: nobody else will close it
                    await file.close()

    async def _closed(self, inode: Inode) -> None:
        """With the last FID of a file its hidden names go, too."""
        if inode.handles == 1:  # that of now
            unheard = self.writes.forget(inode)
            if unheard is not None:
                log.error("%s: what was written here is lost: %s", self._called(inode), unheard)
        if self.opens.of(inode) is None and self.silly.names_of(inode):
            await self.change(partial(self.silly.closed, inode))

    async def _set_date(self, handle: FileHandle, dating: ExitStack) -> None:
        """With a FID's last handle the time of our last write is set for good, if the server would tell another.

        smbd 4.17 sets that once more when the FID is closed. Until then, which is the end of `dating`, whoever sets
        another time has to wait; and a time that is being set is not to be overwritten.
        """
        share = handle.share
        while handle.inode in self.dating:
            await self.dating.ended(handle.inode)
        others = any(other.users for other in self.opens.shares(handle.inode) if other is not share)
        if share.users > 1 or (not share.write and others):
            return
        written_ns = self.write_times.closing(handle.inode)
        if written_ns is not None and share.write and not share.lost:
            dating.enter_context(self.dating.of(handle.inode))
            info = FileBasicInfo(last_write_time=ns_to_filetime(written_ns))
            await share.use(lambda file: file.tree.set_file(file, info))

    # --- what others change

    async def _report(self, _: ServerPath) -> str:
        return cache_report(self, self.watch, self.news.statistics)

    def listed(self, directory: Inode) -> None:
        self.watch.used(directory)

    def doubt_all(self) -> None:
        self.news.nothing_is_sure(self.inodes.root)
        self.watch.start()

    async def left_alone(self, directory: Inode) -> None:
        await self.watch.leave(directory)

    # --- oplocks

    async def write_back(self, inode: Inode) -> None:
        await self.writes.write_back(inode)

    async def _write_maps(self, inode: Inode) -> None:
        """Have the kernel write what programs have changed in maps: it does when it is to forget the file's pages."""
        if any(handle.write for handle in self.handles.of(inode)):
            await self.forget_data(inode)

    def unwritten_end(self, inode: Inode) -> int:
        return self.writes.end(inode)

    def _may_idle(self, inode: Inode, share: SharedOpen) -> bool:
        """Whether a FID stays open without handles.

        A file just written is closed: then its times are final. So is one that has lost a name while it was open: the
        server deletes it with the last FID, or we do after that.
        """
        wanted = self.cache_mode != "none" and not share.write and not self.silly.names_of(inode)
        return wanted and not share.lost and keeps_fid(share.file)

    def _idled(self) -> None:
        if self.opens.idle > MAX_IDLE:
            self._settler.soon(partial(self.opens.trim, MAX_IDLE, IDLE_TIME))
        if not self._reaping:
            self._reaping = True
            self._settler.soon(self._reap)

    async def _reap(self) -> None:
        """Close idle FIDs when their time has come, as long as there are any."""
        try:
            while self.opens.idle:
                await self.opens.trim(MAX_IDLE, IDLE_TIME)
                await trio.sleep(IDLE_TIME / 4)
        finally:
            self._reaping = False

    async def _forget(self, inode: Inode) -> None:
        """What was known of the file's data may be wrong from now on."""
        self.ahead.forget(inode)
        self.cache.changed(inode)
        await self.forget_data(inode)

    async def write_all(self) -> None:
        """Write what waits, at the end of the mount. No program will hear any more of what fails, so the log does."""
        for inode in self.writes.inodes:
            known = self.writes.newest(inode)
            await self.writes.write_back(inode)
            if failure := self.writes.failure(inode, known):
                log.error("%s: what was written here is lost: %s", self._called(inode), failure.error)

    def tell_losses(self) -> None:
        """Say in the log what was not written, when there is no more time for it."""
        for inode in self.writes.inodes:
            count = self.writes.waiting(inode)
            log.error("%s: %d bytes written here are lost: the server did not take them", self._called(inode), count)

    def _called(self, inode: Inode) -> str:
        try:
            return "/" + "/".join(self.inodes.components(inode))
        except OSError:
            return "a removed file"

    async def close_all(self) -> None:
        """Close what is still there, at the end of the mount."""
        await self.watch.end()
        for file in self.opens.files():
            await file.close()
        await self.silly.end()


async def _flush(file: OpenFile) -> None:
    await file.flush()
