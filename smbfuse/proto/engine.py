"""One connection's protocol state: MIDs, signing numbers, transactions, unsolicited messages. [MS-CIFS] 3.2.1.2.

The engine never waits and never sends: `start` gives the frames of a request, which must go out in the order of the
calls (signing numbers follow it), and `receive` gives the event of a message that came in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from smbfuse.errors import RemoteProtocolError
from smbfuse.ntstatus import STATUS_SUCCESS, from_dos_error, is_error
from smbfuse.proto.events import Event, Interim, MorePartsFollow, OplockBreak, Response, Unsolicited
from smbfuse.proto.mids import OPLOCK_BREAK_MID, MidTable
from smbfuse.proto.reassembly import Assembly, Part
from smbfuse.wire.const import (
    LOCKING_ANDX_OPLOCK_RELEASE,
    SMB_FLAGS2_NT_STATUS,
    SMB_FLAGS_CANONICALIZED_PATHS,
    SMB_FLAGS_CASE_INSENSITIVE,
)
from smbfuse.wire.files import NtCancelRequest
from smbfuse.wire.frame import Message, decode, encode, transport_length
from smbfuse.wire.header import Header
from smbfuse.wire.locking import LockingAndXRequest
from smbfuse.wire.names import command_name
from smbfuse.wire.trans import NtTransactResponse, Trans2Response, TransactionResponse

if TYPE_CHECKING:
    from smbfuse.proto.signing import Signer
    from smbfuse.wire.codec import Body, Buffer

_TRANSACTIONS: Final = (Trans2Response, NtTransactResponse, TransactionResponse)


@dataclass(slots=True)
class Pending:
    """A request whose answer is still to come."""

    command: int
    number: int | None
    """Signing number that the answer must bear."""
    owner: Any
    """Whatever the floor above wants back with the answer."""
    rest: list[Body] = field(default_factory=list)
    """Secondary requests, to be sent after the interim answer."""
    tid: int = 0
    uid: int = 0
    flags2: int = 0
    assembly: Assembly | None = None


@dataclass(slots=True)
class Engine:
    """State of one connection. `flags2` and `signer` are set by the session when it knows them."""

    pid: int
    flags: int = SMB_FLAGS_CASE_INSENSITIVE | SMB_FLAGS_CANONICALIZED_PATHS
    flags2: int = 0
    signer: Signer | None = None
    mids: MidTable[Pending] = field(default_factory=MidTable)

    # --- outgoing

    def start(
        self, bodies: tuple[Body, ...], owner: object, *, tid: int = 0, uid: int = 0, flags2: int = 0, rest: list[Body]
    ) -> tuple[int, list[Buffer]]:
        """Enter a request that will be answered. Returns its MID and the parts of its frame, to be sent at once."""
        pending = Pending(bodies[0].COMMAND, None, owner, rest, tid, uid, flags2)
        mid = self.mids.add(pending)
        try:
            frame, pending.number = self._frame(bodies, mid, tid, uid, flags2)
        except BaseException:  # a name or number that cannot be written: nothing was sent, nothing will be answered
            del self.mids.pending[mid]
            raise
        return mid, frame

    def proceed(self, mid: int) -> list[list[Buffer]]:
        """Frames of the secondary requests, after Interim. They bear the first one's MID; the last one is answered."""
        pending = self.mids.pending[mid]
        rest, pending.rest = pending.rest, []
        frames = []
        for body in rest:
            # smbd 4.17 signs the answer with the number that follows the last secondary's.
            frame, pending.number = self._frame((body,), mid, pending.tid, pending.uid, pending.flags2)
            frames.append(frame)
        return frames

    def unanswered(self, body: Body, *, tid: int, uid: int, mid: int = OPLOCK_BREAK_MID) -> list[Buffer]:
        """Frame of a message that gets no answer: the acknowledgement of an oplock break."""
        return self._frame((body,), mid, tid, uid, 0)[0]

    def cancel(self, mid: int) -> list[Buffer] | None:
        """Frame of NT_CANCEL for a pending request, or None if it is answered already. [MS-CIFS] 2.2.4.65."""
        pending = self.mids.pending.get(mid)
        if pending is None:
            return None
        return self._frame((NtCancelRequest(),), mid, pending.tid, pending.uid, 0)[0]

    def _frame(
        self, bodies: tuple[Body, ...], mid: int, tid: int, uid: int, flags2: int
    ) -> tuple[list[Buffer], int | None]:
        header = Header(
            command=bodies[0].COMMAND,
            flags=self.flags,
            flags2=self.flags2 | flags2,
            pid_high=self.pid >> 16 & 0xFFFF,
            pid_low=self.pid & 0xFFFF,
            tid=tid,
            uid=uid,
            mid=mid,
        )
        parts = encode(header, *bodies)
        length = transport_length(sum(map(len, parts)))
        number = None
        if self.signer is not None:
            taken = self.signer.take(header.command)
            self.signer.sign(parts, taken)
            number = taken + 1
        return [length, *parts], number

    # --- incoming

    def receive(self, frame: Buffer) -> Event:
        """The event of one message (without the transport's length). WireError, RemoteProtocolError: hang up."""
        message = decode(frame)
        header = message.header
        if not header.reply:
            return self._unasked(message)
        pending = self.mids.pending.get(header.mid)
        if pending is None or pending.command != header.command:
            # smbd 4.17 answers a failing chained READ_ANDX with a garbage header, so this is no reason to hang up.
            return Unsolicited(header.mid, header.command)
        self._check_signature(frame, header, pending)
        response = Response(pending.owner, header.mid, self._status(header), header, message.members, frame)
        body = message.body
        if isinstance(body, _TRANSACTIONS):
            return self._part(response, body, pending)
        if pending.rest and response.status == STATUS_SUCCESS:
            return Interim(header.mid)
        if pending.assembly is not None and not is_error(response.status):
            raise RemoteProtocolError("a transaction's further part has no transaction in it")
        return self._finish(response)

    def _unasked(self, message: Message) -> Event:
        header, body = message.header, message.body
        if (
            isinstance(body, LockingAndXRequest)
            and body.lock_type & LOCKING_ANDX_OPLOCK_RELEASE
            and header.mid == OPLOCK_BREAK_MID
        ):
            return OplockBreak(header.tid, body.fid, body.new_oplock_level)
        return Unsolicited(header.mid, header.command)

    def _check_signature(self, frame: Buffer, header: Header, pending: Pending) -> None:
        if self.signer is None or pending.number is None:
            return
        if not self.signer.valid(frame, pending.number):
            raise RemoteProtocolError(f"the answer to {command_name(header.command)} has a wrong signature")

    @staticmethod
    def _status(header: Header) -> int:
        if header.flags2 & SMB_FLAGS2_NT_STATUS or not header.status:
            return header.status
        return from_dos_error(header.status & 0xFF, header.status >> 16)

    def _part(
        self, response: Response, body: Trans2Response | NtTransactResponse | TransactionResponse, pending: Pending
    ) -> Event:
        if pending.assembly is None:
            pending.assembly = Assembly()
        response.transaction = pending.assembly.add(
            Part(
                total_parameters=body.total_parameter_count,
                total_data=body.total_data_count,
                parameter_displacement=body.parameter_displacement,
                data_displacement=body.data_displacement,
                setup=body.setup,
                parameters=body.parameters,
                data=body.data,
            )
        )
        if response.transaction is None and not is_error(response.status):
            return MorePartsFollow(response.mid)
        return self._finish(response)

    def _finish(self, response: Response) -> Response:
        del self.mids.pending[response.mid]
        return response

    def forget_all(self) -> list[Any]:
        """End every pending request: the owners, to be told that the connection is gone."""
        owners = [pending.owner for pending in self.mids.pending.values()]
        self.mids.pending.clear()
        return owners
