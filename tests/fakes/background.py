"""The fake server in a thread of its own, on a loopback port: for mounts and the command line, which are not trio's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio

from tests.fakes.server import FakeServer

T = TypeVar("T")


class Running:
    """A server in its thread. `port` is where it listens; change its script only by `call`, which runs there."""

    def __init__(self, server: FakeServer, port: int, token: trio.lowlevel.TrioToken) -> None:
        self.server = server
        self.address = "127.0.0.1"
        self.port = port
        self._token = token

    def unc(self, share: str = "share") -> str:
        """As the command line wants it; `port` has to be given besides."""
        return f"//{self.address}/{share}"

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Run `function` in the server's thread and give what it gives."""
        return trio.from_thread.run_sync(function, *args, trio_token=self._token)


@contextmanager
def running(server: FakeServer) -> Iterator[Running]:
    """Serve as long as the context lasts."""
    started: queue.SimpleQueue[tuple[int, trio.lowlevel.TrioToken, trio.CancelScope] | BaseException] = (
        queue.SimpleQueue()
    )

    async def serve() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                port = await nursery.start(server.listen)
                started.put((port, trio.lowlevel.current_trio_token(), scope))

    def work() -> None:
        try:
            trio.run(serve)
        except BaseException as exc:
            started.put(exc)
            raise

    thread = threading.Thread(target=work, name="fake SMB1 server", daemon=True)
    thread.start()
    got = started.get(timeout=10)
    if isinstance(got, BaseException):
        raise got
    port, token, scope = got
    try:
        yield Running(server, port, token)
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(10)
        assert not thread.is_alive(), "the fake server does not end"
