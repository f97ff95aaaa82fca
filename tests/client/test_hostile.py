"""A server that lies in any byte of its answers: errors of ours come out of every operation, and nothing else."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from smbfuse.client.tree import ServerPath, Tree
from smbfuse.errors import ConnectionLost, SmbfuseError
from smbfuse.wire.filelevels import FileAllInfo, FileBasicInfo, FileEndOfFileInfo, FileRenameInformation
from smbfuse.wire.findlevels import FileIdBothDirectoryInfo, FileIdFullDirectoryInfo
from smbfuse.wire.fslevels import FsAttributeInfo, FsFullSizeInfo
from smbfuse.wire.header import HEADER_SIZE
from tests.client.support import assert_idle, connected, opened, tree_of
from tests.fakes import script
from tests.fakes.exchange import Action
from tests.fakes.server import FakeServer

HELLO = ServerPath("\\hello.txt")
Work = Callable[[Tree], Awaitable[None]]


async def _data(tree: Tree) -> None:
    file = await opened(tree, HELLO.text)
    await file.read(0, 1000)
    await file.write(3, b"data")
    await file.flush()
    await tree.set_file(file, FileEndOfFileInfo(end_of_file=3))
    await tree.query_file(file, FileAllInfo)
    await file.close()


async def _search(tree: Tree) -> None:
    for level in (FileIdFullDirectoryInfo, FileIdBothDirectoryInfo):
        search = tree.search(ServerPath("\\*"), level)
        for _ in range(5):
            if not await search.next_page():
                break
        await search.close()


async def _questions(tree: Tree) -> None:
    await tree.query_path(HELLO, FileAllInfo)
    await tree.query_fs(FsFullSizeInfo)
    await tree.query_fs(FsAttributeInfo)
    await tree.set_path(HELLO, FileBasicInfo(last_write_time=1))


async def _names(tree: Tree) -> None:
    await tree.create_directory(ServerPath("\\new"))
    await tree.rename(ServerPath("\\new"), ServerPath("\\newer"))
    await tree.set_path(ServerPath("\\newer"), FileRenameInformation(file_name="newest"))
    await tree.delete_directory(ServerPath("\\newest"))
    await tree.delete(HELLO)


def liar(generator: random.Random, *, header: bool) -> Action:
    """Change one to three bytes of each second answer, or cut it."""

    def change(frame: bytearray) -> bytearray:
        changed = bytearray(frame)
        if generator.random() < 0.5:
            return changed
        first = 4 if header else HEADER_SIZE
        for _ in range(generator.randrange(1, 4)):
            changed[generator.randrange(first, len(changed))] = generator.choice([0, 1, 0x7F, 0x80, 0xFF])
        if generator.random() < 0.1:
            del changed[generator.randrange(HEADER_SIZE, len(changed)) :]
        return changed

    return script.changed(change)


@pytest.mark.parametrize("work", [_data, _search, _questions, _names])
@pytest.mark.parametrize("header", [False, True], ids=["bodies", "headers too"])
async def test_every_lie_is_an_error_of_ours(
    nursery: trio.Nursery, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, work: Work, header: bool
) -> None:
    caplog.set_level(logging.WARNING)
    for seed in range(80):
        server = FakeServer()
        tree = await tree_of(server, nursery)
        server.script.on(liar(random.Random(seed), header=header))
        with contextlib.suppress(SmbfuseError, OSError):
            await work(tree)
        connection = tree.session.connection
        connection.fail(ConnectionLost("done"))
        await trio.testing.wait_all_tasks_blocked()
        assert_idle(tree)
    bugs = [record.getMessage() for record in caplog.records if record.exc_info or "bug" in record.getMessage()]
    assert bugs == []


async def test_lies_before_the_logon_is_done(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Negotiation and session setup: an error for whoever mounts, and no lines in the log besides."""
    for seed in range(200):
        server = FakeServer()
        server.script.on(liar(random.Random(seed), header=seed % 2 == 1))
        session = await connected(server, nursery)
        with contextlib.suppress(SmbfuseError):
            await session.log_on(await session.negotiate())
        session.connection.fail(ConnectionLost("done"))
        await trio.testing.wait_all_tasks_blocked()
        assert server.tap.requests["NEGOTIATE"] == 1
