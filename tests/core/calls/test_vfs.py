"""The file system over the scriptable server: what is asked, what the cache answers, what a killed caller leaves."""

from __future__ import annotations

import errno
import os
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.server.backend import Change
from smbfuse.ntstatus import STATUS_ACCESS_DENIED, STATUS_SHARING_VIOLATION
from smbfuse.wire.const import (
    FILE_ATTRIBUTE_READONLY,
    SMB_COM_CLOSE,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_RENAME,
    SMB_COM_TRANSACTION2,
    TRANS2_SET_FILE_INFORMATION,
    TRANS2_SET_PATH_INFORMATION,
)
from tests.client.support import assert_idle
from tests.core.support import Mounted, mounted
from tests.fakes.script import held, refused
from tests.fakes.volume import Node


async def test_unique_file_names_are_believed_for_sixty_seconds(mock_clock: MockClock) -> None:
    async with mounted(unique=True) as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        mock_clock.jump(59)
        assert await m.cost(("getattr", number)) == 0
        mock_clock.jump(2)
        assert await m.cost(("getattr", number)) == 1


async def test_the_kernel_is_told_what_remains_of_the_sixty_seconds(mock_clock: MockClock) -> None:
    async with mounted(unique=True) as m:
        entry = await m.files.lookup(ROOT, b"a.txt")
        mock_clock.jump(45)
        assert (await m.files.getattr(entry.number)).attr_timeout == pytest.approx(15, abs=0.1)


async def test_no_option_lifts_the_ceiling(mock_clock: MockClock) -> None:
    async with mounted(unique=True, actimeo=3600) as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        mock_clock.jump(61)
        assert await m.cost(("getattr", number)) == 1


async def test_without_the_flag_a_second_is_all(mock_clock: MockClock) -> None:
    async with mounted() as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        mock_clock.jump(0.9)
        assert await m.cost(("getattr", number)) == 0
        mock_clock.jump(0.2)
        assert await m.cost(("getattr", number)) == 1


async def test_actimeo_zero_keeps_nothing() -> None:
    async with mounted(actimeo=0) as m:
        entry = await m.files.lookup(ROOT, b"a.txt")
        assert (entry.entry_timeout, entry.attr_timeout) == (0, 0)
        assert await m.cost(("getattr", entry.number), ("getattr", entry.number)) == 2


async def test_a_listing_answers_for_names_that_are_there_and_that_are_not(mock_clock: MockClock) -> None:
    async with mounted() as m:
        assert await m.list() == [b".", b"..", b"a.txt", b"b.txt", b"dir"]
        assert await m.cost(("lookup", ROOT, b"b.txt"), ("lookup", ROOT, b"missing")) == 0
        assert (await m.files.lookup(ROOT, b"missing")).number == 0
        mock_clock.jump(1.1)
        assert await m.cost(("lookup", ROOT, b"missing")) == 1


async def test_our_own_write_is_not_hidden_by_a_listing() -> None:
    async with mounted(unique=True) as m:
        await m.list()
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        handle = (await m.files.open(number, os.O_WRONLY)).number
        await m.files.write(handle, 3, b"more")
        await m.files.release(handle)
        shown = (await m.files.lookup(ROOT, b"a.txt")).stat
        assert shown is not None
        assert shown.size == 7


async def test_our_own_names_are_seen_at_once() -> None:
    async with mounted(unique=True) as m:
        await m.list()
        opened, entry = await m.files.create(ROOT, b"new", 0o644, os.O_CREAT | os.O_WRONLY)
        await m.files.release(opened.number)
        await m.files.unlink(ROOT, b"b.txt")
        await m.files.rename(ROOT, b"a.txt", ROOT, b"z.txt", 0)
        assert sorted(await m.list()) == [b".", b"..", b"dir", b"new", b"z.txt"]
        assert (await m.files.lookup(ROOT, b"a.txt")).number == 0
        assert (await m.files.lookup(ROOT, b"new")).number == entry.number


async def test_an_answer_asked_before_our_change_is_not_kept() -> None:
    async with mounted(unique=True) as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        m.files.cache.changed(m.files.inodes.get(number))
        answer = trio.Event()
        m.server.script.once(held(answer, done_first=True), command=SMB_COM_TRANSACTION2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.getattr, number)
            await trio.testing.wait_all_tasks_blocked()
            await m.files.setattr(number, Change(mtime_ns=10**18))
            answer.set()  # only now it comes, with the time as it was before
        shown = (await m.files.getattr(number)).stat
        assert shown is not None
        assert shown.mtime_ns == 10**18


