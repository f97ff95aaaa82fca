"""Direct TCP transport: frames in, frames out, nothing of their meaning. [MS-SMB] 2.1.

Works on the raw non-blocking socket with trio's wait functions, because a frame once begun must be sent whole whoever
is cancelled meanwhile: `send` never waits, it writes what the socket takes and leaves the rest to the writer task.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.client.sizes import UNIX_READ
from smbfuse.errors import ConnectError, ConnectionLost, RemoteProtocolError
from smbfuse.wire.header import HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from smbfuse.wire.codec import Buffer

SESSION_MESSAGE: Final = 0x00
SESSION_KEEPALIVE: Final = 0x85
MAX_ANSWER: Final = UNIX_READ + 64 * 1024
"""Bytes of the longest message that is taken: the answer to our longest read. The transport could carry 16 MiB."""
_BUFFER: Final = 64 * 1024
_DIRECT: Final = 8 * 1024
"""Frames longer than this are received into a buffer of their own, so that their payload need not be copied."""
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: a reset in place of a farewell, socket(7)."""
_PARTS: Final = 64
"""Parts of frames given to the socket at once; the kernel takes 1,024."""
_IN_A_ROW: Final = 32
"""Receptions without a pause for other tasks: a fast server must not keep deadlines from being noticed."""


class Transport:
    """A connected socket that carries frames."""

    def __init__(self, sock: socket.socket, max_frame: int = MAX_ANSWER) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._max_frame = max_frame
        self._unsent: deque[memoryview] = deque()
        self._wake = trio.Event()
        self._in_a_row = 0
        self.last_received = trio.current_time()
        """trio time at which bytes last came in."""
        self.begun: float | None = None
        """trio time at which the message began of which only a part is here."""

    # --- sending

    def send(self, parts: list[Buffer]) -> None:
        """Queue one frame; most often it is gone when this returns. Raises ConnectionLost."""
        if not self._unsent:
            parts = self._write([memoryview(part) for part in parts])
        if parts:
            self._unsent.extend(memoryview(part) for part in parts)
            self._wake.set()

    def _write(self, parts: list[memoryview]) -> list[Buffer]:
        """Write what the socket takes now; return what is left."""
        try:
            sent = self._sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            return list(parts)
        except OSError as exc:
            raise ConnectionLost(f"connection lost while sending: {exc.strerror}") from None
        while parts and sent >= len(parts[0]):
            sent -= len(parts[0])
            del parts[0]
        if sent:
            parts[0] = parts[0][sent:]
        return list(parts)

    async def run_writer(self) -> None:
        """Send what `send` could not; runs as long as the connection. Raises ConnectionLost."""
        while True:
            await self._wake.wait()
            await trio.lowlevel.wait_writable(self._sock)
            self._write_some()
            if not self._unsent:
                self._wake = trio.Event()

    def _write_some(self) -> None:
        batch = [self._unsent.popleft() for _ in range(min(len(self._unsent), _PARTS))]
        self._unsent.extendleft(memoryview(part) for part in reversed(self._write(batch)))

    # --- receiving

    async def frames(self) -> AsyncGenerator[Buffer, None]:
        """Messages as they come, without the transport's length. Raises ConnectionLost, RemoteProtocolError.

        Short ones are bytes of their own, long ones slices of a buffer that nothing else is written to.
        """
        buffer = memoryview(bytearray(_BUFFER))
        start = stop = 0
        while True:
            while stop - start >= 4:
                size = self._frame_size(buffer[start : start + 4])
                if stop - start - 4 >= size:
                    start += 4
                    self.begun = None
                    if size:
                        yield bytes(buffer[start : start + size])
                    start += size
                elif size > _DIRECT:
                    frame = memoryview(bytearray(size))
                    have = stop - start - 4
                    frame[:have] = buffer[start + 4 : stop]
                    start = stop = 0
                    self._begins()
                    await self._receive_all(frame[have:])
                    self.begun = None
                    yield frame
                else:
                    break
            if start == stop:
                start = stop = 0
            else:
                self._begins()
            if stop == _BUFFER or start > _BUFFER // 2:
                buffer[: stop - start] = bytes(buffer[start:stop])
                start, stop = 0, stop - start
            stop += await self._receive(buffer[stop:])

    def _begins(self) -> None:
        if self.begun is None:
            self.begun = self.last_received

    def _frame_size(self, head: memoryview) -> int:
        """Length of the message that the transport header announces; 0 for a keep-alive. [RFC1002] 4.3.1."""
        kind, size = head[0], int.from_bytes(head[1:4], "big")
        if kind == SESSION_KEEPALIVE and size == 0:
            return 0
        if kind != SESSION_MESSAGE or not HEADER_SIZE <= size <= self._max_frame:
            raise RemoteProtocolError(f"not an SMB message: the transport header is {bytes(head).hex(' ')}")
        return size

    async def _receive_all(self, into: memoryview) -> None:
        while into:
            into = into[await self._receive(into) :]

    async def _receive(self, into: memoryview) -> int:
        self._in_a_row += 1
        if self._in_a_row > _IN_A_ROW:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
        while True:
            try:
                count = self._sock.recv_into(into)
            except (BlockingIOError, InterruptedError):
                await self._readable()
                continue
            except OSError as exc:
                raise ConnectionLost(f"connection lost: {exc.strerror}") from None
            if not count:
                raise ConnectionLost("the server closed the connection")
            self.last_received = trio.current_time()
            return count

    async def _readable(self) -> None:
        self._in_a_row = 0
        try:
            await trio.lowlevel.wait_readable(self._sock)
        except trio.ClosedResourceError:
            raise ConnectionLost("the connection was closed") from None

    async def aclose(self) -> None:
        """Send what is queued if the socket takes it within a moment, then close."""
        with trio.move_on_after(0.5) as scope:
            scope.shield = True
            while self._unsent:
                try:
                    await trio.lowlevel.wait_writable(self._sock)
                    self._write_some()
                except (ConnectionLost, trio.ClosedResourceError):
                    break
        self.close()

    def abort(self) -> None:
        """Close at once, and have nothing sent any more.

        What the kernel still has of a connection that was given up must not reach the server later: a write that was
        sent again on another connection since, and changed, would be done once more.
        """
        self._unsent.clear()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.close()

    def close(self) -> None:
        """Close at once. Tasks that wait on the socket get ConnectionLost."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()


async def connect(host: str, address: str | None, port: int, timeout: float) -> Transport:
    """Connect to `address` (or what `host` resolves to, one after the other). Raises ConnectError with one line."""
    target = address or host
    try:
        with trio.fail_after(timeout):
            stream = await trio.open_tcp_stream(target, port)
    except trio.TooSlowError:
        raise ConnectError(f"{target} port {port} does not answer within {timeout:g} s") from None
    except OSError as exc:
        raise ConnectError(_why(exc, target, port)) from None
    except UnicodeError:
        raise ConnectError(f"{target} cannot be the name of a host; check the spelling") from None
    sock = stream.socket
    duplicate = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
    duplicate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Transport(duplicate)


def _why(exc: OSError, target: str, port: int) -> str:
    if isinstance(exc, socket.gaierror):
        return f"cannot find a host named {target}: {exc.strerror}"
    cause = exc.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    first = cause if isinstance(cause, OSError) else exc
    why = os.strerror(first.errno) if first.errno else str(first)  # trio puts the address into strerror
    return f"cannot connect to {target} port {port}: {why}"
