"""Read-ahead over the scriptable server: who is taken for a reader in order, the bounds, and what is never served."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.client.openfile import OpenFile
from smbfuse.core.cache.inodes import ROOT, Inode
from smbfuse.core.files import readahead
from smbfuse.core.files.opens import SharedOpen
from smbfuse.core.files.readahead import ReadAhead
from smbfuse.core.server.attrs import Attributes
from smbfuse.core.server.backend import Change
from smbfuse.core.settle import Settler
from smbfuse.ntstatus import STATUS_FILE_LOCK_CONFLICT
from smbfuse.wire.codec import Buffer
from smbfuse.wire.const import BREAK_TO_LEVEL_II, BREAK_TO_NONE, OPLOCK_BATCH, SMB_COM_READ_ANDX
from tests.client.support import assert_idle
from tests.core.support import Mounted, fid_of, mounted
from tests.fakes.script import held, refused

SIZE = 16 << 20
STEP = 128 << 10
CONTENT = b"".join(number.to_bytes(4, "big") for number in range(SIZE // 4))


@dataclass
class Source:
    """A file at the end of a wire: answers take a way, and one after the other."""

    way: float
    rate: float
    under_way: int = 0
    most_under_way: int = 0
    busy_until: float = 0.0
    oplock: int = OPLOCK_BATCH
    gone: bool = False
    breaking: int | None = None

    async def read(self, offset: int, size: int, *, ahead: bool = False) -> bytes:
        self.under_way += size
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.busy_until = max(self.busy_until, trio.current_time()) + size / self.rate
        await trio.sleep_until(self.busy_until + self.way)
        self.under_way -= size
        return bytes(size)

    @contextmanager
    def used(self) -> Iterator[None]:
        yield

    def reader(self, ahead: ReadAhead, inode: Inode) -> Callable[[int, int], Awaitable[Buffer]]:
        """Reads (offset, size) as the file system would."""
        share = SharedOpen(cast(OpenFile, self), read=True, write=False)
        return lambda offset, size: ahead.read(inode, share, offset, size, lambda: self.read(offset, size))


def attributes(size: int) -> Attributes:
    return Attributes(stat.S_IFREG, size, size, 0, 0, 0)


@dataclass
class Open:
    """An open file of `SIZE` bytes on a mount."""

    m: Mounted
    number: int
    handle: int

    async def read(self, start: int, size: int = STEP) -> bytes:
        return bytes(await self.m.files.read(self.handle, start, size))

    async def read_on(self, start: int, end: int, size: int = STEP) -> None:
        """Read from start to end in order, and see that the bytes are right."""
        for at in range(start, end, size):
            assert await self.read(at, size) == CONTENT[at : at + size]

    def set(self, data: bytes) -> None:
        """Change the file behind the mount's back."""
        self.m.server.volume.find("a.txt").data[:] = data

    @property
    def reads(self) -> int:
        """Requests so far."""
        return self.m.server.tap.requests["READ_ANDX"]

    @property
    def ahead(self) -> ReadAhead:
        return self.m.files.ahead


@asynccontextmanager
async def opened(*, oplocks: bool = True, flags: int = os.O_RDWR, cache: str = "strict") -> AsyncIterator[Open]:
    async with mounted(oplocks=oplocks) as m:
        m.files.cache_mode = cache
        m.server.volume.find("a.txt").data[:] = CONTENT
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        yield Open(m, number, (await m.files.open(number, flags)).number)


# --- who reads in order


async def test_a_reader_in_order_finds_its_data_there() -> None:
    async with opened() as file:
        await file.read_on(0, 2 << 20)
        await wait_all_tasks_blocked()
        before = file.reads
        await file.read_on(2 << 20, (2 << 20) + 4 * STEP)
        assert file.ahead.held > 0
        most = readahead.FIRST_WINDOW + 5 * STEP
        assert (file.reads - before) * file.m.tree.sizes.read <= most, "one window follows the reader, and no more"
        await file.read_on((2 << 20) + 4 * STEP, SIZE)
        assert file.reads <= SIZE // file.m.tree.sizes.read + 2 * (SIZE // STEP) // 10, "in full requests"


