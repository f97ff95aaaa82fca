"""A relay in a thread of the test's own that counts the requests that pass.

It changes no byte, so signed sessions pass, too. Messages are taken apart with the project's own decoder, which the
recorded captures prove; what it counts is what the client chose to send.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from smbfuse.wire import const
from smbfuse.wire.frame import decode
from smbfuse.wire.trans import NtTransactRequest, Trans2Request
from tests.support.relay.conditions import TO_SERVER
from tests.support.relay.loop import Loop
from tests.support.relay.remote import Remote

_COMMANDS = {value: name.removeprefix("SMB_COM_") for name, value in vars(const).items() if name.startswith("SMB_COM_")}
_TRANS2 = {value: name.removeprefix("TRANS2_") for name, value in vars(const).items() if name.startswith("TRANS2_")}
NOTIFY = "NOTIFY_CHANGE"
"""What is asked beside all work, and answered when something happens."""
_LIMIT = 20.0


class Tap(Remote):
    """Listens on `port` of `host` as long as the `with` block runs; each connection goes on to `server`."""

    def __init__(self, server: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        super().__init__()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family)
        self.port: int = listener.getsockname()[1]
        self.requests: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=Loop(server, listener, self._theirs, self._see).run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._hang_up()
        self._thread.join(_LIMIT)
        assert not self._thread.is_alive(), "the thread of the tap does not end"

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """The requests, by name, that pass while the block runs; complete when it is left.

        Without those that the server answers when something happens: they are made at moments of their own.
        """
        with self._counting:
            before = self.requests.copy()
        found: Counter[str] = Counter()
        yield found
        with self._counting:
            found.update(self.requests - before)
        del found[NOTIFY]

    def _see(self, way: str, message: bytes) -> Sequence[bytes]:
        # Counted before it is passed on: whoever has the answer finds the count complete.
        if way == TO_SERVER:
            self._count(message[4:])
        return [message]

    def _count(self, message: bytes) -> None:
        members = decode(message).members
        first = members[0][1]
        name = "+".join(_COMMANDS.get(command, f"{command:#x}") for command, _ in members)
        if isinstance(first, Trans2Request):
            name = _TRANS2.get(int.from_bytes(first.setup[:2], "little"), "TRANSACTION2")
        if isinstance(first, NtTransactRequest) and first.function == const.NT_TRANSACT_NOTIFY_CHANGE:
            name = NOTIFY
        with self._counting:
            self.requests[name] += 1
