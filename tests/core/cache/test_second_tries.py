"""What the kernel tries a second time, after an ESTALE, it gets: whatever becomes of the name between its two steps."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.core.cache.inodes import ROOT
from tests.client.support import assert_idle
from tests.core.support import Mounted, mounted
from tests.fakes.volume import Node


async def by_us(m: Mounted, content: bytes) -> None:
    opened, _ = await m.files.create(ROOT, b"new", 0o644, os.O_CREAT | os.O_WRONLY)
    await m.files.write(opened.number, 0, content)
    await m.files.release(opened.number)
    await m.files.rename(ROOT, b"new", ROOT, b"a.txt", 0)


async def by_others(m: Mounted, content: bytes) -> None:
    m.server.volume.remove(m.server.volume.find("a.txt"))
    m.server.volume.find("").add(Node("a.txt", data=bytearray(content)))


async def by_us_at_last(m: Mounted, content: bytes) -> None:
    await (by_us if content == b"third" else by_others)(m, content)


async def refused(m: Mounted, number: int, call: str) -> None:
    arguments = (os.O_RDONLY,) if call == "open" else ()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is what follows
        await getattr(m.files, call)(number, *arguments)
    assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize("call", ["open", "getattr"])
@pytest.mark.parametrize("replace", [by_us, by_others, by_us_at_last])
async def test_a_file_is_replaced_before_the_first_try_and_again_before_the_second(
    replace: Callable[[Mounted, bytes], Awaitable[None]], call: str, mock_clock: MockClock
) -> None:
    async with mounted(actimeo=0, oplocks=True) as m:
        first = (await m.files.lookup(ROOT, b"a.txt")).number
        await replace(m, b"second")
        await refused(m, first, call)
        second = (await m.files.lookup(ROOT, b"a.txt")).number
        assert second != first
        await replace(m, b"third")
        await m.files.getattr(second)
        handle = (await m.files.open(second, os.O_RDONLY)).number
        mock_clock.jump(2)
        await wait_all_tasks_blocked()
        assert bytes(await m.files.read(handle, 0, 10)) == b"second"
        await m.files.release(handle)
        await m.files.opens.trim(0, 0)
        await wait_all_tasks_blocked()
        assert m.tree.opens == {}
        assert set(m.server.volume.find("").children or ()) == {"A.TXT", "B.TXT", "DIR"}
        assert_idle(m.tree)


async def test_what_is_not_opened_after_all_is_let_go(mock_clock: MockClock) -> None:
    async with mounted(actimeo=0) as m:
        first = (await m.files.lookup(ROOT, b"a.txt")).number
        await by_us(m, b"second")
        await refused(m, first, "open")
        await m.files.lookup(ROOT, b"a.txt")
        await by_us(m, b"third")
        assert len(m.tree.opens) == 1
        mock_clock.jump(1.1)
        await wait_all_tasks_blocked()
        assert m.tree.opens == {}
        assert set(m.server.volume.find("").children or ()) == {"A.TXT", "B.TXT", "DIR"}


async def test_nothing_is_held_for_a_second_try_that_comes_too_late_or_by_another_name(mock_clock: MockClock) -> None:
    async with mounted(actimeo=0) as m:
        first = (await m.files.lookup(ROOT, b"a.txt")).number
        await by_us(m, b"second")
        await refused(m, first, "open")
        await m.files.lookup(ROOT, b"b.txt")
        mock_clock.jump(1.1)
        await m.files.lookup(ROOT, b"a.txt")
        assert m.tree.opens == {}
