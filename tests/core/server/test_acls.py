"""POSIX ACLs between Linux's form and that of the UNIX extensions."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.core.server.acls import from_xattr, minimal, to_xattr

NO_ID = 0xFFFF_FFFF
OBJ = {"user": (1, NO_ID), "group": (4, NO_ID), "mask": (16, NO_ID), "other": (32, NO_ID)}


def value(*entries: tuple[str | int, int, int] | tuple[str, int], version: int = 2) -> bytes:
    """An xattr of (tag, permissions, id) or (name, permissions) each."""
    raw = struct.pack("<I", version)
    for tag, permissions, *number in entries:
        kind, nobody = OBJ[tag] if isinstance(tag, str) else (tag, NO_ID)
        raw += struct.pack("<HHI", kind, permissions, number[0] if number else nobody)
    return raw


MINIMAL = value(("user", 6), ("group", 4), ("other", 0))
FULL = value(("user", 6), (2, 5, 1000), (2, 7, 1001), ("group", 6), (8, 1, 50), ("mask", 3), ("other", 0))


@pytest.mark.parametrize("raw", [MINIMAL, FULL, value(("user", 7), ("group", 0), ("mask", 7), ("other", 0))])
def test_there_and_back(raw: bytes) -> None:
    assert to_xattr(from_xattr(raw)) == raw


def test_numbers_that_mean_nothing_are_all_ones_on_the_wire() -> None:
    aces = from_xattr(value(("user", 6, 0), (2, 5, 1000), ("group", 4), ("mask", 7), ("other", 0)))
    assert [ace.identifier for ace in aces] == [2**64 - 1, 1000, 2**64 - 1, 2**64 - 1, 2**64 - 1]
    assert aces[1].pack() == b"\2\5" + (1000).to_bytes(8, "little")


def test_an_acl_without_entries_is_none() -> None:
    assert from_xattr(value()) == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\2\0\0",
        MINIMAL[:-1],
        MINIMAL + b"\0",
        value(("user", 6), ("group", 4), ("other", 0), version=1),
        value(("user", 6), ("group", 4)),
        value(("user", 6), ("user", 6), ("group", 4), ("other", 0)),
        value(("user", 6), ("other", 0), ("group", 4)),
        value(("user", 6), (2, 5, 1000), ("group", 4), ("other", 0)),
        value(("user", 6), (2, 5, NO_ID), ("group", 4), ("mask", 7), ("other", 0)),
        value(("user", 8), ("group", 4), ("other", 0)),
        value(("user", 6), ("group", 4), ("other", 0), (64, 1, 5)),
        value(("user", 6), ("group", 4), ("mask", 7), ("mask", 7), ("other", 0)),
    ],
)
def test_what_is_none(raw: bytes) -> None:
    with pytest.raises(OSError, match="POSIX ACL") as caught:
        from_xattr(raw)
    assert caught.value.errno == errno.EINVAL


@given(st.binary(max_size=100) | st.binary(max_size=96).map(lambda raw: b"\2\0\0\0" + raw))
def test_anything_is_an_acl_or_invalid(raw: bytes) -> None:
    try:
        aces = from_xattr(raw)
    except OSError:
        return
    assert from_xattr(to_xattr(aces)) == aces


def test_without_its_names_an_acl_gives_nobody_more() -> None:
    assert to_xattr(minimal(from_xattr(FULL))) == value(("user", 6), ("group", 2), ("other", 0))
    assert to_xattr(minimal(from_xattr(MINIMAL))) == MINIMAL
