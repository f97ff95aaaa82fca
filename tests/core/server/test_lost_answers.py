"""Changes whose answer is lost with the connection: done or not, each ends as if nothing had been lost, and once."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from smbfuse.client import session as session_module
from smbfuse.client.reconnect import Keeper
from smbfuse.client.shares import connect_tree
from smbfuse.client.transport import Transport
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.namespace import RENAME_NOREPLACE
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.settings import MountSettings
from smbfuse.wire.const import (
    SMB_COM_CLOSE,
    SMB_COM_CREATE_DIRECTORY,
    SMB_COM_DELETE,
    SMB_COM_DELETE_DIRECTORY,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_RENAME,
    SMB_COM_TRANSACTION2,
    SMB_COM_WRITE_ANDX,
    TRANS2_SET_PATH_INFORMATION,
)
from smbfuse.wire.text import ns_to_filetime
from tests.client.support import logged_on
from tests.fakes.exchange import Action, Exchange
from tests.fakes.offer import Offer
from tests.fakes.server import FakeServer
from tests.fakes.volume import Node
from tests.support.logguard import LogGuard

FILES = {"a.txt": b"aaa", "b.txt": b"bb", "dir/inner.txt": b"inner"}


@dataclass
class Place:
    files: FileSystem
    server: FakeServer
    names: dict[str, int] = field(default_factory=dict)

    async def look(self, *names: str, parent: int = ROOT) -> int:
        """The inode's number of a path."""
        for name in names:
            parent = (await self.files.lookup(parent, name.encode())).number
        return parent

    def there(self, path: str) -> bool:
        return self.server.volume.locate(path)[2] is not None

    def content(self, path: str) -> bytes:
        return bytes(self.server.volume.find(path).data)


