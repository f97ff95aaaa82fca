"""Small files come with their opens: what a program reads then is what the server had, and never older than that."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.server.backend import Change
from smbfuse.wire.const import BREAK_TO_NONE, SMB_COM_NT_CREATE_ANDX
from tests.client.support import assert_idle
from tests.core.support import Mounted, fid_of, mounted
from tests.fakes.script import held


class Small(NamedTuple):
    """A mount, and a file of three bytes whose name is known."""

    m: Mounted
    number: int

    async def open(self, flags: int = os.O_RDONLY) -> int:
        return (await self.m.files.open(self.number, flags)).number

    async def read(self, handle: int) -> bytes:
        return bytes(await self.m.files.read(handle, 0, 4096))

    async def read_all(self) -> bytes:
        """By an open of its own, in the kernel's pieces."""
        handle = await self.open()
        found = b""
        while piece := bytes(await self.m.files.read(handle, len(found), 32768)):
            found += piece
        await self.m.files.release(handle)
        return found

    def replace(self, data: bytes) -> None:
        """Another machine writes it."""
        node = self.m.server.volume.find("a.txt")
        node.truncate(0)
        node.write(0, data)


@asynccontextmanager
async def small(*, oplocks: bool = True) -> AsyncIterator[Small]:
    async with mounted(oplocks=oplocks) as m:
        yield Small(m, (await m.files.lookup(ROOT, b"a.txt")).number)
        await wait_all_tasks_blocked()
        assert m.files.ahead.held == 0
        assert_idle(m.tree)


async def test_open_read_close_is_one_request() -> None:
    async with small() as file:
        before = file.m.requests
        handle = await file.open()
        assert await file.read(handle) == b"aaa"
        await file.m.files.release(handle)
        assert file.m.requests == before + 1
        assert file.m.files.ahead.held == 0


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC])
async def test_who_writes_gets_nothing_with_it(flags: int) -> None:
    async with small() as file:
        handle = await file.open(flags)
        assert file.m.files.ahead.held == 0
        await file.m.files.release(handle)


async def test_it_is_of_no_use_without_an_oplock() -> None:
    async with small(oplocks=False) as file:
        handle = await file.open()
        file.replace(b"other")
        assert await file.read(handle) == b"other"
        await file.m.files.release(handle)


async def test_a_break_takes_it() -> None:
    async with small() as file:
        handle = await file.open()
        await file.m.server.last.break_oplock(fid_of(file.m), BREAK_TO_NONE)
        await wait_all_tasks_blocked()
        file.replace(b"other")
        assert await file.read(handle) == b"other"
        await file.m.files.release(handle)


async def test_a_change_of_ours_takes_it() -> None:
    async with small() as file:
        handle = await file.open()
        await file.m.files.setattr(file.number, Change(size=1))
        assert await file.read(handle) == b"a"
        await file.m.files.release(handle)


async def test_a_change_of_ours_during_the_open_takes_it() -> None:
    """The answer to the open may be older than the answer to the change."""
    async with small() as file:
        answer = trio.Event()
        file.m.server.script.once(held(answer, done_first=True), command=SMB_COM_NT_CREATE_ANDX)
        handles: list[int] = []

        async def opening() -> None:
            handles.append(await file.open())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(opening)
            await wait_all_tasks_blocked()
            await file.m.files.setattr(file.number, Change(size=1))
            answer.set()
        assert await file.read(handles[0]) == b"a"
        await file.m.files.release(handles[0])


@pytest.mark.parametrize("size", [15 * 4096 - 1, 15 * 4096, 15 * 4096 + 1])
async def test_sizes_about_the_largest(mock_clock: MockClock, size: int) -> None:
    async with small() as file:
        data = bytes(index % 251 for index in range(size))
        file.replace(data)
        mock_clock.jump(1.1)
        await file.m.files.getattr(file.number)
        assert await file.read_all() == data


async def test_a_file_that_has_grown_since_it_was_listed() -> None:
    async with small() as file:
        data = bytes(index % 251 for index in range(100_000))
        file.replace(data)
        assert await file.read_all() == data
