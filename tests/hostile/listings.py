"""Listings that do not end, go round, lie about their lengths, or hold what is no name; transactions in wrong parts."""

from __future__ import annotations

import itertools
from functools import partial

from smbfuse.wire.chains import pack_entries
from smbfuse.wire.const import SMB_COM_TRANSACTION2, TRANS2_FIND_FIRST2, TRANS2_FIND_NEXT2
from smbfuse.wire.findlevels import FileIdFullDirectoryInfo
from smbfuse.wire.frame import RawBody
from smbfuse.wire.trans import Trans2Response
from smbfuse.wire.trans2 import FindFirst2ResponseParameters, FindNext2ResponseParameters
from tests.fakes.exchange import Action, Exchange, Reply
from tests.hostile.kinds import Kind, at, contents, instead, part, parts
from tests.hostile.program import FILES, Program

listing = partial(Kind, to=SMB_COM_TRANSACTION2, subcommand=TRANS2_FIND_FIRST2, work=Program.ls)
broken = partial(listing, gives="EHOSTDOWN", ends=True)
ALL = sorted({name.split("/")[0].encode() for name in FILES})


def page(*names: str, more: bool = False, count: int | None = None, first: bool = True) -> Trans2Response:
    """An answer to FIND_FIRST2 (else FIND_NEXT2) with these names."""
    data = pack_entries(
        [
            FileIdFullDirectoryInfo(
                creation_time=1,
                last_access_time=1,
                last_write_time=1,
                last_change_time=1,
                end_of_file=0,
                allocation_size=0,
                ext_file_attributes=0x20,
                ea_size=0,
                file_id=0,
                file_name=name,
            )
            for name in names
        ]
    )
    count = len(names) if count is None else count
    if first:
        told = FindFirst2ResponseParameters(
            sid=1, search_count=count, end_of_search=not more, last_name_offset=0
        ).pack()
    else:
        told = FindNext2ResponseParameters(search_count=count, end_of_search=not more, last_name_offset=0).pack()
    return Trans2Response(parameters=told, data=data)


def shows(*names: str) -> Action:
    """A directory of these."""
    return instead(page(*names))


def endless(*, new: bool, bad: bool = False) -> Action:
    """Page after page: always the same names, or always new ones, of which none may be shown if they are `bad`."""
    counter = itertools.count()

    async def action(exchange: Exchange) -> None:
        if exchange.subcommand not in (TRANS2_FIND_FIRST2, TRANS2_FIND_NEXT2):
            await exchange.answer()
            return
        names = [f"{'a/' if bad else ''}name{next(counter) if new else index}" for index in range(100)]
        first = exchange.subcommand == TRANS2_FIND_FIRST2
        await exchange.answer(Reply([page(*names, more=True, first=first)]))

    return action


KINDS = [
    listing(
        does="lists the same names for ever",
        subcommand=None,
        by=endless(new=False),
        times=None,
        gives="EIO",
        says="a search goes on for ever without giving new names",
    ),
    listing(
        does="lists new names for ever",
        subcommand=None,
        by=endless(new=True),
        times=None,
        gives="EIO",
        says="a directory of more than 5,000 names",
    ),
    listing(
        does="lists names for ever that are none",
        subcommand=None,
        by=endless(new=True, bad=True),
        times=None,
        gives="EIO",
        says="a directory of more than 5,000 names",
    ),
    listing(
        does="lists fewer names than it says",
        by=instead(page("a", "b", count=3)),
        gives="EIO",
        says="a search answers 3 names and sends 2",
    ),
    listing(
        does="lists more names than it says",
        by=instead(page("a", "b", count=1)),
        gives="EIO",
        says="a search answers 1 names and sends 2",
    ),
    listing(
        does="gives an empty page before the end",
        by=instead(page(more=True)),
        gives="EIO",
        says="a search goes on for ever without giving new names",
    ),
    listing(
        does="lists entries that go round",
        by=contents(at(0, b"\x04\0\0\0")),
        gives="EIO",
        says="chain of FileIdFullDirectoryInfo does not advance",
    ),
    listing(
        does="lists an entry that reaches behind the end",
        by=contents(at(60, b"\xff\xff\xff\x7f")),
        gives="EIO",
        says="FileIdFullDirectoryInfo.file_name is cut short",
    ),
    listing(
        does="lists a name of half a character",
        by=contents(at(60, b"\x01\0\0\0")),
        gives="EIO",
        says="text is not UTF-16",
    ),
    listing(
        does="cuts the last entry short",
        by=contents(lambda data: data[:-3]),
        gives="EIO",
        says="FileIdFullDirectoryInfo.file_name is cut short",
    ),
    listing(does="lists paths", by=shows("fine", "../../etc/passwd", "a/b", "/"), gives=[b"fine"]),
    listing(does="lists the directory itself once more", by=shows(".", "..", "fine", ".", ".."), gives=[b"fine"]),
    listing(does="lists dots that only look harmless", by=shows("\uf029", ".\uf029", "fine"), gives=[b"fine"]),
    listing(does="lists names with an end in the middle", by=shows("a\0b", "\0", "", "fine"), gives=[b"fine"]),
    listing(does="lists a name twice", by=shows("one", "one", "two"), gives=[b"one", b"two"]),
    listing(does="lists a name that is too long", by=shows("x" * 300, "fine"), gives=[b"fine"]),
    listing(does="lists halves of characters", by=shows("\ud800", "fine"), gives=[b"\xed\xa0\x80", b"fine"]),
    listing(
        does="answers without a transaction",
        by=instead(RawBody()),
        gives="EIO",
        says="TRANSACTION2 was answered without a transaction",
    ),
    listing(
        does="answers with parameters cut short",
        by=instead(Trans2Response(parameters=b"\0\0\0")),
        gives="EIO",
        says="FindFirst2ResponseParameters",
    ),
    broken(
        does="sends the same part again and again",
        by=parts(part(total=0xFFFF, at=0, data=bytes(30_000)), times=3),
        says="transaction parameters go past their total",
    ),
    broken(
        does="sends parts that overlap",
        by=parts(part(total=100, at=0, data=bytes(60)), part(total=100, at=50, data=bytes(40))),
        says="transaction data overlap",
    ),
    broken(
        does="sends a part behind the end",
        by=parts(part(total=100, at=0, data=bytes(60)), part(total=100, at=90, data=bytes(50))),
        says="transaction data go past their total",
    ),
    broken(
        does="takes back what it has sent already",
        by=parts(part(total=100, at=0, data=bytes(60)), part(total=10, at=0, data=b"", parameters=b"")),
        says="a further part of a transaction is empty",
    ),
    broken(
        does="sends empty parts for ever",
        by=parts(part(total=100, at=0, data=bytes(60)), *[part(total=100, at=60, data=b"")] * 3),
        says="a further part of a transaction is empty",
    ),
    broken(
        does="goes on with another answer than it began",
        by=parts(part(total=100, at=0, data=bytes(60)), RawBody()),
        says="a transaction's further part has no transaction in it",
    ),
    listing(
        does="never sends the last part",
        by=parts(part(total=100, at=0, data=bytes(60))),
        gives="ETIMEDOUT",
        within=61.0,
    ),
]
