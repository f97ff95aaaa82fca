"""What Samba 3.0 does otherwise than 4.17, as the sources of 3.0.28a have it."""

from __future__ import annotations

import pytest
import trio

from smbfuse import ntstatus as nt
from smbfuse.client.tree import ServerPath
from smbfuse.core.server.unix import UnixBackend
from smbfuse.errors import StatusError
from smbfuse.wire.const import (
    CAP_UNIX,
    SMB_COM_READ_ANDX,
    SMB_COM_TRANSACTION2,
    TRANS2_SET_PATH_INFORMATION,
)
from smbfuse.wire.files import ReadAndXRequest, ReadAndXResponse
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
    for head, asked in ((0, 3), (4096, 2)):
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