@asynccontextmanager
async def kept(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    server = FakeServer(offer=Offer(oplocks=True), files=FILES)
    async with trio.open_nursery() as nursery:

        async def connect(host: str, address: str | None, port: int, timeout: float) -> Transport:
            await trio.lowlevel.checkpoint()
            return Transport(server.connect(nursery))

        monkeypatch.setattr(session_module, "connect", connect)
        tree = await connect_tree(await logged_on(server, nursery), "share")
        files = FileSystem(
            NtBackend(tree),
            MountSettings(source="//fake/share", mountpoint="/mnt"),
            Settler(nursery),
            trio.current_time,
            unique_file_names=False,
        )
        nursery.start_soon(Keeper(tree, nursery).run)
        yield Place(files, server)
        nursery.cancel_scope.cancel()


def lost(*, done: bool, then: Callable[[], object] = lambda: None) -> Action:
    """The request is done or not, and the connection ends in place of the answer. `then` is what others do then."""

    async def action(exchange: Exchange) -> None:
        if done:
            exchange.perform()
        then()
        await exchange.connection.aclose()

    return action


async def make_file(p: Place) -> None:
    opened, entry = await p.files.create(ROOT, b"new", 0o644, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert entry.stat is not None
    await p.files.write(opened.number, 0, b"content")
    await p.files.release(opened.number)
    assert p.content("\\new") == b"content"


async def open_or_make_file(p: Place) -> None:
    opened, _ = await p.files.create(ROOT, b"new", 0o644, os.O_CREAT | os.O_WRONLY)
    await p.files.write(opened.number, 0, b"content")
    await p.files.release(opened.number)
    assert p.content("\\new") == b"content"


async def make_directory(p: Place) -> None:
    await p.files.mkdir(ROOT, b"new", 0o755)
    assert p.server.volume.find("\\new").is_dir


async def remove_directory(p: Place) -> None:
    p.server.volume.find("\\dir").children = {}
    await p.look("dir")
    await p.files.rmdir(ROOT, b"dir")
    assert not p.there("\\dir")


async def remove_file(p: Place) -> None:
    await p.look("a.txt")
    await p.files.unlink(ROOT, b"a.txt")
    assert not p.there("\\a.txt")


async def rename(p: Place) -> None:
    await p.look("a.txt")
    await p.files.rename(ROOT, b"a.txt", ROOT, b"new", RENAME_NOREPLACE)
    assert not p.there("\\a.txt")
    assert p.content("\\new") == b"aaa"


async def replace(p: Place) -> None:
    await p.look("a.txt")
    await p.look("b.txt")
    await p.files.rename(ROOT, b"a.txt", ROOT, b"b.txt", 0)
    assert not p.there("\\a.txt")
    assert p.content("\\b.txt") == b"aaa"


CHANGES: dict[str, tuple[Callable[[Place], Awaitable[None]], int]] = {
    "create": (make_file, SMB_COM_NT_CREATE_ANDX),
    "open or create": (open_or_make_file, SMB_COM_NT_CREATE_ANDX),
    "write": (make_file, SMB_COM_WRITE_ANDX),
    "close": (make_file, SMB_COM_CLOSE),
    "mkdir": (make_directory, SMB_COM_CREATE_DIRECTORY),
    "rmdir": (remove_directory, SMB_COM_DELETE_DIRECTORY),
    "unlink": (remove_file, SMB_COM_DELETE),
    "rename": (rename, SMB_COM_RENAME),
    "replace": (replace, SMB_COM_TRANSACTION2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
async def test_each_is_done_once(monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard, change: str, done: bool) -> None:
    log_guard.expect("connecting again$|connected again after")
    work, command = CHANGES[change]
    async with kept(monkeypatch) as p:
        before = len(p.server.volume.find("\\").children or {})
        subcommand = TRANS2_SET_PATH_INFORMATION if command == SMB_COM_TRANSACTION2 else None
        p.server.script.once(lost(done=done), command=command, subcommand=subcommand)
        await work(p)
        assert p.server.script.rules[0].hits == 1
        after = len(p.server.volume.find("\\").children or {})
        assert after - before == {"create": 1, "open or create": 1, "write": 1, "close": 1, "mkdir": 1}.get(
            change, 0 if change == "rename" else -1
        )
        assert not [name for name in p.server.volume.find("\\").children or {} if "smbfuse" in name.lower()]


async def test_a_name_that_another_has_taken_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard
) -> None:
    """Our DELETE was done, and another machine has made a file of the same name since: that is not ours to delete."""
    log_guard.expect("connecting again$|connected again after")
    async with kept(monkeypatch) as p:
        await p.look("a.txt")
        root = p.server.volume.find("\\")
        p.server.script.once(
            lost(done=True, then=lambda: root.add(Node("a.txt", data=bytearray(b"theirs")))), command=SMB_COM_DELETE
        )
        await p.files.unlink(ROOT, b"a.txt")
        assert p.content("\\a.txt") == b"theirs"


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_what_was_there_before_was_not_made_by_us(
    monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard, kind: str
) -> None:
    """Another machine made it, and long enough ago; our request was refused, which nobody has told us."""
    log_guard.expect("connecting again$|connected again after")
    async with kept(monkeypatch) as p:
        root = p.server.volume.find("\\")
        theirs = Node("new", children={} if kind == "directory" else None, created=ns_to_filetime(10**18))
        command = SMB_COM_CREATE_DIRECTORY if kind == "directory" else SMB_COM_NT_CREATE_ANDX
        p.server.script.once(lost(done=False, then=lambda: root.add(theirs)), command=command)
        with pytest.raises(FileExistsError) as caught:
            await (make_directory(p) if kind == "directory" else make_file(p))
        assert caught.value.errno == errno.EEXIST


async def test_appends_are_not_doubled(monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard) -> None:
    log_guard.expect("connecting again$|connected again after")
    async with kept(monkeypatch) as p:
        p.server.offer.oplocks = False
        number = (await p.files.open(await p.look("a.txt"), os.O_WRONLY | os.O_APPEND)).number
        for done in (True, False):
            p.server.script.once(lost(done=done), command=SMB_COM_WRITE_ANDX)
            await p.files.write(number, 3, b"more")
        await p.files.release(number)
        assert p.content("\\a.txt") == b"aaamoremore"


async def test_reads_go_on(monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard) -> None:
    log_guard.expect("connecting again$|connected again after")
    async with kept(monkeypatch) as p:
        number = (await p.files.open(await p.look("a.txt"), os.O_RDONLY)).number
        p.server.script.once(lost(done=True), command=SMB_COM_READ_ANDX)
        assert bytes(await p.files.read(number, 0, 10)) == b"aaa"
        await p.files.release(number)


async def test_an_oplock_goes_with_its_connection(monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard) -> None:
    """What it protected is not believed any more; the FID that was kept for it is not missed."""
    log_guard.expect("connecting again$|connected again after")
    async with kept(monkeypatch) as p:
        inode = p.files.inodes.get(await p.look("a.txt"))
        number = (await p.files.open(inode.number, os.O_RDONLY)).number
        assert p.files.oplocks.keeps_reads(inode)
        await p.files.release(number)
        assert p.files.opens.idle == 1
        await p.server.last.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert p.files.opens.idle == 0
        assert not inode.pages_hold
        assert not p.files.oplocks.keeps_reads(inode)


@pytest.mark.parametrize("what", ["getattr", "statfs"])
async def test_what_umount_asks_for_does_not_wait(
    monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard, autojump_clock: MockClock, what: str
) -> None:
    """Also where nobody knows yet that the server is away, and it never comes back."""
    log_guard.expect("connecting again$")
    async with kept(monkeypatch) as p:
        await p.files.check_root()
        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "getattr": partial(p.files.getattr, ROOT),
            "statfs": p.files.statfs,
        }
        ask = asks[what]
        before = await ask()
        await trio.sleep(p.files.cache.lifetime * 2)

        async def never(*_: object) -> Transport:
            await trio.sleep_forever()
            raise AssertionError

        monkeypatch.setattr(session_module, "connect", never)
        p.server.script.once(lost(done=False), command=SMB_COM_TRANSACTION2)
        with trio.fail_after(1):
            for _ in range(2):
                assert type(await ask()) is type(before)
        assert p.server.script.rules[0].hits == 1
