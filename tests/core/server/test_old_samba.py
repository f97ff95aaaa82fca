"""What Samba 3.0 does otherwise than 4.17, as the sources of 3.0.28a have it."""

from __future__ import annotations

import stat

import pytest
import trio

from smbfuse import ntstatus as nt
from smbfuse.client.tree import ServerPath
from smbfuse.core.server.attrs import Attributes
from smbfuse.core.server.backend import Change
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.server.unix import UnixBackend
from smbfuse.errors import StatusError
from smbfuse.wire.const import (
    CAP_UNIX,
    SMB_COM_READ_ANDX,
    SMB_COM_TRANSACTION2,
    TRANS2_SET_PATH_INFORMATION,
)
from smbfuse.wire.files import ReadAndXRequest, ReadAndXResponse
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans import Trans2Response
from smbfuse.wire.trans2 import SetPathParameters
from smbfuse.wire.unixlevels import PosixUnlink
from tests.client.support import opened, tree_of
from tests.fakes import script
from tests.fakes.exchange import Action, Exchange, Reply
from tests.fakes.offer import CAPABILITIES, Offer
from tests.fakes.server import FakeServer

FILE = ServerPath("\\f")
CONTENT = bytes(range(256)) * 8192


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(offer=Offer(capabilities=CAPABILITIES | CAP_UNIX), files={"f": CONTENT})


async def one_high_bit(exchange: Exchange) -> None:
    """The size of a read: its high half counts if it is 1, and is nothing else."""
    request = exchange.message.body
    assert isinstance(request, ReadAndXRequest)
    size = request.max_count_low | (0x10000 if request.max_count_high == 1 else 0)
    node = exchange.connection.opens[request.fid].node
    offset = request.offset_low | request.offset_high << 32
    await exchange.answer(Reply([ReadAndXResponse(data=bytes(node.data[offset : offset + size]))]))


async def refuses_large(exchange: Exchange) -> None:
    request = exchange.message.body
    assert isinstance(request, ReadAndXRequest)
    await (script.refused(nt.STATUS_INVALID_PARAMETER)(exchange) if request.max_count_high else exchange.answer())


@pytest.mark.parametrize("how", [one_high_bit, refuses_large])
@pytest.mark.parametrize("limit", [None, 10**9])
@pytest.mark.parametrize("size", [65_536, 131_072, 200_000, 300_000, len(CONTENT), len(CONTENT) + 1])
async def test_large_reads(
    server: FakeServer, nursery: trio.Nursery, how: Action, limit: int | None, size: int
) -> None:
    server.script.on(how, command=SMB_COM_READ_ANDX)
    tree = await tree_of(server, nursery, rsize=limit)
    tree.at.offers(0xFF if limit else 0)
    file = await opened(tree, FILE.text)
    assert bytes(await file.read(0, size)) == CONTENT[:size]
    assert bytes(await file.read(len(CONTENT), size)) == b""
    assert bytes(await file.read(len(CONTENT) - 10, size)) == CONTENT[-10:]


async def test_what_is_read_large_once_is_believed_from_then_on(server: FakeServer, nursery: trio.Nursery) -> None:
    tree = await tree_of(server, nursery)
    file = await opened(tree, FILE.text)
    await file.read(0, 100_000)
    before = server.tap.total
    assert bytes(await file.read(len(CONTENT), 100_000)) == b""
    assert server.tap.total - before == 1


async def test_opens_of_what_is_there(server: FakeServer, nursery: trio.Nursery) -> None:
    """POSIX_OPEN without O_CREAT is refused, so files are opened as on Windows: from the second on at once."""
    server.script.on(
        script.refused(nt.STATUS_INVALID_PARAMETER),
        command=SMB_COM_TRANSACTION2,
        subcommand=TRANS2_SET_PATH_INFORMATION,
    )
    tree = await tree_of(server, nursery)
    backend = UnixBackend(tree, 0x33)
    with pytest.raises(StatusError) as caught:
        await backend.open(ServerPath("\\none"), read=True, write=False)
    assert caught.value.status == nt.STATUS_OBJECT_NAME_NOT_FOUND
    for head, asked in ((0, 4), (4096, 2)):
        before = server.tap.total
        file, attrs = await backend.open(FILE, read=True, write=False, head=head)
        assert server.tap.total - before == asked
        assert bytes(file.head or b"") == CONTENT[:head]
        assert (attrs.size, attrs.permissions) == (len(CONTENT), 0o755)
        await file.close()
    assert tree.opens == {}


