"""Whatever the bytes, decoding gives a message or WireError, and soon."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smbfuse.errors import WireError
from smbfuse.wire import const, filelevels, fsctls, infolevels
from smbfuse.wire.chains import iter_entries
from smbfuse.wire.codec import WireStruct
from smbfuse.wire.files import CheckDirectoryRequest
from smbfuse.wire.frame import MAX_MEMBERS, RawBody, decode, encode, transport_length
from smbfuse.wire.header import HEADER_SIZE, Header
from smbfuse.wire.setup import LogoffAndXRequest, NegotiateRequest
from smbfuse.wire.text import ASCII, OEM, UNICODE, filetime_to_ns, ns_to_filetime
from smbfuse.wire.trans import Trans2Request
from smbfuse.wire.unixlevels import PosixAcl
from tests import captures
from tests.wire.test_captures import undecodable
from tests.wire.test_roundtrip import STRUCTURES, each

HEADER = Header(command=const.SMB_COM_READ_ANDX, flags=0x98, flags2=0xC803).pack()


@cache
def golden_frames() -> tuple[bytes, ...]:
    """The shortest recorded message of every shape: command, direction, WordCount, and member in a chain."""
    shapes: dict[tuple[object, ...], bytes] = {}
    for name in captures.names():
        for captured in captures.messages(name):
            if undecodable(captured):
                continue
            members = tuple((command, type(body)) for command, body in decode(captured.data).members)
            key = (captured.from_server, captured.data[HEADER_SIZE], members)
            known = shapes.get(key, captured.data)
            shapes[key] = min(known, captured.data, key=len)
    return tuple(data for data in shapes.values() if len(data) < 2000)


def only_wire_error(function: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401 - any decoder
    """The result, or None where the function raises WireError. Everything else fails the test."""
    try:
        return function(*args)
    except WireError:
        return None


def test_every_truncation_is_an_error() -> None:
    frames = golden_frames()
    assert len(frames) > 100
    for frame in frames:
        message = decode(frame)
        tail = len(getattr(message.members[-1][1], "rest", b"") or b"")
        for size in range(len(frame) - tail):
            if size >= HEADER_SIZE and not any(frame[HEADER_SIZE:size]) and message.header.reply:
                continue  # zeroes at the end may be left out: tests/client/test_careless.py
            with pytest.raises(WireError):
                decode(memoryview(frame)[:size])


@given(st.data())
def test_mutated_messages(data: st.DataObject) -> None:
    frame = bytearray(data.draw(st.sampled_from(golden_frames())))
    places = st.integers(HEADER_SIZE, len(frame) - 1)
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6)):
        frame[at] = value
    message = only_wire_error(decode, bytes(frame))
    if message is not None:
        again = only_wire_error(encode, message.header, *(body for _, body in message.members))
        assert again is not None


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xffSMB")
def test_random_bytes(raw: bytes) -> None:
    only_wire_error(decode, raw)
    only_wire_error(decode, HEADER + raw)


@given(st.sampled_from(range(256)), st.booleans(), st.booleans(), st.binary(max_size=200))
def test_random_bodies(command: int, reply: bool, unicode: bool, raw: bytes) -> None:
    header = Header(command=command, flags=0x80 * reply, flags2=0x8000 * unicode)
    only_wire_error(decode, header.pack() + raw)


@pytest.mark.parametrize("made", STRUCTURES, ids=lambda made: made.__name__)
@each
@given(raw=st.binary(max_size=200))
def test_random_structures(made: type[WireStruct], raw: bytes) -> None:
    for text in (UNICODE, OEM):
        only_wire_error(made.unpack, raw, 0, None, text)


_ENTRIES = [*infolevels.FIND.values(), filelevels.FileStreamInfo, filelevels.FileNotify, filelevels.FileFullEa]


@pytest.mark.parametrize("made", _ENTRIES, ids=lambda made: made.__name__)
@each
@given(raw=st.binary(max_size=400), step=st.integers(0, 130))
def test_random_chains_end(made: type[WireStruct], raw: bytes, step: int) -> None:
    """No more entries than there is room for, wherever the offsets point."""
    data = step.to_bytes(4, "little") + raw
    entries = only_wire_error(lambda: list(iter_entries(made, data)))
    assert entries is None or len(entries) <= len(data) // made.SIZE


@given(st.binary(max_size=100))
def test_random_lists(raw: bytes) -> None:
    size = len(raw).to_bytes(4, "little")
    only_wire_error(filelevels.decode_feas, raw)
    only_wire_error(fsctls.decode_ranges, raw)
    only_wire_error(filelevels.decode_feas, size + raw[4:])
    only_wire_error(filelevels.decode_geas, raw)
    only_wire_error(filelevels.decode_geas, size + raw[4:])
    only_wire_error(PosixAcl(access_count=1, default_count=0, entries=raw).aces)


def test_chain_that_does_not_advance() -> None:
    entry = filelevels.FileNotify(action=1, file_name="a").pack()
    stuck = (4).to_bytes(4, "little") + entry[4:] + bytes(40)
    with pytest.raises(WireError, match="does not advance"):
        list(iter_entries(filelevels.FileNotify, stuck))


def test_chain_with_too_little_left() -> None:
    entry = filelevels.FileNotify(action=1, file_name="a").pack()
    cut = (16).to_bytes(4, "little") + entry[4:] + bytes(2) + entry[:10]
    with pytest.raises(WireError, match="cut short"):
        list(iter_entries(filelevels.FileNotify, cut))


def test_name_longer_than_its_entry() -> None:
    """The name of one entry may not reach into the next."""
    entry = filelevels.FileNotify(action=1, file_name="abc").pack()
    greedy = bytearray((20).to_bytes(4, "little") + entry[4:] + bytes(2) + entry)
    greedy[8] = 20
    with pytest.raises(WireError, match="file_name is cut short"):
        list(iter_entries(filelevels.FileNotify, greedy))


def andx(command: int, offset: int) -> bytes:
    return bytes([2, command, 0]) + offset.to_bytes(2, "little") + b"\0\0"


@pytest.mark.parametrize("offset", [0, HEADER_SIZE - 1, HEADER_SIZE])
def test_andx_chain_that_goes_back(offset: int) -> None:
    header = Header(command=const.SMB_COM_LOGOFF_ANDX).pack()
    with pytest.raises(WireError, match="does not advance"):
        decode(header + andx(const.SMB_COM_LOGOFF_ANDX, offset))


def test_andx_chain_past_the_end() -> None:
    header = Header(command=const.SMB_COM_LOGOFF_ANDX).pack()
    with pytest.raises(WireError, match="ends before"):
        decode(header + andx(const.SMB_COM_LOGOFF_ANDX, 1000))


def test_andx_chain_without_end() -> None:
    """Ten thousand members that share their bytes would cost seconds."""
    header = Header(command=const.SMB_COM_LOGOFF_ANDX)
    chain = [LogoffAndXRequest() for _ in range(MAX_MEMBERS + 1)]
    with pytest.raises(WireError, match="more than"):
        decode(b"".join(map(bytes, encode(header, *chain))))
    assert len(decode(b"".join(map(bytes, encode(header, *chain[1:])))).members) == MAX_MEMBERS


def test_not_smb1() -> None:
    with pytest.raises(WireError, match="not an SMB1 message: it begins with fe 53 4d 42"):
        decode(b"\xfeSMB" + bytes(60))


def test_dialects_without_buffer_format() -> None:
    with pytest.raises(WireError, match="dialects are no list"):
        NegotiateRequest.unpack(b"\0\4\0NTLM")


def test_path_without_buffer_format() -> None:
    with pytest.raises(WireError, match=r"directory_name: wrong buffer format"):
        CheckDirectoryRequest.unpack(b"\0\4\0abc\0", text=OEM)


@pytest.mark.parametrize("body", [RawBody(words=b"odd"), RawBody(words=bytes(512)), RawBody(data=bytes(65536))])
def test_raw_bodies_that_do_not_fit(body: RawBody) -> None:
    with pytest.raises(WireError, match="RawBody: a value does not fit"):
        body.pack()


@pytest.mark.parametrize("raw", [b"", b"\1\0", b"\0\1\0"])
def test_raw_bodies_cut_short(raw: bytes) -> None:
    with pytest.raises(WireError):
        RawBody.unpack(raw)


def test_transport_length() -> None:
    assert transport_length(0x01_02_03) == b"\0\x01\x02\x03"
    with pytest.raises(WireError, match="too long"):
        transport_length(1 << 24)


def test_text_that_cannot_be_written() -> None:
    with pytest.raises(WireError, match="cannot be written in cp437"):
        OEM.encode("漢")
    with pytest.raises(WireError, match="cannot be written in ascii"):
        ASCII.encode("é")
    with pytest.raises(WireError, match="text is not UTF-16"):
        UNICODE.decode(b"\0")


def test_terminators() -> None:
    assert UNICODE.find_end(b"\x01\0\0\x02\0\0", 0, 6) == 4
    assert UNICODE.find_end(b"a\0b\0c", 0, 5) == 4
    assert OEM.find_end(b"abc", 0, 3) == 3


@given(st.integers(1, 0x7FFF_FFFF_FFFF_FFFF))
def test_times(filetime: int) -> None:
    assert ns_to_filetime(filetime_to_ns(filetime)) == filetime


def test_times_are_kept_in_their_field() -> None:
    assert ns_to_filetime(-(1 << 80)) == 1
    assert ns_to_filetime(1 << 80) == 0x7FFF_FFFF_FFFF_FFFF
    assert filetime_to_ns(116_444_736_000_000_000) == 0


def test_setup_words_that_are_not_there() -> None:
    """WordCount is checked by the message and, for bodies decoded alone, by the body."""
    words = bytes([20]) + bytes(30)
    with pytest.raises(WireError, match="parameter words are cut short"):
        decode(Header(command=const.SMB_COM_TRANSACTION2).pack() + words)
    with pytest.raises(WireError, match="setup words are cut short"):
        Trans2Request.unpack(words)
