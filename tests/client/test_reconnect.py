"""Lost connections: what comes back by itself, what is never done twice, how long is waited, who is refused."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse import ntstatus as nt
from smbfuse.client import connection as connection_module
from smbfuse.client import session as session_module
from smbfuse.client.reconnect import FIRST_PAUSE, Keeper
from smbfuse.client.transport import Transport
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.core.errno_map import as_oserror
from smbfuse.errors import ConnectError, ConnectionLost, ConnectionRefused
from smbfuse.wire.const import (
    FILE_CREATE,
    FILE_OPEN_IF,
    SMB_COM_CREATE_DIRECTORY,
    SMB_COM_DELETE,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_RENAME,
    SMB_COM_SESSION_SETUP_ANDX,
    SMB_COM_TRANSACTION2,
    SMB_COM_TREE_CONNECT_ANDX,
)
from smbfuse.wire.filelevels import FileAllInfo
from smbfuse.wire.findlevels import FileIdFullDirectoryInfo
from tests.client.support import PASSWORD, assert_idle, opened, tree_of
from tests.fakes import script
from tests.fakes.auth import OneUser
from tests.fakes.exchange import Action, Exchange
from tests.fakes.offer import CAPABILITIES, SECURITY, SIGNING_ENABLED, Offer
from tests.fakes.server import FakeServer
from tests.fakes.volume import Node
from tests.support.logguard import LogGuard

HELLO = ServerPath("\\hello.txt")
Dial = Callable[..., Awaitable[Transport]]


class Road:
    """The way to a fake server, which may be closed: then nobody gets there."""

    def __init__(self, server: FakeServer, nursery: trio.Nursery) -> None:
        self.server = server
        self.closed = False
        self.tried: list[tuple[str, float]] = []
        """Whom a connection was wanted to, and when."""
        self._nursery = nursery

    async def connect(self, host: str, address: str | None, port: int, timeout: float) -> Transport:
        await trio.lowlevel.checkpoint()
        self.tried.append((host, trio.current_time()))
        if self.closed:
            raise ConnectError(f"cannot connect to {host}: no route")
        return Transport(self.server.connect(self._nursery))

    async def cut(self) -> None:
        """The connections of now are gone."""
        for connection in self.server.connections:
            await connection.aclose()
        await wait_all_tasks_blocked()


class Kept:
    """A tree that is kept connected."""

    def __init__(self, tree: Tree, road: Road, keeper: Keeper) -> None:
        self.tree = tree
        self.road = road
        self.keeper = keeper
        self.server = road.server

    async def ask(self) -> FileAllInfo:
        return await self.tree.query_path(HELLO, FileAllInfo)


Make = Callable[..., Awaitable[Kept]]


@pytest.fixture
def kept(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, log_guard: LogGuard) -> Make:
    log_guard.expect("connecting again$|connected again after")

    async def make(server: FakeServer | None = None, **settings: object) -> Kept:
        road = Road(server or FakeServer(), nursery)
        monkeypatch.setattr(session_module, "connect", road.connect)
        tree = await tree_of(road.server, nursery, **settings)
        keeper = Keeper(tree, nursery)
        nursery.start_soon(keeper.run)
        return Kept(tree, road, keeper)

    return make


# --- it comes back


@pytest.mark.parametrize("action", [script.disconnected, script.cut_after(40)], ids=["nothing", "half an answer"])
async def test_what_only_asks_is_asked_again(kept: Make, action: Action) -> None:
    k = await kept()
    before = await k.ask()
    k.server.script.once(action, command=SMB_COM_TRANSACTION2)
    assert (await k.ask()).end_of_file == before.end_of_file
    assert len(k.server.connections) == 2
    assert k.tree.losses == 1
    assert_idle(k.tree)


async def test_lost_between_two_requests(kept: Make) -> None:
    k = await kept()
    told: list[str] = []
    k.tree.on_lost.append(partial(told.append, "lost"))
    k.tree.on_revived.append(partial(told.append, "back"))
    for _ in range(3):
        await k.road.cut()
        await k.ask()
    assert told == ["lost", "back"] * 3
    assert {host for host, _ in k.road.tried} == {"fake"}, "the name is resolved each time"


@pytest.mark.parametrize(
    "status",
    [
        nt.STATUS_NETWORK_NAME_DELETED,
        nt.STATUS_USER_SESSION_DELETED,
        nt.STATUS_SMB_BAD_UID,
        nt.STATUS_SMB_BAD_TID,
    ],
    ids=nt.status_name,
)
@pytest.mark.parametrize("by_fid", [False, True])
async def test_ended_by_the_server(kept: Make, status: int, by_fid: bool) -> None:
    k = await kept()
    file = await opened(k.tree, "\\hello.txt")
    k.server.script.once(script.refused(status))
    if by_fid:
        with pytest.raises(ConnectionLost) as caught:
            await file.read(0, 5)
        assert not caught.value.sent
        assert file.gone
    else:
        await k.tree.create_directory(ServerPath("\\made"))
    assert (await k.ask()).end_of_file
    assert len(k.server.connections) == 2


async def test_expired_session_is_renewed_in_place(kept: Make) -> None:
    """[MS-SMB] 3.2.5.1: the same UID, the same connection, and FIDs go on."""
    k = await kept(FakeServer(offer=Offer(security_mode=SIGNING_ENABLED, acceptor=lambda: OneUser("tester", PASSWORD))))
    file = await opened(k.tree, "\\hello.txt")
    uid, session = k.tree.session.uid, k.tree.session
    k.server.script.once(script.refused(nt.STATUS_NETWORK_SESSION_EXPIRED), command=SMB_COM_READ_ANDX)
    logons = k.server.tap.requests["SESSION_SETUP_ANDX"]
    assert bytes(await file.read(0, 5))
    assert (k.tree.session, session.uid, session.logons) == (session, uid, 2)
    assert k.server.tap.requests["SESSION_SETUP_ANDX"] == logons + 2
    assert k.server.last.wrong_signatures == 0
    assert len(k.server.connections) == 1


async def test_expired_session_that_cannot_be_renewed_is_replaced(kept: Make) -> None:
    k = await kept()
    k.server.script.once(script.refused(nt.STATUS_NETWORK_SESSION_EXPIRED), command=SMB_COM_TRANSACTION2)
    k.server.script.once(script.refused(nt.STATUS_LOGON_FAILURE), command=SMB_COM_SESSION_SETUP_ANDX)
    await k.ask()
    assert len(k.server.connections) == 2


async def test_listing_begins_anew(kept: Make) -> None:
    k = await kept()
    directory = k.server.volume.find("\\")
    for number in range(1500):
        directory.add(Node(f"file{number:05}"))
    search = k.tree.search(ServerPath("\\file*"), FileIdFullDirectoryInfo)
    names = [entry.file_name for entry in await search.next_page()]
    assert 0 < len(names) < 1500
    await k.road.cut()
    while page := await search.next_page():
        names += [entry.file_name for entry in page]
    assert set(names) == {f"file{number:05}" for number in range(1500)}
    assert_idle(k.tree)


async def test_idle_connection_is_not_missed(kept: Make) -> None:
    """Servers hang up on who does nothing; to come back at once would be in vain."""
    k = await kept()
    await k.road.cut()
    assert k.road.tried == []
    await k.ask()
    assert len(k.road.tried) == 1


async def test_open_files_are_missed_at_once(kept: Make) -> None:
    k = await kept()
    await opened(k.tree, "\\hello.txt")
    back = trio.Event()
    k.tree.on_revived.append(back.set)
    await k.road.cut()
    with trio.fail_after(5):
        await back.wait()


async def test_what_was_settled_is_settled_again(kept: Make) -> None:
    k = await kept()
    prepared: list[Tree] = []

    async def prepare(tree: Tree) -> None:
        await tree.query_path(HELLO, FileAllInfo)
        if not prepared:
            k.server.script.once(script.disconnected, command=SMB_COM_TRANSACTION2)
        prepared.append(tree)

    k.tree.preparations.append(prepare)
    await k.road.cut()
    await k.ask()
    assert [tree.at for tree in prepared][-1] is k.tree.at
    assert k.tree not in prepared


# --- what is done once


CHANGES: dict[str, tuple[int, Callable[[Tree], Awaitable[object]]]] = {
    "create": (SMB_COM_NT_CREATE_ANDX, lambda tree: opened(tree, "\\new", disposition=FILE_CREATE)),
    "open or create": (SMB_COM_NT_CREATE_ANDX, lambda tree: opened(tree, "\\new", disposition=FILE_OPEN_IF)),
    "mkdir": (SMB_COM_CREATE_DIRECTORY, lambda tree: tree.create_directory(ServerPath("\\new"))),
    "delete": (SMB_COM_DELETE, lambda tree: tree.delete(HELLO)),
    "rename": (SMB_COM_RENAME, lambda tree: tree.rename(HELLO, ServerPath("\\new"))),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
async def test_change_in_flight_is_not_done_twice(kept: Make, change: str, done: bool) -> None:
    k = await kept()
    command, work = CHANGES[change]

    async def cut(exchange: Exchange) -> None:
        if done:
            exchange.perform()
        await exchange.connection.aclose()

    k.server.script.once(cut, command=command)
    with pytest.raises(ConnectionLost) as caught:
        await work(k.tree)
    assert caught.value.sent
    assert k.server.tap.requests.total() == len(k.server.connections) * 4 + 1, "nothing was sent again"


@pytest.mark.parametrize("change", CHANGES)
async def test_change_that_was_not_sent_is_sent_later(kept: Make, change: str) -> None:
    k = await kept()
    _, work = CHANGES[change]
    await k.road.cut()
    await work(k.tree)
    assert [rule.hits for rule in k.server.script.rules] == []
    assert len(k.server.connections) == 2


async def test_a_fid_is_never_used_on_another_connection(kept: Make) -> None:
    """There it may be another file's."""
    k = await kept()
    file = await opened(k.tree, "\\hello.txt")
    await k.road.cut()
    other = await opened(k.tree, "\\other")
    other.fid, file.fid = file.fid, file.fid
    k.tree.at.opens[file.fid] = other
    requests = k.server.tap.total
    for work in (
        partial(file.read, 0, 5),
        partial(file.write, 0, b"x"),
        partial(k.tree.query_file, file, FileAllInfo),
        file.flush,
    ):
        with pytest.raises(ConnectionLost) as caught:
            await work()
        assert not caught.value.sent
    await file.close()
    assert k.server.tap.total == requests
    assert k.tree.opens == {file.fid: other}


