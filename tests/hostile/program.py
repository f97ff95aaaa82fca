"""A program on a mount without the kernel in between: pyfuse3's operations over the file system over the fake server.

All times are a mock clock's, so that a kind that costs a deadline costs nothing here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from pyfuse3 import EntryAttributes, FileHandleT, FUSEError, RequestContext, StatvfsData

from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import Tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.vfs import Entry
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.fuse.interrupts import Interrupts
from smbfuse.fuse.operations import Operations, attributes
from smbfuse.settings import MountSettings
from tests.client.support import logged_on
from tests.fakes.offer import Offer
from tests.fakes.server import FakeServer

FILES = {"hello.txt": b"Hello, world.\n", "other.txt": b"other", "large": bytes(range(256)) * 400, "sub/inner": b"in"}
READ = 16 * 1024
"""Bytes that are asked for at a time: one READ_ANDX."""


@dataclass
class Program:
    """What programs do, each by its system calls. FUSEError is what they get as errno."""

    operations: Operations
    server: FakeServer
    tree: Tree
    context: Any = None

    @property
    def files(self) -> FileSystem:
        return self.operations.files

    async def _number(self, name: bytes) -> int:
        return int((await self.operations.lookup(ROOT, name, self.context)).st_ino)

    async def _release(self, handle: FileHandleT) -> None:
        """Nobody is there any more to hear of an error."""
        with contextlib.suppress(FUSEError):
            await self.operations.release(handle)

    async def stat(self, name: bytes = b"hello.txt") -> EntryAttributes:
        return await self.operations.getattr(await self._number(name), self.context)

    async def ls(self) -> list[bytes]:
        """Names, without `.` and `..`; their attributes are made into the kernel's form, as for readdirplus."""
        handle = await self.operations.opendir(ROOT, self.context)
        names: list[bytes] = []

        def emit(name: bytes, entry: Entry, _: int) -> bool:
            attributes(entry)
            names.append(name)
            return True

        try:
            await self.files.readdir(handle, 0, emit)
        finally:
            await self.operations.releasedir(handle)
        return names[2:]

    async def cat(self, name: bytes = b"hello.txt") -> bytes:
        opened = await self.operations.open(await self._number(name), os.O_RDONLY, self.context)
        content = bytearray()
        try:
            while piece := await self.operations.read(opened.fh, len(content), READ):
                content += piece
        finally:
            await self._release(opened.fh)
        return bytes(content)

    @asynccontextmanager
    async def open(self, name: bytes) -> AsyncIterator[FileHandleT]:
        """For reading; closed when the block is left."""
        opened = await self.operations.open(await self._number(name), os.O_RDONLY, self.context)
        try:
            yield opened.fh
        finally:
            await self._release(opened.fh)

    async def read(self, handle: FileHandleT) -> bytes:
        return bytes(await self.operations.read(handle, 0, READ))

    async def write(self, data: bytes = b"new content", name: bytes = b"hello.txt") -> int:
        """As `dd conv=notrunc,fsync`."""
        opened = await self.operations.open(await self._number(name), os.O_WRONLY, self.context)
        try:
            written = await self.operations.write(opened.fh, 0, data)
            await self.operations.fsync(opened.fh, False)
            await self.operations.flush(opened.fh)
        finally:
            await self._release(opened.fh)
        return written

    async def touch_new(self, name: bytes = b"new") -> int:
        """Create a file; returns its size as the answer tells it."""
        info, entry = await self.operations.create(ROOT, name, 0o644, os.O_WRONLY | os.O_CREAT, self.context)
        await self._release(info.fh)
        return int(entry.st_size)

    async def mkdir(self) -> None:
        await self.operations.mkdir(ROOT, b"directory", 0o755, self.context)

    async def rm(self) -> None:
        await self.operations.unlink(ROOT, b"hello.txt", self.context)

    async def mv(self) -> None:
        await self.operations.rename(ROOT, b"hello.txt", ROOT, b"moved", 0, self.context)

    async def df(self) -> StatvfsData:
        return await self.operations.statfs(self.context)


@asynccontextmanager
async def program(offer: Offer, *, cache: str = "none") -> AsyncIterator[Program]:
    """A mount of a server with FILES that makes this offer. Nothing of file data is kept, unless `cache` says so."""
    server = FakeServer(offer=offer, files=FILES)
    async with trio.open_nursery() as nursery:
        session = await logged_on(server, nursery)
        tree = await connect_tree(session, "share")
        files = FileSystem(
            NtBackend(tree),
            MountSettings(source="//fake/share", mountpoint="/mnt", actimeo=0, cache=cache),
            Settler(nursery),
            trio.current_time,
            unique_file_names=False,
        )
        yield Program(Operations(files, Interrupts()), server, tree, RequestContext)
        nursery.cancel_scope.cancel()
