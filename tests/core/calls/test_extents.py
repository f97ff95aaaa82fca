"""Data, holes, copies and space over the scriptable server, which has NTFS's holes, and servers that refuse or lie."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from smbfuse import ntstatus as nt
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import Tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.extents import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.kernel import Kernel
from smbfuse.core.files.copying import PATIENCE, Copy
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.settings import MountSettings
from smbfuse.wire.codec import Buffer
from smbfuse.wire.const import (
    FILE_ATTRIBUTE_SPARSE_FILE,
    FSCTL_QUERY_ALLOCATED_RANGES,
    FSCTL_SET_SPARSE,
    FSCTL_SET_ZERO_DATA,
    SMB_COM_NT_TRANSACT,
    SMB_COM_READ_ANDX,
    SMB_COM_WRITE_ANDX,
    TRANS2_SET_FILE_INFORMATION,
)
from smbfuse.wire.fsctls import FileAllocatedRange
from smbfuse.wire.trans import NtTransactRequest, NtTransactResponse, Trans2Response
from smbfuse.wire.trans2 import IoctlSetup
from tests.client.support import assert_idle, logged_on
from tests.fakes.exchange import Action, Exchange, Reply
from tests.fakes.script import Rule, delayed, refused
from tests.fakes.server import FakeServer
from tests.fakes.volume import CLUSTER, Node

RANGES = "NT_TRANSACT"
MIB = 1 << 20
UNSUPPORTED = errno.errorcode[errno.EOPNOTSUPP]


@dataclass
class Mounted:
    files: FileSystem
    server: FakeServer
    tree: Tree
    dropped: list[int] = field(default_factory=list)
    """Inodes whose pages the kernel was told to drop."""

    def node(self, name: str) -> Node:
        return self.server.volume.find(f"\\{name}")

    async def open(self, name: str, flags: int = os.O_RDWR) -> int:
        return (await self.files.open((await self.files.lookup(ROOT, name.encode())).number, flags)).number

    async def seek(self, handle: int, offset: int) -> tuple[int | str, int | str]:
        """Next data, next hole; the errno's name where there is none."""
        return await tried(self.files.lseek(handle, offset, os.SEEK_DATA)), await tried(
            self.files.lseek(handle, offset, os.SEEK_HOLE)
        )

    async def settled(self) -> None:
        """All is answered, also what nobody waits for, and nothing is left over."""
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert_idle(self.tree)

    def sent(self, name: str) -> int:
        return self.server.tap.requests[name]

    def on_fsctl(self, action: Action, code: int, times: int | None = None) -> Rule:
        return self.server.script.on(
            action, command=SMB_COM_NT_TRANSACT, where=lambda exchange: fsctl_of(exchange) == code, times=times
        )


def fsctl_of(exchange: Exchange) -> int:
    body = exchange.message.body
    assert isinstance(body, NtTransactRequest)
    return IoctlSetup.unpack(body.setup).function_code


async def tried(work: Awaitable[int | None]) -> int | str:
    """What it gives, or the name of its errno."""
    try:
        return await work or 0
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]


@asynccontextmanager
async def mounted(**files: bytes) -> AsyncIterator[Mounted]:
    server = FakeServer(files=files)
    settings = MountSettings(source="//fake/share", mountpoint="/mnt")
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await logged_on(server, nursery), "share")
        core = FileSystem(NtBackend(tree), settings, Settler(nursery), trio.current_time, unique_file_names=False)
        made = Mounted(core, server, tree)

        class Kept(Kernel):
            async def forget_data(self, number: int) -> None:
                made.dropped.append(number)

        core.kernel = Kept()
        yield made
        nursery.cancel_scope.cancel()


def make_sparse(node: Node, holes: set[int]) -> None:
    node.attributes |= FILE_ATTRIBUTE_SPARSE_FILE
    node.holes = holes
    for hole in holes:
        node.data[hole * CLUSTER : (hole + 1) * CLUSTER] = bytes(len(node.data[hole * CLUSTER : (hole + 1) * CLUSTER]))