@pytest.mark.parametrize("other", [Node("a.txt", children={}), Node("a.txt")], ids=["directory", "file"])
async def test_a_file_that_was_replaced_is_stale(other: Node) -> None:
    """And what a listing said of its name is not believed when the kernel looks again."""
    async with mounted() as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        await m.list()
        m.files.inodes.get(number).attrs_until = 0.0  # as if it had been learned before the listing
        m.server.volume.remove(m.server.volume.find("a.txt"))
        m.server.volume.find("").add(other)
        with pytest.raises(OSError, match="another file") as caught:
            await m.files.getattr(number)
        assert caught.value.errno == errno.ESTALE
        assert (await m.files.lookup(ROOT, b"a.txt")).number != number


async def test_handles_share_one_fid_and_the_last_closes_it() -> None:
    async with mounted() as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        first = (await m.files.open(number, os.O_RDONLY)).number
        assert await m.cost(("open", number, os.O_RDONLY)) == 1, "without an oplock it has to be asked for changes"
        wider = (await m.files.open(number, os.O_RDWR)).number
        await trio.testing.wait_all_tasks_blocked()  # the narrower FID is closed
        assert await m.cost(("open", number, os.O_WRONLY)) == 1
        assert len(m.files.opens) == 1
        assert bytes(await m.files.read(first, 0, 10)) == b"aaa"
        await m.files.write(wider, 0, b"X")
        assert bytes(await m.files.read(first, 0, 10)) == b"Xaa"
        for handle in range(first, first + 4):
            await m.files.release(handle)
        await trio.testing.wait_all_tasks_blocked()
        assert len(m.files.opens) == 0
        assert m.tree.opens == {}


async def test_a_fid_that_is_asked_by_is_not_closed_for_a_wider_one() -> None:
    """The server may give its number to another file at once."""
    async with mounted() as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        await m.files.open(number, os.O_RDONLY)
        (narrow,) = m.tree.opens
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_TRANSACTION2)
        async with trio.open_nursery() as nursery:
            m.files.cache.changed(m.files.inodes.get(number))
            nursery.start_soon(m.files.getattr, number)
            await trio.testing.wait_all_tasks_blocked()
            await m.files.open(number, os.O_RDWR)
            await trio.testing.wait_all_tasks_blocked()
            assert m.server.tap.requests["CLOSE"] == 0
            answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert narrow not in m.tree.opens
        assert len(m.tree.opens) == 1


@pytest.mark.parametrize("fate", ["refused", "another file", "had again"])
async def test_a_file_that_had_to_be_closed_is_opened_again_or_lost(
    fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with mounted() as m:
        directory = (await m.files.lookup(ROOT, b"dir")).number
        number = (await m.files.lookup(directory, b"inner.txt")).number
        handle = (await m.files.open(number, os.O_RDWR)).number
        answer = trio.Event()
        m.server.script.once(refused(STATUS_SHARING_VIOLATION), command=SMB_COM_RENAME)
        m.server.script.once(held(answer), command=SMB_COM_RENAME)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.rename, ROOT, b"dir", ROOT, b"moved", 1)
            await trio.testing.wait_all_tasks_blocked()
            assert m.tree.opens == {}
            if fate == "refused":
                m.server.script.once(refused(STATUS_ACCESS_DENIED), command=SMB_COM_NT_CREATE_ANDX)
            if fate == "another file":
                node = m.server.volume.find("dir\\inner.txt")
                node.number += 1_000_000
            answer.set()
        if fate == "had again":
            assert bytes(await m.files.read(handle, 0, 10)) == b"inner"
            assert caplog.text == ""
        else:
            with pytest.raises(OSError, match="could not be opened again") as caught:
                await m.files.write(handle, 0, b"x")
            assert caught.value.errno == errno.ESTALE
            assert "is lost to those who have it open" in caplog.text
        await m.files.release(handle)
        await trio.testing.wait_all_tasks_blocked()
        assert m.tree.opens == {}
        assert_idle(m.tree)


