"""Reparse points of Windows: the decoder. What they look like is from [MS-FSCC] 2.1.2.4."""

from __future__ import annotations

import struct

import pytest

from smbfuse.core.server.attrs import IO_REPARSE_TAG_SYMLINK
from smbfuse.core.server.reparse import decode
from smbfuse.errors import WireError


def link(there: str, shown: str, *, relative: bool, tag: int = IO_REPARSE_TAG_SYMLINK) -> bytes:
    first, second = shown.encode("utf-16-le"), there.encode("utf-16-le")
    sizes = (len(first), len(second), 0, len(first), int(relative))
    body = struct.pack("<HHHHI", *sizes) + first + second
    return struct.pack("<IHH", tag, len(body), 0) + body


def test_relative_links() -> None:
    assert decode(link("..\\Grüße\\🐧", "..\\Grüße\\🐧", relative=True)) == "../Grüße/🐧"


def test_absolute_links_are_shown_without_the_prefix_of_the_kernel() -> None:
    assert decode(link("\\??\\C:\\data\\x", "C:\\data\\x", relative=False)) == "C:/data/x"
    assert decode(link("\\??\\C:\\data\\x", "", relative=False)) == "C:/data/x"


def test_other_tags_and_damage() -> None:
    good = link("target", "target", relative=True)
    for bad in (b"", good[:19], good[:-1], link("t", "t", relative=True, tag=0xA000_0003)):
        with pytest.raises(WireError):
            decode(bad)
    half = bytearray(good)
    half[10] = 3  # bytes of a name, of two each
    with pytest.raises(WireError):
        decode(bytes(half))
    beyond = bytearray(good)
    beyond[10:12] = b"\xff\x00"
    with pytest.raises(WireError):
        decode(bytes(beyond))
