"""Signing numbers and MACs: by the order on the wire, as servers count ([MS-CIFS] 3.3.5.2.3) and as recorded."""

from __future__ import annotations

import pytest

from smbfuse.errors import RemoteProtocolError, WireError
from smbfuse.proto.engine import Engine
from smbfuse.proto.events import Interim, OplockBreak, Response
from smbfuse.proto.signing import Signer
from smbfuse.wire.codec import Body, Buffer
from smbfuse.wire.const import (
    LOCKING_ANDX_OPLOCK_RELEASE,
    SMB_COM_LOCKING_ANDX,
    SMB_COM_NT_CANCEL,
    SMB_COM_TRANSACTION2,
)
from smbfuse.wire.files import CreateDirectoryRequest
from smbfuse.wire.frame import RawBody, encode
from smbfuse.wire.header import Header
from smbfuse.wire.locking import LockingAndXRequest
from smbfuse.wire.setup import EchoResponse
from smbfuse.wire.trans import Trans2Request, Trans2Response, Trans2SecondaryRequest
from tests import captures
from tests.proto.support import FLAGS2, answer, new_engine, sent, started

KEY = bytes(range(16))


def signing_engine() -> Engine:
    engine = new_engine()
    engine.signer = Signer(KEY, next_number=2)
    return engine


def number_of(message: Buffer) -> int | None:
    """The number that a message bears, looked for among the first hundred."""
    signer = Signer(KEY, 0)
    return next((number for number in range(100) if signer.valid(message, number)), None)


def frame_number(parts: list[Buffer]) -> int | None:
    return number_of(sent(parts))


def signed(frame: bytearray, number: int) -> bytearray:
    Signer(KEY, 0).sign([frame], number)
    return frame


RELEASE = LockingAndXRequest(fid=7, lock_type=LOCKING_ANDX_OPLOCK_RELEASE)


def test_requests_take_two_numbers_in_their_order() -> None:
    engine = signing_engine()
    numbers = [frame_number(engine.start((EchoResponse(),), None, rest=[])[1]) for _ in range(5)]
    assert numbers == [2, 4, 6, 8, 10]


def test_what_is_not_answered_takes_two_and_cancel_one() -> None:
    engine = signing_engine()
    mid, first = engine.start((EchoResponse(),), None, rest=[])
    cancel = engine.cancel(mid)
    assert cancel is not None
    frames = [
        first,
        cancel,
        engine.unanswered(RELEASE, tid=1, uid=1),
        engine.start((EchoResponse(),), None, rest=[])[1],
    ]
    assert [frame_number(frame) for frame in frames] == [2, 4, 5, 7]


def test_cancel_bears_the_mid_of_what_it_cancels() -> None:
    engine = signing_engine()
    mid, _ = engine.start((EchoResponse(),), None, tid=3, uid=5, rest=[])
    header = Header.unpack(sent(engine.cancel(mid) or []))
    assert (header.command, header.mid, header.tid, header.uid) == (SMB_COM_NT_CANCEL, mid, 3, 5)
    assert engine.cancel(999) is None


def test_answer_in_any_order_bears_its_requests_number() -> None:
    engine = signing_engine()
    mids = [started(engine, owner=index)[0] for index in range(3)]
    for index in (2, 0, 1):
        event = engine.receive(signed(answer(mids[index], EchoResponse()), 3 + 2 * index))
        assert isinstance(event, Response)
        assert event.owner == index


@pytest.mark.parametrize("number", [0, 2, 4, 5])
def test_answer_with_another_number_ends_it(number: int) -> None:
    engine = signing_engine()
    mid, _ = started(engine)
    with pytest.raises(RemoteProtocolError, match="wrong signature"):
        engine.receive(signed(answer(mid, EchoResponse()), number))


@pytest.mark.parametrize("at", [0, 5, 9, 14, 21, 25, 30, 33, 36])
def test_any_changed_byte_ends_it(at: int) -> None:
    engine = signing_engine()
    mid, _ = started(engine)
    frame = signed(answer(mid, EchoResponse(data=b"abc")), 3)
    frame[at] ^= 1
    try:
        event = engine.receive(frame)
    except (RemoteProtocolError, WireError):
        return
    assert not isinstance(event, Response), "taken for the answer"


def test_answer_to_a_request_sent_before_signing_began_is_not_checked() -> None:
    engine = new_engine()
    mid, _ = started(engine)
    engine.signer = Signer(KEY, next_number=2)
    assert isinstance(engine.receive(answer(mid, EchoResponse())), Response)


def test_oplock_breaks_are_not_signed() -> None:
    engine = signing_engine()
    header = Header(command=SMB_COM_LOCKING_ANDX, flags2=FLAGS2, tid=3, mid=0xFFFF)
    frame = b"".join(encode(header, RELEASE))
    assert engine.receive(frame) == OplockBreak(3, 7, 0)


def secondary(at: int) -> Trans2SecondaryRequest:
    return Trans2SecondaryRequest(total_parameter_count=0, total_data_count=9, data_displacement=at, data=b"abc")


def test_transaction_in_parts_as_smbd_counts() -> None:
    """Each secondary takes two, and the answer's number follows the last secondary's. Seen with smbd 4.17."""
    engine = signing_engine()
    primary = Trans2Request(max_parameter_count=9, max_data_count=9, total_data_count=9, setup=b"\x06\0", data=b"abc")
    rest: list[Body] = [secondary(3), secondary(6)]
    mid, _ = started(engine, primary, rest=rest)
    interim = signed(answer(mid, RawBody(), command=SMB_COM_TRANSACTION2), 3)
    assert engine.receive(interim) == Interim(mid)
    frames = engine.proceed(mid)
    assert [frame_number(frame) for frame in frames] == [4, 6]
    assert {Header.unpack(sent(frame)).mid for frame in frames} == {mid}
    assert isinstance(engine.receive(signed(answer(mid, Trans2Response(parameters=b"\0\0")), 7)), Response)
    assert frame_number(engine.start((EchoResponse(),), None, rest=[])[1]) == 8


def test_what_cannot_be_written_takes_neither_number_nor_mid() -> None:
    engine = signing_engine()
    engine.flags2 = 0  # no Unicode: the name has no form
    with pytest.raises(WireError):
        engine.start((CreateDirectoryRequest(directory_name="日本"),), None, rest=[])
    assert engine.mids.pending == {}
    assert frame_number(engine.start((EchoResponse(),), None, rest=[])[1]) == 2


def test_key_is_in_no_repr() -> None:
    engine = signing_engine()
    assert KEY.hex() not in repr(engine) + repr(engine.signer)
    assert repr(KEY) not in repr(engine) + repr(engine.signer)


@pytest.mark.parametrize("name", ["02-extsec-ntlmv2-signed", "03f-extsec-ntlmv1-signed", "05e-get-put-60k-signed"])
def test_recorded_signatures_follow_from_the_engines_numbers(name: str) -> None:
    """The client's messages of a signed capture bear the numbers that the engine would give them."""
    (known,) = captures.keys()[name]["keys"]
    counter = Signer(bytes.fromhex(known["exported_session_key"]), 2)
    numbers: dict[int, int] = {}
    checked = 0
    for message in captures.messages(name):
        header = Header.unpack(message.data)
        if message.data[14:22] in (bytes(8), b"BSRSPYL "):
            continue
        if message.from_server:
            number = numbers.pop(header.mid, 1)  # the last answer to the session setup bears number 1
        else:
            number = counter.take(header.command)
            numbers[header.mid] = number + 1
        assert counter.valid(message.data, number), str(message)
        checked += 1
    assert checked == captures.keys()[name]["signatures"]
