"""Changes that go on when their callers leave."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from smbfuse.core.settle import GRACE, Settler


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


@pytest.mark.parametrize(
    ("work_ends", "caller_leaves"),
    [(1.0, 2.0), (1.0, 1.0), (1.0, 0.9), (GRACE, 0.0), (GRACE + 0.1, 0.0), (GRACE + 9, 0.0)],
)
async def test_a_result_is_its_callers_or_undone(
    work_ends: float, caller_leaves: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Once, also if it comes in the very moment in which the caller is cancelled, or in which its grace is over."""
    undone: list[int] = []
    taken: list[int] = []
    left: list[float] = []

    async def work() -> int:
        await trio.sleep(work_ends)
        return 7

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(caller_leaves):
            taken.append(await Settler(nursery).run(work, undone.append))
        left.append(trio.current_time())
    in_time = work_ends - caller_leaves
    assert sorted([*taken, *undone]) == [7]
    if in_time != GRACE:
        assert bool(taken) == (in_time < GRACE)
    assert left == [pytest.approx(min(work_ends, caller_leaves + GRACE))]


async def test_an_error_that_nobody_waits_for_is_nobodys(autojump_clock: trio.testing.MockClock) -> None:
    async def work() -> None:
        await trio.sleep(GRACE + 1)
        raise OSError(5, "broken")

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            await Settler(nursery).run(work)


async def test_nobody_stays_for_what_is_not_promising(autojump_clock: trio.testing.MockClock) -> None:
    """While the server is away, say; the change goes on all the same."""
    undone: list[int] = []

    async def work() -> int:
        await trio.sleep(GRACE / 2)
        return 7

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            await Settler(nursery, lambda: False).run(work, undone.append)
        assert trio.current_time() == 0
    assert undone == [7]
