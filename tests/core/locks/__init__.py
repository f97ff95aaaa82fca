"""Byte-range locks of two machines on a real server: two file systems in one process, without FUSE."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
import trio.testing

from smbfuse.client.session import open_session
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import Tree
from smbfuse.core.cache.inodes import ROOT, Inode
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.locks import FileLock
from smbfuse.core.locks.locktable import END
from smbfuse.core.server.unix import choose_backend
from smbfuse.core.settle import Settler
from smbfuse.settings import Credentials, MountSettings, Secret, ServerSettings
from tests.samba.smbd import Smbd

READ, WRITE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
SOON = 10.0


async def had(lock: Callable[[], Awaitable[None]]) -> bool:
    """Whether the lock was had; False where another is in the way."""
    try:
        await lock()
    except OSError as exc:
        if exc.errno != errno.EAGAIN:
            raise
        return False
    return True


async def eventually(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Look again until it holds."""
    with trio.fail_after(SOON):
        for delay in itertools.repeat(0.01):
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await trio.sleep(delay)


@dataclass
class Machine:
    """One mount's core."""

    files: FileSystem
    tree: Tree

    async def open(self, name: str, flags: int = os.O_RDWR) -> Handle:
        entry = await self.files.lookup(ROOT, name.encode())
        return Handle(self, entry.number, (await self.files.open(entry.number, flags)).number)

    @property
    def sent(self) -> dict[str, int]:
        return self.tree.session.connection.statistics.by_command

    @property
    def requests(self) -> int:
        return self.tree.session.connection.statistics.requests


@dataclass
class Handle:
    """An open file, by which processes (owners, named by numbers) lock."""

    machine: Machine
    inode: int
    fh: int

    async def lock(
        self, kind: int, start: int = 0, end: int = END, *, owner: int = 1, sleep: bool = False, pid: int = 0
    ) -> None:
        asked = FileLock(kind, start, end - 1)
        await self.machine.files.setlk(self.inode, self.fh, owner, asked, sleep, pid or owner)

    async def locks(self, kind: int, start: int = 0, end: int = END, *, owner: int = 1) -> bool:
        """Whether that could be locked; if so it is."""
        return await had(partial(self.lock, kind, start, end, owner=owner))

    async def test(self, kind: int, start: int, end: int, *, owner: int = 1) -> FileLock:
        return await self.machine.files.getlk(self.inode, self.fh, owner, FileLock(kind, start, end - 1))

    async def flock(self, operation: int, owner: int = 100) -> bool:
        return await had(partial(self.machine.files.flock, self.inode, self.fh, owner, operation))

    async def closed_by(self, owner: int) -> None:
        await self.machine.files.flush(self.fh, owner)

    async def release(self) -> None:
        await self.machine.files.release(self.fh)

    @property
    def fid(self) -> int:
        return self.machine.files.handles.file(self.fh).file.fid


@dataclass
class Place:
    """Two machines that have the directory `path` of the server's disk mounted."""

    path: Path
    unix: bool
    one: Machine
    other: Machine

    def put(self, name: str, content: bytes = b"0" * 100) -> Path:
        (self.path / name).write_bytes(content)
        return self.path / name

    def open_there(self, name: str) -> BinaryIO:
        return open(self.path / name, "r+b")


async def machine(server: Smbd, directory: str, unix: bool, nursery: trio.Nursery) -> Machine:
    user = Credentials(username="tester", password=Secret("correct horse 1"))
    settings = ServerSettings(host="127.0.0.1", share="share", port=server.port, credentials=user, unix_extensions=unix)
    tree = await connect_tree(await open_session(settings, nursery), "share")
    mount = MountSettings(source="//127.0.0.1/share", mountpoint="/nowhere", prefix=directory)
    files = FileSystem(await choose_backend(tree), mount, Settler(nursery), trio.current_time, unique_file_names=False)
    return Machine(files, tree)


@contextmanager
def raises(number: int) -> Iterator[None]:
    with pytest.raises(OSError, match=r".") as caught:
        yield
    assert caught.value.errno == number, errno.errorcode[caught.value.errno or 0]


async def blocked(handle: Handle) -> None:
    """Return when a lock waits at the server."""
    await eventually(lambda: any(locks.waiting is not None for locks in handle.machine.files._locks.values()))


def inode_of(handle: Handle) -> Inode:
    return handle.machine.files.inodes.get(handle.inode)
