"""Chains of entries, each of which says where the next begins: [MS-CIFS] 2.2.8.1, [MS-FSCC] 2.4.

An entry begins with NextEntryOffset, counted from its own start; 0 ends the chain. Samba sets it in the last entry too,
to the end of the data, so that ends a chain as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from smbfuse.errors import WireError
from smbfuse.wire.codec import Buffer, WireStruct
from smbfuse.wire.text import UNICODE, TextCodec

_next = struct.Struct("<I").unpack_from


class ChainEntry(Protocol):
    """What a chain is made of: a WireStruct whose first field is `next_entry_offset`."""

    next_entry_offset: int

    def pack_into(self, out: bytearray, text: TextCodec = UNICODE) -> Buffer | None:
        """As in WireStruct."""
        ...


E = TypeVar("E", bound=WireStruct)


def iter_entries(cls: type[E], data: Buffer, text: TextCodec = UNICODE) -> Iterator[E]:
    """The entries of `data`, none if it is empty. Raises WireError where an entry is cut short or does not advance.

    Each entry sees its own bytes only. How many there ought to be is for the caller to check: a search says so.
    """
    pos, end = 0, len(data)
    unpack, size = cls.unpack, cls.SIZE
    while end - pos >= size:
        (step,) = _next(data, pos)
        if not step or pos + step >= end:
            yield unpack(data, pos, end, text)
            return
        if step < size:
            raise WireError(f"chain of {cls.__name__} does not advance")
        yield unpack(data, pos, pos + step, text)
        pos += step
    if pos < end:
        raise WireError(f"{cls.__name__} is cut short")


def last_entry(cls: type[E], data: Buffer, text: TextCodec = UNICODE) -> E | None:
    """The last of them, without taking apart the others; None where `iter_entries` finds none, or something wrong."""
    pos, end = 0, len(data)
    while end - pos >= cls.SIZE:
        (step,) = _next(data, pos)
        if not step or pos + step >= end:
            return cls.unpack(data, pos, end, text)
        if step < cls.SIZE:
            return None
        pos += step
    return None


def pack_entries(entries: Iterable[ChainEntry], text: TextCodec = UNICODE, *, align: int = 8) -> bytes:
    """Encode a chain; each entry but the first begins at a multiple of `align`. Offsets in the entries do not matter,

    but that of the last one: if it is not 0 it is written (pointing to the padded end), as Samba does.
    """
    out = bytearray()
    start, last = 0, 0
    for entry in entries:
        if out:
            out += bytes(-len(out) % align)
            out[start : start + 4] = (len(out) - start).to_bytes(4, "little")
        start, last = len(out), entry.next_entry_offset
        entry.pack_into(out, text)
    if last:
        out += bytes(-len(out) % align)
        last = len(out) - start
    if out:
        out[start : start + 4] = last.to_bytes(4, "little")
    return bytes(out)
