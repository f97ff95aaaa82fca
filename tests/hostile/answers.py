"""Answers that are messages, but not answers to what was asked."""

from __future__ import annotations

import errno
from functools import partial

import trio
from pyfuse3 import FUSEError

from smbfuse import ntstatus as nt
from smbfuse.wire.codec import Body
from smbfuse.wire.const import (
    SMB_COM_CLOSE,
    SMB_COM_CREATE_DIRECTORY,
    SMB_COM_DELETE,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_READ_ANDX,
    SMB_COM_TRANSACTION2,
    SMB_COM_WRITE_ANDX,
    TRANS2_SET_PATH_INFORMATION,
)
from smbfuse.wire.files import ReadAndXResponse, WriteAndXResponse
from smbfuse.wire.frame import RawBody
from smbfuse.wire.setup import LogoffAndXResponse
from tests.fakes import script
from tests.fakes.exchange import Action, Exchange
from tests.fakes.offer import Offer
from tests.hostile.kinds import Kind, edited, instead, words
from tests.hostile.program import Program

reading = partial(Kind, to=SMB_COM_READ_ANDX, work=Program.cat)
writing = partial(Kind, to=SMB_COM_WRITE_ANDX, work=Program.write)
opening = partial(Kind, to=SMB_COM_NT_CREATE_ANDX, work=Program.cat)


def more(body: Body) -> Body:
    assert isinstance(body, ReadAndXResponse)
    return ReadAndXResponse(available=0xFFFF, data=bytes(body.data) * 20_000)


def less(body: Body) -> Body:
    """One byte of many."""
    assert isinstance(body, ReadAndXResponse)
    return ReadAndXResponse(available=0xFFFF, data=bytes(body.data)[:1])


def written(count: int) -> Action:
    def edit(body: Body) -> Body:
        assert isinstance(body, WriteAndXResponse)
        return WriteAndXResponse(count_low=count & 0xFFFF, count_high=count >> 16, available=0xFFFF)

    return edited(edit)


async def same_fid(exchange: Exchange) -> None:
    """Every open gets the FID of the first one."""
    reply = exchange.perform()
    connection = exchange.connection
    body = reply.bodies[0]
    first = next(iter(connection.opens))
    connection.opens[first] = connection.opens[body.fid]  # type: ignore[attr-defined] # an open's answer
    body.fid = first  # type: ignore[attr-defined]
    await exchange.answer(reply)


async def many_stats(program: Program) -> set[object]:
    """More programs at once than the server takes requests."""
    seen: set[object] = set()

    async def one() -> None:
        try:
            await program.stat()
        except FUSEError as error:
            seen.add(errno.errorcode[error.errno])

    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(one)
    return seen


async def cat_twice(program: Program) -> list[bytes]:
    """Two files that are open at the same time."""
    async with program.open(b"hello.txt") as one, program.open(b"other.txt") as other:
        return [await program.read(one), await program.read(other)]


