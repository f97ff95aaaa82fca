"""Changes that go on when their callers leave."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from smbfuse.core.settle import Settler


async def test_a_result_is_the_callers() -> None:
    undone: list[int] = []

    async def work() -> int:
        return 7

    async with trio.open_nursery() as nursery:
        assert await Settler(nursery).run(work, undone.append) == 7
    assert undone == []


async def test_an_error_is_the_callers() -> None:
    async def work() -> None:
        raise OSError(5, "broken")

    async with trio.open_nursery() as nursery:
        with pytest.raises(OSError, match="broken"):
            await Settler(nursery).run(work)


@pytest.mark.parametrize("moment", ["before", "with", "after"])
async def test_what_nobody_waits_for_is_undone_once(moment: str) -> None:
    """Also if the result comes in the very moment in which the caller is cancelled."""
    undone: list[int] = []
    taken: list[int] = []
    go = trio.Event()
    scope = trio.CancelScope()

    async def work() -> int:
        await go.wait()
        if moment == "with":
            scope.cancel()
        return 7

    async def caller(settler: Settler) -> None:
        with scope:
            taken.append(await settler.run(work, undone.append))

    async with trio.open_nursery() as nursery:
        settler = Settler(nursery)
        async with trio.open_nursery() as callers:
            callers.start_soon(caller, settler)
            await trio.testing.wait_all_tasks_blocked()
            if moment == "before":
                scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
            go.set()
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert (taken, undone) == (([7], []) if moment == "after" else ([], [7]))


async def test_an_error_that_nobody_waits_for_is_nobodys() -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(5, "broken")

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            await Settler(nursery).run(work)
