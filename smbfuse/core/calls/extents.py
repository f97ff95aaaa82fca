"""Ranges of bytes of an open file: lseek(2) for data and holes, copy_file_range(2), fallocate(2).

What the kernel has cached of the target's bytes it drops itself where a call went well; where one failed half way that
is for us to ask. Changes of size are made with the size that the server has just told: between that answer and ours
another machine may append, which SMB1 has no means against (nor has ftruncate).
"""

from __future__ import annotations

import contextlib
import errno
import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from smbfuse.core.calls.locks import LockCalls
from smbfuse.core.calls.vfs import system_call
from smbfuse.core.files.copying import Copy, block_size
from smbfuse.core.files.holes import Holes
from smbfuse.errors import SmbfuseError
from smbfuse.wire.const import FILE_ATTRIBUTE_SPARSE_FILE
from smbfuse.wire.filelevels import FileAllocationInfo, FileEndOfFileInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.handles import FileHandle
    from smbfuse.core.server.attrs import Attributes
    from smbfuse.wire.codec import Buffer

    Step = Callable[[FileHandle, Attributes, int, int], Awaitable[None]]
    """What one mode of fallocate does with the bytes from the first number to the second."""

KEEP_SIZE: Final = 0x01
PUNCH_HOLE: Final = 0x02
ZERO_RANGE: Final = 0x10
"""FALLOC_FL_..., the modes of fallocate(2) that the kernel passes."""


