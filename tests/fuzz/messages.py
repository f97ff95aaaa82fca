"""Damaged messages for the codec: a message comes out, which can be written again, or WireError."""

from __future__ import annotations

import re
from random import Random

from smbfuse.core.server.attrs import from_nt
from smbfuse.core.server.names import WINDOWS_NAMES, acceptable, to_kernel
from smbfuse.errors import WireError
from smbfuse.wire.chains import iter_entries
from smbfuse.wire.codec import WireStruct
from smbfuse.wire.findlevels import FileIdFullDirectoryInfo
from smbfuse.wire.frame import decode, encode
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans import NtTransactResponse, Trans2Response, TransactionResponse
from tests.fuzz.corpus import captured, found
from tests.fuzz.figures import Figures
from tests.fuzz.mutation import Mutator
from tests.wire.test_roundtrip import STRUCTURES

_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+|'.*'")
_STRUCTURES_EACH = 3


def kind(error: WireError) -> str:
    """The error without what differs from message to message."""
    return _NUMBERS.sub("#", str(error))[:120]


def outcome(raw: bytes) -> str:
    """What becomes of a message. Whatever comes up but WireError of the decoder is a bug."""
    try:
        message = decode(raw)
    except WireError as error:
        return f"error: {kind(error)}"
    repr(message)
    # What was decoded is written again: no field may have a value that its place has not.
    written = b"".join(map(bytes, encode(message.header, *(body for _, body in message.members))))
    decode(written)
    return "+".join(type(body).__name__ for _, body in message.members)


def contents(raw: bytes, random: Random) -> None:
    """What the floors above would make of a transaction's parameters and data; WireError is all that may come up."""
    try:
        body = decode(raw).body
    except WireError:
        return
    if not isinstance(body, (Trans2Response, NtTransactResponse, TransactionResponse)):
        return
    for block in (bytes(body.parameters), bytes(body.data)):
        for made in random.sample(STRUCTURES, _STRUCTURES_EACH):
            _unpack(made, block)
        _list(block)


def _unpack(made: type[WireStruct], block: bytes) -> None:
    try:
        made.unpack(block, text=UNICODE)
    except WireError:
        return


def _list(block: bytes) -> None:
    """As a page of a listing, on to the kernel's bytes."""
    try:
        entries = list(iter_entries(FileIdFullDirectoryInfo, block, UNICODE))
    except WireError:
        return
    for entry in entries:
        from_nt(entry, entry.creation_time)
        name = WINDOWS_NAMES.from_server(entry.file_name)
        if acceptable(name):
            shown = to_kernel(name)
            if b"/" in shown or b"\0" in shown or shown in (b".", b"..", b""):
                raise AssertionError(f"a name that is none gets to the kernel: {shown!r}")


def run(count: int, seed: int, figures: Figures) -> dict[str, bytes]:
    """So many damaged messages; returns the shortest input of each outcome that is not in the corpus."""
    known = found()
    seeds = [*captured(), *known.values()]
    mutate = Mutator(seed, seeds)
    new: dict[str, bytes] = {}
    for _ in figures.counted(count):
        raw = mutate(mutate.random.choice(seeds))
        with figures.timed(raw):
            does = outcome(raw)
            contents(raw, mutate.random)
        figures.outcomes["error" if does.startswith("error") else "message"] += 1
        if does not in known and len(raw) < len(new.get(does, bytes(1 << 20))):
            if does not in new:
                seeds.append(raw)
            new[does] = raw
    return new
