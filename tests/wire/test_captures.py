"""Every recorded message decodes, and what the wire layer declares encodes back to the bytes that were recorded."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from smbfuse.ntstatus import status_name
from smbfuse.wire import const, infolevels, setup, trans
from smbfuse.wire.codec import WireStruct
from smbfuse.wire.const import SMB_FLAGS2_SMB_SECURITY_SIGNATURE
from smbfuse.wire.frame import Message, RawBody, decode, encode
from smbfuse.wire.fsctls import FileAllocatedRange, decode_ranges
from smbfuse.wire.header import SIGNATURE_AT
from smbfuse.wire.unixlevels import PosixAcl, PosixOpenResponse
from tests import captures
from tests.captures import Captured
from tests.wire.transactions import Piece, exchanges, pieces

ANDX_CHAINS = "16c-andx-failed-chained-read-samba-bug"
UNDECODABLE = {
    (ANDX_CHAINS, 23): "the probe script wrote a chained WRITE_ANDX whose DataOffset points into the member before it",
}
DECLARED = frozenset(
    value
    for name, value in vars(const).items()
    if name.startswith("SMB_COM_") and value != const.SMB_COM_NO_ANDX_COMMAND
)

all_captures = pytest.mark.parametrize("name", captures.names())


def undecodable(captured: Captured) -> bool:
    return (captured.name, captured.frame) in UNDECODABLE


def decodable(name: str) -> list[Captured]:
    return [captured for captured in captures.messages(name) if not undecodable(captured)]


def encoded(message: Message) -> bytes:
    return b"".join(bytes(part) for part in encode(message.header, *(body for _, body in message.members)))


def is_unaligned(captured: Captured, message: Message) -> bool:
    """impacket's server does not align the file system's name and ends it with one zero byte: captures' README."""
    connect = isinstance(message.members[-1][1], setup.TreeConnectExtendedResponse)
    return captured.name.startswith("18") and captured.from_server and connect


def test_the_captures_are_here() -> None:
    assert len(captures.names()) >= 70
    assert sum(len(captures.messages(name)) for name in captures.names()) > 5700


@all_captures
def test_messages_encode_back_to_the_same_bytes(name: str) -> None:
    differing = []
    for captured in decodable(name):
        message = decode(memoryview(captured.data))
        if encoded(message) != captured.data and not is_unaligned(captured, message):
            differing.append(str(captured))
    assert differing == []


@all_captures
def test_declared_commands_are_decoded_by_name(name: str) -> None:
    """A declared command is RawBody in two cases only: an error's, or the go-ahead to a long transaction."""
    for captured in decodable(name):
        message = decode(captured.data)
        for command, body in message.members:
            if command in DECLARED and isinstance(body, RawBody):
                assert body.words == b"" or message.header.status, f"{captured} {command:#x}"


def test_what_does_not_decode_is_known() -> None:
    for name, frame in UNDECODABLE:
        (captured,) = (captured for captured in captures.messages(name) if captured.frame == frame)
        with pytest.raises(ValueError, match="bad offset"):
            decode(captured.data)


def test_garbage_header_of_a_failing_chained_read() -> None:
    """smbd's own bug: a message that decodes but answers nothing we asked."""
    garbage = [captured for captured in captures.messages(ANDX_CHAINS) if captured.frame in (15, 18)]
    for captured in garbage:
        message = decode(captured.data)
        assert message.header.command not in DECLARED
        assert status_name(message.header.status) == "STATUS_INTERNAL_ERROR"
        assert isinstance(message.body, RawBody)


@all_captures
def test_parts_of_transactions_encode_back_to_the_same_bytes(name: str) -> None:
    """Parameters, setup words and the data of declared levels. Senders may round a part up with zeros."""
    for exchange in exchanges(captures.messages(name), undecodable):
        for piece in pieces(exchange):
            if name.startswith("18") and piece.what == "found":
                continue  # impacket fills the gaps of its chains with 0xAA
            again, where = piece.again(), f"{exchange.where} {piece.what} {piece.made.__name__}"
            assert again == piece.raw[: len(again)], where
            assert piece.raw[len(again) :] in (b"", b"\0", b"\0\0", bytes(4)), where


def test_every_level_that_a_client_here_used_is_declared() -> None:
    """The structures met in the captures, so that a level lost from a table is noticed."""
    met = Counter(
        piece.made.__name__
        for name in captures.names()
        for exchange in exchanges(captures.messages(name), undecodable)
        for piece in pieces(exchange)
    )
    tables = (infolevels.FIND, infolevels.QUERY, infolevels.SET, infolevels.QUERY_FS, infolevels.SET_FS)
    declared = {made.__name__ for table in tables for made in table.values()}
    assert declared - met.keys() == {"FileAllocationInfo"}
    assert met["FileBothDirectoryInfo"] > 100