class ExtentCalls(LockCalls):
    """The system calls about ranges of bytes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Vfs's own
        super().__init__(*args, **kwargs)
        self._holes = Holes()
        self._sets_aside = True
        """Whether the server is believed to keep space behind the end of a file, if told to."""
        self._block = block_size(self.backend.tree.sizes)
        self._zeroes = memoryview(bytes(self._block))
        self._steps: dict[int, Step] = {
            0: self._extend,
            KEEP_SIZE: self._set_aside,
            KEEP_SIZE | PUNCH_HOLE: self._punch,
            ZERO_RANGE: self._zero_and_extend,
            KEEP_SIZE | ZERO_RANGE: self._zero,
        }

    # --- lseek

    @system_call
    async def lseek(self, handle_number: int, offset: int, whence: int) -> int:
        """The next data (SEEK_DATA) or hole (SEEK_HOLE) at or behind `offset`; the end of the file is a hole.

        OSError(ENXIO) at the end and behind it, and where only a hole follows. A file whose bytes all have storage has
        no holes, and the server is not asked for them.
        """
        handle = self.handles.file(handle_number)
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "only data and holes are looked for here")
        await self.write_back(handle.inode)
        if any(other.write for other in self.handles.of(handle.inode)):
            # What was written through a map is not at the server before the kernel lets go of the page.
            await self.forget_data(handle.inode)
        attrs = await self._refresh(handle.inode)
        if not 0 <= offset < attrs.size:
            raise OSError(errno.ENXIO, "behind the end of the file")
        first, last = offset, attrs.size
        if attrs.allocated < attrs.size:
            first, last = await handle.share.use(lambda file: self._holes.next_data(file, offset, attrs.size))
        if whence == os.SEEK_HOLE:
            return offset if first > offset else last
        if first >= attrs.size:
            raise OSError(errno.ENXIO, "no data before the end of the file")
        return first

    # --- copy_file_range

    @system_call
    async def copy_file_range(
        self, source_number: int, source_offset: int, target_number: int, target_offset: int, length: int
    ) -> int:
        """Copy up to `length` bytes and return how many: 0 at the end of the source, fewer when it has taken a while.

        The data come here and go back, but not to the program nor through the kernel's caches; smbd 4.17 copies
        nothing by itself over SMB1 (FSCTL_SRV_COPYCHUNK: STATUS_NOT_SUPPORTED). Holes become zeroes: programs that want
        to keep them ask for them (lseek). An error after some bytes is the next call's.
        """
        source, target = self.handles.file(source_number), self.handles.file(target_number)
        if not source.read or not target.write or target.append:
            raise OSError(errno.EBADF, "not open for that")
        if source.inode is target.inode and abs(source_offset - target_offset) < length:
            raise OSError(errno.EINVAL, "the ranges overlap")
        self.check_writable(target.inode)

        async def read(start: int, size: int) -> Buffer:
            return await self.by_fid(source, lambda file: file.read(source_offset + start, size))

        async def write(start: int, data: Buffer) -> None:
            await self.write_by_fid(target, target_offset + start, data)

        await self.kill_privileges(target.inode)
        for inode in (source.inode, target.inode):
            await self.write_back(inode)
        copy = Copy(read, write, length, self._block)
        try:
            async with self._changing(target.inode):
                await copy.run()
        except (OSError, SmbfuseError):
            if not copy.done:
                raise
        return copy.done

    # --- fallocate

    @system_call
    async def fallocate(self, handle_number: int, mode: int, offset: int, length: int) -> None:
        """Keep space for bytes, make holes of them or zeroes; `mode` are the flags of fallocate(2).

        OSError(EOPNOTSUPP), with nothing changed, where the server cannot: posix_fallocate(3) then writes by itself.
        ENOSPC where the server has less space than is asked for; it is not filled up to find out. A file whose growth
        fails gets its size back; left by its caller it may have grown.
        """
        handle = self.handles.file(handle_number)
        if not handle.write:
            raise OSError(errno.EBADF, "not open for writing")
        self.check_writable(handle.inode)
        step = self._steps.get(mode)
        if step is None:
            raise OSError(errno.EOPNOTSUPP, "no such mode")
        await self.kill_privileges(handle.inode)
        await self.write_back(handle.inode)
        attrs = await self._refresh(handle.inode)
        await step(handle, attrs, offset, offset + length)

    async def _extend(self, handle: FileHandle, attrs: Attributes, start: int, end: int) -> None:
        """Mode 0: the file reaches to `end` at least, and has storage for all from `start` on.

        Windows takes storage for what a file grows by, smbd with `strict allocate`; on others zeroes are written.
        """
        _check_for_holes(attrs, start)
        if end <= attrs.size:
            return
        start = max(start, attrs.size)
        await self._check_space(end - max(start, attrs.allocated))
        async with self._changing(handle.inode):
            try:
                await self._set_size(handle, end)
                now = await handle.share.use(self.backend.stat_open)
                if now.allocated < end and now.allocated - attrs.allocated < end - attrs.size:
                    await self._write_zeroes(handle, start, end)
            except (OSError, SmbfuseError):
                await self.change(partial(self._shrink_back, handle, attrs.size, end))
                raise

    async def _set_aside(self, handle: FileHandle, attrs: Attributes, start: int, end: int) -> None:
        """Mode KEEP_SIZE: storage for all from `start` to `end`, though the file ends before.

        Never for less than the file has: servers take that for a truncation. What they say is looked at, since smbd
        without `strict allocate` agrees and does nothing.
        """
        _check_for_holes(attrs, start)
        kept = max(attrs.size, attrs.allocated)
        if end <= kept:
            return
        if self._sets_aside:
            await self._check_space(end - kept)
            async with self._changing(handle.inode):
                info = FileAllocationInfo(allocation_size=end)
                await self.change(lambda: handle.share.use(lambda file: file.tree.set_file(file, info)))
            self._sets_aside = (await handle.share.use(self.backend.stat_open)).allocated >= end
        if not self._sets_aside:
            raise OSError(errno.EOPNOTSUPP, "the server keeps no space behind the end of a file")

    async def _punch(self, handle: FileHandle, attrs: Attributes, start: int, end: int) -> None:
        """Mode PUNCH_HOLE: the bytes read as zeroes and need no storage."""
        await handle.share.use(self._holes.check)
        end = min(end, attrs.size)
        if start >= end:
            return
        sparse = bool(attrs.dos is not None and attrs.dos & FILE_ATTRIBUTE_SPARSE_FILE)
        async with self._changing(handle.inode):
            punch = partial(self._holes.punch, start=start, end=end, sparse=sparse)
            await self.change(lambda: handle.share.use(punch))

    async def _zero_and_extend(self, handle: FileHandle, attrs: Attributes, start: int, end: int) -> None:
        """Mode ZERO_RANGE: the bytes read as zeroes and have storage. What may be refused comes first.

        Zeroes are written, not FSCTL_SET_ZERO_DATA: that takes the storage of a sparse file away.
        """
        await self._extend(handle, attrs, max(start, attrs.size), end)
        await self._zero_inside(handle, attrs, start, end)

    async def _zero(self, handle: FileHandle, attrs: Attributes, start: int, end: int) -> None:
        """Mode ZERO_RANGE with KEEP_SIZE."""
        await self._set_aside(handle, attrs, max(start, attrs.size), end)
        await self._zero_inside(handle, attrs, start, end)

    async def _zero_inside(self, handle: FileHandle, attrs: Attributes, start: int, end: int) -> None:
        async with self._changing(handle.inode):
            await self._write_zeroes(handle, start, min(end, attrs.size))

    # --- steps of these

    @asynccontextmanager
    async def _changing(self, inode: Inode) -> AsyncIterator[None]:
        """The block changes data or size of a file. If it fails, the kernel has to forget what it knows of them.

        It may fail by the caller's end: then that is done in the background.
        """
        whole = False
        try:
            yield
            whole = True
        finally:
            self.wrote(inode)
            if not whole:
                await self.change(partial(self.forget_data, inode))

    def wrote(self, inode: Inode) -> None:
        """Account for data or a size just changed, or perhaps changed."""
        self.cache.changed(inode)
        self.write_times.changed(inode)

    async def _check_space(self, needed: int) -> None:
        space = await self.backend.space()
        if space.total and space.available * space.unit < needed:
            raise OSError(errno.ENOSPC, "the server has less space")

    async def _write_zeroes(self, handle: FileHandle, start: int, end: int) -> None:
        for at in range(start, end, self._block):
            await self.write_by_fid(handle, at, self._zeroes[: end - at])

    async def _set_size(self, handle: FileHandle, size: int) -> None:
        info = FileEndOfFileInfo(end_of_file=size)
        await self.change(lambda: handle.share.use(lambda file: file.tree.set_file(file, info)))

    async def _shrink_back(self, handle: FileHandle, size: int, end: int) -> None:
        """A growth failed: smbd 4.17 with `strict allocate` leaves as much of it as there was space for.

        Not where the file is longer than we wanted it: then somebody has written there.
        """
        with contextlib.suppress(SmbfuseError):
            if size < (await handle.share.use(self.backend.stat_open)).size <= end:
                await self._set_size(handle, size)


def _check_for_holes(attrs: Attributes, start: int) -> None:
    """OSError(EOPNOTSUPP) if bytes from `start` on may lack storage within the file.

    To give it to them is to write zeroes where others may write data at the same time. posix_fallocate(3) does that at
    its caller's risk.
    """
    if start < attrs.size and attrs.allocated < attrs.size:
        raise OSError(errno.EOPNOTSUPP, "the file may have holes")
