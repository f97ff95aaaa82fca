"""Servers that speak no SMB1, or only seem to: what people mistype a port for, and worse."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from types import TracebackType
from typing import Self

_FRAME = b"\xffSMB\x72\0\0\0\0\x98\x03\xc8" + bytes(20)
_RANDOM = random.Random(1).randbytes(4000)

FIRST_WORDS: dict[str, bytes] = {
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "smtp": b"220 mail.example.com ESMTP\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "random bytes": _RANDOM,
    "random message": (2000).to_bytes(4, "big") + _RANDOM[:2000],
    "nothing behind the header": (32).to_bytes(4, "big") + _FRAME,
    "words cut short": (40).to_bytes(4, "big") + _FRAME + b"\x11" + bytes(7),
    "no dialect": (37).to_bytes(4, "big") + _FRAME + b"\x01\xff\xff\0\0",
    "empty messages": bytes(4) * 50,
    "a message without end": b"\0\xff\xff\xff" + _FRAME,
}
"""What a server says to whoever sends it something; after that it hangs up or waits, as `Stranger` is told."""


class Stranger:
    """Listens on `port` as long as the `with` block runs, says the same to everybody, then waits or hangs up."""

    def __init__(self, words: bytes, *, hangs_up: bool = False) -> None:
        self._words = words
        self._hangs_up = hangs_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client = self._listener.accept()[0]
                self.clients.append(client)
                with contextlib.suppress(OSError):
                    client.recv(1)
                    client.sendall(self._words)
                    if self._hangs_up:
                        client.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for end in (self._listener, *self.clients):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._thread.join(10)
        assert not self._thread.is_alive(), "a stranger does not end"
