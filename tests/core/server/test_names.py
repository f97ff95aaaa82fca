"""Names survive the way from the kernel to the server and back."""

from __future__ import annotations

import errno

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smbfuse.core.server.names import (
    POSIX_NAMES,
    WINDOWS_NAMES,
    NameStyle,
    acceptable,
    from_kernel,
    is_snapshot,
    to_kernel,
)

RESERVED = '\x01\x1f"*:<>?\\|'
BYTES = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


@given(BYTES)
def test_every_name_of_the_kernel_comes_back(name: bytes) -> None:
    assert to_kernel(from_kernel(name)) == name


@given(BYTES, BYTES)
@example(b"\xee\xbe\x80\xff", b"\x80\xff")
def test_two_names_never_become_one(one: bytes, other: bytes) -> None:
    assert (from_kernel(one) == from_kernel(other)) == (one == other)


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb", "plain", "\uef80", "日本語🐧"])
def test_every_name_of_a_server_comes_back_as_bytes(name: str) -> None:
    assert to_kernel(from_kernel(to_kernel(name))) == to_kernel(name)


def test_names_too_long_are_refused() -> None:
    with pytest.raises(OSError, match="too long") as caught:
        from_kernel(b"x" * 256)
    assert caught.value.errno == errno.ENAMETOOLONG


@pytest.mark.parametrize("name", ["plain", *RESERVED, "a:b*c", "dot.", "blank ", "..", "a..", ". .", "日本語?"])
def test_reserved_characters_travel_mapped(name: str) -> None:
    there = WINDOWS_NAMES.to_server(name)
    assert not set(there) & set(RESERVED)
    assert not there.endswith((".", " "))
    assert WINDOWS_NAMES.from_server(there) == name


def test_the_mapping_is_the_one_of_cifs_ko() -> None:
    assert WINDOWS_NAMES.to_server('"*:<>?\\|') == "\uf020\uf021\uf022\uf023\uf024\uf025\uf026\uf027"
    assert WINDOWS_NAMES.to_server("a ") == "a\uf028"
    assert WINDOWS_NAMES.to_server("a.") == "a\uf029"


def test_posix_names_are_themselves() -> None:
    assert POSIX_NAMES.to_server(RESERVED) == RESERVED


@pytest.mark.parametrize("style", [WINDOWS_NAMES, POSIX_NAMES], ids=["windows", "posix"])
def test_only_some_servers_care_for_case(style: NameStyle) -> None:
    assert (style.key("Grün.TXT") == style.key("GRÜN.txt")) == (style is WINDOWS_NAMES)
    assert style.key("Maß") != style.key("Mass")  # servers compare character by character


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_paths_from_a_server_are_no_names(name: str) -> None:
    assert not acceptable(name)


@pytest.mark.parametrize(
    ("name", "token"),
    [("@GMT-2026.11.01-12.00.00", True), ("@GMT-2026.11.01-12.00.0", False), ("x@GMT-2026.11.01-12.00.00", False)],
)
def test_snapshot_tokens_are_known(name: str, token: bool) -> None:
    assert is_snapshot(name) is token


def test_services_for_unix_maps_otherwise() -> None:
    style = NameStyle(reserved="sfu")
    assert style.to_server("*:<>?\\|") == "\uf02a\uf03a\uf03c\uf03e\uf03f\uf05c\uf07c"
    assert style.from_server(style.to_server("*:<>?\\| .")) == "*:<>?\\| ."
    with pytest.raises(OSError, match="no names with such a character"):
        style.to_server('"')


@pytest.mark.parametrize("char", '\x01"*:<>?\\|')
def test_reserved_characters_are_refused_if_they_are_not_mapped(char: str) -> None:
    style = NameStyle(reserved="refused")
    with pytest.raises(OSError, match="no names with such a character"):
        style.to_server(f"a{char}")
    assert style.to_server("\uf021") == style.from_server("\uf021") == "\uf021"
