"""A question that is under way before anybody waits for its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.client.ahead import Ahead
from smbfuse.client.connection import Connection
from smbfuse.errors import ConnectionLost, StatusError
from smbfuse.ntstatus import STATUS_ACCESS_DENIED
from smbfuse.wire.fslevels import FsSizeInfo
from tests.client.support import tree_of
from tests.fakes.script import delayed, dropped, refused
from tests.fakes.server import FakeServer

ROUND_TRIP = 0.02


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[FakeServer, Connection, Ahead[FsSizeInfo]]]:
    """A server at the other end of a connection, and a question about the share."""
    server = FakeServer()
    async with trio.open_nursery() as nursery:
        tree = await tree_of(server, nursery)
        yield server, tree.session.connection, Ahead(lambda: tree.query_fs(FsSizeInfo))
        nursery.cancel_scope.cancel()


async def test_its_wait_is_that_of_what_is_done_meanwhile(autojump_clock: MockClock) -> None:
    async with asking() as (server, connection, ahead):
        server.script.on(delayed(ROUND_TRIP))
        begun = trio.current_time()
        assert ahead.begin(connection)
        await trio.sleep(ROUND_TRIP)
        assert (await ahead.answer()).bytes_per_sector
        assert trio.current_time() - begun == pytest.approx(ROUND_TRIP)


async def test_it_fails_as_if_it_was_asked_now(autojump_clock: MockClock) -> None:
    async with asking() as (server, connection, ahead):
        server.script.on(refused(STATUS_ACCESS_DENIED))
        assert ahead.begin(connection)
        with pytest.raises(StatusError) as caught:
            await ahead.answer()
        assert caught.value.status == STATUS_ACCESS_DENIED


async def test_what_was_not_asked_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with asking() as (_, connection, ahead):
        begun = trio.current_time()
        with pytest.raises(ConnectionLost):
            await ahead.answer()
        connection.fail(ConnectionLost("the cable"))
        await wait_all_tasks_blocked()
        assert not ahead.begin(connection)
        with pytest.raises(ConnectionLost):
            await ahead.answer()
        assert trio.current_time() == begun


async def test_it_ends_with_its_connection(autojump_clock: MockClock) -> None:
    async with asking() as (server, connection, ahead):
        server.script.on(dropped)
        begun = trio.current_time()
        assert ahead.begin(connection)
        await wait_all_tasks_blocked()
        connection.fail(ConnectionLost("the cable"))
        with pytest.raises(ConnectionLost):
            await ahead.answer()
        assert trio.current_time() == begun
