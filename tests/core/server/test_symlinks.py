"""The form of Minshall-French symlinks."""

from __future__ import annotations

import errno

import pytest

from smbfuse.core.server.symlinks import MAX_TARGET, SIZE, decode, encode


@pytest.mark.parametrize("target", [b"a", b"../x y", "Grüße".encode(), b"\xff\n", b"x" * MAX_TARGET])
def test_targets_come_back(target: bytes) -> None:
    content = encode(target)
    assert len(content) == SIZE
    assert decode(content) == target


def test_the_form_is_that_of_others() -> None:
    expected = b"XSym\n0006\n42aefbae01d2dfd981f7da7d823d689e\ntarget\n"
    assert encode(b"target") == expected + b" " * (SIZE - len(expected))


def test_what_is_too_long() -> None:
    with pytest.raises(OSError, match="1024 bytes far") as caught:
        encode(b"x" * (MAX_TARGET + 1))
    assert caught.value.errno == errno.ENAMETOOLONG


def test_ordinary_files_of_that_size() -> None:
    good = encode(b"target")
    assert decode(b"x" * SIZE) is None
    assert decode(good[:-1]) is None
    assert decode(good + b" ") is None
    assert decode(good.replace(b"target", b"Target")) is None
    assert decode(good.replace(b"0006", b"0000")) is None
    assert decode(good.replace(b"0006", b"1025")) is None
    assert decode(encode(b"tar\0et")) is None