def pieces_of(made: type[WireStruct]) -> list[Piece]:
    found = (exchanges(captures.messages(name), undecodable) for name in captures.names())
    return [piece for some in found for exchange in some for piece in pieces(exchange) if piece.made is made]


def test_attributes_in_answers_to_posix_open() -> None:
    opened = [PosixOpenResponse.unpack(piece.raw) for piece in pieces_of(PosixOpenResponse)]
    assert {answer.basic().file_type for answer in opened if answer.information_level == 0x200} == {  # type: ignore[union-attr] # for 0x200 there are attributes
        const.UNIX_TYPE_FILE,
        const.UNIX_TYPE_DIR,
    }
    bare = PosixOpenResponse(oplock_flags=0, fid=1, create_action=1, information_level=0xFFFF)
    assert bare.basic() is None


def test_posix_acls_have_an_entry_for_the_owner() -> None:
    for piece in pieces_of(PosixAcl):
        acl = PosixAcl.unpack(piece.raw)
        assert len(acl.aces()) == acl.access_count + acl.default_count
        assert acl.aces()[0].tag == 1


def test_ranges_cover_what_was_asked_for() -> None:
    """23a: smbd 4.17 says that all of a file is data, from its first byte on."""
    asked, answered = (
        [decode_ranges(piece.raw) for piece in pieces_of(FileAllocatedRange) if piece.what == what]
        for what in ("FSCTL", "FSCTL's answer")
    )
    assert len(asked) == len(answered) > 0
    assert all(len(ranges) == 1 and ranges[0].file_offset == 0 < ranges[0].length for ranges in answered)


def test_joined_transactions_have_all_that_was_announced() -> None:
    """07a and 22a: answers in several parts."""
    several = 0
    for name in captures.names():
        for exchange in exchanges(captures.messages(name), undecodable):
            answer = exchange.answer
            if answer is not None:
                assert len(exchange.received.parameters) == answer.total_parameter_count, str(exchange.where)
                assert len(exchange.received.data) == answer.total_data_count, str(exchange.where)
                several += len(exchange.received.data) > len(answer.data)
    assert several >= 3


def takes_one_number(message: Message) -> bool:
    """Whether a request has no answer, so that it takes one sequence number and not two."""
    oplock_release = getattr(message.body, "lock_type", 0) & const.LOCKING_ANDX_OPLOCK_RELEASE
    secondaries = (trans.TransactionSecondaryRequest, trans.Trans2SecondaryRequest, trans.NtTransactSecondaryRequest)
    return bool(oplock_release) or isinstance(message.body, secondaries)


def signed_with(name: str, conn: int, key: bytes) -> int:
    """How many messages of a connection carry the MAC that they should; any other MAC fails the test.

    [MS-SMB] 3.1.4.1: the session setup that logs on is request 0, and each request reserves the number of its answer.
    """
    numbers: dict[int, int] = {}
    following: int | None = None
    count = 0
    for captured in captures.messages(name):
        if captured.conn != conn:
            continue
        message = decode(captured.data)
        header = message.header
        if captured.from_server:
            number = numbers.get(header.mid)
            if isinstance(message.body, setup.SessionSetupExtendedResponse) and header.status == 0:
                number, following = 1, following or 2
        elif following is not None:
            number, numbers[header.mid] = following, following + 1
            following += 1 if takes_one_number(message) else 2
        else:
            number = None
        if number is None or not header.flags2 & SMB_FLAGS2_SMB_SECURITY_SIGNATURE:
            continue
        if header.security_features not in (bytes(8), b"BSRSPYL "):
            assert header.security_features == mac(key, captured.data, number), str(captured)
            count += 1
    return count


def mac(key: bytes, data: bytes, number: int) -> bytes:
    """MD5 of key and message with the sequence number in the signature field: [MS-SMB] 3.1.5.1."""
    field = number.to_bytes(4, "little") + bytes(4)
    signed = data[:SIGNATURE_AT] + field + data[SIGNATURE_AT + 8 :]
    return hashlib.md5(key + signed, usedforsecurity=False).digest()[:8]


@pytest.mark.parametrize("name", captures.keys())
def test_signatures_recompute(name: str) -> None:
    known = captures.keys()[name]
    found = sum(
        signed_with(name, key["conn"], bytes.fromhex(key["exported_session_key"]))
        for key in known["keys"]
        if key["use"] == "session"
    )
    assert found == known["signatures"]