async def test_a_killed_rename_is_finished_and_accounted_for() -> None:
    async with mounted(unique=True) as m:
        await m.list()
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_RENAME)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.rename, ROOT, b"a.txt", ROOT, b"c.txt", 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (await m.files.lookup(ROOT, b"a.txt")).number == 0
        assert (await m.files.lookup(ROOT, b"c.txt")).number != 0
        assert_idle(m.tree)


async def test_a_killed_open_leaves_no_fid() -> None:
    async with mounted() as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_NT_CREATE_ANDX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.open, number, os.O_RDONLY)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert m.tree.opens == {}
        assert m.server.tap.requests["CLOSE"] == 1
        assert_idle(m.tree)


async def test_a_close_waits_for_the_reads_of_killed_callers() -> None:
    """smbd 4.17 crashes on the close of a FID whose reads it has in its hands."""
    async with mounted() as m:
        handle = (await m.files.open((await m.files.lookup(ROOT, b"a.txt")).number, os.O_RDONLY)).number
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_READ_ANDX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.read, handle, 0, 3)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await m.files.release(handle)
        await trio.testing.wait_all_tasks_blocked()
        assert m.server.tap.requests["CLOSE"] == 0
        answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert m.server.tap.requests["CLOSE"] == 1
        assert_idle(m.tree)


@pytest.mark.parametrize(
    ("taking", "left"),
    [(("unlink", ROOT, b"a.txt"), {"b.txt", "dir"}), (("rename", ROOT, b"b.txt", ROOT, b"a.txt", 0), {"a.txt", "dir"})],
    ids=["unlink", "rename"],
)
async def test_a_name_is_taken_away_when_the_file_is_closed(taking: tuple[object, ...], left: set[str]) -> None:
    """close(2) returns before that; smbd 4.17 lets a DELETE of an open file lie for 200 ms."""
    async with mounted() as m:
        await m.list()
        handle = (await m.files.open((await m.files.lookup(ROOT, b"a.txt")).number, os.O_WRONLY)).number
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_CLOSE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.release, handle)
            await trio.testing.wait_all_tasks_blocked()
            before = m.requests
            nursery.start_soon(partial(m.cost, taking))
            await trio.testing.wait_all_tasks_blocked()
            assert m.requests == before
            answer.set()
        assert m.requests == before + 1, "and nothing got out of the way"
        assert {node.name for node in (m.server.volume.find("").children or {}).values()} == left


async def test_a_killed_create_leaves_no_handle_and_no_lookup() -> None:
    async with mounted() as m:
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_NT_CREATE_ANDX)
        known = len(m.files.inodes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.create, ROOT, b"new", 0o644, os.O_CREAT | os.O_WRONLY)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(m.files.handles) == 0
        assert len(m.files.inodes) == known
        assert m.tree.opens == {}


@pytest.mark.parametrize(
    "call",
    [
        ("mkdir", ROOT, b"x", 0o755),
        ("unlink", ROOT, b"a.txt"),
        ("rmdir", ROOT, b"dir"),
        ("rename", ROOT, b"a.txt", ROOT, b"x", 0),
        ("create", ROOT, b"x", 0o644, os.O_CREAT | os.O_WRONLY),
    ],
    ids=lambda call: call[0],
)
async def test_a_read_only_mount_changes_nothing(call: tuple[object, ...]) -> None:
    async with mounted(read_only=True) as m:
        before = m.requests
        with pytest.raises(OSError, match="read-only") as caught:
            await m.cost(call)
        assert caught.value.errno == errno.EROFS
        assert m.requests == before


async def test_forgotten_inodes_are_forgotten() -> None:
    async with mounted() as m:
        directory = (await m.files.lookup(ROOT, b"dir")).number
        inner = (await m.files.lookup(directory, b"inner.txt")).number
        m.files.forget([(directory, 1)])
        assert len(m.files.inodes) == 3  # the directory outlives what is known in it
        m.files.forget([(inner, 1)])
        assert len(m.files.inodes) == 1
        with pytest.raises(OSError, match="no inode") as caught:
            await m.files.getattr(inner)
        assert caught.value.errno == errno.ESTALE


async def test_a_listing_is_not_believed_about_files_written_while_it_came(autojump_clock: MockClock) -> None:
    """It may have been made before the write; an append at the old size would destroy what was written."""
    async with mounted(actimeo=60) as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        handle = (await m.files.open(number, os.O_WRONLY)).number
        answer = trio.Event()
        m.server.script.once(held(answer, done_first=True), command=SMB_COM_TRANSACTION2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.list)
            await trio.testing.wait_all_tasks_blocked()
            await m.files.write(handle, 3, b"more")
            await m.files.release(handle)
            answer.set()
        entry = await m.files.lookup(ROOT, b"a.txt")
        assert entry.stat is not None
        assert entry.stat.size == 7


