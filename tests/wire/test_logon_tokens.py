"""SPNEGO and NTLMSSP as far as we read and write them ourselves."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.wire.ntlmssp import tells_time
from smbfuse.wire.spnego_token import bare


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    head = bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + struct.pack(">H", size)
    return bytes([tag]) + head + content


@pytest.mark.parametrize("size", [1, 100, 127, 128, 200, 255, 256, 5000])
def test_nothing_but_the_mechanisms_token_is_left(size: int) -> None:
    state, mic = element(0xA0, element(0x0A, b"\x01")), element(0xA3, element(0x04, bytes(16)))
    ours = element(0xA2, element(0x04, b"x" * size))
    assert bare(element(0xA1, element(0x30, state + ours + mic))) == element(0xA1, element(0x30, ours))


def test_other_tokens_are_left_alone() -> None:
    for token in (b"", b"NTLMSSP\0\3", element(0x60, b"first"), element(0xA1, element(0x30, element(0xA3, b"mic")))):
        assert bare(token) == token


@given(st.binary(max_size=100))
def test_any_bytes_are_a_token(token: bytes) -> None:
    bare(b"\xa1" + token)
    bare(token)


def challenge(*pairs: tuple[int, bytes]) -> bytes:
    info = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in pairs) + bytes(4)
    head = b"NTLMSSP\0\2\0\0\0".ljust(40, b"x")
    return b"spnego" + head + struct.pack("<HHI", len(info), len(info), 56) + bytes(8) + info


def test_whether_a_challenge_tells_the_time() -> None:
    assert tells_time(challenge((2, b"D\0"), (7, bytes(8))))
    assert not tells_time(challenge((2, b"D\0"), (1, b"S\0")))
    assert not tells_time(challenge())
    assert not tells_time(b"")
    assert not tells_time(b"NTLMSSP\0\1\0\0\0" + bytes(100))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_challenge(rest: bytes) -> None:
    tells_time(b"NTLMSSP\0\2\0\0\0" + rest)
