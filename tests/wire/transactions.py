"""Joins the parts of captured transactions, and names the structures of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from smbfuse.wire import const, filelevels, fsctls, infolevels, trans, trans2, unixlevels
from smbfuse.wire.chains import iter_entries, pack_entries
from smbfuse.wire.codec import WireStruct
from smbfuse.wire.frame import decode
from smbfuse.wire.text import TextCodec
from tests.captures import Captured

REQUESTS = trans.TransactionRequest | trans.Trans2Request | trans.NtTransactRequest
SECONDARIES = trans.TransactionSecondaryRequest | trans.Trans2SecondaryRequest | trans.NtTransactSecondaryRequest
RESPONSES = trans.TransactionResponse | trans.Trans2Response | trans.NtTransactResponse


@dataclass
class Part:
    """Parameters and data of one direction, grown by displacement."""

    parameters: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)

    def add(self, body: SECONDARIES | RESPONSES) -> None:
        _put(self.parameters, body.parameter_displacement, body.parameters)
        _put(self.data, body.data_displacement, body.data)


def _put(whole: bytearray, at: int, part: bytes) -> None:
    whole.extend(bytes(max(0, at + len(part) - len(whole))))
    whole[at : at + len(part)] = part


@dataclass
class Exchange:
    """One transaction with its answer (None where it failed)."""

    where: Captured
    text: TextCodec
    request: REQUESTS
    sent: Part
    status: int = 0
    answer: RESPONSES | None = None
    received: Part = field(default_factory=Part)


def exchanges(messages: tuple[Captured, ...], skip: Callable[[Captured], bool]) -> list[Exchange]:
    """The transactions of one capture, all parts joined."""
    open_: dict[tuple[int, int], Exchange] = {}
    all_: list[Exchange] = []
    for captured in messages:
        if skip(captured):
            continue
        message = decode(captured.data)
        key, body = (captured.conn, message.header.mid), message.body
        if isinstance(body, REQUESTS):
            sent = Part(bytearray(body.parameters), bytearray(body.data))
            open_[key] = Exchange(captured, message.header.text, body, sent)
            all_.append(open_[key])
        elif isinstance(body, SECONDARIES) and key in open_:
            open_[key].sent.add(body)
        elif isinstance(body, RESPONSES) and key in open_:
            open_[key].answer, open_[key].status = body, message.header.status
            open_[key].received.add(body)
    return all_


TRANS2_REQUESTS: dict[int, type[WireStruct]] = {
    const.TRANS2_FIND_FIRST2: trans2.FindFirst2Parameters,
    const.TRANS2_FIND_NEXT2: trans2.FindNext2Parameters,
    const.TRANS2_QUERY_FS_INFORMATION: trans2.QueryFsParameters,
    const.TRANS2_SET_FS_INFORMATION: trans2.SetFsParameters,
    const.TRANS2_QUERY_PATH_INFORMATION: trans2.QueryPathParameters,
    const.TRANS2_SET_PATH_INFORMATION: trans2.SetPathParameters,
    const.TRANS2_QUERY_FILE_INFORMATION: trans2.QueryFileParameters,
    const.TRANS2_SET_FILE_INFORMATION: trans2.SetFileParameters,
    const.TRANS2_CREATE_DIRECTORY: trans2.CreateDirectoryParameters,
    const.TRANS2_GET_DFS_REFERRAL: trans2.GetDfsReferralParameters,
}
TRANS2_RESPONSES: dict[int, type[WireStruct]] = {
    const.TRANS2_FIND_FIRST2: trans2.FindFirst2ResponseParameters,
    const.TRANS2_FIND_NEXT2: trans2.FindNext2ResponseParameters,
    const.TRANS2_QUERY_PATH_INFORMATION: trans2.EaErrorParameters,
    const.TRANS2_SET_PATH_INFORMATION: trans2.EaErrorParameters,
    const.TRANS2_QUERY_FILE_INFORMATION: trans2.EaErrorParameters,
    const.TRANS2_SET_FILE_INFORMATION: trans2.EaErrorParameters,
}
NT_REQUESTS: dict[int, type[WireStruct]] = {
    const.NT_TRANSACT_CREATE: trans2.NtCreateParameters,
    const.NT_TRANSACT_SET_SECURITY_DESC: trans2.SetSecurityDescParameters,
    const.NT_TRANSACT_QUERY_SECURITY_DESC: trans2.QuerySecurityDescParameters,
}
NT_RESPONSES: dict[int, type[WireStruct]] = {
    const.NT_TRANSACT_CREATE: trans2.NtCreateResponseParameters,
    const.NT_TRANSACT_QUERY_SECURITY_DESC: trans2.QuerySecurityDescResponseParameters,
}
NT_SETUPS: dict[int, type[WireStruct]] = {
    const.NT_TRANSACT_IOCTL: trans2.IoctlSetup,
    const.NT_TRANSACT_NOTIFY_CHANGE: trans2.NotifyChangeSetup,
}
FSCTL_REQUESTS: dict[int, type[WireStruct]] = {
    made.FSCTL: made for made in (fsctls.FileAllocatedRange, fsctls.FileSetSparse, fsctls.FileZeroData)
}
FSCTL_RESPONSES: dict[int, type[WireStruct]] = {
    const.FSCTL_SRV_ENUMERATE_SNAPSHOTS: filelevels.SnapshotArray,
    const.FSCTL_QUERY_ALLOCATED_RANGES: fsctls.FileAllocatedRange,
}
_FIND = {const.TRANS2_FIND_FIRST2, const.TRANS2_FIND_NEXT2}
_QUERY = {const.TRANS2_QUERY_PATH_INFORMATION, const.TRANS2_QUERY_FILE_INFORMATION}
_SET = {const.TRANS2_SET_PATH_INFORMATION, const.TRANS2_SET_FILE_INFORMATION}


@dataclass
class Piece:
    """Bytes of a transaction with the structure they should hold; `chain` is the alignment of a chain's entries."""

    exchange: Exchange
    what: str
    made: type[WireStruct]
    raw: bytes
    chain: int = 0

    def again(self) -> bytes:
        """The bytes after one round of decoding and encoding."""
        text = self.exchange.text
        if not self.chain:
            return self.made.unpack(self.raw, text=text).pack(text)
        entries: list[WireStruct] = list(iter_entries(self.made, self.raw, text))
        return pack_entries(entries, text, align=self.chain)  # type: ignore[arg-type] # chains only have such entries


