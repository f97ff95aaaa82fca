"""Requests and answers as bytes, for tests of the engine."""

from __future__ import annotations

from smbfuse.proto.engine import Engine
from smbfuse.wire.codec import Body, Buffer
from smbfuse.wire.const import SMB_FLAGS2_NT_STATUS, SMB_FLAGS2_UNICODE, SMB_FLAGS_REPLY
from smbfuse.wire.frame import Message, decode, encode
from smbfuse.wire.header import Header
from smbfuse.wire.setup import EchoRequest

FLAGS2 = SMB_FLAGS2_NT_STATUS | SMB_FLAGS2_UNICODE
ECHO = EchoRequest(data=b"x")


def new_engine() -> Engine:
    engine = Engine(pid=0x1_2345)
    engine.flags2 = FLAGS2
    return engine


def sent(parts: list[Buffer]) -> bytes:
    """The message of a frame's parts, whose first is the transport's length."""
    frame = b"".join(parts)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return frame[4:]


def started(engine: Engine, *bodies: Body, rest: list[Body] | None = None, owner: object = None) -> tuple[int, Message]:
    """(MID, message as the server sees it) of a request."""
    mid, parts = engine.start(bodies or (ECHO,), owner, tid=3, uid=5, rest=rest or [])
    return mid, decode(sent(parts))


def answer(mid: int, *bodies: Body, status: int = 0, command: int | None = None, flags2: int = FLAGS2) -> bytearray:
    """A server's answer."""
    header = Header(
        command=bodies[0].COMMAND if command is None else command,
        status=status,
        flags=SMB_FLAGS_REPLY,
        flags2=flags2,
        mid=mid,
    )
    return bytearray(b"".join(encode(header, *bodies)))