async def test_what_was_read_ahead_is_not_asked_for_again() -> None:
    async with opened() as file:
        await file.read_on(0, 1 << 20)
        await wait_all_tasks_blocked()
        file.m.server.script.on(held(trio.Event()), command=SMB_COM_READ_ANDX)
        await file.read_on(1 << 20, 2 << 20)


async def test_readers_that_jump_cost_one_request_each_and_read_nothing_ahead() -> None:
    async with opened() as file:
        before = file.reads
        places = [(index * 7919) % (SIZE // 4096) * 4096 for index in range(300)]
        for at in places:
            assert await file.read(at, 4096) == CONTENT[at : at + 4096]
        assert file.reads - before == len(places)
        assert file.ahead.held == 0


async def test_a_reader_of_two_pages_is_not_taken_for_one_of_the_whole_file() -> None:
    async with opened() as file:
        before = file.reads
        await file.read_on(0, 8192, 4096)
        await wait_all_tasks_blocked()
        assert file.ahead.held <= 2 * 8192
        assert file.reads - before <= 4


async def test_several_readers_of_one_file_are_told_apart() -> None:
    async with opened() as file:
        starts = [index * (SIZE // readahead.READERS) for index in range(readahead.READERS)]
        for step in range(8):
            for start in starts:
                await file.read_on(start + step * STEP, start + (step + 1) * STEP)
        await wait_all_tasks_blocked()
        before = file.reads
        for start in starts:
            await file.read_on(start + 8 * STEP, start + 9 * STEP)
        assert file.ahead.held > len(starts) * STEP
        assert file.reads - before <= len(starts) * (STEP // file.m.tree.sizes.read + 1), "only what follows"


async def test_requests_of_the_kernel_may_overtake_each_other() -> None:
    async with opened() as file:
        await file.read_on(0, 1 << 20)
        for at in ((1 << 20) + STEP, 1 << 20, (1 << 20) + 3 * STEP, (1 << 20) + 2 * STEP):
            assert await file.read(at) == CONTENT[at : at + STEP]
        await file.read_on((1 << 20) + 4 * STEP, 2 << 20)


async def test_readers_at_once_get_what_they_asked_for() -> None:
    async with opened() as file:
        async with trio.open_nursery() as nursery:
            for index in range(32):
                nursery.start_soon(partial(file.read_on, index * STEP, (index + 1) * STEP))
        await file.read_on(32 * STEP, 64 * STEP)


@pytest.mark.parametrize("size", [1, 4095, 70_000, 1_300_001])
async def test_nothing_is_asked_for_behind_the_end(size: int) -> None:
    async with opened() as file:
        file.set(CONTENT[:size])
        file.m.files.cache.changed(file.m.files.inodes.get(file.number))
        await file.m.files.getattr(file.number)
        for step in (4096, STEP):
            found = b""
            while more := await file.read(len(found), step):
                found += more
            assert found == CONTENT[:size]
        await wait_all_tasks_blocked()
        assert file.ahead.held == 0


# --- bounds


@pytest.mark.parametrize(
    ("bytes_per_second", "least", "most"),
    [(400e6, 8 << 20, readahead.WINDOW), (50e6, 1 << 20, 8 << 20)],
    ids=["a quick wire with a long way", "a slow wire"],
)
async def test_the_window_grows_as_long_as_that_helps(
    autojump_clock: MockClock, bytes_per_second: float, least: int, most: int
) -> None:
    """20 ms there and back. More than the wire holds would only wait in it, before what programs wait for."""
    async with trio.open_nursery() as nursery:
        source = Source(0.02, bytes_per_second)
        ahead = ReadAhead(Settler(nursery), lambda: 1 << 20)
        read = source.reader(ahead, Inode(2, stat.S_IFREG, attrs=attributes(256 << 20)))
        at = 0
        while at < 128 << 20:
            assert len(await read(at, 1 << 20)) == 1 << 20
            at += 1 << 20
        assert least <= source.most_under_way <= most + (1 << 20)
        begun = trio.current_time()
        while at < 256 << 20:
            assert len(await read(at, 1 << 20)) == 1 << 20
            at += 1 << 20
        rate = (128 << 20) / (trio.current_time() - begun)
        assert rate > 0.9 * bytes_per_second, "the wire is never idle"


async def test_memory_has_a_bound_for_all_files_together() -> None:
    async with opened() as file:
        file.m.files.ahead = ahead = ReadAhead(file.m.files._settler, lambda: file.m.tree.sizes.read, 1 << 20)
        most = 0
        for step in range(10):
            for start in (0, SIZE // 2):
                await file.read_on(start + step * STEP, start + (step + 1) * STEP)
                most = max(most, ahead.held)
        assert STEP < most <= (1 << 20) + 2 * STEP  # what is waited for is asked for in any case


async def test_readers_that_have_stopped_give_their_memory(mock_clock: MockClock) -> None:
    async with opened() as file:
        limit = 1 << 20
        file.m.files.ahead = ahead = ReadAhead(file.m.files._settler, lambda: file.m.tree.sizes.read, limit)
        await file.read_on(0, 1 << 20)
        await wait_all_tasks_blocked()
        stopped = ahead.held
        mock_clock.jump(readahead.PAUSE + 0.1)
        await file.read_on(SIZE // 2, SIZE // 2 + (1 << 20))
        await wait_all_tasks_blocked()
        assert stopped > limit // 2
        assert limit // 2 < ahead.held <= limit + STEP
        await file.read_on(1 << 20, 2 << 20)


async def test_nothing_is_left_when_the_file_is_closed() -> None:
    async with opened() as file:
        await file.read_on(0, 1 << 20)
        await file.m.files.release(file.handle)
        await wait_all_tasks_blocked()
        assert file.ahead.held == 0
        assert file.ahead._files == {}
        assert not file.ahead._busy
        assert_idle(file.m.tree)


async def test_places_are_left_to_what_programs_wait_for() -> None:
    async with opened() as file:
        await file.read_on(0, 1 << 20)
        await wait_all_tasks_blocked()
        file.m.server.script.on(held(trio.Event()), command=SMB_COM_READ_ANDX)
        await file.read_on(1 << 20, 2 << 20)
        window = file.m.tree.session.connection.window
        assert readahead.FIRST_WINDOW // file.m.tree.sizes.read > window.unhurried / 2
        assert window.used <= window.unhurried < window.limit - window.reserved
        await file.m.files.lookup(ROOT, b"b.txt")


# --- what is never served


async def _read_some(file: Open) -> None:
    await file.read_on(0, 1 << 20)
    await wait_all_tasks_blocked()
    assert file.ahead.held >= STEP


@pytest.mark.parametrize("change", ["write", "truncate", "fallocate", "copy"])
async def test_our_own_changes_empty_it(change: str) -> None:
    async with opened() as file:
        await _read_some(file)
        at = 1 << 20
        match change:
            case "write":
                await file.m.files.write(file.handle, at, b"X" * STEP)
            case "truncate":
                await file.m.files.setattr(file.number, Change(size=at))
                await file.m.files.setattr(file.number, Change(size=SIZE))
            case "fallocate":
                await file.m.files.fallocate(file.handle, 0x10, at, STEP)
            case "copy":
                assert await file.m.files.copy_file_range(file.handle, 0, file.handle, at, STEP) == STEP
        await wait_all_tasks_blocked()
        expected = {"write": b"X" * STEP, "copy": CONTENT[:STEP]}.get(change, bytes(STEP))
        assert await file.read(at) == expected


async def test_nothing_is_read_ahead_while_writes_wait() -> None:
    """The server does not have them yet."""
    async with opened() as file:
        await _read_some(file)
        await file.m.files.write(file.handle, 3 << 20, b"X" * STEP)
        await file.read_on(1 << 20, 3 << 20)
        assert file.ahead.held == 0
        assert await file.read(3 << 20) == b"X" * STEP
        await file.read_on((3 << 20) + STEP, 4 << 20)


@pytest.mark.parametrize("levels", [(BREAK_TO_NONE,), (BREAK_TO_LEVEL_II, BREAK_TO_NONE)])
async def test_a_break_empties_it(levels: tuple[int, ...]) -> None:
    async with opened() as file:
        await _read_some(file)
        for level in levels:
            await file.m.server.last.break_oplock(fid_of(file.m), level)
            await wait_all_tasks_blocked()
        file.set(b"X" * SIZE)
        assert await file.read(1 << 20) == b"X" * STEP


async def test_a_break_to_level_ii_leaves_it() -> None:
    async with opened() as file:
        await _read_some(file)
        await file.m.server.last.break_oplock(fid_of(file.m), BREAK_TO_LEVEL_II)
        await wait_all_tasks_blocked()
        file.m.server.script.on(held(trio.Event()), command=SMB_COM_READ_ANDX)
        await file.read_on(1 << 20, (1 << 20) + STEP)


async def test_who_waits_for_a_block_while_the_oplock_breaks_asks_anew() -> None:
    async with opened() as file:
        await file.read_on(0, 1 << 20)
        await wait_all_tasks_blocked()
        end = file.ahead._files[file.m.files.inodes.get(file.number)].readers[-1].ahead
        answer = trio.Event()
        file.m.server.script.on(held(answer, done_first=True), command=SMB_COM_READ_ANDX)
        found = b""

        async def read() -> None:
            nonlocal found
            await file.read_on(1 << 20, end - STEP)  # now what follows `end` is under way
            found = await file.read(end)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            assert file.m.server.tap.in_flight > 0
            file.m.server.script.clear()
            await file.m.server.last.break_oplock(fid_of(file.m), BREAK_TO_NONE)
            await wait_all_tasks_blocked()
            file.set(b"X" * SIZE)
            answer.set()
        assert found == b"X" * STEP


@pytest.mark.parametrize(
    ("oplocks", "flags", "cache"),
    [(False, os.O_RDONLY, "strict"), (True, os.O_RDONLY | os.O_DIRECT, "strict"), (True, os.O_RDONLY, "none")],
    ids=["no oplock", "O_DIRECT", "cache=none"],
)
async def test_nothing_is_read_ahead_where_nothing_is_kept(oplocks: bool, flags: int, cache: str) -> None:
    async with opened(oplocks=oplocks, flags=flags, cache=cache) as file:
        await file.read_on(0, 1 << 20)
        await wait_all_tasks_blocked()
        assert file.ahead.held == 0
        file.set(b"X" * SIZE)
        assert await file.read(1 << 20) == b"X" * STEP


async def test_a_block_that_cannot_be_had_is_asked_for_by_who_wants_it() -> None:
    async with opened() as file:
        await file.read_on(0, 2 * STEP)
        await wait_all_tasks_blocked()
        file.m.server.script.on(refused(STATUS_FILE_LOCK_CONFLICT), command=SMB_COM_READ_ANDX)
        end = file.ahead._files[file.m.files.inodes.get(file.number)].readers[-1].ahead // STEP * STEP
        await file.read_on(2 * STEP, end)
        with pytest.raises(OSError, match="denied") as caught:
            await file.read(end)
        assert caught.value.errno == errno.EACCES
        file.m.server.script.clear()
        await file.read_on(end, SIZE)
