"""The file system over the scriptable server, and what several tests ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing

from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import Tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.vfs import Entry
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.settings import MountSettings
from smbfuse.wire.const import (
    SMB_UNIQUE_FILE_NAME,
)
from tests.client.support import logged_on
from tests.fakes.offer import Offer
from tests.fakes.server import FakeServer

FILES = {"a.txt": b"aaa", "b.txt": b"bb", "dir/inner.txt": b"inner"}


@dataclass
class Mounted:
    """A file system, the server behind it, and what the kernel would do with the two."""

    files: FileSystem
    server: FakeServer
    tree: Tree

    @property
    def requests(self) -> int:
        return self.server.tap.total

    async def cost(self, *calls: tuple[object, ...]) -> int:
        """Requests that these calls (method name, arguments...) cost."""
        before = self.requests
        for name, *arguments in calls:
            await getattr(self.files, str(name))(*arguments)
        return self.requests - before

    async def list(self, number: int = ROOT) -> list[bytes]:
        handle = await self.files.opendir(number)
        names: list[bytes] = []

        def emit(name: bytes, entry: Entry, offset: int) -> bool:
            names.append(name)
            return True

        await self.files.readdir(handle, 0, emit)
        await self.files.releasedir(handle)
        return names


@asynccontextmanager
async def mounted(
    *, unique: bool = False, actimeo: float = 1.0, read_only: bool = False, oplocks: bool = False
) -> AsyncIterator[Mounted]:
    offer = Offer(optional_support=SMB_UNIQUE_FILE_NAME if unique else 0, oplocks=oplocks)
    server = FakeServer(offer=offer, files=FILES)
    async with trio.open_nursery() as nursery:
        session = await logged_on(server, nursery)
        tree = await connect_tree(session, "share")
        files = FileSystem(
            NtBackend(tree),
            MountSettings(source="//fake/share", mountpoint="/mnt", actimeo=actimeo, read_only=read_only),
            Settler(nursery),
            trio.current_time,
            unique_file_names=tree.unique_file_names,
        )
        yield Mounted(files, server, tree)
        nursery.cancel_scope.cancel()


def fid_of(m: Mounted) -> int:
    (fid,) = m.tree.opens
    return fid


class Clock:
    """Seconds that go forward when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds
