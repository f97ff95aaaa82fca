"""The engine against constructed and recorded messages, and against nonsense."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse import ntstatus as nt
from smbfuse.errors import RemoteProtocolError, StatusError, WireError
from smbfuse.proto.engine import Engine
from smbfuse.proto.events import Interim, MorePartsFollow, OplockBreak, Response, Unsolicited
from smbfuse.wire.codec import Body
from smbfuse.wire.const import (
    LOCKING_ANDX_OPLOCK_RELEASE,
    SMB_COM_LOCKING_ANDX,
    SMB_COM_TRANSACTION2,
    SMB_FLAGS2_NT_STATUS,
)
from smbfuse.wire.files import CloseResponse, ReadAndXRequest, ReadAndXResponse
from smbfuse.wire.frame import RawBody, decode, encode
from smbfuse.wire.header import Header
from smbfuse.wire.locking import LockingAndXRequest
from smbfuse.wire.setup import EchoRequest, EchoResponse
from smbfuse.wire.trans import Trans2Request, Trans2Response, Trans2SecondaryRequest
from tests import captures
from tests.proto.support import FLAGS2, answer, new_engine, sent, started

QUERY = Trans2Request(max_parameter_count=16, max_data_count=1000, setup=b"\x05\0", parameters=b"abcd")


def response_of(engine: Engine, frame: bytes | bytearray) -> Response:
    event = engine.receive(frame)
    assert isinstance(event, Response)
    return event


# --- requests


def test_request_bears_who_and_what() -> None:
    engine = new_engine()
    mid, message = started(engine)
    header = message.header
    assert (header.mid, header.tid, header.uid) == (mid, 3, 5)
    assert (header.pid_high, header.pid_low) == (1, 0x2345)
    assert header.flags2 == FLAGS2
    assert not header.reply
    assert message.body == EchoRequest(data=b"x")


def test_flags2_of_one_request_stay_with_it() -> None:
    engine = new_engine()
    _, parts = engine.start((EchoRequest(),), None, flags2=0x0400, rest=[])
    assert Header.unpack(sent(parts)).flags2 == FLAGS2 | 0x0400
    assert started(engine)[1].header.flags2 == FLAGS2


# --- answers


def test_answers_in_any_order_find_their_owners() -> None:
    engine = new_engine()
    mids = {started(engine, owner=index)[0]: index for index in range(100)}
    shuffled = list(mids)
    random.Random(3).shuffle(shuffled)
    assert [response_of(engine, answer(mid, EchoResponse())).owner for mid in shuffled] == [mids[m] for m in shuffled]
    assert engine.mids.pending == {}


def test_a_second_answer_is_nobodys() -> None:
    engine = new_engine()
    mid, _ = started(engine)
    frame = answer(mid, EchoResponse())
    assert isinstance(engine.receive(frame), Response)
    assert isinstance(engine.receive(frame), Unsolicited)


def test_an_answer_to_another_command_leaves_the_request_waiting() -> None:
    engine = new_engine()
    mid, _ = started(engine)
    assert engine.receive(answer(mid, CloseResponse())) == Unsolicited(mid, CloseResponse.COMMAND)
    assert isinstance(engine.receive(answer(mid, EchoResponse())), Response)


def test_dos_errors_become_ntstatus() -> None:
    engine = new_engine()
    mid, _ = started(engine)
    frame = answer(
        mid, RawBody(), command=EchoRequest.COMMAND, status=1 | 2 << 16, flags2=FLAGS2 & ~SMB_FLAGS2_NT_STATUS
    )
    response = response_of(engine, frame)
    assert response.status == nt.STATUS_NO_SUCH_FILE
    with pytest.raises(StatusError, match="ECHO somewhere: STATUS_NO_SUCH_FILE"):
        response.check("somewhere")


def test_a_body_of_another_form_is_the_servers_fault() -> None:
    engine = new_engine()
    mid, _ = started(engine)
    response = response_of(engine, answer(mid, EchoResponse()))
    with pytest.raises(RemoteProtocolError, match="answer to ECHO has not the form ReadAndXResponse"):
        response.body(ReadAndXResponse)
    with pytest.raises(RemoteProtocolError):
        response.body(EchoResponse, 1)


def test_forgotten_requests_are_told() -> None:
    engine = new_engine()
    for index in range(3):
        started(engine, owner=index)
    assert engine.forget_all() == [0, 1, 2]
    assert engine.forget_all() == []


# --- what nobody asked for


@pytest.mark.parametrize("level", [0, 1])
def test_oplock_break_before_the_answer_that_gave_it(level: int) -> None:
    engine = new_engine()
    started(engine)
    body = LockingAndXRequest(fid=9, lock_type=LOCKING_ANDX_OPLOCK_RELEASE, new_oplock_level=level)
    frame = b"".join(encode(Header(command=SMB_COM_LOCKING_ANDX, flags2=FLAGS2, tid=4, mid=0xFFFF), body))
    assert engine.receive(frame) == OplockBreak(tid=4, fid=9, level=level)
    assert len(engine.mids.pending) == 1


@pytest.mark.parametrize(("lock_type", "mid"), [(0, 0xFFFF), (LOCKING_ANDX_OPLOCK_RELEASE, 1)])
def test_other_requests_of_a_server_are_dropped(lock_type: int, mid: int) -> None:
    body = LockingAndXRequest(fid=9, lock_type=lock_type)
    frame = b"".join(encode(Header(command=SMB_COM_LOCKING_ANDX, flags2=FLAGS2, mid=mid), body))
    assert isinstance(new_engine().receive(frame), Unsolicited)


def test_garbage_header_of_smbd_is_dropped() -> None:
    """smbd 4.17 answers a failing chained READ_ANDX with a header of uninitialised memory (capture 16c)."""
    name = "16c-andx-failed-chained-read-samba-bug"
    garbage = [m for m in captures.messages(name) if m.frame in (15, 18)]
    assert len(garbage) == 2
    engine = new_engine()
    for index in range(1, 100):
        assert started(engine)[0] == index
    for message in garbage:
        assert isinstance(engine.receive(message.data), Unsolicited)
    assert len(engine.mids.pending) == 99


# --- transactions


def test_transaction_in_one_part() -> None:
    engine = new_engine()
    mid, _ = started(engine, QUERY)
    response = response_of(engine, answer(mid, Trans2Response(parameters=b"pp", data=b"dddd")))
    assert response.transaction is not None
    assert (response.transaction.parameters, response.transaction.data) == (b"pp", b"dddd")


def test_transaction_in_parts_with_others_between() -> None:
    engine = new_engine()
    mid, _ = started(engine, QUERY)
    other, _ = started(engine)
    head = Trans2Response(total_parameter_count=2, total_data_count=6, parameters=b"pp", data=b"abc")
    tail = Trans2Response(total_parameter_count=2, total_data_count=6, data_displacement=3, data=b"def")
    assert engine.receive(answer(mid, tail)) == MorePartsFollow(mid)
    assert isinstance(engine.receive(answer(other, EchoResponse())), Response)
    response = response_of(engine, answer(mid, head))
    assert response.transaction is not None
    assert response.transaction.data == b"abcdef"
    assert engine.mids.pending == {}


@pytest.mark.parametrize(("recorded_mid", "size"), [(6, 7876), (9, 3012)])
def test_recorded_answer_in_parts_is_put_together(recorded_mid: int, size: int) -> None:
    """Capture 22a: smbd splits answers because the client's MaxBufferSize is 1,500."""
    messages = captures.messages("22a-trans2-multi-response")
    frames = [bytearray(m.data) for m in messages if m.from_server and Header.unpack(m.data).mid == recorded_mid]
    engine = new_engine()
    mid, _ = started(engine, QUERY)
    for frame in frames:
        frame[30:32] = mid.to_bytes(2, "little")
    events = [engine.receive(frame) for frame in frames]
    assert events[:-1] == [MorePartsFollow(mid)] * (len(frames) - 1)
    whole = events[-1]
    assert isinstance(whole, Response)
    assert whole.transaction is not None
    assert len(whole.transaction.data) == size


def test_secondaries_go_after_the_interim_answer_only() -> None:
    engine = new_engine()
    rest: list[Body] = [Trans2SecondaryRequest(total_parameter_count=4, total_data_count=3, data=b"abc")]
    mid, _ = started(engine, QUERY, rest=rest)
    assert engine.receive(answer(mid, RawBody(), command=SMB_COM_TRANSACTION2)) == Interim(mid)
    (frame,) = engine.proceed(mid)
    message = decode(sent(frame))
    assert (message.header.mid, message.header.tid, message.header.uid) == (mid, 3, 5)
    assert message.members[0][1] == rest[0]
    assert engine.proceed(mid) == []
    assert isinstance(engine.receive(answer(mid, Trans2Response(parameters=b"\0\0"))), Response)


def test_refused_first_part_sends_no_more() -> None:
    engine = new_engine()
    rest: list[Body] = [Trans2SecondaryRequest(total_parameter_count=4, total_data_count=3, data=b"abc")]
    mid, _ = started(engine, QUERY, rest=rest)
    frame = answer(mid, RawBody(), command=SMB_COM_TRANSACTION2, status=nt.STATUS_ACCESS_DENIED)
    assert response_of(engine, frame).status == nt.STATUS_ACCESS_DENIED
    assert engine.mids.pending == {}


