"""Oplocks over the scriptable server: what they let us keep, and breaks at any moment."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import IDLE_TIME, MAX_IDLE
from smbfuse.core.calls.kernel import Kernel
from smbfuse.core.files import oplocks, writeback
from smbfuse.core.server.backend import Change
from smbfuse.ntstatus import STATUS_DISK_FULL
from smbfuse.wire.const import (
    BREAK_TO_LEVEL_II,
    BREAK_TO_NONE,
    OPLOCK_BATCH,
    OPLOCK_EXCLUSIVE,
    OPLOCK_LEVEL_II,
    OPLOCK_NONE,
    SMB_COM_CLOSE,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_TRANSACTION2,
    SMB_COM_WRITE_ANDX,
)
from tests.client.support import assert_idle
from tests.core.support import Mounted, fid_of, mounted
from tests.fakes.exchange import Exchange
from tests.fakes.script import breaking, held, refused

STORM = int(os.environ.get("SMBFUSE_STORM_SECONDS", "1"))
"""Seconds of the test's clock."""


@dataclass
class Forgets(Kernel):
    """Notes what the kernel is told to forget."""

    data: list[int] = field(default_factory=list)

    async def forget_data(self, number: int) -> None:
        self.data.append(number)


async def number_of(m: Mounted, name: bytes = b"a.txt") -> int:
    return (await m.files.lookup(ROOT, name)).number


# --- the table


def test_whatever_can_be_broken_has_a_reaction() -> None:
    strong = {(held, left) for held in (OPLOCK_EXCLUSIVE, OPLOCK_BATCH) for left in (OPLOCK_LEVEL_II, OPLOCK_NONE)}
    assert set(oplocks.REACTIONS) == strong | {(OPLOCK_LEVEL_II, OPLOCK_NONE)}
    for (oplock, left), reaction in oplocks.REACTIONS.items():
        assert reaction.write == (oplock != OPLOCK_LEVEL_II), "only level II never has data that wait"
        assert reaction.forget == (left == OPLOCK_NONE)


# --- what is kept


async def test_opening_again_costs_nothing_while_the_oplock_holds() -> None:
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        first = await m.files.open(number, os.O_RDONLY)
        assert not first.keep_pages, "nobody knows how old they are"
        await m.files.release(first.number)
        assert await m.cost(("open", number, os.O_RDONLY)) == 0
        second = await m.files.open(number, os.O_RDONLY)
        assert second.keep_pages


async def test_pages_are_dropped_once_nobody_watched_the_file() -> None:
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        for flags in (os.O_RDWR, os.O_RDONLY):  # a file that was written is closed, and its oplock with it
            opened = await m.files.open(number, flags)
            assert not opened.keep_pages
            await m.files.release(opened.number)


async def test_loose_caching_keeps_pages_without_an_oplock() -> None:
    async with mounted() as m:
        m.files.cache_mode = "loose"
        number = await number_of(m)
        for _ in range(2):
            opened = await m.files.open(number, os.O_RDWR)
            assert opened.keep_pages
            await m.files.release(opened.number)


async def test_idle_files_are_closed_after_a_while_and_when_there_are_many(mock_clock: MockClock) -> None:
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        await m.files.release((await m.files.open(number, os.O_RDONLY)).number)
        await wait_all_tasks_blocked()
        assert len(m.tree.opens) == 1
        mock_clock.jump(IDLE_TIME + 5)
        await wait_all_tasks_blocked()
        assert m.tree.opens == {}
        for index in range(MAX_IDLE + 20):
            m.server.volume.create(f"many{index}", type(m.server.volume.find("a.txt")))
        for index in range(MAX_IDLE + 20):
            opened = await m.files.open(await number_of(m, b"many%d" % index), os.O_RDONLY)
            await m.files.release(opened.number)
            await wait_all_tasks_blocked()
            assert len(m.tree.opens) <= MAX_IDLE
        assert len(m.tree.opens) == MAX_IDLE
        assert_idle(m.tree)


async def test_an_idle_file_goes_before_it_is_deleted_or_renamed() -> None:
    async with mounted(oplocks=True) as m:
        for name, call in ((b"a.txt", ("unlink",)), (b"b.txt", ("rename", ROOT, b"c.txt", 0))):
            await m.files.release((await m.files.open(await number_of(m, name), os.O_RDONLY)).number)
            assert len(m.tree.opens) == 1
            await getattr(m.files, call[0])(ROOT, name, *call[1:])
            assert m.tree.opens == {}


async def test_a_file_without_a_name_is_closed_with_its_last_handle() -> None:
    """Else it would be left on the server for a while, or for good."""
    async with mounted(oplocks=True) as m:
        handle = (await m.files.open(await number_of(m), os.O_RDONLY)).number
        await m.files.unlink(ROOT, b"a.txt")
        assert bytes(await m.files.read(handle, 0, 3)) == b"aaa"
        await m.files.release(handle)
        assert m.tree.opens == {}
        assert sorted(node.name for node in (m.server.volume.find("").children or {}).values()) == ["b.txt", "dir"]


