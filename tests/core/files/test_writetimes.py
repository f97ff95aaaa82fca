"""Times of writes that the server does not tell yet, with a server whose clock is hours away."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.core.cache.inodes import ROOT, Inode
from smbfuse.core.files.writetimes import WriteTimes
from smbfuse.core.server.attrs import Attributes
from smbfuse.core.server.backend import Change
from smbfuse.wire.const import SMB_COM_CLOSE, SMB_COM_TRANSACTION2, TRANS2_SET_FILE_INFORMATION
from smbfuse.wire.text import ns_to_filetime
from tests.core.support import Mounted, mounted
from tests.fakes.script import held

HOURS_AGO = 10**18 - 7 * 3600 * 10**9
SET = 10**18
"""The time that a program sets."""


def attributes(mtime_ns: int) -> Attributes:
    return Attributes(stat.S_IFREG, 0, 0, mtime_ns, mtime_ns, mtime_ns)


def make() -> tuple[WriteTimes, Inode, list[int]]:
    clock = [HOURS_AGO]
    return WriteTimes(lambda: clock[0]), Inode(2, stat.S_IFREG), clock


def test_nothing_is_changed_without_a_write() -> None:
    times, inode, _ = make()
    said = attributes(1)
    assert times.corrected(inode, said) is said
    assert times.closing(inode) is None


def test_a_write_shows_in_the_clock_of_the_server_and_is_made_true() -> None:
    times, inode, clock = make()
    times.wrote(inode)
    clock[0] += 10**9
    assert times.corrected(inode, attributes(1)).mtime_ns == HOURS_AGO
    assert times.closing(inode) == HOURS_AGO
    assert len(times) == 0


def test_what_nobody_saw_costs_nothing() -> None:
    times, inode, _ = make()
    times.wrote(inode)
    assert times.closing(inode) is None


def test_the_server_has_the_last_word() -> None:
    times, inode, _ = make()
    times.wrote(inode)
    said = attributes(HOURS_AGO + 1)
    assert times.corrected(inode, said) is said
    assert times.closing(inode) is None


def test_a_time_set_before_the_write_does_not_stay() -> None:
    times, inode, _ = make()
    times.was_set(inode)
    assert times.corrected(inode, attributes(1)).mtime_ns == 1
    times.wrote(inode)
    assert times.closing(inode) == HOURS_AGO


def test_a_time_set_after_the_write_stays() -> None:
    times, inode, _ = make()
    times.wrote(inode)
    times.was_set(inode)
    assert times.corrected(inode, attributes(1)).mtime_ns == 1
    assert times.closing(inode) is None


def test_a_server_that_dates_changes_at_once_keeps_its_time() -> None:
    inode = Inode(2, stat.S_IFREG)
    for change in (WriteTimes.changed, WriteTimes.was_set):
        times = WriteTimes(lambda: HOURS_AGO, late=False)
        times.wrote(inode)
        times.tell(inode)
        change(times, inode)
        assert times.closing(inode) is None


# --- beside a program that sets a time itself


@asynccontextmanager
async def written(m: Mounted) -> AsyncIterator[tuple[int, int]]:
    """A file that was written to, and of whose time a program was told: its inode's and its handle's number."""
    number = (await m.files.lookup(ROOT, b"a.txt")).number
    handle = (await m.files.open(number, os.O_WRONLY)).number
    await m.files.write(handle, 0, b"xyz")
    await m.files.getattr(number)
    yield number, handle
    assert m.server.volume.find("a.txt").written == ns_to_filetime(SET)


async def test_who_sets_a_time_after_the_close_has_the_last_word(autojump_clock: MockClock) -> None:
    """The end of a close is not waited for: utimes(2) comes when we set the time that the program was told."""
    async with mounted() as m, written(m) as (number, handle), trio.open_nursery() as nursery:
        closes = trio.Event()
        m.server.script.once(held(closes), command=SMB_COM_CLOSE)
        nursery.start_soon(m.files.release, handle)
        await wait_all_tasks_blocked()
        nursery.start_soon(m.files.setattr, number, Change(mtime_ns=SET))
        await wait_all_tasks_blocked()
        assert m.server.volume.find("a.txt").written != ns_to_filetime(SET), "smbd would set it back at the close"
        closes.set()


async def test_a_time_that_is_being_set_is_left_alone_by_the_close(autojump_clock: MockClock) -> None:
    async with mounted() as m, written(m) as (number, handle), trio.open_nursery() as nursery:
        sets = trio.Event()
        m.server.script.once(held(sets), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_SET_FILE_INFORMATION)
        nursery.start_soon(m.files.setattr, number, Change(mtime_ns=SET))
        await wait_all_tasks_blocked()
        nursery.start_soon(m.files.release, handle)
        await wait_all_tasks_blocked()
        assert m.server.tap.requests["CLOSE"] == 0
        sets.set()