KINDS = [
    reading(
        does="gives more than was asked for",
        by=edited(more),
        gives="EIO",
        says="READ_ANDX was answered with 280000 bytes, 16384 were asked for",
    ),
    reading(does="gives a byte at a time", by=edited(less), times=None, gives=b"Hello, world.\n"),
    reading(
        does="has its data behind the end of the message",
        by=words(6, 0xFFF0),
        gives="EHOSTDOWN",
        ends=True,
        says="data: bad offset|data is cut short",
    ),
    reading(
        does="has its data in the header",
        by=words(6, 4),
        gives="EHOSTDOWN",
        ends=True,
        says="data: bad offset|data is cut short",
    ),
    reading(
        does="has more data than the message",
        by=words(5, 0xFFFF),
        gives="EHOSTDOWN",
        ends=True,
        says="data: bad offset|data is cut short",
    ),
    reading(
        does="answers with an empty body",
        by=instead(RawBody()),
        gives="EIO",
        says="answer to READ_ANDX has not the form",
    ),
    reading(
        does="answers in the form of another command",
        by=instead(LogoffAndXResponse()),
        gives="EIO",
        says="answer to READ_ANDX has not the form",
    ),
    reading(
        does="answers with a status of no severity",
        by=instead(RawBody(), status=0x103),
        gives="EIO",
        says="answer to READ_ANDX has not the form",
    ),
    reading(
        does="answers with a status that does not exist",
        by=script.refused(0xC0FF_EE00),
        gives="EIO",
        says="no errno known for 0xC0FFEE00",
    ),
    reading(
        does="answers with a DOS error that does not exist",
        by=script.refused_dos(0x77, 0x7777),
        gives="EIO",
        says="no errno known",
    ),
    reading(
        does="wants a logon where none is due",
        by=script.refused(nt.STATUS_MORE_PROCESSING_REQUIRED),
        gives="EIO",
        says="no errno known for STATUS_MORE_PROC",
    ),
    reading(does="never answers, and is alive otherwise", by=script.dropped, gives="ETIMEDOUT", within=61.0),
    reading(
        does="never answers anything",
        to=None,
        by=script.dropped,
        times=None,
        gives="EHOSTDOWN",
        ends=True,
        within=31.0,
    ),
    Kind(
        does="answers echoes only",
        to=SMB_COM_TRANSACTION2,
        by=script.dropped,
        times=None,
        work=many_stats,
        gives={"ETIMEDOUT"},
        within=61.0,
        ends=True,
        afterwards=65.0,
    ),
    reading(does="hangs up", by=script.disconnected, gives="EHOSTDOWN", ends=True),
    writing(
        does="wrote more than it was given",
        by=written(0x1_0000),
        gives="EIO",
        says="WRITE_ANDX of 11 bytes was answered with 65536",
    ),
    writing(does="wrote nothing", by=written(0), times=None, gives="ENOSPC"),
    writing(
        does="forgets the body of a write's answer",
        by=instead(RawBody()),
        gives="EIO",
        says="answer to WRITE_ANDX has not the form",
    ),
    opening(
        does="opens without giving a FID",
        by=instead(RawBody()),
        gives="EIO",
        says="answer to NT_CREATE_ANDX has not the form",
    ),
    opening(does="gives every open the same FID", by=same_fid, times=None, work=cat_twice, gives=[b"other"] * 2),
    Kind(
        does="refuses to close",
        to=SMB_COM_CLOSE,
        by=script.refused(nt.STATUS_INVALID_HANDLE),
        work=Program.cat,
        gives=b"Hello, world.\n",
    ),
    Kind(
        does="makes a directory with an answer of another form",
        to=SMB_COM_CREATE_DIRECTORY,
        by=edited(lambda _: LogoffAndXResponse()),
        work=Program.mkdir,
        gives=None,
    ),
    Kind(
        does="has done it, and says that it is not there",
        to=SMB_COM_DELETE,
        by=script.refused(nt.STATUS_OBJECT_NAME_NOT_FOUND),
        work=Program.rm,
        gives="ENOENT",
    ),
    Kind(
        does="renames without a transaction in its answer",
        to=SMB_COM_TRANSACTION2,
        subcommand=TRANS2_SET_PATH_INFORMATION,
        by=instead(RawBody()),
        work=Program.mv,
        gives="EIO",
        says="TRANSACTION2 was answered without a transaction",
    ),
    reading(
        does="takes no request beside another",
        by=script.delayed(0.5),
        offer=partial(Offer, max_mpx_count=0),
        gives=b"Hello, world.\n",
    ),
    reading(
        does="takes 65,535 requests at once",
        by=script.delayed(0.5),
        offer=partial(Offer, max_mpx_count=0xFFFF),
        gives=b"Hello, world.\n",
    ),
    writing(does="takes messages of no byte", by=script.delayed(0), offer=partial(Offer, max_buffer_size=0), gives=11),
    writing(
        does="takes messages of 4 GiB",
        by=script.delayed(0),
        offer=partial(Offer, max_buffer_size=0xFFFF_FFFF),
        gives=11,
    ),
]
