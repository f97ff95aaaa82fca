"""What a server tells of others' changes: what is believed after it, what the kernel forgets, what is watched."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse import ntstatus as nt
from smbfuse.client.shares import connect_tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.kernel import Kernel
from smbfuse.core.calls.watch import REST, SHARE
from smbfuse.core.server.backend import Change
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.settings import MountSettings
from smbfuse.wire.const import (
    FILE_ACTION_ADDED,
    FILE_ACTION_MODIFIED,
    FILE_ACTION_REMOVED,
    FILE_ACTION_RENAMED_NEW_NAME,
    FILE_ACTION_RENAMED_OLD_NAME,
    SMB_COM_NT_CREATE_ANDX,
    SMB_UNIQUE_FILE_NAME,
)
from smbfuse.wire.files import NtCreateAndXExtendedResponse
from tests.client.support import assert_idle, logged_on
from tests.core.support import Mounted
from tests.fakes.exchange import Exchange
from tests.fakes.offer import Offer
from tests.fakes.script import held
from tests.fakes.server import FakeServer
from tests.fakes.volume import Node
from tests.fakes.watching import Watched, Watching

FILES = {"a.txt": b"aaa", "b.txt": b"bb", "dir/inner.txt": b"inner", "dir/sub/deep.txt": b"deep"}


class Recorder(Kernel):
    """What the kernel was made to forget. It does when `ready` is set."""

    def __init__(self) -> None:
        self.ready = trio.Event()
        self.ready.set()
        self.names: list[tuple[int, bytes]] = []
        self.attributes: list[int] = []
        self.data: list[int] = []

    async def forget_data(self, number: int) -> None:
        self.data.append(number)

    async def forget_attributes(self, number: int) -> None:
        self.attributes.append(number)

    async def forget_names(self, names: Sequence[tuple[int, bytes]]) -> None:
        await self.ready.wait()
        self.names.extend(names)

    async def forget_attributes_of(self, numbers: Sequence[int]) -> None:
        self.attributes.extend(numbers)


class Place(Mounted):
    """A file system that is told of changes."""

    watching: Watching
    kernel: Recorder

    def put(self, path: str, data: bytes = b"") -> None:
        """Another machine writes a file."""
        directory, name, node = self.server.volume.locate(path)
        if node is None:
            node = directory.add(Node(name))
        node.truncate(0)
        node.write(0, data)

    def remove(self, path: str) -> None:
        """Another machine removes something."""
        self.server.volume.remove(self.server.volume.find(path))

    async def told(self, watched: Watched, *events: tuple[int, str], status: int = 0) -> Watched:
        """The server tells; returns the request that comes next, when all is done."""
        watched.tell(*events, status=status)
        again = await self.watching.next()
        await wait_all_tasks_blocked()
        return again


@asynccontextmanager
async def watched_mount(*, trees: bool = True, watches: bool = True, mpx: int = 50) -> AsyncIterator[Place]:
    """With SMB_UNIQUE_FILE_NAME, so that nothing is too old within a test."""
    server = FakeServer(offer=Offer(optional_support=SMB_UNIQUE_FILE_NAME, max_mpx_count=mpx), files=FILES)
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await logged_on(server, nursery), "share")
        files = FileSystem(
            NtBackend(tree),
            MountSettings(source="//fake/share", mountpoint="/mnt"),
            Settler(nursery),
            trio.current_time,
            unique_file_names=True,
        )
        place = Place(files, server, tree)
        place.kernel = files.kernel = Recorder()
        if watches:
            place.watching = Watching(server, trees=trees)
        files.watch.start()
        yield place
        await files.close_all()
        await wait_all_tasks_blocked()
        assert_idle(tree)
        assert not tree.opens
        nursery.cancel_scope.cancel()


async def number_of(place: Place, *names: bytes) -> int:
    number = ROOT
    for name in names:
        number = (await place.files.lookup(number, name)).number
    return number


async def test_the_root_is_watched_with_all_below(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        assert watched.setup.watch_tree
        assert m.files.watch.watched == [m.files.inodes.root]
        assert m.tree.session.connection.window.used == 1
        await m.files.close_all()
        assert watched.exchange.connection.cancelled == [watched.exchange.mid]


async def test_what_changed_before_the_server_watched_is_found(autojump_clock: MockClock) -> None:
    """Nobody tells of it."""
    async with watched_mount() as m:
        begins = trio.Event()
        m.server.script.once(held(begins), command=SMB_COM_NT_CREATE_ANDX)
        await wait_all_tasks_blocked()
        assert b"new" not in await m.list()
        m.put("new", b"n")
        assert (await m.files.lookup(ROOT, b"new")).number == 0
        begins.set()
        await m.watching.next()
        await wait_all_tasks_blocked()
        assert (await m.files.lookup(ROOT, b"new")).number != 0


@pytest.mark.parametrize("told", ["new", ".\\new"], ids=["usual", "Samba 3.0"])
async def test_a_name_that_comes_is_found(told: str, autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        assert sorted(await m.list()) == [b".", b"..", b"a.txt", b"b.txt", b"dir"]
        assert (await m.files.lookup(ROOT, b"new")).number == 0
        m.put("new", b"n")
        assert (await m.files.lookup(ROOT, b"new")).number == 0
        await m.told(watched, (FILE_ACTION_ADDED, told))
        assert (ROOT, b"new") in m.kernel.names
        assert ROOT in m.kernel.attributes
        assert (await m.files.lookup(ROOT, b"new")).number != 0
        assert b"new" in await m.list()


async def test_a_name_that_goes_is_missed(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        number = await number_of(m, b"dir", b"inner.txt")
        directory = await number_of(m, b"dir")
        await m.list(directory)
        m.remove("dir\\inner.txt")
        assert (await m.files.lookup(directory, b"inner.txt")).number == number
        await m.told(watched, (FILE_ACTION_REMOVED, "dir\\inner.txt"))
        assert (directory, b"inner.txt") in m.kernel.names
        assert (await m.files.lookup(directory, b"inner.txt")).number == 0


async def test_both_names_of_a_rename_are_asked_about(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        await m.list()
        m.put("c.txt", b"aaa")
        m.remove("a.txt")
        await m.told(watched, (FILE_ACTION_RENAMED_OLD_NAME, "a.txt"), (FILE_ACTION_RENAMED_NEW_NAME, "c.txt"))
        assert (await m.files.lookup(ROOT, b"a.txt")).number == 0
        assert (await m.files.lookup(ROOT, b"c.txt")).number != 0
        assert await m.cost(("lookup", ROOT, b"b.txt"), ("lookup", ROOT, b"missing")) == 0


async def test_a_file_that_changes_is_asked_about(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        number = await number_of(m, b"a.txt")
        m.put("a.txt", b"longer")
        assert (await m.files.getattr(number)).stat.size == 3  # type: ignore[union-attr]
        await m.told(watched, (FILE_ACTION_MODIFIED, "A.TXT"))
        assert number in m.kernel.attributes
        assert (await m.files.getattr(number)).stat.size == 6  # type: ignore[union-attr]


async def test_our_own_names_are_no_news(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        await m.list()
        made = (await m.files.mkdir(ROOT, b"ours", 0o755)).number
        await m.files.rename(ROOT, b"ours", ROOT, b"mine", 0)
        m.kernel.names.clear()
        watched = await m.told(
            watched,
            (FILE_ACTION_ADDED, "ours"),
            (FILE_ACTION_RENAMED_OLD_NAME, "ours"),
            (FILE_ACTION_RENAMED_NEW_NAME, "mine"),
        )
        assert m.kernel.names == []
        assert m.files.news.statistics.ours == 3
        assert await m.cost(("lookup", ROOT, b"ours")) == 0
        await m.told(watched, (FILE_ACTION_REMOVED, "mine"))  # that was somebody else
        assert await m.cost(("lookup", ROOT, b"mine")) > 0
        assert made


async def test_a_file_that_we_just_changed_is_asked_about_later_and_once(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        opened, entry = await m.files.create(ROOT, b"ours", 0o644, 1)
        await m.files.write(opened.number, 0, b"data")
        await m.files.release(opened.number)
        assert await m.cost(("getattr", entry.number)) == 1
        m.kernel.attributes.clear()
        watched.tell(*[(FILE_ACTION_MODIFIED, "ours")] * 3)
        await m.watching.next()
        assert await m.cost(("getattr", entry.number)) == 0
        await trio.sleep(1)
        assert m.kernel.attributes == [entry.number]
        assert await m.cost(("getattr", entry.number)) == 1


@pytest.mark.parametrize("status", [0, nt.STATUS_NOTIFY_ENUM_DIR])
async def test_after_an_overflow_nothing_is_believed(autojump_clock: MockClock, status: int) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        await m.list()
        number = await number_of(m, b"dir", b"inner.txt")
        directory = await number_of(m, b"dir")
        await m.list(directory)
        await m.files.getattr(ROOT)
        await m.told(watched, status=status)
        assert {ROOT, directory, number} <= set(m.kernel.attributes)
        assert (directory, b"inner.txt") in m.kernel.names
        assert await m.cost(("getattr", number)) == 1
        assert await m.cost(("lookup", directory, b"missing")) == 1
        assert m.files.news.statistics.overflows == 1


async def test_windows_may_say_so_without_a_body(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        (await m.watching.next()).refuse(nt.STATUS_NOTIFY_ENUM_DIR)
        await m.watching.next()
        assert m.files.news.statistics.overflows == 1


async def test_a_directory_that_is_there_is_not_forgotten(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        await number_of(m, b"dir")
        watched = await m.told(watched, (FILE_ACTION_ADDED, "dir"))
        assert m.kernel.names == []
        for name in ("dir\\sub\\deep.txt", "dir\\sub", "dir\\inner.txt", "dir"):
            m.remove(name)
        await m.told(watched, (FILE_ACTION_REMOVED, "dir"))
        assert m.kernel.names == [(ROOT, b"dir")]


async def test_a_reader_of_a_directory_sees_what_came_at_its_next_call(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        handle = await m.files.opendir(ROOT)
        seen: list[bytes] = []
        await m.files.readdir(handle, 0, lambda name, entry, offset: len(seen) < 3 and not seen.append(name))  # type: ignore[func-returns-value]
        m.put("late", b"")
        await m.told(watched, (FILE_ACTION_ADDED, "late"))
        await m.files.readdir(handle, 3, lambda name, entry, offset: not seen.append(name))  # type: ignore[func-returns-value]
        await m.files.releasedir(handle)
        assert sorted(seen) == [b".", b"..", b"a.txt", b"b.txt", b"dir", b"late"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "\\", "dir\\", "\\a.txt", "no\\such\\place", "a.txt\\below", "x" * 1000]
)
async def test_names_that_mean_nothing_do_no_harm(autojump_clock: MockClock, name: str) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        await m.list()
        await m.told(watched, *[(action, name) for action in range(10)])
        assert await m.cost(("lookup", ROOT, b"a.txt")) == 0


async def test_where_trees_are_not_watched_directories_in_use_are(autojump_clock: MockClock) -> None:
    async with watched_mount(trees=False, mpx=2 * SHARE) as m:
        await wait_all_tasks_blocked()
        directory = await number_of(m, b"dir")
        await m.list(directory)
        watched = await m.watching.next()
        assert not watched.setup.watch_tree
        m.put("dir\\new", b"")
        assert await m.cost(("lookup", directory, b"new"), ("lookup", directory, b"inner.txt")) == 0, "it stays known"
        await m.told(watched, (FILE_ACTION_ADDED, "new"))
        assert (await m.files.lookup(directory, b"new")).number != 0
        for inode in (ROOT, await number_of(m, b"dir", b"sub")):
            await m.list(inode)
            await m.watching.next()
            await wait_all_tasks_blocked()
        assert m.files.watch.watched[0].number == ROOT
        assert len(m.files.watch.watched) == 2


async def test_a_watched_directory_can_be_removed(autojump_clock: MockClock) -> None:
    async with watched_mount(trees=False) as m:
        await wait_all_tasks_blocked()
        made = (await m.files.mkdir(ROOT, b"made", 0o755)).number
        await m.list(made)
        watched = await m.watching.next()
        await wait_all_tasks_blocked()
        await m.files.rmdir(ROOT, b"made")
        assert watched.exchange.mid in watched.exchange.connection.cancelled
        assert m.files.watch.watched == []


async def test_a_server_that_watches_nothing_is_let_be(autojump_clock: MockClock) -> None:
    async with watched_mount(watches=False) as m:
        await wait_all_tasks_blocked()
        for _ in range(3):
            await m.list(await number_of(m, b"dir"))
            await wait_all_tasks_blocked()
        assert not m.files.echoes.armed
        before = m.requests
        m.files.listed(m.files.inodes.root)
        await wait_all_tasks_blocked()
        assert m.requests == before


async def test_a_server_with_few_places_is_not_asked_to_watch(autojump_clock: MockClock) -> None:
    async with watched_mount(mpx=SHARE - 1) as m:
        await trio.sleep(1)
        assert m.watching.requests == 0


async def test_what_happens_in_a_moment_costs_one_request(autojump_clock: MockClock) -> None:
    async with watched_mount() as m:
        watched = await m.watching.next()
        for _ in range(10):
            watched.tell((FILE_ACTION_MODIFIED, "a.txt"))
            before = trio.current_time()
            watched = await m.watching.next()
            assert trio.current_time() >= before + REST


async def test_the_old_name_of_a_file_does_not_open_it_under_its_new_one(autojump_clock: MockClock) -> None:
    """The kernel opens by the number that it took for the old name: it has to look again, and once is enough."""
    async with watched_mount() as m:
        await m.watching.next()
        number = await number_of(m, b"a.txt")
        volume = m.server.volume
        volume.move(volume.find("a.txt"), volume.find(""), "moved.txt")
        m.kernel.ready = trio.Event()
        assert b"moved.txt" in await m.list()
        for change in (m.files.open(number, os.O_WRONLY), m.files.setattr(number, Change(size=0))):
            with pytest.raises(OSError, match="another name") as raised:
                await change
            assert raised.value.errno == errno.ESTALE
        async with trio.open_nursery() as nursery:

            async def refused() -> None:
                with pytest.raises(OSError, match="another name"):
                    await m.files.open(number, os.O_RDONLY)
                assert m.kernel.names == [(ROOT, b"a.txt")], "the kernel has forgotten when it looks again"

            nursery.start_soon(refused)
            await wait_all_tasks_blocked()
            m.kernel.ready.set()
        with pytest.raises(OSError, match="another name"):
            await m.files.open(number, os.O_RDONLY)  # it was on its way when the kernel forgot
        assert (await m.files.lookup(ROOT, b"moved.txt")).number == number
        opened = await m.files.open(number, os.O_RDONLY)
        await m.files.release(opened.number)
        assert bytes(volume.find("moved.txt").data) == b"aaa"


async def test_another_file_that_took_the_name_is_not_opened_as_the_old_one(autojump_clock: MockClock) -> None:
    """Nobody has told of it yet. The answer to the open does, if the server numbers its files in it."""
    async with watched_mount() as m:
        await m.watching.next()
        number = await number_of(m, b"a.txt")
        m.server.volume.move(m.server.volume.find("a.txt"), m.server.volume.find(""), "moved.txt")
        m.put("a.txt", b"another")
        with pytest.raises(OSError, match="another file") as raised:
            await m.files.open(number, os.O_RDWR)
        assert raised.value.errno == errno.ESTALE
        other = await number_of(m, b"a.txt")
        opened = await m.files.open(other, os.O_RDONLY)
        assert other != number
        assert bytes(await m.files.read(opened.number, 0, 100)) == b"another"
        await m.files.release(opened.number)


async def test_numbers_that_an_open_tells_are_not_believed_against_the_listings(autojump_clock: MockClock) -> None:
    """Some servers may number files otherwise there: what counts is whether another file is listed."""

    async def renumbered(exchange: Exchange) -> None:
        reply = exchange.perform()
        for body in reply.bodies:
            if isinstance(body, NtCreateAndXExtendedResponse):
                body.file_id += 1000
        await exchange.answer(reply)

    async with watched_mount() as m:
        await m.watching.next()
        m.server.script.on(renumbered, command=SMB_COM_NT_CREATE_ANDX)
        opened = await m.files.open(await number_of(m, b"a.txt"), os.O_RDONLY)
        assert bytes(await m.files.read(opened.number, 0, 100)) == b"aaa"
        await m.files.release(opened.number)


async def test_a_notice_during_an_open_does_not_leave_the_kernel_an_old_size(autojump_clock: MockClock) -> None:
    """It would take the file to end there."""
    async with watched_mount() as m:
        watched = await m.watching.next()
        number = await number_of(m, b"a.txt")
        answer = trio.Event()
        m.server.script.once(held(answer), command=SMB_COM_NT_CREATE_ANDX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.files.open, number, os.O_RDONLY)
            await wait_all_tasks_blocked()
            m.put("a.txt", b"longer")
            await m.told(watched, (FILE_ACTION_MODIFIED, "a.txt"))
            m.kernel.attributes.clear()
            answer.set()
        assert m.kernel.attributes == [number]
