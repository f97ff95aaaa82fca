"""The number of a new file, of a server that does not tell it with the open: asked for in the same wait."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.client.shares import connect_tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.ntstatus import STATUS_ACCESS_DENIED, STATUS_NO_SUCH_FILE
from smbfuse.settings import MountSettings
from smbfuse.wire.const import SMB_COM_NT_CREATE_ANDX, SMB_COM_TRANSACTION2, TRANS2_FIND_FIRST2
from tests.client.support import assert_idle, logged_on
from tests.core.support import Mounted
from tests.fakes.exchange import Exchange
from tests.fakes.offer import Offer
from tests.fakes.script import disconnected, refused
from tests.fakes.server import FakeServer
from tests.fakes.volume import Node

ROUND_TRIP = 0.02


async def in_turn(exchange: Exchange) -> None:
    """As smbd does it: one request after the other, whenever the answers arrive."""
    exchange.perform()
    await trio.sleep(ROUND_TRIP)
    await exchange.answer()


async def replaced_before(exchange: Exchange) -> None:
    """Another client has put a file of its own under the name."""
    volume = exchange.connection.server.volume
    volume.remove(volume.find("new1"))
    volume.find("").add(Node("new1", created=1))
    await exchange.answer()


@asynccontextmanager
async def far_away(*, numbers_in_opens: bool = False) -> AsyncIterator[Mounted]:
    server = FakeServer(offer=Offer(numbers_in_opens=numbers_in_opens, oplocks=True), files={"old": b""})
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await logged_on(server, nursery), "share")
        mount = MountSettings(source="//fake/share", mountpoint="/mnt")
        files = FileSystem(NtBackend(tree), mount, Settler(nursery), trio.current_time, unique_file_names=False)
        yield Mounted(files, server, tree)
        await wait_all_tasks_blocked()
        assert_idle(tree)
        nursery.cancel_scope.cancel()


async def create(m: Mounted, name: bytes, flags: int = os.O_EXCL) -> int:
    """The number that the kernel is told of a new file."""
    opened, entry = await m.files.create(ROOT, name, 0o644, os.O_CREAT | os.O_WRONLY | flags)
    await m.files.release(opened.number)
    return entry.number


async def test_the_second_file_is_made_in_one_wait(autojump_clock: MockClock) -> None:
    async with far_away() as m:
        await create(m, b"first")
        m.server.script.on(in_turn)
        before, begun = m.requests, trio.current_time()
        opened, entry = await m.files.create(ROOT, b"new1", 0o644, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        assert trio.current_time() - begun == pytest.approx(ROUND_TRIP)
        assert m.requests - before == 2
        assert entry.number == m.server.volume.find("new1").number
        await m.files.release(opened.number)


@pytest.mark.parametrize("told", [True, False])
async def test_nothing_is_asked_that_is_told(told: bool, autojump_clock: MockClock) -> None:
    async with far_away(numbers_in_opens=told) as m:
        for name in (b"first", b"new1"):
            assert await create(m, name) == m.server.volume.find(name.decode()).number
        asked = [name for name in m.server.tap.requests if name.startswith("TRANSACTION2")]
        assert len(asked) == (0 if told else 2), "by its FID the first time, then by a look"


async def test_a_look_that_found_another_file_does_not_count(autojump_clock: MockClock) -> None:
    async with far_away() as m:
        await create(m, b"first")
        made: list[Node] = []

        async def remember(exchange: Exchange) -> None:
            exchange.perform()
            made.append(m.server.volume.find("new1"))
            await exchange.answer()

        m.server.script.once(remember, command=SMB_COM_NT_CREATE_ANDX)
        m.server.script.once(replaced_before, command=SMB_COM_TRANSACTION2, subcommand=TRANS2_FIND_FIRST2)
        assert await create(m, b"new1") == made[0].number


@pytest.mark.parametrize("status", [STATUS_NO_SUCH_FILE, STATUS_ACCESS_DENIED])
async def test_a_look_that_fails_does_no_harm(status: int, autojump_clock: MockClock) -> None:
    async with far_away() as m:
        await create(m, b"first")
        m.server.script.on(refused(status), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_FIND_FIRST2)
        assert await create(m, b"new1") == m.server.volume.find("new1").number
        assert await create(m, b"old", flags=0) == m.server.volume.find("old").number


async def test_an_open_that_fails_waits_for_no_look(autojump_clock: MockClock) -> None:
    async with far_away() as m:
        await create(m, b"first")
        with pytest.raises(FileExistsError):
            await create(m, b"old")
        m.server.script.once(disconnected, command=SMB_COM_NT_CREATE_ANDX)
        with pytest.raises(OSError, match="down"):
            await create(m, b"new1")


async def test_a_fid_that_is_renewed_is_the_same_files(autojump_clock: MockClock) -> None:
    """By the name, which another file may have taken; and the open does not tell."""
    async with far_away() as m:
        await create(m, b"other")
        number = (await m.files.lookup(ROOT, b"old")).number
        handle = (await m.files.open(number, os.O_RDONLY)).number
        held = m.server.volume.find("old")
        held.data[:] = b"old"
        m.server.volume.remove(held)
        m.server.volume.find("").add(Node("old", data=bytearray(b"new")))
        (fid,) = (fid for fid, file in m.tree.opens.items() if file.path.endswith("old"))
        await m.server.last.break_oplock(fid)
        await wait_all_tasks_blocked()
        assert bytes(await m.files.read(handle, 0, 10)) == b"old"
        await m.files.release(handle)
