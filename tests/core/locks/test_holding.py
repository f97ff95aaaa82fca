"""Locks that are taken, asked for and given back, and the FIDs that hold them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.kernel import Kernel
from smbfuse.core.calls.locks import FileLock
from smbfuse.core.locks.locktable import END
from smbfuse.wire.const import FILE_OPEN, FILE_SHARE_DELETE, FILE_SHARE_WRITE, FILE_WRITE_DATA
from tests.client.support import assert_idle
from tests.core.locks import NONE, READ, SOON, WRITE, Handle, Place, blocked, inode_of, machine, raises
from tests.samba.smbd import Share, Smbd

# --- taking and giving back


async def test_processes_of_one_machine_exclude_each_other(pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    assert await one.locks(WRITE, 0, 10, owner=1)
    assert not await one.locks(READ, 5, 15, owner=2)
    assert await one.locks(WRITE, 10, 20, owner=2)
    assert await one.locks(READ, 0, 10, owner=1), "an owner's own locks are never in its way"
    assert await one.locks(READ, 5, 10, owner=2)
    assert not await one.locks(WRITE, 0, 10, owner=1)


async def test_machines_exclude_each_other(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 0, 10)
    assert await one.locks(READ, 20, 30)
    assert not await other.locks(READ, 9, 10)
    assert not await other.locks(WRITE, 25, 26)
    assert await other.locks(READ, 25, 26)
    assert await other.locks(WRITE, 10, 20)
    assert not await one.locks(WRITE), "the whole file"
    await one.lock(NONE, 0, 10)
    assert await other.locks(WRITE, 0, 10)


async def test_a_part_is_unlocked(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 0, 100)
    await one.lock(NONE, 40, 60)
    assert await other.locks(WRITE, 40, 60)
    assert not await other.locks(READ, 39, 40)
    assert not await other.locks(READ, 60, 61)
    await other.lock(NONE)
    assert await one.locks(WRITE, 0, 100), "and locked again"


async def test_the_server_holds_what_any_process_holds(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(READ, 0, 50, owner=1)
    assert await one.locks(READ, 25, 75, owner=2)
    await one.lock(NONE, owner=1)
    assert not await other.locks(WRITE, 25, 26)
    assert await other.locks(WRITE, 0, 25)
    await one.lock(NONE, owner=2)
    assert await other.locks(WRITE, 0, 75)


async def test_locks_become_stronger_and_weaker(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(READ, 0, 10)
    assert await one.locks(WRITE, 0, 10)
    assert not await other.locks(READ, 0, 10)
    assert await one.locks(READ, 0, 10)
    assert await other.locks(READ, 0, 10)
    assert not await one.locks(WRITE, 0, 10)
    assert not await other.locks(WRITE, 0, 10), "the shared lock stays where the exclusive one is not had"
    await other.lock(NONE)
    assert await one.locks(WRITE, 0, 10)


async def test_a_shared_lock_stays_while_both_try_to_make_theirs_exclusive(pair: tuple[Handle, Handle]) -> None:
    """The two tries come together again and again; neither machine may get what the other has never given up."""
    for handle in pair:
        assert await handle.locks(READ, 0, 10)

    async def upgrade(handle: Handle) -> None:
        for _ in range(40):
            assert not await handle.locks(WRITE, 0, 10)

    async with trio.open_nursery() as nursery:
        for handle in pair:
            nursery.start_soon(upgrade, handle)


async def test_a_shared_lock_stays_while_somebody_waits_for_it(place: Place, pair: tuple[Handle, Handle]) -> None:
    """Whoever waits at the server must not have it in the moment in which a refused upgrade lets go of it."""
    one, other = pair
    third = await place.other.open("file")
    assert await one.locks(READ, 0, 10)
    assert await other.locks(READ, 0, 1)
    with trio.fail_after(2 * SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(third.lock, WRITE, 5, 6, owner=2, sleep=True))
            await blocked(other)
            for _ in range(20):
                assert not await one.locks(WRITE, 0, 10)
                assert not place.other.files._locks[inode_of(other)].tables["fcntl"].of(2)
            await one.lock(NONE)
    await third.release()


async def test_what_the_locks_of_a_transaction_of_sqlite_cost(place: Place, pair: tuple[Handle, Handle]) -> None:
    """PENDING, SHARED and RESERVED, the exclusive lock, and back: the server is asked when something changes only."""
    one, _ = pair
    renewed = []

    class Kept(Kernel):
        async def forget_data(self, number: int) -> None:
            renewed.append(number)

    one.machine.files.kernel = Kept()
    steps = [(READ, 0, 1), (READ, 2, 512), (NONE, 0, 1), (WRITE, 1, 2), (WRITE, 0, 1), (WRITE, 2, 512)]
    back = [(READ, 2, 512), (NONE, 0, 2), (NONE, 2, 512)]
    before = one.machine.requests
    for step in steps:
        await one.lock(*step)
    assert one.machine.requests - before == len(steps) + (0 if place.unix else 2), "the turn, and the shadow"
    assert len(renewed) == 5
    before = one.machine.requests
    for step in back:
        await one.lock(*step)
    assert one.machine.requests - before == len(back) + (0 if place.unix else 1), "no gap where it becomes weaker"
    assert len(renewed) == 5, "a weaker lock tells nothing new"


async def test_nothing_changes_where_a_lock_is_refused(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 0, 10)
    assert await one.locks(READ, 20, 30)
    assert await other.locks(WRITE, 50, 60)
    assert not await one.locks(WRITE, 0, 100)
    assert await other.locks(READ, 20, 30)
    assert not await other.locks(READ, 5, 6)
    assert await other.locks(WRITE, 10, 20)
    assert await other.locks(WRITE, 30, 50)


async def test_an_exclusive_lock_stays_where_a_wider_shared_one_is_refused(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(READ, 10, 20)
    assert await one.locks(WRITE, 0, 10)
    assert await other.locks(WRITE, 20, 30)
    assert not await one.locks(READ, 0, 30)
    assert not await other.locks(READ, 0, 1)
    assert await other.locks(READ, 10, 20)


async def test_reads_and_writes_of_ours_pass(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    again = await place.one.open("file", os.O_RDONLY)
    assert await one.locks(WRITE, 0, 50)
    assert bytes(await place.one.files.read(again.fh, 0, 10)) == b"0" * 10
    assert await place.one.files.write(one.fh, 0, b"1") == 1
    if place.unix:
        assert await place.other.files.write(other.fh, 1, b"2") == 1
    else:
        for offset in (0, 49):
            with raises(errno.EACCES):
                await place.other.files.write(other.fh, offset, b"2")
        with raises(errno.EACCES):
            await place.other.files.read(other.fh, 0, 10)
    assert await place.other.files.write(other.fh, 50, b"2") == 1
    await again.release()


async def test_writes_of_ours_pass_our_shared_locks(place: Place, pair: tuple[Handle, Handle]) -> None:
    """A mandatory shared lock keeps its own holder from writing."""
    one, other = pair
    assert await one.locks(READ, 10, 20, owner=1)
    assert await one.locks(READ, 30, 40, owner=2)
    assert await place.one.files.write(one.fh, 0, b"0" * 30) == 30, "the same where it is locked"
    assert await place.one.files.write(one.fh, 5, b"1" * 30) == 30
    assert (place.path / "file").read_bytes()[:50] == b"0" * 5 + b"1" * 30 + b"0" * 15
    assert not await other.locks(WRITE, 10, 11), "and is locked as before"
    assert not await other.locks(WRITE, 39, 40)
    assert await other.locks(WRITE, 20, 30)
    if not place.unix:
        with raises(errno.EACCES):
            await place.one.files.write(one.fh, 15, b"2" * 10)
        assert not await other.locks(WRITE, 19, 20)


async def test_processes_on_the_servers_disk_are_kept_out(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    assert await one.locks(WRITE, 10, 20)
    with place.open_there("file") as there:
        fcntl.lockf(there, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
        with raises(errno.EAGAIN):
            fcntl.lockf(there, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 19)
        assert not await one.locks(WRITE, 0, 30)
        fcntl.lockf(there, fcntl.LOCK_UN)
        assert await one.locks(WRITE, 0, 30)


async def test_a_second_lock_that_the_server_has_already_is_free_of_charge(pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    assert await one.locks(READ, 0, 100, owner=1)
    before = dict(one.machine.sent)
    assert await one.locks(READ, 10, 20, owner=2)
    await one.lock(NONE, 10, 20, owner=2)
    assert one.machine.sent == before


async def test_the_page_cache_is_dropped_under_a_new_lock(pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    dropped = []

    class Kept(Kernel):
        async def forget_data(self, number: int) -> None:
            dropped.append(number)

    one.machine.files.kernel = Kept()
    assert await one.locks(READ, 0, 10)
    dropped_once = len(dropped)
    assert await one.locks(READ, 0, 10, owner=2)
    assert set(dropped) == {one.inode}
    assert len(dropped) == dropped_once


async def test_locks_on_several_files_at_once(place: Place) -> None:
    """smbd counts POSIX locks by owner, and ends where one owner lets go of the second of two files."""
    names = ["a", "b", "c"]
    for name in names:
        place.put(name)
    handles = [await place.one.open(name) for name in names]
    for handle in handles:
        assert await handle.locks(WRITE, 0, 10)
    for handle in reversed(handles):
        await handle.lock(NONE, 0, 10)
        assert await handle.locks(READ, 5, 6)
    for handle in handles:
        await handle.release()
    assert (await place.one.files.statfs()).unit > 0, "the server is still there"


@pytest.mark.parametrize("unix", [True, False], ids=["unix", "nounix"])
async def test_a_try_does_not_wait_where_the_server_would(
    make_smbd: Callable[..., Smbd], tmp_path: Path, unix: bool
) -> None:
    """smbd lets a second try at the same place lie; of another process of ours nobody may notice that."""
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "file").write_bytes(b"0" * 100)
    options = {"lock spin time": str(int(SOON * 5000))}
    server = make_smbd([Share(name="share", path=tmp_path)], options=options)
    async with trio.open_nursery() as nursery:
        one, other = [await (await machine(server, "d", unix, nursery)).open("file") for _ in "12"]
        assert await one.locks(WRITE, 0, 10)
        with trio.fail_after(SOON):
            for _ in range(3):
                assert not await other.locks(WRITE, 0, 10)
            assert (await other.test(WRITE, 0, 10)).type == WRITE
            assert await one.flock(fcntl.LOCK_EX)
            assert not await other.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert_idle(other.machine.tree)
        nursery.cancel_scope.cancel()


# --- asking


async def test_getlk_tells_who(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    await one.lock(WRITE, 10, 20, owner=1, pid=4711)
    assert await one.test(READ, 0, 100, owner=2) == FileLock(WRITE, 10, 19, 4711)
    assert (await one.test(WRITE, 0, 100, owner=1)).type == NONE
    there = (10, 19) if place.unix else (0, 99)
    assert await other.test(READ, 0, 100) == FileLock(WRITE, *there, 0)
    assert (await other.test(WRITE, 20, 100)).type == NONE
    await one.lock(READ, 10, 20, owner=1)
    assert await other.test(WRITE, 0, 100) == FileLock(READ, *there, 0)
    assert (await other.test(READ, 0, 100)).type == NONE
    assert await one.locks(WRITE, 0, 100), "asking locks nothing"


async def test_getlk_beside_what_is_held(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    for handle in pair:
        assert await handle.locks(READ, 10, 20)
        assert await handle.flock(fcntl.LOCK_SH)
    assert await one.locks(WRITE, 50, 60)
    assert (await one.test(WRITE, 20, END)).type == NONE, "a flock is none"
    assert (await other.test(READ, 0, 40)).type == NONE
    found = await other.test(WRITE, 20, END)
    assert found == (FileLock(WRITE, 50, 59) if place.unix else FileLock(WRITE, 20))
    if place.unix:
        assert await one.test(WRITE, 0, 40) == FileLock(READ, 10, 19)
    assert not await other.locks(READ, 50, 60)
    assert await other.flock(fcntl.LOCK_UN)
    assert await one.flock(fcntl.LOCK_UN)
    assert not await one.locks(WRITE, 10, 20), "the shared locks stay"


async def test_getlk_tells_of_processes_on_the_servers_disk(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, _ = pair
    with place.open_there("file") as there:
        fcntl.lockf(there, fcntl.LOCK_EX, 0, 30)
        expected = FileLock(WRITE, 30) if place.unix else FileLock(WRITE, 0)
        assert await one.test(READ, 0, END) == expected


# --- closing


async def test_close_ends_the_locks_of_that_process(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    again = await place.one.open("file")
    assert await one.locks(WRITE, 0, 10, owner=1)
    assert await one.locks(WRITE, 20, 30, owner=2)
    await again.closed_by(1)
    assert await other.locks(WRITE, 0, 10)
    assert not await other.locks(WRITE, 20, 30)
    assert await one.locks(READ, 40, 50, owner=1)
    await again.release()
    assert not await other.locks(WRITE, 40, 50), "a late release is no close of what was locked after it"


async def test_the_last_close_ends_locks_of_the_open_file(place: Place, pair: tuple[Handle, Handle]) -> None:
    _, other = pair
    again = await place.one.open("file")
    assert await again.locks(WRITE, 0, 10, owner=77)
    assert await again.flock(fcntl.LOCK_EX, owner=77)
    await again.release()
    assert await other.locks(WRITE, 0, 10)
    assert await other.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert await other.flock(fcntl.LOCK_UN)


async def test_no_lock_is_refused_for_one_that_goes_with_a_close(place: Place, pair: tuple[Handle, Handle]) -> None:
    """close(2) returns before the kernel tells us of the last one."""
    one, _ = pair
    again = await place.one.open("file")
    assert await again.locks(WRITE, 0, 10, owner=77)
    assert await again.flock(fcntl.LOCK_EX, owner=77)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.release)
        await trio.lowlevel.checkpoint()
        assert await one.locks(WRITE, 0, 10)
        assert await one.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert await one.flock(fcntl.LOCK_UN)


# --- flock


async def test_flock_between_machines_and_beside_fcntl(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not await other.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not await one.flock(fcntl.LOCK_SH | fcntl.LOCK_NB, owner=101)
    assert await other.locks(WRITE), "fcntl(2) knows nothing of flock(2)"
    assert await place.one.files.write(one.fh, 0, b"1") == 1 if place.unix else True
    await other.lock(NONE)
    assert await place.other.files.write(other.fh, 0, b"1") == 1, "nor do writes"
    assert await one.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert await other.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not await one.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert await one.flock(fcntl.LOCK_UN)
    assert await other.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert await other.flock(fcntl.LOCK_UN)


async def test_flock_waits(pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.flock(fcntl.LOCK_EX)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.flock, fcntl.LOCK_EX)
            await blocked(other)
            assert await one.flock(fcntl.LOCK_UN)
    assert not await one.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert await other.flock(fcntl.LOCK_UN)


async def test_flock_of_a_file_open_for_reading(place: Place) -> None:
    place.put("read")
    reading = await place.one.open("read", os.O_RDONLY)
    against = await place.other.open("read", os.O_RDONLY)
    assert await reading.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not await against.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert bytes(await place.one.files.read(reading.fh, 0, 1)) == b"0"
    await reading.release()
    assert await against.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    await against.release()
    assert len(place.one.files.opens) == 0, "the FID for the lock went with it"


# --- FIDs


async def test_locks_move_to_a_wider_fid(place: Place, pair: tuple[Handle, Handle]) -> None:
    """Where the FID for reading and writing is refused that the first lock asks for, and had later."""
    place.put("log")
    name = place.other.files.path(place.other.files.inodes.root, "log")
    denying, _ = await place.other.tree.create(
        name, access=FILE_WRITE_DATA, disposition=FILE_OPEN, share=FILE_SHARE_WRITE | FILE_SHARE_DELETE
    )
    writing = await place.one.open("log", os.O_WRONLY)
    assert await writing.locks(WRITE, 0, 10)
    assert await writing.flock(fcntl.LOCK_EX)
    before = writing.fid
    await denying.close()
    reading, against = await place.one.open("log", os.O_RDONLY), await place.other.open("log")
    assert writing.fid == reading.fid != before
    assert not await against.locks(READ, 0, 10)
    assert not await against.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert bytes(await place.one.files.read(reading.fh, 0, 5)) == b"0" * 5
    assert await place.one.files.write(writing.fh, 0, b"1") == 1
    await writing.closed_by(1)
    await writing.release()
    assert await against.locks(WRITE, 0, 10)
    assert await against.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
    await against.release()
    await reading.release()


async def test_no_wider_fid_is_needed_while_another_machine_waits(place: Place, pair: tuple[Handle, Handle]) -> None:
    """It would have to get the locks from the other FID, and the other machine could be faster."""
    place.put("log")
    writing, against = await place.one.open("log", os.O_WRONLY), await place.other.open("log")
    assert await writing.locks(WRITE, 0, 10)
    before = writing.fid
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(against.lock, READ, 0, 10, sleep=True))
            await blocked(against)
            reading = await place.one.open("log", os.O_RDONLY)
            assert reading.fid == writing.fid == before
            assert bytes(await place.one.files.read(reading.fh, 0, 5)) == b"0" * 5
            await writing.closed_by(1)
    await against.closed_by(1)
    for handle in (writing, reading, against):
        await handle.release()


async def test_locks_stay_with_a_file_that_gets_another_name_or_none(place: Place, pair: tuple[Handle, Handle]) -> None:
    one, other = pair
    assert await one.locks(WRITE, 0, 10)
    await place.one.files.rename(ROOT, b"file", ROOT, b"new", 0)
    assert not await other.locks(READ, 5, 6)
    assert await one.locks(WRITE, 20, 30)
    await place.one.files.unlink(ROOT, b"new")
    assert not await other.locks(READ, 25, 26)
    assert await one.locks(READ, 0, 10)
    assert await other.locks(READ, 0, 10)
    assert await one.flock(fcntl.LOCK_EX)
    assert not await other.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert await one.flock(fcntl.LOCK_UN)
