"""Listings fetched ahead: when, how many, and what they save. The test's clock counts round trips of 20 ms."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.client.shares import connect_tree
from smbfuse.core.cache.foresight import AHEAD, FEW, PAGES
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.vfs import Entry
from smbfuse.core.server.attrs import Attributes
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.settings import MountSettings
from tests.client.support import assert_idle, logged_on
from tests.core.support import Mounted
from tests.fakes.offer import Offer
from tests.fakes.script import delayed
from tests.fakes.server import FakeServer
from tests.fakes.volume import Node

ROUND_TRIP = 0.02
FLAT = {f"file{number:04}": b"" for number in range(1000)}
DEEP = {f"dir{top}/sub{sub}/file{number}": b"" for top in range(10) for sub in range(20) for number in range(10)}


@asynccontextmanager
async def far_away(files: dict[str, bytes], *, actimeo: float = 1.0) -> AsyncIterator[Mounted]:
    server = FakeServer(offer=Offer(max_buffer_size=61440), files=files)
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await logged_on(server, nursery), "share")
        server.script.on(delayed(ROUND_TRIP))
        mount = MountSettings(source="//fake/share", mountpoint="/mnt", actimeo=actimeo)
        made = FileSystem(NtBackend(tree), mount, Settler(nursery), trio.current_time, unique_file_names=False)
        yield Mounted(made, server, tree)
        await wait_all_tasks_blocked()
        assert_idle(tree)
        nursery.cancel_scope.cancel()


async def cost(m: Mounted, work: Callable[[], object]) -> tuple[int, float]:
    """Requests and round trips that `work` takes."""
    requests, begun = m.requests, trio.current_time()
    await work()  # type: ignore[misc]
    trips = (trio.current_time() - begun) / ROUND_TRIP
    return m.requests - requests, trips


async def read(m: Mounted, number: int) -> list[tuple[bytes, Entry]]:
    handle = await m.files.opendir(number)
    seen: list[tuple[bytes, Entry]] = []

    def emit(name: bytes, entry: Entry, offset: int) -> bool:
        seen.append((name, entry))
        return True

    await m.files.readdir(handle, 0, emit)
    await m.files.releasedir(handle)
    return [(name, entry) for name, entry in seen if name not in (b".", b"..")]


async def walk(m: Mounted, number: int, order: Callable[[list[tuple[bytes, Entry]]], list[tuple[bytes, Entry]]]) -> int:
    """How many files there are, by reading each directory before those below it."""
    count = 0
    for _, entry in order(await read(m, number)):
        assert entry.stat is not None
        if stat.S_ISDIR(entry.stat.mode):
            count += await walk(m, entry.number, order)
        else:
            count += 1
    return count


async def test_after_a_few_lookups_the_listing_answers(autojump_clock: MockClock) -> None:
    async with far_away(FLAT) as m:

        async def look() -> None:
            for name in FLAT:
                assert (await m.files.lookup(ROOT, name.encode())).number
            assert (await m.files.lookup(ROOT, b"missing")).number == 0

        requests, trips = await cost(m, look)
        assert requests <= 20
        assert trips <= 20


async def test_a_few_lookups_cost_what_they_cost(autojump_clock: MockClock) -> None:
    async with far_away(FLAT) as m:

        async def look() -> None:
            for name in list(FLAT)[: FEW - 1]:
                await m.files.lookup(ROOT, name.encode())
            await trio.sleep(5)  # by then they are forgotten
            await m.files.lookup(ROOT, b"file0500")

        assert (await cost(m, look))[0] == FEW


async def test_a_large_directory_is_not_listed_for_a_few_lookups(autojump_clock: MockClock) -> None:
    files = {f"{'x' * 150}{number:05}": b"" for number in range(5000)}
    async with far_away(files) as m:
        pages = (await cost(m, lambda: read(m, ROOT)))[0]
        assert pages > 20
        await trio.sleep(5)

        async def look() -> None:
            for name in list(files)[:FEW]:
                await m.files.lookup(ROOT, name.encode())
            await trio.sleep(5)

        assert (await cost(m, look))[0] <= 2 * FEW + PAGES + 2  # a page is under way, and the search is ended, too


@pytest.mark.parametrize("pause", [0.02, 0.11])
async def test_what_is_in_use_is_asked_for_again_before_its_time_is_over(
    pause: float, autojump_clock: MockClock
) -> None:
    """A program goes through a directory for some seconds: after the first few files it waits for nothing."""
    async with far_away({f"dir/{name}": b"" for name in FLAT}) as m:
        directory, root_until, name_until = 0, 0.0, 0.0

        async def path(name: str) -> None:
            """As the kernel does, which believes what it was told for as long as it was told."""
            nonlocal directory, root_until, name_until
            if trio.current_time() >= root_until:
                attr_timeout = (await m.files.getattr(ROOT)).attr_timeout
                root_until = trio.current_time() + attr_timeout
            if trio.current_time() >= name_until:
                entry = await m.files.lookup(ROOT, b"dir")
                directory, name_until = entry.number, trio.current_time() + entry.entry_timeout
            assert (await m.files.lookup(directory, name.encode())).number

        async def use(start: int, end: int) -> None:
            for name in list(FLAT)[start:end]:
                await path(name)
                await trio.sleep(pause)

        count = round(5 / pause)
        assert (await cost(m, lambda: use(0, 10)))[1] > 10 * pause / ROUND_TRIP
        requests, trips = await cost(m, lambda: use(10, 10 + count))
        assert trips == pytest.approx(count * pause / ROUND_TRIP, abs=1e-6), "it waits for itself only"
        assert requests <= 6 * (2 + 3)  # in five seconds: both directories, and a listing of three pages
        await trio.sleep(0.9)
        assert await m.cost() == 0


async def test_what_others_put_into_a_directory_that_we_made_is_there_at_once(autojump_clock: MockClock) -> None:
    async with far_away({"dir/file": b""}) as m:
        made = (await m.files.mkdir(ROOT, b"made", 0o755)).number
        for name in (b"first", b"second"):
            m.server.volume.find("made").add(Node(name.decode()))
            assert (await m.files.lookup(made, name)).number


async def test_a_program_that_stops_leaves_one_listing_unused(autojump_clock: MockClock) -> None:
    async with far_away(FLAT) as m:

        async def look(count: int) -> None:
            for name in list(FLAT)[:count]:
                await m.files.lookup(ROOT, name.encode())
                await trio.sleep(0.02)

        await look(50)
        before = m.requests
        await trio.sleep(10)
        assert m.requests - before <= 4


async def test_where_nothing_may_be_kept_nothing_is_fetched(autojump_clock: MockClock) -> None:
    async with far_away(FLAT, actimeo=0) as m:

        async def look() -> None:
            for name in list(FLAT)[:20]:
                await m.files.lookup(ROOT, name.encode())

        assert (await cost(m, look))[0] == 20


@pytest.mark.parametrize("order", [list, sorted], ids=["listed", "by-name"])
async def test_a_walk_takes_a_request_for_each_directory_and_few_round_trips(
    autojump_clock: MockClock, order: Callable[[object], list[tuple[bytes, Entry]]]
) -> None:
    def by_name(entries: list[tuple[bytes, Entry]]) -> list[tuple[bytes, Entry]]:
        return sorted(entries, key=lambda each: each[0])

    async with far_away(DEEP) as m:
        chosen = by_name if order is sorted else list

        async def work() -> None:
            assert await walk(m, ROOT, chosen) == 2000

        requests, trips = await cost(m, work)
        assert requests <= 211 + AHEAD
        assert trips <= 60
        assert m.files.foresight.used >= 0.9 * m.files.foresight.fetched > 100


async def test_one_directory_after_another_is_no_walk_yet(autojump_clock: MockClock) -> None:
    async with far_away(DEEP) as m:

        async def work() -> None:
            entries = dict(await read(m, ROOT))
            await read(m, entries[b"dir3"].number)

        assert (await cost(m, work))[0] == 2


async def test_what_nobody_wants_is_not_fetched_for_long(autojump_clock: MockClock) -> None:
    """A program that takes its time between two directories has no use for listings that are too old by then."""
    async with far_away({f"dir{number}/file": b"" for number in range(60)}) as m:

        async def work() -> None:
            for _, entry in await read(m, ROOT):
                await read(m, entry.number)
                await trio.sleep(2)

        assert (await cost(m, work))[0] <= 3 * 61


async def test_a_reader_waits_for_the_listing_under_way(autojump_clock: MockClock) -> None:
    async with far_away(FLAT) as m:

        async def work() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(read, m, ROOT)

        assert (await cost(m, work))[0] <= 4


async def test_a_failed_fetch_is_nobodys_error(autojump_clock: MockClock) -> None:
    async with far_away(DEEP) as m:
        directory = m.files.inodes.get((await m.files.lookup(ROOT, b"dir1")).number)
        m.server.volume.find("dir1").children = None
        await m.files.lookup(ROOT, b"dir2")
        m.files.soon(lambda: m.files.fetch(directory))
        await trio.sleep(1)
        assert m.files.cache.listing(directory) is None


async def test_plans_follow_the_order_of_the_program(autojump_clock: MockClock) -> None:
    async with far_away({"b/x": b"", "a/x": b"", "d/x": b"", "c/x": b""}) as m:
        names = {name: entry.number for name, entry in await read(m, ROOT)}
        attrs: list[tuple[str, Attributes]] = []
        for name in (b"a", b"b", b"c"):
            m.files.foresight.listed(m.files.inodes.get(names[name]), attrs)
        await trio.sleep(1)
        assert m.files.foresight.fetched >= 1
        assert m.files.foresight.used >= 1
