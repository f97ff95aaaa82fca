"""One client of the fake server: frames, signing, chains, transactions in parts. What commands mean is in handlers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import trio

from smbfuse import ntstatus as nt
from smbfuse.errors import WireError
from smbfuse.proto.reassembly import Assembly, Part, slices
from smbfuse.proto.signing import Signer
from smbfuse.wire.codec import Body, Buffer
from smbfuse.wire.const import (
    LOCKING_ANDX_OPLOCK_RELEASE,
    MID_OPLOCK_BREAK,
    SMB_COM_LOCKING_ANDX,
    SMB_COM_NT_CANCEL,
    SMB_COM_TRANSACTION2,
    SMB_FLAGS2_NT_STATUS,
    SMB_FLAGS2_SMB_SECURITY_SIGNATURE,
    SMB_FLAGS2_UNICODE,
    SMB_FLAGS_REPLY,
)
from smbfuse.wire.frame import Message, RawBody, decode, encode
from smbfuse.wire.header import Header
from smbfuse.wire.locking import LockingAndXRequest
from smbfuse.wire.trans import Trans2Request, Trans2Response, Trans2SecondaryRequest
from tests.fakes.auth import Acceptor
from tests.fakes.context import Context, Open, SearchState
from tests.fakes.exchange import Action, Exchange, Reply
from tests.fakes.handlers import HANDLERS
from tests.fakes.volume import Refusal

if TYPE_CHECKING:
    from tests.fakes.server import FakeServer, Share

_TRANS2_OVERHEAD = 32 + 1 + 20 + 2 + 6
"""Header, words, ByteCount and pads of a TRANSACTION2 answer."""


@dataclass(eq=False)
class _Partial:
    """A transaction whose secondaries are still to come."""

    exchange: Exchange
    assembly: Assembly


@dataclass(eq=False)
class FakeConnection:
    """State of one client's connection."""

    server: FakeServer
    stream: trio.abc.Stream
    client_buffer: int = 0xFFFF
    acceptor: Acceptor | None = None
    signer: Signer | None = None
    wrong_signatures: int = 0
    trees: dict[int, Share] = field(default_factory=dict)
    opens: dict[int, Open] = field(default_factory=dict)
    searches: dict[int, SearchState] = field(default_factory=dict)
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    """(FID, level) of each oplock acknowledgement that came."""
    cancelled: list[int] = field(default_factory=list)
    """MIDs of each NT_CANCEL that came."""
    uid: int = 0
    new_ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _partial: dict[int, _Partial] = field(default_factory=dict)
    _sending: trio.Lock = field(default_factory=trio.Lock)
    _cancels: dict[int, trio.Event] = field(default_factory=dict)

    # --- bytes

    async def serve(self) -> None:
        """Read requests until the client hangs up. Each is answered in a task of its own if a script wants it."""
        async with trio.open_nursery() as nursery, self.stream:
            try:
                while (frame := await self._next_frame()) is not None:
                    await self._received(frame, nursery)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

    async def _next_frame(self) -> bytes | None:
        while (head := await self._exactly(4)) is not None:
            if head[0] == 0:
                return await self._exactly(int.from_bytes(head[1:], "big"))
        return None

    async def _exactly(self, size: int) -> bytes | None:
        got = bytearray()
        while len(got) < size:
            more = await self.stream.receive_some(size - len(got))
            if not more:
                return None
            got += more
        return bytes(got)

    async def send(self, frame: Buffer) -> None:
        """One message; the transport's length comes in front."""
        await self.send_bytes(len(frame).to_bytes(4, "big") + bytes(frame))

    async def send_bytes(self, data: bytes) -> None:
        async with self._sending:
            try:
                await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self.stream.aclose()

    # --- messages in

    async def _received(self, frame: bytes, nursery: trio.Nursery) -> None:
        try:
            message = decode(frame)
        except WireError as exc:
            self.server.tap.undecodable.append(f"{exc}: {frame.hex()}")
            await self.aclose()
            return
        number = self._check_signature(frame, message.header)
        exchange = self._exchange(message, number)
        if exchange is None:
            return
        self.server.tap.count(exchange)
        action = self.server.script.take(exchange)
        if action is None:
            await exchange.answer()
            self.server.tap.answered(exchange)
        else:
            nursery.start_soon(self._scripted, action, exchange)

    async def _scripted(self, action: Action, exchange: Exchange) -> None:
        await action(exchange)
        self.server.tap.answered(exchange)

    def _check_signature(self, frame: bytes, header: Header) -> int | None:
        """Number of the answer. [MS-CIFS] 3.3.5.2.3."""
        if self.signer is None:
            return None
        number = self.signer.take(header.command)
        if not self.signer.valid(frame, number):
            self.wrong_signatures += 1
        return number + 1

    def _exchange(self, message: Message, number: int | None) -> Exchange | None:
        """What is to be answered now: nothing for acknowledgements, cancels and what is not complete yet."""
        header, body = message.header, message.body
        if header.command == SMB_COM_NT_CANCEL:
            self.cancelled.append(header.mid)
            self._cancels.setdefault(header.mid, trio.Event()).set()
            return None
        if isinstance(body, LockingAndXRequest) and body.lock_type & LOCKING_ANDX_OPLOCK_RELEASE:
            self.acknowledged.append((body.fid, body.new_oplock_level))
            return None
        exchange = Exchange(self, message, number)
        if isinstance(body, Trans2Request):
            exchange.subcommand = body.subcommand
            return self._begun(exchange, body)
        if isinstance(body, Trans2SecondaryRequest):
            return self._continued(body, header.mid, number)
        return exchange

    def _begun(self, exchange: Exchange, body: Trans2Request) -> Exchange:
        assembly = Assembly()
        whole = assembly.add(
            Part(
                total_parameters=body.total_parameter_count,
                total_data=body.total_data_count,
                parameter_displacement=0,
                data_displacement=0,
                setup=body.setup,
                parameters=body.parameters,
                data=body.data,
            )
        )
        if whole is not None:
            exchange.transaction = whole.parameters, whole.data
        else:
            self._partial[exchange.mid] = _Partial(exchange, assembly)
        return exchange

    def _continued(self, body: Trans2SecondaryRequest, mid: int, number: int | None) -> Exchange | None:
        partial = self._partial[mid]
        whole = partial.assembly.add(
            Part(
                total_parameters=body.total_parameter_count,
                total_data=body.total_data_count,
                parameter_displacement=body.parameter_displacement,
                data_displacement=body.data_displacement,
                setup=b"",
                parameters=body.parameters,
                data=body.data,
            )
        )
        if whole is None:
            return None
        del self._partial[mid]
        first = partial.exchange
        # smbd signs the answer with the number that follows the last secondary's.
        exchange = Exchange(self, first.message, number, first.subcommand, (whole.parameters, whole.data))
        self.server.tap.merge(exchange)
        return exchange

    async def wait_cancelled(self, mid: int) -> None:
        """Until an NT_CANCEL for this MID comes that was not waited for before."""
        await self._cancels.setdefault(mid, trio.Event()).wait()
        del self._cancels[mid]

    # --- answers

    def perform(self, exchange: Exchange) -> Reply:
        """Do what a request asks. The chain ends at the first error."""
        if exchange.command == SMB_COM_TRANSACTION2 and exchange.transaction is None:
            return Reply([RawBody()])  # the interim answer: send the rest
        reply = Reply([])
        context = Context(self, exchange, reply)
        for command, body in exchange.message.members:
            try:
                handler = HANDLERS.get(command)
                if handler is None:
                    raise Refusal(nt.STATUS_NOT_IMPLEMENTED)
                reply.bodies.append(handler(context, body))
            except Refusal as refusal:
                reply.status = refusal.status
                reply.bodies.append(RawBody())
                break
        return reply

    def encode(self, exchange: Exchange, reply: Reply, room: int | None = None) -> list[bytearray]:
        """An answer as messages, signed; a transaction in parts that fit the client's buffer."""
        asked = exchange.message.header
        flags2 = asked.flags2 & ~SMB_FLAGS2_SMB_SECURITY_SIGNATURE
        if self.signer is not None:
            flags2 |= SMB_FLAGS2_SMB_SECURITY_SIGNATURE
        header = Header(
            command=asked.command,
            status=reply.status,
            flags=asked.flags | SMB_FLAGS_REPLY,
            flags2=flags2,
            pid_high=asked.pid_high,
            pid_low=asked.pid_low,
            tid=asked.tid if reply.tid is None else reply.tid,
            uid=asked.uid if reply.uid is None else reply.uid,
            mid=asked.mid,
        )
        return [self._signed(encode(header, *bodies), exchange.number) for bodies in self._parts(reply, room)]

    def _signed(self, parts: list[Buffer], number: int | None) -> bytearray:
        if self.signer is not None and number is not None:
            self.signer.sign(parts, number)
        return bytearray(b"".join(parts))

    def _parts(self, reply: Reply, room: int | None) -> Iterator[tuple[Body, ...]]:
        body = reply.bodies[0]
        if not isinstance(body, Trans2Response):
            yield tuple(reply.bodies)
            return
        space = (room or self.client_buffer) - _TRANS2_OVERHEAD
        for p, parameters, d, data in slices(body.parameters, body.data, [space]):
            yield (
                Trans2Response(
                    total_parameter_count=len(body.parameters),
                    total_data_count=len(body.data),
                    parameter_displacement=p,
                    parameters=parameters,
                    data_displacement=d,
                    data=data,
                ),
            )

    # --- unasked

    async def break_oplock(self, fid: int, level: int = 0) -> None:
        """Take an oplock back, down to `level`. Never signed. [MS-CIFS] 3.3.4.2."""
        tid = next(iter(self.trees), 0)
        header = Header(
            command=SMB_COM_LOCKING_ANDX,
            flags2=SMB_FLAGS2_NT_STATUS | SMB_FLAGS2_UNICODE,
            pid_high=0,
            pid_low=0xFFFF,
            tid=tid,
            mid=MID_OPLOCK_BREAK,
        )
        body = LockingAndXRequest(fid=fid, lock_type=LOCKING_ANDX_OPLOCK_RELEASE, new_oplock_level=level)
        await self.send(cast(bytearray, encode(header, body)[0]))
