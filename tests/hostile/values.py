"""Numbers that no file has: what is not shown as it came, and what is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from smbfuse.wire.codec import Body
from smbfuse.wire.const import (
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_TRANSACTION2,
    TRANS2_FIND_FIRST2,
    TRANS2_QUERY_FS_INFORMATION,
)
from tests.fakes.exchange import Exchange
from tests.hostile.kinds import Kind, at, contents, edited
from tests.hostile.program import Program

stating = partial(Kind, to=SMB_COM_TRANSACTION2, subcommand=TRANS2_FIND_FIRST2, times=None)
ALL_ONES = b"\xff" * 8
LARGEST = (1 << 63) - 1


def field(name: str) -> Callable[[Program], Awaitable[object]]:
    """What stat(2) says of it."""

    async def work(program: Program) -> object:
        value: object = getattr(await program.stat(), name)
        return value

    return work


def huge(body: Body) -> None:
    """The answer to an open."""
    body.end_of_file = body.allocation_size = (1 << 64) - 1  # type: ignore[attr-defined] # which it has
    body.last_write_time = body.create_time = (1 << 64) - 1  # type: ignore[attr-defined]


async def unknown_oplock(exchange: Exchange) -> None:
    """An open with an oplock of a kind that there is not, and right after it the notice that it is taken back."""
    reply = exchange.perform()
    answer = reply.bodies[0]
    answer.oplock_level = 6  # type: ignore[attr-defined] # which it has
    await exchange.answer(reply)
    await exchange.connection.break_oplock(answer.fid, level=1)  # type: ignore[attr-defined]


async def shown(program: Program) -> tuple[int, int]:
    found = await program.df()
    return found.f_frsize, found.f_blocks


KINDS = [
    stating(does="says a size of 2**64 - 1", by=contents(at(40, ALL_ONES)), work=field("st_size"), gives=LARGEST),
    stating(
        does="says 2**64 - 1 bytes of storage",
        by=contents(at(48, ALL_ONES)),
        work=field("st_blocks"),
        gives=1 << 55,
    ),
    stating(
        does="says a time in the year 60,056",
        by=contents(at(24, ALL_ONES)),
        work=field("st_mtime_ns"),
        gives=((1 << 64) - 1 - 116_444_736_000_000_000) * 100,
    ),
    stating(
        does="says a time before 1601",
        by=contents(at(24, b"\0" * 7 + b"\x80")),
        work=field("st_mtime_ns"),
        gives=((1 << 63) - 116_444_736_000_000_000) * 100,
    ),
    stating(does="says all attributes at once", by=contents(at(56, b"\xff" * 4)), work=field("st_mode"), gives=0o40755),
    stating(
        does="says a number of 2**64 - 1 for the file", by=contents(at(72, ALL_ONES)), work=field("st_size"), gives=14
    ),
    Kind(
        does="says a size of 2**64 - 1 to who opens it",
        to=SMB_COM_NT_CREATE_ANDX,
        by=edited(huge),
        work=Program.cat,
        gives=b"Hello, world.\n",
    ),
    Kind(
        does="says a size of 2**64 - 1 of what it has just made",
        to=SMB_COM_NT_CREATE_ANDX,
        by=edited(huge),
        work=Program.touch_new,
        gives=LARGEST,
    ),
    Kind(
        does="gives an oplock that there is not, and takes it back",
        to=SMB_COM_NT_CREATE_ANDX,
        by=unknown_oplock,
        work=Program.cat,
        gives=b"Hello, world.\n",
    ),
    Kind(
        does="has no room, in units of nothing",
        to=SMB_COM_TRANSACTION2,
        subcommand=TRANS2_QUERY_FS_INFORMATION,
        by=contents(at(0, bytes(32))),
        work=shown,
        gives=(1, 0),
    ),
    Kind(
        does="has all the room in the world",
        to=SMB_COM_TRANSACTION2,
        subcommand=TRANS2_QUERY_FS_INFORMATION,
        by=contents(at(0, b"\xff" * 32)),
        work=shown,
        gives=((0xFFFF_FFFF) ** 2, (1 << 64) - 1),
    ),
]
