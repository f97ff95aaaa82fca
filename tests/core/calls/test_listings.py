"""Places of names in a listing that is taken again."""

from __future__ import annotations

import stat

from smbfuse.core.calls.listings import in_old_places
from smbfuse.core.server.attrs import Attributes


def described() -> Attributes:
    return Attributes(kind=stat.S_IFREG, size=0, allocated=0, atime_ns=0, mtime_ns=0, ctime_ns=0)


def places(old: str, new: str) -> str:
    """One letter for each name, a dot for a gap."""
    before = [None if name == "." else (name, described()) for name in old]
    merged = in_old_places(before, [(name, described()) for name in new], str.upper)
    return "".join("." if entry is None else entry[0] for entry in merged)


def test_names_keep_their_places() -> None:
    assert places("", "abc") == "abc"
    assert places("abc", "cab") == "abc"
    assert places("abcd", "dxb") == ".b.dx"
    assert places(".b.dx", "bady") == ".b.d.ay"


def test_another_spelling_is_the_same_name() -> None:
    assert places("abc", "xABc") == "ABcx"


def test_a_listing_of_gaps_begins_anew() -> None:
    names = [(f"{number}", described()) for number in range(3_000)]
    assert in_old_places([*names], names[:1], str.upper) == names[:1]
    assert len(in_old_places([*names], names[:2_000], str.upper)) == 3_000
