"""Damaged answers for the engine: events come out, or an error after which a connection is over. Nothing piles up."""

from __future__ import annotations

from collections import defaultdict

from smbfuse.errors import RemoteProtocolError, WireError
from smbfuse.proto.engine import Engine
from smbfuse.proto.events import Interim, Response
from smbfuse.proto.reassembly import MAX_TRANSACTION
from smbfuse.proto.signing import Signer
from smbfuse.wire.codec import Body
from smbfuse.wire.const import SMB_FLAGS_REPLY
from smbfuse.wire.files import CloseRequest, ReadAndXRequest, WriteAndXRequest
from smbfuse.wire.frame import decode
from smbfuse.wire.setup import EchoRequest
from smbfuse.wire.trans import (
    NtTransactRequest,
    NtTransactSecondaryRequest,
    Trans2Request,
    Trans2SecondaryRequest,
    TransactionRequest,
)
from tests.fuzz.corpus import captured
from tests.fuzz.figures import Figures
from tests.fuzz.mutation import Mutator
from tests.proto.support import FLAGS2

STREAM = 200
"""Messages in one connection's life, if nothing ends it before."""
IN_FLIGHT = 12

_LONG = Trans2Request(
    total_parameter_count=20, total_data_count=40, max_parameter_count=10, max_data_count=65000, setup=b"\5\0"
)
_MORE = Trans2SecondaryRequest(total_parameter_count=20, total_data_count=40, parameters=bytes(20), data=bytes(40))
_NT_MORE = NtTransactSecondaryRequest(total_parameter_count=20, total_data_count=0, parameters=bytes(20))
REQUESTS: tuple[tuple[Body, list[Body]], ...] = (
    (EchoRequest(data=b"x"), []),
    (CloseRequest(fid=1), []),
    (ReadAndXRequest(fid=1, offset_low=0, offset_high=0, max_count_low=60000, max_count_high=0, min_count=0), []),
    (WriteAndXRequest(fid=1, offset_low=0, offset_high=0, remaining=0, data=b"data"), []),
    (Trans2Request(max_parameter_count=10, max_data_count=65000, setup=b"\1\0"), []),
    (_LONG, [_MORE]),
    (NtTransactRequest(max_parameter_count=100, max_data_count=65000, function=2), []),
    (
        NtTransactRequest(total_parameter_count=20, max_parameter_count=100, max_data_count=65000, function=6),
        [_NT_MORE],
    ),
    (TransactionRequest(max_parameter_count=100, max_data_count=65000, name="\\PIPE\\x"), []),
)


def answers() -> dict[int, list[bytes]]:
    """What servers said, by command."""
    by_command: dict[int, list[bytes]] = defaultdict(list)
    for raw in captured(from_server=True):
        by_command[raw[4]].append(raw)
    return dict(by_command)


class Stream:
    """One connection's engine and its server, which answers with messages from the captures, most of them damaged."""

    def __init__(self, mutate: Mutator, by_command: dict[int, list[bytes]]) -> None:
        self._mutate = mutate
        self._random = mutate.random
        self._by_command = by_command
        self.engine = Engine(pid=0x1_2345)
        self.engine.flags2 = FLAGS2
        if self._random.random() < 0.1:
            self.engine.signer = Signer(b"0123456789abcdef", 2)

    def fill(self) -> None:
        """As many requests as a connection has under way."""
        while len(self.engine.mids.pending) < IN_FLIGHT:
            body, rest = self._random.choice(REQUESTS)
            self.engine.start((body,), "owner", tid=3, uid=5, rest=list(rest))

    def next(self) -> bytes:
        """The server's next message."""
        mid, pending = self._random.choice(list(self.engine.mids.pending.items()))
        known = self._by_command.get(pending.command)
        raw = self._random.choice(known or self._by_command[0x32])
        if self._random.random() < 0.5:
            raw = self._mutate(raw)
        message = bytearray(raw)
        if self._random.random() < 0.9:
            message[9] |= SMB_FLAGS_REPLY
            message[4] = pending.command
            message[30:32] = mid.to_bytes(2, "little")
        if self._random.random() < 0.5:
            message[5:9] = bytes(4)
        return bytes(message)

    def receive(self, message: bytes) -> str:
        """What the engine makes of it. WireError and RemoteProtocolError end a connection."""
        before = len(self.engine.mids.pending)
        event = self.engine.receive(message)
        if isinstance(event, Interim):
            for frame in self.engine.proceed(event.mid):
                decode(b"".join(map(bytes, frame[1:])))
        if isinstance(event, Response) and event.mid in self.engine.mids.pending:
            raise AssertionError("an answered request is still waited for")
        if len(self.engine.mids.pending) > before:
            raise AssertionError("a message made requests")
        return type(event).__name__

    def held(self) -> int:
        """Bytes that the engine keeps of parts of transactions."""
        assemblies = [pending.assembly for pending in self.engine.mids.pending.values()]
        return sum(len(one._parameters.buffer) + len(one._data.buffer) for one in assemblies if one is not None)


def run(count: int, seed: int, figures: Figures) -> None:
    """So many messages, in as many connections as it takes."""
    by_command = answers()
    mutate = Mutator(seed, captured(from_server=True))
    stream, left = Stream(mutate, by_command), STREAM
    for _ in figures.counted(count):
        if not left:
            stream, left = Stream(mutate, by_command), STREAM
        stream.fill()
        message = stream.next()
        left -= 1
        with figures.timed(message):
            try:
                figures.outcomes[stream.receive(message)] += 1
            except (WireError, RemoteProtocolError):
                figures.outcomes["end"] += 1
                left = 0
            if stream.held() > 2 * IN_FLIGHT * MAX_TRANSACTION:
                raise AssertionError(f"{stream.held()} bytes of unfinished answers")