def test_error_in_the_midst_of_parts_ends_the_request() -> None:
    engine = new_engine()
    mid, _ = started(engine, QUERY)
    engine.receive(answer(mid, Trans2Response(total_data_count=6, data=b"abc")))
    frame = answer(mid, RawBody(), command=SMB_COM_TRANSACTION2, status=nt.STATUS_ACCESS_DENIED)
    response = response_of(engine, frame)
    assert response.transaction is None
    with pytest.raises(StatusError):
        response.check()


def test_success_without_a_transaction_in_the_midst_of_parts_ends_the_connection() -> None:
    engine = new_engine()
    mid, _ = started(engine, QUERY)
    engine.receive(answer(mid, Trans2Response(total_data_count=6, data=b"abc")))
    with pytest.raises(RemoteProtocolError, match="no transaction in it"):
        engine.receive(answer(mid, RawBody(), command=SMB_COM_TRANSACTION2))


# --- nonsense


def waiting_engine() -> Engine:
    """One that waits for an answer of each kind, under the first MIDs."""
    engine = new_engine()
    for body in (EchoRequest(), QUERY, ReadAndXRequest(fid=1, offset_low=0, max_count_low=9)):
        started(engine, body)
    return engine


def harmless(engine: Engine, frame: bytes | bytearray) -> None:
    """An event, WireError or RemoteProtocolError: nothing else."""
    try:
        event = engine.receive(frame)
    except (WireError, RemoteProtocolError):
        return
    assert isinstance(event, Response | Interim | OplockBreak | Unsolicited | MorePartsFollow)
    if isinstance(event, Interim):
        engine.proceed(event.mid)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    harmless(waiting_engine(), data)


@given(
    head=st.builds(
        Header,
        command=st.sampled_from([0x2B, 0x2E, 0x32, 0x24, 0xA0, 0x25, 0x72, 0x99]),
        status=st.sampled_from([0, 1, 0x0002_0001, 0x8000_0005, 0xC000_0022]),
        flags=st.sampled_from([0, 0x80, 0x98]),
        flags2=st.integers(0, 0xFFFF),
        mid=st.sampled_from([0, 1, 2, 3, 0xFFFF]),
    ),
    rest=st.binary(max_size=120),
)
def test_any_bytes_behind_a_header(head: Header, rest: bytes) -> None:
    harmless(waiting_engine(), head.pack() + rest)


@given(data=st.data())
def test_recorded_messages_with_changed_bytes(data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(["01-extsec-ntlmv2-ls", "07a-find-3000", "08a-metadata", "22a-trans2-multi-response"])
    )
    message = data.draw(st.sampled_from([m for m in captures.messages(name) if m.from_server]))
    frame = bytearray(message.data)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, min(len(frame) - 1, 120)))
        frame[at] = data.draw(st.integers(0, 255))
    engine = new_engine()
    # Every MID waits for this very command, so that nothing is dropped as nobody's.
    header = Header.unpack(frame)
    body = EchoRequest()
    mid, _ = started(engine, body)
    engine.mids.pending[header.mid] = engine.mids.pending.pop(mid)
    engine.mids.pending[header.mid].command = header.command
    harmless(engine, frame)
    harmless(engine, frame[: data.draw(st.integers(0, len(frame)))])
