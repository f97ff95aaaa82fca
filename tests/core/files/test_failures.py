"""Writes that fail, and opens that do: everybody concerned is told, and nothing stays behind."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.core.cache.inodes import ROOT
from smbfuse.ntstatus import STATUS_DISK_FULL, STATUS_INSUFFICIENT_RESOURCES
from smbfuse.wire.const import SMB_COM_TRANSACTION2, SMB_COM_WRITE_ANDX
from tests.core.server.test_lost_answers import kept
from tests.core.support import Mounted, mounted
from tests.fakes.exchange import Exchange
from tests.fakes.script import held, refused
from tests.support.logguard import LogGuard


async def opened(m: Mounted, flags: int) -> tuple[int, int]:
    """Numbers of a file and of a handle."""
    number = (await m.files.lookup(ROOT, b"a.txt")).number
    return number, (await m.files.open(number, flags)).number


@pytest.mark.parametrize("ends", ["fsync", "flush"])
async def test_a_write_that_is_tried_again_hides_nothing_that_was_lost_before(ends: str) -> None:
    """The disk is full for a moment: what is repeated then is not what was lost."""
    async with mounted(oplocks=True) as m:
        number, handle = await opened(m, os.O_RDWR)
        m.server.script.once(refused(STATUS_DISK_FULL), command=SMB_COM_WRITE_ANDX)
        await m.files.write(handle, 0, b"first")
        await m.files.write_back(m.files.inodes.get(number))
        with pytest.raises(OSError, match="space"):
            await m.files.write(handle, 5, b"second")
        await m.files.write(handle, 5, b"second")
        with pytest.raises(OSError, match="space"):
            await getattr(m.files, ends)(handle)
        await getattr(m.files, ends)(handle)  # that is told once


async def test_a_file_that_is_lost_is_told_to_its_writer_though_another_has_closed_it(
    monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard, autojump_clock: MockClock
) -> None:
    log_guard.expect("connecting again$|connected again after|is lost to those")
    async with kept(monkeypatch) as place:
        number = await place.look("a.txt")
        writer = (await place.files.open(number, os.O_RDWR)).number
        reader = (await place.files.open(number, os.O_RDONLY)).number
        await place.files.write(writer, 0, b"precious")
        place.server.volume.find("a.txt").number += 1_000_000  # another file has taken the name
        await place.server.last.aclose()
        await trio.sleep(5)
        await place.files.release(reader)
        assert place.content("\\a.txt") == b"aaa"
        with pytest.raises(OSError, match=r"."):
            await place.files.flush(writer)


async def test_what_no_program_can_be_told_of_is_in_the_log(log_guard: LogGuard) -> None:
    """It has closed the file and did not wait for the end of that, or changed a map after it."""
    log_guard.expect(r"^/a\.txt: what was written here is lost: .*STATUS_DISK_FULL")
    async with mounted(oplocks=True) as m:
        _, handle = await opened(m, os.O_RDWR)
        await m.files.write(handle, 0, b"lost")
        answer = trio.Event()

        async def full(exchange: Exchange) -> None:
            await answer.wait()
            await refused(STATUS_DISK_FULL)(exchange)

        m.server.script.once(full, command=SMB_COM_WRITE_ANDX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.flush, handle)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.release, handle)
            await wait_all_tasks_blocked()
            answer.set()


@pytest.mark.parametrize("killed", [True, False])
async def test_an_open_that_ends_while_it_compares_leaves_nothing_open(killed: bool) -> None:
    async with mounted() as m:
        number, first = await opened(m, os.O_RDONLY)
        if killed:
            answer = trio.Event()
            m.server.script.once(held(answer), command=SMB_COM_TRANSACTION2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(m.files.open, number, os.O_RDONLY)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            answer.set()
        else:
            m.server.script.once(refused(STATUS_INSUFFICIENT_RESOURCES), command=SMB_COM_TRANSACTION2)
            with pytest.raises(OSError, match=r"."):
                await m.files.open(number, os.O_RDONLY)
        await m.files.release(first)
        await wait_all_tasks_blocked()
        assert m.tree.opens == {}
