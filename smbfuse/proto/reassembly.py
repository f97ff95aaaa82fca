"""Transactions in several parts, both ways. [MS-CIFS] 3.2.5.1.4 (receiving), 3.2.4.1.5 and 2.2.4.46.2 (sending).

A server splits an answer by our MaxBufferSize; parts may come in any order, and the totals may shrink from one part to
the next. Parts that do not overlap and add up to the total leave no hole, so both are checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from smbfuse.errors import RemoteProtocolError

MAX_TRANSACTION: Final = 1 << 20
"""Most bytes of parameters or of data that one answer may have; we never ask for more than 64 KiB or so."""


@dataclass(slots=True)
class Transaction:
    """A whole answer of TRANSACTION, TRANSACTION2 or NT_TRANSACT."""

    setup: bytes = b""
    parameters: bytes = b""
    data: bytes = b""


@dataclass(slots=True)
class Part:
    """What one response message says of its transaction."""

    total_parameters: int
    total_data: int
    parameter_displacement: int
    data_displacement: int
    setup: bytes
    parameters: bytes
    data: bytes


class _Block:
    """One of the two byte blocks as it fills up."""

    __slots__ = ("buffer", "got", "spans", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.buffer = bytearray()
        self.spans: list[tuple[int, int]] = []
        self.got = 0

    def put(self, start: int, chunk: bytes, total: int) -> None:
        stop = start + len(chunk)
        if total > MAX_TRANSACTION or stop > total or self.got + len(chunk) > total:
            raise RemoteProtocolError(f"transaction {self.what} go past their total")
        if any(start < end and begin < stop for begin, end in self.spans):
            raise RemoteProtocolError(f"transaction {self.what} overlap")
        if not chunk:
            return
        if len(self.buffer) < stop:
            self.buffer.extend(bytes(stop - len(self.buffer)))
        self.buffer[start:stop] = chunk
        self.spans.append((start, stop))
        self.got += len(chunk)


@dataclass(slots=True)
class Assembly:
    """Collects the parts of one answer."""

    setup: bytes = b""
    parts: int = 0
    _parameters: _Block = field(default_factory=lambda: _Block("parameters"))
    _data: _Block = field(default_factory=lambda: _Block("data"))

    def add(self, part: Part) -> Transaction | None:
        """The whole answer if this part completes it, else None. Raises RemoteProtocolError."""
        if self.parts and not part.parameters and not part.data:
            raise RemoteProtocolError("a further part of a transaction is empty")
        self.parts += 1
        self.setup = self.setup or part.setup
        self._parameters.put(part.parameter_displacement, part.parameters, part.total_parameters)
        self._data.put(part.data_displacement, part.data, part.total_data)
        if self._parameters.got < part.total_parameters or self._data.got < part.total_data:
            return None
        return Transaction(self.setup, bytes(self._parameters.buffer), bytes(self._data.buffer))


def slices(parameters: bytes, data: bytes, room: list[int]) -> list[tuple[int, bytes, int, bytes]]:
    """Cut a request into (parameter displacement, parameters, data displacement, data) for each message.

    `room` gives the bytes that fit into the first message and into each further one. At least one slice is returned.
    """
    out: list[tuple[int, bytes, int, bytes]] = []
    p = d = 0
    while not out or p < len(parameters) or d < len(data):
        space = room[min(len(out), len(room) - 1)]
        chunk = parameters[p : p + space]
        rest = data[d : d + space - len(chunk)]
        out.append((p, chunk, d, rest))
        p += len(chunk)
        d += len(rest)
    return out