def expected_data(holes: set[int], size: int, offset: int, *, hole: bool) -> int | str:
    if offset >= size:
        return "ENXIO"
    for at in chain([offset], range((offset // CLUSTER + 1) * CLUSTER, size, CLUSTER)):
        if (at // CLUSTER in holes) == hole:
            return at
    return size if hole else "ENXIO"


# --- lseek


async def test_every_place_of_a_sparse_file() -> None:
    size = 9 * CLUSTER + 100
    for holes in ({0, 1, 5}, {9}, {3, 4, 8, 9}, set(range(10)), set(range(1, 10, 2))):
        async with mounted(f=b"x" * size) as m:
            make_sparse(m.node("f"), holes)
            handle = await m.open("f", os.O_RDONLY)
            for offset in {at + shift for at in range(0, size + CLUSTER, CLUSTER) for shift in (-1, 0, 1)} | {size}:
                if offset >= 0:
                    assert await m.seek(handle, offset) == tuple(
                        expected_data(holes, size, offset, hole=hole) for hole in (False, True)
                    ), (holes, offset)
            assert await m.seek(handle, -1) == ("ENXIO", "ENXIO")


async def test_more_ranges_than_an_answer_holds() -> None:
    async with mounted(f=b"x" * (100 * CLUSTER)) as m:
        make_sparse(m.node("f"), set(range(1, 100, 2)))
        handle = await m.open("f", os.O_RDONLY)
        for cluster in range(0, 98, 2):
            at = cluster * CLUSTER
            assert await m.seek(handle, at) == (at, at + CLUSTER)
            assert await m.seek(handle, at + CLUSTER) == (at + 2 * CLUSTER, at + CLUSTER)


def in_parts(step: int, end: int) -> Action:
    """Ranges without a gap, one in an answer."""

    async def action(exchange: Exchange) -> None:
        body = exchange.message.body
        assert isinstance(body, NtTransactRequest)
        start = FileAllocatedRange.unpack(bytes(body.data)).file_offset
        data = FileAllocatedRange(file_offset=start, length=min(step, end - start)).pack()
        more = start + step < end
        await exchange.answer(Reply([NtTransactResponse(data=data)], nt.STATUS_BUFFER_OVERFLOW if more else 0))

    return action


@pytest.mark.parametrize(("parts", "hole", "asked"), [(3, 3 * CLUSTER, 3), (1000, 1000 * CLUSTER, 64)])
async def test_answers_in_parts_are_joined_within_bounds(parts: int, hole: int, asked: int) -> None:
    """Behind the last part is a hole; if that is too far away, all is data."""
    async with mounted(f=b"x" * (1001 * CLUSTER)) as m:
        m.node("f").holes = {1000}
        m.on_fsctl(in_parts(CLUSTER, parts * CLUSTER), FSCTL_QUERY_ALLOCATED_RANGES)
        handle = await m.open("f", os.O_RDONLY)
        found = await m.files.lseek(handle, 0, os.SEEK_HOLE)
        assert m.sent(RANGES) == asked
        assert found == (hole if asked == parts else 1001 * CLUSTER)


async def test_a_file_with_all_its_storage_is_not_asked_about() -> None:
    async with mounted(f=b"x" * 1000) as m:
        handle = await m.open("f", os.O_RDONLY)
        assert await m.seek(handle, 10) == (10, 1000)
        assert await m.seek(handle, 1000) == ("ENXIO", "ENXIO")
        assert m.sent(RANGES) == 0
        assert await tried(m.files.lseek(handle, 0, os.SEEK_SET)) == "EINVAL"


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (nt.STATUS_NOT_SUPPORTED, False),
        (nt.STATUS_INVALID_DEVICE_REQUEST, False),
        (nt.STATUS_NOT_IMPLEMENTED, False),
        (nt.STATUS_INVALID_PARAMETER, True),
        (nt.STATUS_ACCESS_DENIED, True),
    ],
)
async def test_a_server_that_does_not_tell_has_no_holes(status: int, again: bool) -> None:
    """One that does not know the question is not asked a second time."""
    async with mounted(f=b"x" * (3 * CLUSTER)) as m:
        make_sparse(m.node("f"), {0, 1})
        m.on_fsctl(refused(status), FSCTL_QUERY_ALLOCATED_RANGES)
        handle = await m.open("f", os.O_RDONLY)
        for _ in range(2):
            assert await m.seek(handle, 5) == (5, 3 * CLUSTER)
        assert m.sent(RANGES) == (4 if again else 1)


async def test_a_handle_that_may_not_ask_sees_data() -> None:
    async with mounted(f=b"x" * (3 * CLUSTER)) as m:
        make_sparse(m.node("f"), {0, 1})
        assert await m.seek(await m.open("f", os.O_WRONLY), 5) == (5, 3 * CLUSTER)


LIES = {
    "empty range": [(0, 0)],
    "negative": [(-CLUSTER, 2 * CLUSTER)],
    "negative length": [(CLUSTER, -1)],
    "out of order": [(2 * CLUSTER, CLUSTER), (0, CLUSTER)],
    "overlapping": [(0, 2 * CLUSTER), (CLUSTER, CLUSTER)],
    "before what was asked": [(0, 1), (2 * CLUSTER, CLUSTER)],
    "behind what was asked": [(2 * CLUSTER, CLUSTER), (1 << 40, 1)],
}


def telling(data: bytes, status: int = 0) -> Action:
    async def action(exchange: Exchange) -> None:
        await exchange.answer(Reply([NtTransactResponse(data=data)], status))

    return action


@pytest.mark.parametrize("lie", LIES)
async def test_ranges_that_cannot_be_are_not_believed(lie: str) -> None:
    ranges = b"".join(FileAllocatedRange(file_offset=first, length=size).pack() for first, size in LIES[lie])
    async with mounted(f=b"x" * (3 * CLUSTER)) as m:
        make_sparse(m.node("f"), {0, 1})
        m.on_fsctl(telling(ranges), FSCTL_QUERY_ALLOCATED_RANGES)
        assert await m.seek(await m.open("f", os.O_RDONLY), 5) == (5, 3 * CLUSTER)


@pytest.mark.parametrize(
    ("data", "status"), [(bytes(15), 0), (bytes(17), 0), (b"", nt.STATUS_BUFFER_OVERFLOW)], ids=["cut", "odd", "none"]
)
async def test_answers_that_make_no_sense_are_not_believed(data: bytes, status: int) -> None:
    async with mounted(f=b"x" * (3 * CLUSTER)) as m:
        make_sparse(m.node("f"), {0, 1})
        m.on_fsctl(telling(data, status), FSCTL_QUERY_ALLOCATED_RANGES)
        assert await m.seek(await m.open("f", os.O_RDONLY), 5) == (5, 3 * CLUSTER)


async def test_a_file_that_may_be_written_by_a_map_is_flushed_first() -> None:
    async with mounted(f=b"x" * 100) as m:
        reading = await m.open("f", os.O_RDONLY)
        await m.files.lseek(reading, 0, os.SEEK_HOLE)
        assert m.dropped == []
        writing = await m.open("f", os.O_RDWR)
        await m.files.lseek(reading, 0, os.SEEK_HOLE)
        assert len(m.dropped) == 1
        await m.files.release(writing)
        await m.files.lseek(reading, 0, os.SEEK_HOLE)
        assert len(m.dropped) == 1


# --- copy_file_range


@given(length=st.integers(0, 40), block=st.integers(1, 12), size=st.integers(0, 40))
def test_copies_of_any_size(length: int, block: int, size: int) -> None:
    source, target = bytes(range(size)), bytearray()

    async def read(start: int, count: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return source[start : start + count]

    async def write(start: int, data: Buffer) -> None:
        assert start == len(target)
        assert len(data) <= block
        await trio.lowlevel.checkpoint()
        target.extend(data)

    async def main() -> None:
        copy = Copy(read, write, length, block)
        await copy.run()
        assert copy.done == len(target) == min(length, size)

    trio.run(main)
    assert target == source[:length]


async def test_a_copy_reads_ahead_one_block() -> None:
    log: list[str] = []

    async def read(start: int, count: int) -> bytes:
        log.append(f"read {start}")
        await trio.lowlevel.checkpoint()
        return bytes(count)

    async def write(start: int, data: Buffer) -> None:
        log.append(f"write {start}")
        await trio.testing.wait_all_tasks_blocked()
        log.append(f"written {start}")

    await Copy(read, write, 3, 1).run()
    assert log[0] == "read 0"
    for at in range(3):
        before = log[: log.index(f"written {at}")]
        assert (f"read {at + 1}" in before) == (at < 2)
        assert f"read {at + 2}" not in before


async def test_a_copy_within_the_mount(mock_clock: MockClock) -> None:
    """However long it takes: the clock stands still, and one call does all."""
    content = os.urandom(3 * MIB + 12345)
    async with mounted(a=content, b=b"y" * 100) as m:
        source, target = await m.open("a", os.O_RDONLY), await m.open("b")
        assert await m.files.copy_file_range(source, 1000, target, 50, 1 << 31) == len(content) - 1000
        assert m.node("b").data == b"y" * 50 + content[1000:]
        assert await m.files.copy_file_range(source, len(content), target, 0, 100) == 0
        assert m.dropped == []
        assert m.server.tap.most_in_flight <= 48, "one block is written while one is read"
        entry = await m.files.getattr((await m.files.lookup(ROOT, b"b")).number)
        assert entry.stat is not None
        assert entry.stat.size == len(content) - 950
        await m.settled()


async def test_who_may_copy() -> None:
    async with mounted(a=b"x" * 100, b=b"") as m:
        copy = m.files.copy_file_range
        both, reading, writing = [await m.open("a", flags) for flags in (os.O_RDWR, os.O_RDONLY, os.O_WRONLY)]
        appending = await m.open("b", os.O_WRONLY | os.O_APPEND)
        assert await tried(copy(writing, 0, both, 50, 10)) == "EBADF"
        assert await tried(copy(both, 0, reading, 50, 10)) == "EBADF"
        assert await tried(copy(both, 0, appending, 50, 10)) == "EBADF"
        assert await tried(copy(both, 0, 999, 50, 10)) == "EBADF"
        assert await tried(copy(both, 0, writing, 9, 10)) == "EINVAL"
        assert await tried(copy(both, 9, writing, 0, 10)) == "EINVAL"
        assert await copy(both, 0, writing, 10, 10) == 10


async def test_a_call_ends_soon(mock_clock: MockClock) -> None:
    """A program that is interrupted again and again must get on."""
    mock_clock.autojump_threshold = 0
    content = os.urandom(16 * MIB)
    async with mounted(a=content, b=b"") as m:
        m.server.script.on(delayed(PATIENCE / 4), command=SMB_COM_READ_ANDX)
        source, target = await m.open("a", os.O_RDONLY), await m.open("b")
        started = trio.current_time()
        done = await m.files.copy_file_range(source, 0, target, 0, len(content))
        assert 0 < done < len(content)
        assert trio.current_time() - started < 3 * PATIENCE
        while done < len(content):
            done += await m.files.copy_file_range(source, done, target, done, len(content) - done)
        assert m.node("b").data == content


@pytest.mark.parametrize("command", [SMB_COM_READ_ANDX, SMB_COM_WRITE_ANDX])
async def test_an_error_in_the_middle_is_the_next_call_s(command: int, mock_clock: MockClock) -> None:
    content = os.urandom(6 * MIB)
    async with mounted(a=content, b=b"") as m:
        m.server.script.on(
            refused(nt.STATUS_DISK_FULL),
            command=command,
            where=lambda exchange: exchange.message.body.offset_low >= 3 * MIB,  # type: ignore[attr-defined]
        )
        source, target = await m.open("a", os.O_RDONLY), await m.open("b")
        done = await m.files.copy_file_range(source, 0, target, 0, len(content))
        assert 0 < done <= 3 * MIB
        assert m.node("b").data[:done] == content[:done]
        assert len(m.dropped) == 1, "what else was written is in nobody's count"
        rest = await tried(m.files.copy_file_range(source, 3 * MIB, target, 3 * MIB, MIB))
        assert rest == "ENOSPC"
        await m.settled()


async def test_a_copy_whose_caller_is_killed_leaves_nothing_behind() -> None:
    content = os.urandom(6 * MIB)
    async with mounted(a=content, b=b"") as m:
        source, target = await m.open("a", os.O_RDONLY), await m.open("b")
        with trio.CancelScope() as scope:

            async def kill(exchange: Exchange) -> None:
                scope.cancel()
                await exchange.answer()

            m.server.script.on(kill, command=SMB_COM_WRITE_ANDX, times=1)
            await m.files.copy_file_range(source, 0, target, 0, len(content))
        assert scope.cancelled_caught
        await m.settled()
        assert len(m.dropped) == 1


# --- fallocate

MODES = {"extend": 0, "keep": KEEP_SIZE, "punch": KEEP_SIZE | PUNCH_HOLE, "zero": ZERO_RANGE, "zero keep": 0x11}


def shape(node: Node) -> tuple[int, int, bytes]:
    """Size, clusters with storage, and what the bytes are, but for repetitions."""
    runs = bytearray()
    for byte in node.data:
        if not runs or runs[-1] != byte:
            runs.append(byte)
    return node.size, node.allocated // CLUSTER, bytes(runs)


@pytest.mark.parametrize(
    ("mode", "start", "end", "expected"),
    [
        ("extend", 0, 4 * CLUSTER, (4 * CLUSTER, 4, b"x")),
        ("extend", CLUSTER, 6 * CLUSTER, (6 * CLUSTER, 6, b"x\0")),
        ("extend", 8 * CLUSTER, 9 * CLUSTER, (9 * CLUSTER, 9, b"x\0")),
        ("keep", 0, 6 * CLUSTER, (4 * CLUSTER, 6, b"x")),
        ("keep", 0, 100, (4 * CLUSTER, 4, b"x")),
        ("punch", CLUSTER, 3 * CLUSTER, (4 * CLUSTER, 2, b"x\0x")),
        ("punch", 10, CLUSTER, (4 * CLUSTER, 4, b"x\0x")),
        ("punch", CLUSTER, 99 * CLUSTER, (4 * CLUSTER, 1, b"x\0")),
        ("punch", 4 * CLUSTER, 5 * CLUSTER, (4 * CLUSTER, 4, b"x")),
        ("zero", CLUSTER, 3 * CLUSTER, (4 * CLUSTER, 4, b"x\0x")),
        ("zero", 3 * CLUSTER, 6 * CLUSTER, (6 * CLUSTER, 6, b"x\0")),
        ("zero", 5 * CLUSTER, 6 * CLUSTER, (6 * CLUSTER, 6, b"x\0")),
        ("zero keep", 3 * CLUSTER, 6 * CLUSTER, (4 * CLUSTER, 6, b"x\0")),
    ],
)
async def test_modes_of_fallocate(mode: str, start: int, end: int, expected: tuple[int, int, bytes]) -> None:
    async with mounted(f=b"x" * (4 * CLUSTER)) as m:
        handle = await m.open("f")
        await m.files.fallocate(handle, MODES[mode], start, end - start)
        assert shape(m.node("f")) == expected
        entry = await m.files.getattr((await m.files.lookup(ROOT, b"f")).number)
        assert entry.stat is not None
        assert (entry.stat.size, entry.stat.blocks * 512) == (expected[0], expected[1] * CLUSTER)
        assert m.dropped == []


async def test_a_punched_hole_is_found() -> None:
    async with mounted(f=b"x" * (4 * CLUSTER)) as m:
        handle = await m.open("f")
        await m.files.fallocate(handle, MODES["punch"], CLUSTER, 2 * CLUSTER)
        assert await m.seek(handle, 0) == (0, CLUSTER)
        assert await m.seek(handle, CLUSTER) == (3 * CLUSTER, CLUSTER)


@pytest.mark.parametrize(
    ("mode", "start", "end", "expected"),
    [
        ("extend", 0, 4 * CLUSTER, UNSUPPORTED),
        ("extend", CLUSTER, 8 * CLUSTER, UNSUPPORTED),
        ("keep", 0, 9 * CLUSTER, UNSUPPORTED),
        ("extend", 4 * CLUSTER, 6 * CLUSTER, (6 * CLUSTER, 4, b"x\0x\0")),
        ("zero", CLUSTER, 3 * CLUSTER, (4 * CLUSTER, 4, b"x\0x")),
        ("zero", 2 * CLUSTER, 6 * CLUSTER, (6 * CLUSTER, 5, b"x\0")),
    ],
)
async def test_space_for_a_sparse_file(mode: str, start: int, end: int, expected: object) -> None:
    """Its holes are not filled behind the back of whoever writes there; what is behind its end is written."""
    async with mounted(f=b"x" * (4 * CLUSTER)) as m:
        make_sparse(m.node("f"), {1, 2})
        before = shape(m.node("f"))
        handle = await m.open("f")
        result = await tried(m.files.fallocate(handle, MODES[mode], start, end - start))
        assert (result or shape(m.node("f"))) == expected
        assert not result or shape(m.node("f")) == before


async def test_who_may_have_space() -> None:
    async with mounted(f=b"x" * 100) as m:
        reading, writing = await m.open("f", os.O_RDONLY), await m.open("f", os.O_WRONLY)
        before = m.server.tap.total
        assert await tried(m.files.fallocate(reading, 0, 0, 1000)) == "EBADF"
        for mode in (PUNCH_HOLE, 8, 0x20, 0x40, ZERO_RANGE | PUNCH_HOLE | KEEP_SIZE):
            assert await tried(m.files.fallocate(writing, mode, 0, 1000)) == UNSUPPORTED
        assert m.server.tap.total == before


@pytest.mark.parametrize("refusing", [FSCTL_SET_ZERO_DATA, FSCTL_SET_SPARSE])
async def test_a_server_without_holes_is_asked_once_and_changes_nothing(refusing: int) -> None:
    async with mounted(f=b"x" * (4 * CLUSTER)) as m:
        m.on_fsctl(refused(nt.STATUS_NOT_SUPPORTED), refusing)
        before = shape(m.node("f"))
        handle = await m.open("f")
        assert await tried(m.files.fallocate(handle, MODES["punch"], 0, CLUSTER)) == UNSUPPORTED
        sent = m.sent(RANGES)
        assert await tried(m.files.fallocate(handle, MODES["punch"], 0, CLUSTER)) == UNSUPPORTED
        assert m.sent(RANGES) == sent
        assert shape(m.node("f")) == before
        assert not m.node("f").sparse


async def test_an_allocation_is_never_smaller_than_the_file() -> None:
    """Servers take that for a truncation."""
    async with mounted(f=b"x" * (4 * CLUSTER)) as m:
        handle = await m.open("f")
        for end in (1, CLUSTER, 4 * CLUSTER - 1, 4 * CLUSTER):
            await m.files.fallocate(handle, KEEP_SIZE, 0, end)
        assert m.sent(f"TRANSACTION2/{TRANS2_SET_FILE_INFORMATION}") == 0
        assert shape(m.node("f")) == (4 * CLUSTER, 4, b"x")


async def agreed(exchange: Exchange) -> None:
    """Success, and nothing is done."""
    await exchange.answer(Reply([Trans2Response(parameters=bytes(2), data=b"")]))


async def test_a_server_that_only_says_that_it_keeps_space() -> None:
    """As smbd 4.17 without `strict allocate`. It is not told a second time: that only puts the file at risk."""
    async with mounted(f=b"x" * CLUSTER) as m:
        forget = m.server.script.on(agreed, subcommand=TRANS2_SET_FILE_INFORMATION)
        handle = await m.open("f")
        for _ in range(2):
            assert await tried(m.files.fallocate(handle, KEEP_SIZE, 0, 4 * CLUSTER)) == UNSUPPORTED
        assert forget.hits == 1


async def test_more_than_the_server_has() -> None:
    async with mounted(f=b"x" * 100) as m:
        handle = await m.open("f")
        for mode in ("extend", "keep", "zero", "zero keep"):
            assert await tried(m.files.fallocate(handle, MODES[mode], 0, 1 << 40)) == "ENOSPC"
        assert m.sent(f"TRANSACTION2/{TRANS2_SET_FILE_INFORMATION}") == 0
        assert shape(m.node("f")) == (100, 1, b"x")


def half_done(node: Node, size: int) -> Action:
    """No space, but the file has become so long; smbd 4.17 does that with `strict allocate`."""

    async def action(exchange: Exchange) -> None:
        node.truncate(size)
        await refused(nt.STATUS_DISK_FULL)(exchange)

    return action


@pytest.mark.parametrize(("left", "after"), [(100, 100), (5000, 100), (10_000, 100), (10_001, 10_001)])
async def test_a_growth_that_fails_half_way_is_undone(left: int, after: int) -> None:
    """Unless another machine has made the file longer than we wanted it to be."""
    async with mounted(f=b"x" * 100) as m:
        node = m.node("f")
        m.server.script.once(half_done(node, left), subcommand=TRANS2_SET_FILE_INFORMATION)
        handle = await m.open("f")
        assert await tried(m.files.fallocate(handle, 0, 0, 10_000)) == "ENOSPC"
        assert node.size == after
        assert len(m.dropped) == 1


@pytest.mark.parametrize("mode", ["extend", "zero"])
async def test_zeroes_that_cannot_be_written(mode: str) -> None:
    async with mounted(f=b"x" * 100) as m:
        node = m.node("f")
        make_sparse(node, set())
        m.server.script.on(
            refused(nt.STATUS_DISK_FULL),
            command=SMB_COM_WRITE_ANDX,
            where=lambda exchange: exchange.message.body.offset_low >= 2 * MIB,  # type: ignore[attr-defined]
        )
        handle = await m.open("f")
        assert await tried(m.files.fallocate(handle, MODES[mode], 0, 4 * MIB)) == "ENOSPC"
        assert shape(node) == (100, 1, b"x"), "nothing was zeroed before all could be had"
        assert len(m.dropped) == 1
        await m.settled()


async def test_a_caller_killed_while_zeroes_are_written() -> None:
    async with mounted(f=b"x" * 100) as m:
        make_sparse(m.node("f"), set())
        handle = await m.open("f")
        with trio.CancelScope() as scope:

            async def kill(exchange: Exchange) -> None:
                scope.cancel()
                await exchange.answer()

            m.server.script.on(kill, command=SMB_COM_WRITE_ANDX, times=1)
            await m.files.fallocate(handle, 0, 0, 8 * MIB)
        assert scope.cancelled_caught
        await m.settled()
        assert m.sent("WRITE_ANDX") < 128, "nobody waits for the rest"
        assert len(m.dropped) == 1