async def test_an_open_that_fails_otherwise_is_tried_once(server: FakeServer, nursery: trio.Nursery) -> None:
    backend = UnixBackend(await tree_of(server, nursery), 0x33)
    server.script.on(
        script.refused(nt.STATUS_ACCESS_DENIED), command=SMB_COM_TRANSACTION2, subcommand=TRANS2_SET_PATH_INFORMATION
    )
    with pytest.raises(StatusError):
        await backend.open(FILE, read=True, write=False)
    assert server.tap.requests["NT_CREATE_ANDX"] == 0


async def test_the_space_of_a_system_without_statvfs(server: FakeServer, nursery: trio.Nursery) -> None:
    """df shows what Windows would."""
    space = await UnixBackend(await tree_of(server, nursery), 0x33).space()
    assert space.total > 0


@pytest.mark.parametrize(
    ("lan_manager", "version"),
    [("Samba 3.0.28a", (3, 0)), ("Samba 4.17.12-Debian", (4, 17)), ("Windows 2000 LAN Manager", None), ("", None)],
)
async def test_versions(server: FakeServer, nursery: trio.Nursery, lan_manager: str, version: tuple[int, ...]) -> None:
    tree = await tree_of(server, nursery)
    tree.session.server_lan_manager = lan_manager
    assert tree.session.samba == version


async def test_what_a_link_leads_to_is_left_alone(server: FakeServer, nursery: trio.Nursery) -> None:
    """It would get the times and the owner that are meant for the link."""
    tree = await tree_of(server, nursery)
    tree.session.server_lan_manager = "Samba 3.0.28a"
    backend, before = UnixBackend(tree, 0x33), server.tap.total
    link = Attributes(stat.S_IFLNK, 4, 0, 0, 0, 0, st_uid=1, st_gid=2)
    await backend.change(FILE, None, Change(mtime_ns=10**18, st_uid=1), link)
    with pytest.raises(PermissionError):
        await backend.change(FILE, None, Change(st_uid=3), link)
    assert server.tap.total == before


@pytest.mark.parametrize("version", ["Samba 3.0.28a", "Samba 4.17"])
async def test_what_is_in_use_goes_with_its_last_close(server: FakeServer, nursery: trio.Nursery, version: str) -> None:
    """3.0 takes FILE_DELETE_ON_CLOSE for new files only."""
    tree = await tree_of(server, nursery)
    tree.session.server_lan_manager = version
    await NtBackend(tree).delete_when_closed(FILE)
    assert server.volume.locate(FILE.text)[2] is None
    assert server.tap.requests["TRANSACTION2/8"] == (version == "Samba 3.0.28a")


async def test_read_only_files_are_deleted(server: FakeServer, nursery: trio.Nursery) -> None:
    """POSIX_UNLINK has Windows' rules there."""
    orders: list[int] = []

    async def refuses_once(exchange: Exchange) -> None:
        assert exchange.transaction is not None
        orders.append(SetPathParameters.unpack(exchange.transaction[0], text=UNICODE).information_level)
        first = orders == [PosixUnlink.LEVEL]
        status = nt.STATUS_CANNOT_DELETE if first else nt.STATUS_SUCCESS
        await exchange.answer(Reply([Trans2Response(parameters=b"\0\0")], status))

    server.script.on(refuses_once, command=SMB_COM_TRANSACTION2, subcommand=TRANS2_SET_PATH_INFORMATION)
    await UnixBackend(await tree_of(server, nursery), 0x33).unlink(FILE)
    assert len(orders) == 3
    assert orders[::2] == [PosixUnlink.LEVEL, PosixUnlink.LEVEL]
