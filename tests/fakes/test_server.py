"""The fake server by itself: what it counts, what its scripts do, and that real mounts can use it.

That it answers as a real server does is shown by `tests/client/test_common.py`.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse import ntstatus as nt
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.errors import StatusError
from smbfuse.wire.const import (
    SMB_COM_ECHO,
    SMB_COM_LOCKING_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_TRANSACTION2,
    TRANS2_QUERY_PATH_INFORMATION,
)
from smbfuse.wire.filelevels import FileAllInfo
from smbfuse.wire.files import NtCancelRequest
from smbfuse.wire.locking import LockingAndXRequest
from tests.client.support import opened, tree_of
from tests.fakes import script
from tests.fakes.background import running
from tests.fakes.server import FakeServer
from tests.fakes.volume import Volume, is_token
from tests.samba.content import FILES, NEWER, OLDER
from tests.support.logguard import LogGuard
from tests.support.mount import Mount

HELLO = ServerPath("\\hello.txt")


async def ask(tree: Tree) -> None:
    await tree.query_path(HELLO, FileAllInfo)


# --- the tap


async def test_requests_are_counted_by_command(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.tap.clear()
    file = await opened(tree, "\\hello.txt")
    await file.read(0, 10)
    await ask(tree)
    await ask(tree)
    await file.close()
    assert server.tap.requests == {"NT_CREATE_ANDX": 1, "READ_ANDX": 1, "TRANSACTION2/5": 2, "CLOSE": 1}
    assert server.tap.total == 5
    assert server.tap.in_flight == 0
    assert server.tap.most_in_flight == 1


async def test_what_is_no_message_is_kept_and_ends_the_connection(nursery: trio.Nursery) -> None:
    server = FakeServer()
    client = trio.socket.from_stdlib_socket(server.connect(nursery))
    with client:
        await client.send(b"\0\0\0\x04abcd")
        assert await client.recv(100) == b""
    (line,) = server.tap.undecodable
    assert "61626364" in line


# --- scripts


async def test_rules_apply_to_what_they_fit_and_as_often_as_they_say(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    rule = server.script.on(script.refused(nt.STATUS_DISK_FULL), command=SMB_COM_TRANSACTION2, times=2)
    other = server.script.on(
        script.refused(nt.STATUS_ACCESS_DENIED),
        command=SMB_COM_TRANSACTION2,
        subcommand=TRANS2_QUERY_PATH_INFORMATION,
        where=lambda exchange: exchange.mid % 2 == 0,
    )
    await tree.session.connection.echo()
    statuses = []
    for _ in range(6):
        try:
            await ask(tree)
            statuses.append(nt.STATUS_SUCCESS)
        except StatusError as exc:
            statuses.append(exc.status)
    assert statuses[:2] == [nt.STATUS_DISK_FULL] * 2
    assert sorted(statuses[2:]) == [nt.STATUS_SUCCESS] * 2 + [nt.STATUS_ACCESS_DENIED] * 2
    assert (rule.hits, other.hits) == (2, 2)
    server.script.clear()
    await ask(tree)


async def test_dos_errors(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.once(script.refused_dos(1, 5))
    with pytest.raises(StatusError) as caught:
        await ask(tree)
    assert caught.value.status == nt.STATUS_ACCESS_DENIED


async def test_done_but_not_answered(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer(files={})
    tree = await tree_of(server, nursery)
    server.script.once(script.done_unanswered)
    with trio.move_on_after(1):
        await tree.create_directory(ServerPath("\\made"))
    assert server.volume.find("\\made").is_dir


async def test_delays_are_of_the_tests_clock(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\hello.txt")
    server.script.on(script.delayed(5), command=SMB_COM_READ_ANDX)
    begun = trio.current_time()
    assert bytes(await file.read(0, 5)) == b"Hello"
    assert trio.current_time() - begun == pytest.approx(5)


async def test_a_lock_waits_until_it_is_cancelled(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    file = await opened(tree, "\\hello.txt")
    server.script.once(script.until_cancelled(), command=SMB_COM_LOCKING_ANDX)
    connection = tree.session.connection
    statuses: list[int] = []

    async def lock() -> None:
        response = await tree.request(LockingAndXRequest(fid=file.fid, timeout=0xFFFF_FFFF))
        statuses.append(response.status)

    async with trio.open_nursery() as lockers:
        lockers.start_soon(lock)
        await wait_all_tasks_blocked()
        assert statuses == []
        (mid,) = connection.engine.mids.pending
        cancel = connection.engine.cancel(mid)
        assert cancel is not None
        assert b"".join(cancel)[8] == NtCancelRequest.COMMAND
        connection._transport.send(cancel)
    assert statuses == [nt.STATUS_CANCELLED]
    assert server.last.cancelled == [mid]


async def test_lost_answers_do_not_hold_up_others(nursery: trio.Nursery) -> None:
    server = FakeServer()
    tree = await tree_of(server, nursery)
    server.script.on(script.dropped, command=SMB_COM_ECHO)
    nursery.start_soon(tree.session.connection.echo)
    await wait_all_tasks_blocked()
    await ask(tree)
    server.script.clear()
    nursery.cancel_scope.cancel()


# --- volumes


def test_tokens_are_tokens_only_where_the_flag_says_so() -> None:
    volume = Volume({"a": b"now"}, {OLDER: {"a": b"then"}})
    assert is_token(OLDER)
    assert bytes(volume.find(f"\\{OLDER}\\a", True).data) == b"then"
    assert bytes(volume.find(f"\\a\\{OLDER}", True).data) == b"then"
    assert volume.locate(f"\\{OLDER}")[2] is None
    assert volume.find(f"\\{OLDER}\\a", True).read_only
    assert NEWER not in volume.snapshots


# --- in a thread, for real mounts


def test_background_serves_and_ends() -> None:
    with running(FakeServer()) as server:
        port = server.port
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"\0\0\0\x04abcd")
            assert client.recv(10) == b""
        assert server.call(lambda: len(server.server.connections)) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


@pytest.mark.fuse
def test_real_mount(tmp_path: Path, log_guard: LogGuard) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    with running(FakeServer()) as server:
        options = {"port": server.port, "username": "anybody", "password": "any"}
        with Mount(server.unc(), mountpoint, options, guard=log_guard):
            assert sorted(path.name for path in mountpoint.iterdir()) == sorted({name.split("/")[0] for name in FILES})
            assert {name: (mountpoint / name).read_bytes() for name in FILES} == FILES
            data = bytes(range(256)) * 5000
            (mountpoint / "new").write_bytes(data)
            assert server.call(lambda: bytes(server.server.volume.find("\\new").data)) == data
            (mountpoint / "new").unlink()
        assert server.call(lambda: server.server.last.opens) == {}
        assert server.call(lambda: server.server.tap.undecodable) == []
