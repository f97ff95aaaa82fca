"""Bytes that are no message, messages that nobody asked for, signatures: what ends a connection, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from smbfuse.wire.const import (
    LOCKING_ANDX_OPLOCK_RELEASE,
    SMB_COM_LOCKING_ANDX,
    SMB_COM_LOGOFF_ANDX,
    SMB_COM_READ_ANDX,
    SMB_FLAGS_REPLY,
)
from smbfuse.wire.frame import RawBody
from smbfuse.wire.locking import LockingAndXRequest
from smbfuse.wire.setup import LogoffAndXResponse
from tests.client.support import PASSWORD
from tests.fakes import script
from tests.fakes.auth import OneUser
from tests.fakes.exchange import Action, Exchange
from tests.fakes.offer import SIGNING_ENABLED, Offer
from tests.hostile.kinds import Kind, again, bytes_for_ever, frame_of, with_bytes, words
from tests.hostile.program import Program

signing = partial(Offer, security_mode=SIGNING_ENABLED, acceptor=lambda: OneUser("tester", PASSWORD))

reading = partial(Kind, to=SMB_COM_READ_ANDX, work=Program.cat)
broken = partial(reading, gives="EHOSTDOWN", ends=True)


def header(length: int, kind: int = 0) -> bytes:
    """The transport's four bytes."""
    return bytes([kind]) + length.to_bytes(3, "big")


def message(body: bytes) -> Action:
    """The right header, and these bytes behind it."""

    async def action(exchange: Exchange) -> None:
        await exchange.send(frame_of(exchange, RawBody())[:32] + body)

    return action


def chained(members: int) -> Action:
    """An answer whose chain is as long as this."""

    async def action(exchange: Exchange) -> None:
        body = b"".join(
            bytes([2, SMB_COM_LOGOFF_ANDX, 0]) + (32 + 7 * (index + 1)).to_bytes(2, "little") + b"\0\0"
            for index in range(members)
        )
        await exchange.send(frame_of(exchange, LogoffAndXResponse(), command=SMB_COM_LOGOFF_ANDX)[:32] + body)

    return action


def unasked(count: int, *, mid: int = 0x7777) -> Action:
    """So many answers to nobody, then the right one."""

    async def action(exchange: Exchange) -> None:
        for _ in range(count):
            await exchange.send(frame_of(exchange, RawBody(), mid=mid))
        await exchange.answer()

    return action


def breaks(count: int, fid: Callable[[int], int]) -> Action:
    """So many oplock breaks, then the right answer."""

    async def action(exchange: Exchange) -> None:
        for index in range(count):
            await exchange.connection.break_oplock(fid(index), level=index % 2)
        await exchange.answer()

    return action


async def as_a_request(exchange: Exchange) -> None:
    """The right answer, but without the bit that says so."""
    for frame in exchange.frames():
        frame[9] &= ~SMB_FLAGS_REPLY & 0xFF
        await exchange.send(frame)


async def break_for_another_tree(exchange: Exchange) -> None:
    """An oplock break whose TID is not ours."""
    body = LockingAndXRequest(fid=1, lock_type=LOCKING_ANDX_OPLOCK_RELEASE)
    sent = bytearray(frame_of(exchange, body, command=SMB_COM_LOCKING_ANDX, mid=0xFFFF, tid=0x7777))
    sent[9] &= ~SMB_FLAGS_REPLY & 0xFF
    await exchange.send(sent)
    await exchange.answer()


async def unsigned(exchange: Exchange) -> None:
    exchange.number = None
    await exchange.answer()


async def old_number(exchange: Exchange) -> None:
    """Signed, but with the number of an answer that was sent before."""
    assert exchange.number is not None
    exchange.number -= 2
    await exchange.answer()


KINDS = [
    broken(
        does="speaks HTTP in the middle of it",
        by=script.raw(b"HTTP/1.1 200 OK\r\n\r\n"),
        says="not an SMB message: the transport header is 48 54 54 50",
    ),
    broken(
        does="announces a message of 16 MiB",
        by=script.raw(header(0xFF_FFFF) + bytes(100)),
        says="not an SMB message: the transport header is 00 ff ff ff",
    ),
    broken(
        does="sends a message that is shorter than a header",
        by=script.raw(header(31) + bytes(31)),
        says="not an SMB message: the transport header is 00 00 00 1f",
    ),
    broken(
        does="goes over to SMB2",
        by=script.raw(header(64) + b"\xfeSMB" + bytes(60)),
        says="not an SMB1 message: it begins with fe 53 4d 42",
    ),
    broken(does="sends a header and nothing behind it", by=message(b""), says="ends before its parameter words"),
    broken(does="has fewer words than it says", by=message(b"\x11" + bytes(9)), says="parameter words are cut short"),
    broken(does="has fewer bytes than it says", by=message(b"\0\xff\xff"), says="ByteCount goes past the end"),
    broken(
        does="sends a chain that goes round",
        by=with_bytes(33, bytes([SMB_COM_READ_ANDX, 0, 32, 0])),
        says="AndX chain does not advance",
    ),
    broken(does="sends a chain of 10,000 members", by=chained(9000), says="AndX chain has more than 32 members"),
    broken(does="hangs up in the middle of a message", by=script.cut_after(50)),
    broken(
        does="announces one byte less than it sends",
        by=script.misannounced(-1),
        says="ByteCount goes past the end",
    ),
    broken(
        does="sends a message byte by byte, and never its end",
        by=bytes_for_ever(b"x", every=3.0, first=header(1000)),
        gives="ETIMEDOUT",
        within=61.0,
        afterwards=10.0,
    ),
    broken(
        does="sends keep-alives and no answer",
        by=bytes_for_ever(header(0, 0x85), every=3.0),
        gives="ETIMEDOUT",
        ends=False,
        within=61.0,
    ),
    reading(
        does="answers under another MID", by=script.changed(script.with_mid(0x7777)), gives="ETIMEDOUT", within=61.0
    ),
    reading(does="answers another command", by=with_bytes(4, b"\x2f"), gives="ETIMEDOUT", within=61.0),
    reading(does="sends its answer as a request", by=as_a_request, gives="ETIMEDOUT", within=61.0),
    reading(does="answers twice", by=again(2), gives=b"Hello, world.\n"),
    reading(does="answers what nobody asked 900 times", by=unasked(900), gives=b"Hello, world.\n"),
    broken(does="answers what nobody asked without end", by=unasked(1001), says="more than 1000 answers that nobody"),
    reading(does="takes oplocks back that nobody has", by=breaks(3000, lambda index: index), gives=b"Hello, world.\n"),
    reading(does="takes an oplock of another tree back", by=break_for_another_tree, gives=b"Hello, world.\n"),
    broken(
        does="signs wrongly",
        by=script.changed(script.badly_signed),
        offer=signing,
        says="the answer to READ_ANDX has a wrong signature",
    ),
    broken(
        does="changes a byte of what it signed",
        by=words(2, 0x1234),
        offer=signing,
        says="the answer to READ_ANDX has a wrong signature",
    ),
    broken(does="stops signing", by=unsigned, offer=signing, says="the answer to READ_ANDX has a wrong signature"),
    broken(does="signs with an old number", by=old_number, offer=signing, says="has a wrong signature"),
]