# --- how long is waited


async def test_soft_fails_when_the_time_is_over(kept: Make, autojump_clock: MockClock) -> None:
    k = await kept(reconnect_timeout=20.0)
    k.road.closed = True
    await k.road.cut()
    begun = trio.current_time()
    with pytest.raises(ConnectionLost, match="//fake/share has been away for 20 s: cannot connect to fake: no route"):
        await k.ask()
    assert trio.current_time() - begun == pytest.approx(20)
    begun = trio.current_time()
    with pytest.raises(ConnectionLost, match="away for"):
        await k.ask()
    assert trio.current_time() == begun, "the time counts from the loss"
    k.road.closed = False
    await trio.sleep(10)
    await k.ask()


async def test_hard_waits(kept: Make, autojump_clock: MockClock) -> None:
    k = await kept(hard=True)
    k.road.closed = True
    await k.road.cut()
    async with trio.open_nursery() as askers:
        askers.start_soon(k.ask)
        await trio.sleep(50_000)
        k.road.closed = False
    pauses = [later - earlier for (_, earlier), (_, later) in zip(k.road.tried, k.road.tried[1:], strict=False)]
    assert pauses[0] <= 2 * FIRST_PAUSE  # the connection had not lived long either
    assert all(2.5 <= pause <= 5 for pause in pauses[6:])
    assert len(set(pauses)) > len(pauses) / 2, "cut by chance"


