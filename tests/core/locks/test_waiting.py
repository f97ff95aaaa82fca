"""Locks that are waited for."""

from __future__ import annotations

import errno
from functools import partial

import trio
import trio.testing

from smbfuse.core.locks.locktable import Mode, Span
from tests.core.locks import NONE, READ, SOON, WRITE, Handle, Place, blocked, eventually, inode_of, raises


async def test_a_wait_ends_when_the_other_machine_unlocks(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 0, 10)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(other.lock, READ, 5, 15, sleep=True))
            await blocked(other)
            await one.lock(NONE, 0, 10)
    assert not await one.locks(WRITE, 5, 6)


async def test_an_upgrade_waits_without_giving_up_what_it_has(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(READ, 0, 10)
    assert await other.locks(READ, 0, 10)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(other.lock, WRITE, 0, 10, sleep=True))
            await blocked(other)
            await one.lock(NONE, 0, 10)
    assert not await one.locks(READ, 0, 10)


async def test_no_part_is_held_while_the_rest_is_waited_for(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 30, 40)
    assert await other.locks(WRITE, 10, 20)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(other.lock, WRITE, 0, 40, sleep=True))
            await blocked(other)
            assert await one.locks(WRITE, 0, 10)
            assert await one.locks(READ, 20, 30)
            await one.lock(NONE)


async def test_a_wait_does_not_keep_others_from_the_file(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 0, 10)
    assert await other.locks(WRITE, 20, 30, owner=2)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(other.lock, WRITE, 0, 10, sleep=True))
            await blocked(other)
            await other.lock(NONE, 20, 30, owner=2)
            assert await one.locks(WRITE, 20, 30)
            assert await other.locks(WRITE, 30, 40, owner=2)
            await one.lock(NONE, 0, 10)


async def test_a_waiter_that_leaves_leaves_nothing(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 0, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(other.lock, WRITE, 0, 10, sleep=True))
        await blocked(other)
        nursery.cancel_scope.cancel()
    await eventually(lambda: not other.machine.files._locks)
    assert other.machine.tree.session.connection.engine.mids.pending == {}
    await one.lock(NONE, 0, 10)
    assert await one.locks(WRITE, 0, 10)


async def test_a_lock_that_comes_when_its_waiter_has_left_is_given_back(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await other.locks(READ, 0, 20)
    with trio.CancelScope() as scope:
        scope.cancel()
        await other.lock(WRITE, 10, 30)
    locks = other.machine.files._locks[inode_of(other)]
    await eventually(lambda: not locks.users and list(locks.union()) == [Span(0, 20, Mode.SHARED)])
    assert await one.locks(WRITE, 20, 30)
    assert await one.locks(READ, 0, 20), "what was held before is held again, and no more"
    assert not await one.locks(WRITE, 0, 20)


async def test_waiters_of_one_machine_go_in_order(pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    assert await one.locks(WRITE, owner=1)
    got: list[int] = []

    async def want(owner: int) -> None:
        await one.lock(WRITE, owner=owner, sleep=True)
        got.append(owner)
        await one.lock(NONE, owner=owner)

    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            for owner in (4, 2, 3):
                nursery.start_soon(want, owner)
                await trio.testing.wait_all_tasks_blocked()
            await one.lock(NONE, owner=1)
    assert got == [4, 2, 3]


async def test_a_lock_that_becomes_weaker_lets_waiters_in(pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    assert await one.locks(WRITE, owner=1)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(one.lock, READ, owner=2, sleep=True))
            await trio.testing.wait_all_tasks_blocked()
            await one.lock(READ, owner=1)
    assert not await one.locks(WRITE, owner=1)


async def test_nobody_is_told_of_a_lock_that_is_waited_for(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(READ, 0, 10)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(other.lock, WRITE, 0, 10, owner=2, sleep=True))
            await blocked(other)
            assert (await other.test(READ, 0, 10)).type == NONE
            assert await other.locks(READ, 0, 10)
            await other.lock(NONE)
            await one.lock(NONE)


async def test_a_circle_of_waiters_is_a_deadlock(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    place.put("second")
    second = await place.one.open("second")
    assert await one.locks(WRITE, owner=1)
    assert await second.locks(WRITE, owner=2)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(one.lock, WRITE, owner=2, sleep=True))
            await trio.testing.wait_all_tasks_blocked()
            with raises(errno.EDEADLK):
                await second.lock(WRITE, owner=1, sleep=True)
            await one.lock(NONE, owner=1)
    await second.closed_by(2)


async def test_one_that_is_waited_for_goes_first(pair: tuple[Handle, Handle]) -> None:
    """Or the queue itself would be a deadlock."""
    one, _ = pair
    assert await one.locks(READ, 0, 5, owner=1)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(one.lock, WRITE, 0, 10, owner=2, sleep=True))
            await trio.testing.wait_all_tasks_blocked()
            await one.lock(READ, 5, 8, owner=1, sleep=True)
            await one.lock(NONE, owner=1)


async def test_waits_leave_room_for_other_requests(place: Place) -> None:
    names = [f"f{number}" for number in range(40)]
    for name in names:
        place.put(name)
    held = [await place.one.open(name) for name in names]
    wanted = [await place.other.open(name) for name in names]
    for handle in held:
        assert await handle.locks(WRITE)
    connection = place.other.tree.session.connection
    limit = place.other.tree.session.limits.max_mpx_count
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for handle in wanted:
                nursery.start_soon(partial(handle.lock, WRITE, sleep=True))
            await eventually(lambda: connection.window.used >= limit // 4)
            await place.other.files.statfs()
            assert place.other.files._waiting <= limit // 4
            for handle in held:
                await handle.lock(NONE)
    for handle in wanted:
        await handle.closed_by(1)
