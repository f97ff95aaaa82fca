"""A TCP proxy between a mount and its server: it counts the requests that pass, and can stop passing anything on.

It changes no byte, so signed sessions pass, too. Messages are taken apart with the project's own decoder, which the
recorded captures prove; what it counts is what the client chose to send.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from smbfuse.wire import const
from smbfuse.wire.frame import decode
from smbfuse.wire.trans import NtTransactRequest, Trans2Request

_COMMANDS = {value: name.removeprefix("SMB_COM_") for name, value in vars(const).items() if name.startswith("SMB_COM_")}
_TRANS2 = {value: name.removeprefix("TRANS2_") for name, value in vars(const).items() if name.startswith("TRANS2_")}
NOTIFY = "NOTIFY_CHANGE"
"""What is asked beside all work, and answered when something happens."""
_LIMIT = 20.0


class Tap:
    """Listens on `port` of `host` as long as the `with` block runs; each connection goes on to `server`."""

    def __init__(self, server: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        self._server = server
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._open.set()
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(_LIMIT)
            assert not thread.is_alive(), "a thread of the tap does not end"

    # -- what it shows and does ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """The requests, by name, that pass while the block runs; complete when it is left."""
        with self._lock:
            before = self.requests.copy()
        found: Counter[str] = Counter()
        yield found
        with self._lock:
            found.update(self.requests - before)

    def freeze(self) -> None:
        """From now on nothing passes in either direction, while connections stay: a black hole."""
        self._open.clear()

    def thaw(self) -> None:
        """Let pass what was held back, and what comes."""
        self._open.set()

    # -- passing on ----------------------------------------------------------------------------------------------------

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._server, timeout=_LIMIT)
                server.settimeout(None)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # requests follow each other as they come
                self._sockets += [client, server]
                waiting: SimpleQueue[bytes] = SimpleQueue()
                self._run(self._take_requests, client, waiting)
                self._run(self._pass_requests, waiting, server)
                self._run(self._pass_answers, server, client)

    def _take_requests(self, client: socket.socket, waiting: SimpleQueue[bytes]) -> None:
        with contextlib.suppress(OSError), client.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                message = stream.read(int.from_bytes(head[1:], "big"))
                # Counted before it is passed on: whoever has the answer finds the count complete.
                self._count(message)
                waiting.put(head + message)
        waiting.put(b"")

    def _pass_requests(self, waiting: SimpleQueue[bytes], server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while message := waiting.get():
                self._open.wait()
                server.sendall(message)
            server.shutdown(socket.SHUT_WR)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 18):
                self._open.wait()
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def _count(self, message: bytes) -> None:
        members = decode(message).members
        first = members[0][1]
        name = "+".join(_COMMANDS.get(command, f"{command:#x}") for command, _ in members)
        if isinstance(first, Trans2Request):
            name = _TRANS2.get(int.from_bytes(first.setup[:2], "little"), "TRANSACTION2")
        if isinstance(first, NtTransactRequest) and first.function == const.NT_TRANSACT_NOTIFY_CHANGE:
            name = NOTIFY
        with self._lock:
            self.requests[name] += 1
