"""Transactions in several parts, both ways. [MS-CIFS] 3.2.5.1.4 (receiving), 3.2.4.1.5 and 2.2.4.46.2 (sending).

A server splits an answer by our MaxBufferSize; parts may come in any order, and the totals may shrink from one part to
the next. Parts that do not overlap, lie below the total and add up to it leave no hole, so all three are checked.
"""

from __future__ import annotations

from bisect import bisect_right
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

    __slots__ = ("_ends", "_starts", "buffer", "got", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.buffer = bytearray()
        self._starts: list[int] = []
        self._ends: list[int] = []
        """Of what is there, sorted: a server that sends byte by byte must not make the check for overlaps slow."""
        self.got = 0

    def put(self, start: int, chunk: bytes, total: int) -> None:
        stop = start + len(chunk)
        if total > MAX_TRANSACTION or stop > total or self.got + len(chunk) > total:
            raise RemoteProtocolError(f"transaction {self.what} go past their total")
        if not chunk:
            return
        at = bisect_right(self._starts, start)
        if (at and self._ends[at - 1] > start) or (at < len(self._starts) and self._starts[at] < stop):
            raise RemoteProtocolError(f"transaction {self.what} overlap")
        self._starts.insert(at, start)
        self._ends.insert(at, stop)
        if len(self.buffer) < stop:
            self.buffer.extend(bytes(stop - len(self.buffer)))
        self.buffer[start:stop] = chunk
        self.got += len(chunk)

    def complete(self, total: int) -> bool:
        """Whether all of it is there. RemoteProtocolError where a total shrank below what came already."""
        if len(self.buffer) > total:
            raise RemoteProtocolError(f"transaction {self.what} go past their total")
        return self.got == total


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
        parameters_complete = self._parameters.complete(part.total_parameters)
        if not self._data.complete(part.total_data) or not parameters_complete:
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
