"""Directory searches in pages, each of which is under way when it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.client.search import Search
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.errors import ConnectionLost, StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED
from smbfuse.wire.const import SMB_COM_TRANSACTION2, TRANS2_FIND_NEXT2
from smbfuse.wire.findlevels import FileIdFullDirectoryInfo
from tests.client.support import assert_idle, logged_on
from tests.fakes.offer import Offer
from tests.fakes.script import delayed, held, refused
from tests.fakes.server import FakeServer

NAMES = {f"file{number:05}" for number in range(5000)}
ROUND_TRIP = 0.02


@asynccontextmanager
async def searched() -> AsyncIterator[tuple[FakeServer, Tree, Search[FileIdFullDirectoryInfo]]]:
    server = FakeServer(offer=Offer(max_buffer_size=61440), files=dict.fromkeys(NAMES, b""))
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await logged_on(server, nursery), "share")
        yield server, tree, tree.search(ServerPath("\\file*"), FileIdFullDirectoryInfo)
        nursery.cancel_scope.cancel()


async def test_pages_are_on_their_way_while_those_before_are_looked_at(autojump_clock: MockClock) -> None:
    async with searched() as (server, tree, search):
        server.script.on(delayed(ROUND_TRIP))
        before, begun = server.tap.total, trio.current_time()
        found, pages = [], 0
        while page := await search.next_page():
            found += [entry.file_name for entry in page]
            pages += 1
            await trio.sleep(ROUND_TRIP)  # as long as it takes to look at them
        assert len(found) == len(NAMES)
        assert set(found) == NAMES
        assert pages >= 8
        assert server.tap.total - before == pages, "none is asked for in vain"
        assert trio.current_time() - begun == pytest.approx((pages + 2) * ROUND_TRIP)
        assert_idle(tree)


async def test_a_search_that_ends_early_leaves_nothing(autojump_clock: MockClock) -> None:
    async with searched() as (server, tree, search):
        for _ in range(3):
            await search.next_page()
        await search.close()
        await wait_all_tasks_blocked()
        assert server.tap.requests["FIND_CLOSE2"] == 1
        assert await search.next_page() == []
        assert_idle(tree)


async def test_one_page_is_asked_for_alone(autojump_clock: MockClock) -> None:
    async with searched() as (server, _, search):
        before = server.tap.total
        await search.next_page()
        await wait_all_tasks_blocked()
        assert server.tap.total - before == 1
        await search.close()


async def test_what_became_of_a_page_is_told_to_who_asks_for_it(autojump_clock: MockClock) -> None:
    async with searched() as (server, _, search):
        await search.next_page()
        await search.next_page()
        await wait_all_tasks_blocked()
        server.script.once(refused(STATUS_ACCESS_DENIED), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_FIND_NEXT2)
        await search.next_page()
        with pytest.raises(StatusError) as caught:
            await search.next_page()
        assert caught.value.status == STATUS_ACCESS_DENIED


async def test_a_lost_connection_ends_the_wait_for_a_page(autojump_clock: MockClock) -> None:
    async with searched() as (server, tree, search):
        await search.next_page()
        await search.next_page()
        await wait_all_tasks_blocked()
        server.script.on(held(trio.Event()), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_FIND_NEXT2)
        await search.next_page()
        await wait_all_tasks_blocked()
        tree.session.connection.fail(ConnectionLost("the cable"))
        with pytest.raises(ConnectionLost):
            await search.next_page()
