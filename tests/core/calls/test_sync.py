"""fsync over servers that want a FID for writing, as Windows does; smbd takes any."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from smbfuse import ntstatus as nt
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import Tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.settings import MountSettings
from smbfuse.wire.const import FILE_WRITE_DATA, SMB_COM_FLUSH, SMB_COM_NT_CREATE_ANDX
from smbfuse.wire.files import FlushRequest, NtCreateAndXRequest
from tests.client.support import assert_idle, logged_on
from tests.fakes.exchange import Exchange
from tests.fakes.script import refused
from tests.fakes.server import FakeServer


@dataclass
class Mounted:
    files: FileSystem
    server: FakeServer
    tree: Tree

    async def open(self, flags: int) -> int:
        return (await self.files.open((await self.files.lookup(ROOT, b"f")).number, flags)).number

    async def flushed(self, handle: int) -> int:
        """How many FIDs for writing are flushed by an fsync of this handle."""
        before = len(self.flushes)
        await self.files.fsync(handle)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert_idle(self.tree)
        return sum(self.flushes[before:])

    def __post_init__(self) -> None:
        self.flushes: list[bool] = []
        """Whether each was by a FID for writing."""
        self.server.script.on(refused(nt.STATUS_ACCESS_DENIED), command=SMB_COM_FLUSH, where=self._by_reader)

    def _by_reader(self, exchange: Exchange) -> bool:
        body = exchange.message.body
        assert isinstance(body, FlushRequest)
        may = bool(exchange.connection.opens[body.fid].access & FILE_WRITE_DATA)
        self.flushes.append(may)
        return not may


@asynccontextmanager
async def mounted(*, read_only: bool = False) -> AsyncIterator[Mounted]:
    server = FakeServer(files={"f": b"x"})
    settings = MountSettings(source="//fake/share", mountpoint="/mnt", read_only=read_only)
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await logged_on(server, nursery), "share")
        files = FileSystem(NtBackend(tree), settings, Settler(nursery), trio.current_time, unique_file_names=False)
        yield Mounted(files, server, tree)
        nursery.cancel_scope.cancel()


async def test_by_a_handle_for_writing() -> None:
    async with mounted() as m:
        assert await m.flushed(await m.open(os.O_WRONLY)) == 1
        assert m.flushes == [True]


async def test_by_a_handle_for_reading_while_another_writes() -> None:
    async with mounted() as m:
        reading = await m.open(os.O_RDONLY)
        await m.open(os.O_RDWR)
        assert await m.flushed(reading) == 1
        assert m.flushes == [True]


async def test_what_was_written_before_by_a_handle_for_reading() -> None:
    """A FID for writing is made for it, and closed again."""
    async with mounted() as m:
        reading = await m.open(os.O_RDONLY)
        assert await m.flushed(reading) == 1
        assert m.flushes == [False, True]
        assert len(m.server.last.opens) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(nt.STATUS_ACCESS_DENIED, ""), (nt.STATUS_MEDIA_WRITE_PROTECTED, ""), (nt.STATUS_SHARING_VIOLATION, "EBUSY")],
)
async def test_who_may_not_write_has_nothing_to_flush(status: int, error: str) -> None:
    async with mounted() as m:
        reading = await m.open(os.O_RDONLY)
        m.server.script.on(refused(status), command=SMB_COM_NT_CREATE_ANDX, where=_to_write)
        found = ""
        try:
            await m.flushed(reading)
        except OSError as exc:
            found = errno.errorcode[exc.errno or 0]
        assert found == error


def _to_write(exchange: Exchange) -> bool:
    body = exchange.message.body
    assert isinstance(body, NtCreateAndXRequest)
    return bool(body.desired_access & FILE_WRITE_DATA)


async def test_nothing_is_flushed_where_nothing_may_be_written() -> None:
    async with mounted(read_only=True) as m:
        assert await m.flushed(await m.open(os.O_RDONLY)) == 0
        assert m.flushes == []