async def test_hard_waits_for_a_slow_answer(kept: Make, autojump_clock: MockClock) -> None:
    k = await kept(hard=True)
    k.server.script.once(script.delayed(500), command=SMB_COM_TRANSACTION2)
    await k.ask()


async def test_who_waits_can_leave(kept: Make, autojump_clock: MockClock) -> None:
    k = await kept(hard=True)
    k.road.closed = True
    await k.road.cut()
    with trio.move_on_after(3) as scope:
        await k.ask()
    assert scope.cancelled_caught
    k.road.closed = False
    requests = k.server.tap.requests["TRANSACTION2/5"]
    await trio.sleep(20)
    assert k.server.tap.requests["TRANSACTION2/5"] == requests, "nobody wants the answer"
    assert_idle(k.tree)


async def test_silent_server_is_replaced(kept: Make, autojump_clock: MockClock) -> None:
    """A black hole: the connection stays, nothing passes."""
    k = await kept()
    k.server.script.on(script.dropped, where=lambda exchange: exchange.connection is k.server.connections[0])
    begun = trio.current_time()
    await k.ask()
    assert 20 <= trio.current_time() - begun <= 25
    assert len(k.server.connections) == 2


@pytest.mark.parametrize("answers", [True, False])
async def test_server_is_asked_when_this_machine_wakes_up(
    kept: Make, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    k = await kept()
    await opened(k.tree, "\\hello.txt")
    await trio.sleep(100)
    assert k.server.tap.requests["ECHO"] == 0
    if not answers:
        k.server.script.on(script.dropped, where=lambda exchange: exchange.connection is k.server.connections[0])
    monkeypatch.setattr(connection_module, "seconds_asleep", lambda: 36_000.0)
    await trio.sleep(8.5)
    assert k.server.tap.requests["ECHO"] == 1
    assert len(k.server.connections) == (1 if answers else 2)


@pytest.mark.parametrize(("retrans", "seconds", "least"), [(0, 10.0, 2), (10, 10.0, 11), (5, 30.0, 7)])
async def test_what_kills_the_server_is_given_up(
    kept: Make, autojump_clock: MockClock, retrans: int, seconds: float, least: int
) -> None:
    k = await kept(retrans=retrans, reconnect_timeout=10.0, request_timeout=seconds)
    rule = k.server.script.on(script.disconnected, command=SMB_COM_TRANSACTION2)
    begun = trio.current_time()
    with pytest.raises(ConnectionLost, match="the server closed the connection"):
        await k.ask()
    assert trio.current_time() - begun >= seconds
    assert least <= rule.hits <= retrans + 20


async def test_nobody_waits_at_the_end(kept: Make) -> None:
    k = await kept(hard=True)
    k.road.closed = True
    await k.road.cut()
    async with trio.open_nursery() as askers:
        waiting = trio.Event()

        async def wait() -> None:
            waiting.set()
            with pytest.raises(ConnectionLost, match="being unmounted"):
                await k.ask()

        askers.start_soon(wait)
        await waiting.wait()
        k.keeper.end()


# --- no weaker than before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda offer: setattr(offer, "security_mode", SECURITY), "signed messages before and does not any more"),
        (lambda offer: setattr(offer, "guest", True), "does not know the user and lets in a guest"),
        (
            lambda offer: setattr(offer, "capabilities", CAPABILITIES & ~0x8000_0000),
            "knows only logons without extended security",
        ),
    ],
    ids=["signing", "guest", "extended security"],
)
async def test_weaker_server_is_refused(
    kept: Make, autojump_clock: MockClock, log_guard: LogGuard, change: Callable[[Offer], None], said: str
) -> None:
    log_guard.expect(said)
    k = await kept(FakeServer(offer=Offer(security_mode=SIGNING_ENABLED, acceptor=lambda: OneUser("tester", PASSWORD))))
    strong = k.server.offer
    k.server.offer = Offer(security_mode=SIGNING_ENABLED, acceptor=strong.acceptor)
    change(k.server.offer)
    await k.road.cut()
    with pytest.raises(ConnectionRefused, match=said) as caught:
        await k.ask()
    assert as_oserror(caught.value, "getattr").errno == errno.EACCES
    trees = k.server.tap.requests["TREE_CONNECT_ANDX"]
    await trio.sleep(600)
    assert k.server.tap.requests["TREE_CONNECT_ANDX"] == trees
    k.server.offer = strong
    await trio.sleep(61)
    await k.ask()


async def test_changed_password_is_not_tried_often(kept: Make, autojump_clock: MockClock, log_guard: LogGuard) -> None:
    log_guard.expect("not connected again: SESSION_SETUP_ANDX: STATUS_LOGON_FAILURE")
    k = await kept()
    k.server.offer.acceptor = lambda: OneUser("tester", "another")
    await k.road.cut()
    with pytest.raises(ConnectionRefused, match="LOGON_FAILURE"):
        await k.ask()
    await trio.sleep(3600)
    assert len(k.road.tried) <= 62


async def test_share_that_is_away_for_a_while(kept: Make, autojump_clock: MockClock) -> None:
    k = await kept()
    k.server.script.on(script.refused(nt.STATUS_BAD_NETWORK_NAME), command=SMB_COM_TREE_CONNECT_ANDX, times=4)
    await k.road.cut()
    await k.ask()
    assert len(k.road.tried) == 5
