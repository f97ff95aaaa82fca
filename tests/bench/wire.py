"""What the way to the server itself costs and carries: a round trip of a bare client, bytes through the relay.

So that a figure over the slow link can be told from the link's own.
"""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from smbfuse.wire.codec import Body
from smbfuse.wire.frame import encode, transport_length
from smbfuse.wire.header import Header
from smbfuse.wire.setup import EchoRequest, NegotiateRequest
from tests.bench.child import timed
from tests.bench.circumstances import MIB, Link
from tests.bench.stage import Endpoint, Stage
from tests.support.relay import Relay

ROUND_TRIPS: Final = 20
TIMEOUT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wire:
    """Of one link: seconds that a request takes at least, and bytes per second that come through, if it has a relay."""

    round_trip: float
    rate: float | None


def measure_wire(stage: Stage, link: Link) -> Wire:
    """Look at the link before anybody is measured over it."""
    found = round_trip(stage.endpoint(link))
    return Wire(found, None if link.delay is None else relay_rate(link.delay, link.sizes.big))


def round_trip(endpoint: Endpoint) -> float:
    """Seconds from a request to its answer, the median of a few. SMB_COM_ECHO needs no logon. [MS-CIFS] 2.2.4.39."""
    found = []
    with socket.create_connection((endpoint.server.address, endpoint.port), TIMEOUT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock.makefile("rb") as answers:
            _ask(sock, answers, NegotiateRequest(dialects=("NT LM 0.12",)))
            for _ in range(ROUND_TRIPS):
                start = time.perf_counter()
                _ask(sock, answers, EchoRequest(echo_count=1, data=b"bench"))
                found.append(time.perf_counter() - start)
    return statistics.median(found)


def _ask(sock: socket.socket, answers: BinaryIO, body: Body) -> None:
    message = b"".join(encode(Header(command=body.COMMAND, mid=1), body))
    sock.sendall(transport_length(len(message)) + message)
    size = int.from_bytes(answers.read(4), "big")
    if not size or len(answers.read(size)) != size:
        raise RuntimeError(f"the server hangs up on {type(body).__name__}")


def relay_rate(delay: float, amount: int) -> float:
    """Bytes per second that a relay with this round trip passes on, between two processes that do nothing else."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        _sending(listener, amount),
        Relay(listener.getsockname()[1], delay=delay / 2) as relay,
    ):
        return amount / timed(lambda: _take(relay.port, amount), TIMEOUT)


@contextmanager
def _sending(listener: socket.socket, amount: int) -> Iterator[None]:
    """A process that sends `amount` bytes to the first who connects, in messages: the relay looks where they begin."""
    child = os.fork()
    if not child:
        try:
            with listener.accept()[0] as sock:
                block = transport_length(MIB - 4) + bytes(MIB - 4)
                for _ in range(amount // MIB):
                    sock.sendall(block)
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.waitpid(child, 0)


def _take(port: int, amount: int) -> None:
    buffer, left = bytearray(MIB), amount
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
        while left and (count := sock.recv_into(buffer)):
            left -= count
    if left:
        raise RuntimeError(f"{left} bytes did not come through")