@pytest.mark.parametrize(("between", "requests"), [("nothing", 1), ("a write", 2), ("a second", 2), ("others", 2)])
async def test_what_a_change_of_ours_has_left_is_known_to_the_next(
    mock_clock: MockClock, between: str, requests: int
) -> None:
    """cp and tar set times and mode one after the other; the mode depends on what else the file is."""
    async with mounted() as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        await m.files.setattr(number, Change(mtime_ns=10**18))
        match between:
            case "a write":
                opened = await m.files.open(number, os.O_WRONLY)
                await m.files.write(opened.number, 0, b"b")
                await m.files.release(opened.number)
            case "a second":
                mock_clock.jump(1.1)
            case "others":
                m.files.cache.doubt(m.files.inodes.get(number))
        before = m.requests
        await m.files.setattr(number, Change(permissions=0o444))
        assert m.requests == before + requests
        assert m.server.volume.find("a.txt").dos & FILE_ATTRIBUTE_READONLY
        entry = await m.files.getattr(number)
        assert entry.stat is not None
        assert entry.stat.mode & 0o222 == 0


def names_left(m: Mounted) -> list[str]:
    """What of ours is on the server still."""
    return [name for name in m.server.volume.find("").children or {} if "smbfuse" in name.lower()]


async def test_a_file_without_a_name_goes_with_its_last_close_whatever_fails() -> None:
    """What a close sets before it may be refused. The FID is closed all the same."""
    async with mounted(oplocks=True) as m:
        number = (await m.files.lookup(ROOT, b"a.txt")).number
        opened = await m.files.open(number, os.O_RDWR)
        await m.files.write(opened.number, 0, b"b")
        await m.files.getattr(number)  # the time that it tells is to stay
        await m.files.unlink(ROOT, b"a.txt")
        assert len(names_left(m)) == 1
        m.server.script.on(
            refused(STATUS_ACCESS_DENIED), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_SET_FILE_INFORMATION
        )
        with pytest.raises(OSError, match="Permission denied"):
            await m.files.release(opened.number)
        await wait_all_tasks_blocked()
        assert m.tree.opens == {}
        assert names_left(m) == []


async def test_a_file_that_is_closed_before_its_name_is_taken_away_is_not_left_behind() -> None:
    """Its FID is idle then, which nobody closes for some seconds; with another name the server deletes nothing."""
    async with mounted(oplocks=True) as m:
        handles = []
        for name in (b"a.txt", b"b.txt"):
            number = (await m.files.lookup(ROOT, name)).number
            handles.append((await m.files.open(number, os.O_RDONLY)).number)
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_SET_PATH_INFORMATION)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.unlink, ROOT, b"a.txt")
            await wait_all_tasks_blocked()
            nursery.start_soon(m.files.unlink, ROOT, b"b.txt")  # it waits for the other's end
            await wait_all_tasks_blocked()
            await m.files.release(handles[1])
            answer.set()
        await wait_all_tasks_blocked()
        assert len(names_left(m)) == 1
        await m.files.release(handles[0])
        assert names_left(m) == []


async def test_an_open_and_a_rename_over_its_file_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    """The open has the file's FIDs for itself, and waits for the end of the rename, which hides the file."""
    async with mounted(oplocks=True) as m:
        number = (await m.files.lookup(ROOT, b"b.txt")).number
        await m.files.lookup(ROOT, b"a.txt")
        first = await m.files.open(number, os.O_RDONLY)
        answer = trio.Event()
        m.server.script.once(held(answer))
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(m.files.rename, ROOT, b"a.txt", ROOT, b"b.txt", 0)
                await wait_all_tasks_blocked()

                async def opening() -> None:
                    with pytest.raises(OSError, match="name is gone") as raised:
                        await m.files.open(number, os.O_RDWR)
                    assert raised.value.errno == errno.ESTALE, "the kernel looks again, and finds the new file"

                nursery.start_soon(opening)
                await wait_all_tasks_blocked()
                answer.set()
        await m.files.release(first.number)
        assert names_left(m) == []