async def test_a_file_that_was_written_is_closed_with_its_last_handle() -> None:
    """Else the server would set its times at a moment that nobody can foresee."""
    async with mounted(oplocks=True) as m:
        handle = (await m.files.open(await number_of(m), os.O_RDWR)).number
        await m.files.release(handle)
        assert m.tree.opens == {}


# --- breaks


@pytest.mark.parametrize("level", [BREAK_TO_NONE, BREAK_TO_LEVEL_II])
@pytest.mark.parametrize("before", [True, False], ids=["before the answer", "after it"])
async def test_a_break_around_the_open_is_answered(level: int, before: bool) -> None:
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        m.server.script.once(breaking(level=level, before=before), command=SMB_COM_NT_CREATE_ANDX)
        handle = (await m.files.open(number, os.O_RDONLY)).number
        await wait_all_tasks_blocked()
        assert m.server.last.acknowledged == [(fid_of(m), level)]
        assert bytes(await m.files.read(handle, 0, 10)) == b"aaa"


async def test_our_own_open_breaks_the_oplock_of_a_file_just_closed(autojump_clock: MockClock) -> None:
    """The open waits for the server, and the server for that FID, which became idle when the open was under way."""
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        first = (await m.files.open(number, os.O_RDONLY)).number
        fid, released, closed = fid_of(m), trio.Event(), trio.Event()

        async def after_a_break(exchange: Exchange) -> None:
            await released.wait()
            await m.server.last.break_oplock(fid)
            await closed.wait()
            await exchange.answer()

        async def told(exchange: Exchange) -> None:
            await exchange.answer()
            closed.set()

        m.server.script.once(after_a_break, command=SMB_COM_NT_CREATE_ANDX)
        m.server.script.once(told, command=SMB_COM_CLOSE)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(m.files.open, number, os.O_RDWR)
                await wait_all_tasks_blocked()
                await m.files.release(first)
                released.set()
        assert fid not in m.server.last.opens
        assert len(m.tree.opens) == 1


async def test_what_waits_is_written_before_a_break_is_answered() -> None:
    async with mounted(oplocks=True) as m:
        m.files.kernel = forgets = Forgets()
        number = await number_of(m)
        handle = (await m.files.open(number, os.O_RDWR)).number
        assert await m.cost(("write", handle, 3, b"bbb"), ("write", handle, 6, b"ccc")) == 0
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_WRITE_ANDX)
        await m.server.last.break_oplock(fid_of(m))
        await wait_all_tasks_blocked()
        assert m.server.last.acknowledged == [], "the write is not answered yet"
        answer.set()
        await wait_all_tasks_blocked()
        assert m.server.last.acknowledged == [(fid_of(m), BREAK_TO_NONE)]
        assert bytes(m.server.volume.find("a.txt").data) == b"aaabbbccc"
        assert forgets.data == [number]
        assert await m.cost(("write", handle, 9, b"ddd")) == 1, "from now on writes do not wait"


async def test_an_append_during_a_break_does_not_wait() -> None:
    """It asks where the file ends, and meanwhile another machine opens it: what would wait now would come too late."""
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        handle = (await m.files.open(number, os.O_WRONLY | os.O_APPEND)).number
        m.files.cache.changed(m.files.inodes.get(number))
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_TRANSACTION2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.write, handle, 0, b"more")
            await wait_all_tasks_blocked()
            await m.server.last.break_oplock(fid_of(m))
            await wait_all_tasks_blocked()
            answer.set()
        assert bytes(m.server.volume.find("a.txt").data) == b"aaamore"


async def test_a_break_to_level_ii_keeps_what_was_read() -> None:
    async with mounted(oplocks=True) as m:
        m.files.kernel = forgets = Forgets()
        number = await number_of(m)
        await m.files.open(number, os.O_RDONLY)
        await m.server.last.break_oplock(fid_of(m), BREAK_TO_LEVEL_II)
        await wait_all_tasks_blocked()
        assert m.server.last.acknowledged == [(fid_of(m), BREAK_TO_LEVEL_II)]
        assert (await m.files.open(number, os.O_RDONLY)).keep_pages
        await m.server.last.break_oplock(fid_of(m), BREAK_TO_NONE)
        await wait_all_tasks_blocked()
        assert len(m.server.last.acknowledged) == 1, "the end of level II is not answered"
        assert forgets.data == [number]


async def test_a_read_after_a_break_asks_for_another_oplock() -> None:
    async with mounted(oplocks=True) as m:
        handle = (await m.files.open(await number_of(m), os.O_RDONLY)).number
        first = fid_of(m)
        await m.server.last.break_oplock(first)
        await wait_all_tasks_blocked()
        assert bytes(await m.files.read(handle, 0, 10)) == b"aaa"
        await wait_all_tasks_blocked()
        assert fid_of(m) != first
        assert await m.cost(("read", handle, 0, 3)) == 1


async def test_the_break_of_an_idle_file_closes_it() -> None:
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        await m.files.release((await m.files.open(number, os.O_RDONLY)).number)
        await m.server.last.break_oplock(fid_of(m))
        await wait_all_tasks_blocked()
        assert m.tree.opens == {}
        assert m.server.last.acknowledged == []
        assert not (await m.files.open(number, os.O_RDONLY)).keep_pages