def pieces(exchange: Exchange) -> Iterator[Piece]:
    """Everything in a transaction that has a structure of its own."""

    def piece(what: str, made: type[WireStruct] | None, raw: bytearray | bytes, chain: int = 0) -> Iterator[Piece]:
        if made is not None and raw:
            yield Piece(exchange, what, made, bytes(raw), chain)

    request, sent, received = exchange.request, exchange.sent, exchange.received
    if isinstance(request, trans.Trans2Request):
        subcommand = request.subcommand
        yield from piece("parameters", TRANS2_REQUESTS.get(subcommand), sent.parameters)
        yield from piece("answered parameters", TRANS2_RESPONSES.get(subcommand), received.parameters)
        if exchange.status == 0:
            for table, what, raw, chain in _levels(exchange, subcommand):
                yield from piece(what, table.get(_level(exchange, subcommand)), raw, chain)
    elif isinstance(request, trans.NtTransactRequest):
        function = request.function
        yield from piece("setup", NT_SETUPS.get(function), request.setup)
        yield from piece("parameters", NT_REQUESTS.get(function), sent.parameters)
        yield from piece("answered parameters", NT_RESPONSES.get(function), received.parameters)
        if function == const.NT_TRANSACT_NOTIFY_CHANGE:
            yield from piece("notify", filelevels.FileNotify, received.parameters, 4)
        if function == const.NT_TRANSACT_IOCTL:
            code = trans2.IoctlSetup.unpack(request.setup).function_code
            yield from piece("FSCTL", FSCTL_REQUESTS.get(code), sent.data)
            yield from piece("FSCTL's answer", FSCTL_RESPONSES.get(code), received.data)
    elif request.setup[:2] == const.TRANS_TRANSACT_NMPIPE.to_bytes(2, "little"):
        yield from piece("setup", trans2.NmPipeSetup, request.setup)


def _levels(exchange: Exchange, subcommand: int) -> Iterator[tuple[dict[int, type[WireStruct]], str, bytearray, int]]:
    sent, received = exchange.sent.data, exchange.received.data
    if subcommand in _FIND:
        yield infolevels.FIND, "found", received, 4
    elif subcommand in _QUERY:
        streams = _level(exchange, subcommand) in (0x109, 1022)
        yield infolevels.QUERY, "answer", received, 8 if streams else 0
    elif subcommand in _SET:
        yield infolevels.SET, "set", sent, 0
        yield {const.SMB_POSIX_PATH_OPEN: unixlevels.PosixOpenResponse}, "opened", received, 0
    elif subcommand == const.TRANS2_QUERY_FS_INFORMATION:
        yield infolevels.QUERY_FS, "fs", received, 0
    elif subcommand == const.TRANS2_SET_FS_INFORMATION:
        yield infolevels.SET_FS, "fs set", sent, 0


def _level(exchange: Exchange, subcommand: int) -> int:
    parameters = TRANS2_REQUESTS[subcommand].unpack(bytes(exchange.sent.parameters), text=exchange.text)
    level: int = parameters.information_level  # type: ignore[attr-defined] # all of _levels' subcommands have one
    return level