async def test_a_storm_of_breaks_and_breaks_of_unknown_files_do_no_harm(autojump_clock: MockClock) -> None:
    """A thousand a second."""
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        handle = (await m.files.open(number, os.O_RDWR)).number
        for turn in range(STORM * 1000):
            await trio.sleep(0.001)
            await m.files.write(handle, turn, b"x")
            await m.server.last.break_oplock(fid_of(m), turn % 2)
            await m.server.last.break_oplock(5000 + turn)
            if turn % 10 == 0:
                assert bytes(await m.files.read(handle, turn, 1)) == b"x"
        await m.files.flush(handle)
        await wait_all_tasks_blocked()
        assert bytes(m.server.volume.find("a.txt").data) == b"x" * (STORM * 1000)
        await m.files.release(handle)
        await wait_all_tasks_blocked()
        assert m.tree.opens == {}
        assert_idle(m.tree)


# --- writes that wait


async def test_appends_are_joined_and_their_size_is_known() -> None:
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        handle = (await m.files.open(number, os.O_RDWR | os.O_APPEND)).number
        for index in range(200):
            await m.files.write(handle, 3 + index * 10, b"0123456789")
            shown = (await m.files.getattr(number)).stat
            assert shown is not None
            assert shown.size == 13 + index * 10
        m.server.tap.requests.clear()
        await m.files.flush(handle)
        assert m.server.tap.requests == {"WRITE_ANDX": 1}
        assert bytes(m.server.volume.find("a.txt").data) == b"aaa" + b"0123456789" * 200


async def test_what_is_read_is_what_was_written() -> None:
    async with mounted(oplocks=True) as m:
        handle = (await m.files.open(await number_of(m), os.O_RDWR)).number
        await m.files.write(handle, 1, b"X")
        assert bytes(await m.files.read(handle, 0, 10)) == b"aXa"
        await m.files.write(handle, 2, b"Y")
        await m.files.setattr(await number_of(m), Change(size=2))
        assert bytes(await m.files.read(handle, 0, 10)) == b"aX"


async def test_waiting_data_are_sent_after_a_while(mock_clock: MockClock) -> None:
    async with mounted(oplocks=True) as m:
        handle = (await m.files.open(await number_of(m), os.O_RDWR)).number
        await m.files.write(handle, 0, b"new")
        await wait_all_tasks_blocked()
        mock_clock.jump(writeback.AGE + 0.1)
        await wait_all_tasks_blocked()
        assert bytes(m.server.volume.find("a.txt").data) == b"new"


async def test_writers_wait_where_too_much_does() -> None:
    async with mounted(oplocks=True) as m:
        handle = (await m.files.open(await number_of(m), os.O_RDWR)).number
        answer = trio.Event()
        m.server.script.on(held(answer), command=SMB_COM_WRITE_ANDX)
        block, written = bytes(1 << 20), 0

        async def write() -> None:
            nonlocal written
            for index in range(20):
                await m.files.write(handle, index << 20, block)
                written += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            assert written == writeback.FILE_LIMIT >> 20
            answer.set()
        await m.files.flush(handle)
        assert m.server.volume.find("a.txt").size == 20 << 20


@pytest.mark.parametrize("teller", ["flush", "fsync", "write"])
async def test_a_failure_is_told_once_to_each_handle(teller: str) -> None:
    async with mounted(oplocks=True) as m:
        number = await number_of(m)
        one = (await m.files.open(number, os.O_RDWR)).number
        other = (await m.files.open(number, os.O_RDWR)).number
        m.server.script.once(refused(STATUS_DISK_FULL), command=SMB_COM_WRITE_ANDX)
        await m.files.write(one, 0, b"lost")
        await m.files.write_back(m.files.inodes.get(number))
        arguments = (0, b"again") if teller == "write" else ()
        for handle in (one, other):
            with pytest.raises(OSError, match="No space") as caught:
                await getattr(m.files, teller)(handle, *arguments)
            assert caught.value.errno == errno.ENOSPC
            await getattr(m.files, teller)(handle, *arguments)
        for handle in (one, other):
            await m.files.release(handle)
        again = (await m.files.open(number, os.O_RDWR)).number
        await m.files.flush(again)
        assert_idle(m.tree)


async def test_a_size_told_before_what_waited_was_written_is_not_believed() -> None:
    """Else the kernel would take it for the end of the file, and put the next append there."""
    async with mounted(oplocks=True, actimeo=0) as m:
        number = await number_of(m)
        handle = (await m.files.open(number, os.O_WRONLY)).number
        await m.files.write(handle, 3, b"more")
        answer = trio.Event()
        m.server.script.once(held(answer, done_first=True), command=SMB_COM_TRANSACTION2)
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                entry = await m.files.getattr(number)
                assert entry.stat is not None
                assert entry.stat.size == 7

            nursery.start_soon(look)
            await wait_all_tasks_blocked()
            await m.files.fsync(handle)
            answer.set()
        await m.files.release(handle)
