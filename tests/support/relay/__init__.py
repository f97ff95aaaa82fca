"""A TCP relay on loopback in front of a server: what networks do to connections, done on command.

    with Relay(server.port, delay=0.010) as relay:
        mount(server, port=relay.port)
        relay.cut()

It runs in a process of its own, so it takes nothing from the GIL of who uses it, and works in synchronous tests and in
the benchmark alike. With a delay it carries as much as without: bytes wait for their time, not for each other.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from tests.samba.ports import PortClaim
from tests.support.relay.conditions import TO_CLIENT, TO_SERVER
from tests.support.relay.remote import Remote, Status

__all__ = ["TO_CLIENT", "TO_SERVER", "Relay", "Status"]

_END: Final = 10.0
_KEEP_MEMORY: Final = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
"""Pages given back to the kernel and taken again would cost as much as the bytes that go through them."""


class Relay(Remote):
    """Listens on `port` of `host` as long as the `with` block runs; each connection goes on to `port` of `target`."""

    def __init__(
        self,
        port: int,
        *,
        target: str = "127.0.0.1",
        delay: float = 0.0,
        throttle: float | None = None,
    ) -> None:
        super().__init__()
        self._target = (target, port)
        self._delay = delay
        self._throttle = throttle
        # Claimed, so that nobody takes it while it is refused.
        self._claim = PortClaim()
        self.port = self._claim.port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve; clients may connect when this returns."""
        with socket.create_server(("127.0.0.1", self.port), backlog=128) as listener, self._theirs:
            passed = (listener.fileno(), self._theirs.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.relay", *map(str, passed), self._target[0], str(self._target[1])],
                cwd=Path(__file__).parents[3],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env=os.environ | _KEEP_MEMORY,
            )
        self.delay(self._delay)
        self.throttle(self._throttle, self._throttle)

    def stop(self) -> None:
        """End it and its connections. Raises AssertionError where it ended badly before."""
        self._hang_up()
        self._claim.release()
        if self._process is not None:
            try:
                status = self._process.wait(_END)
            finally:
                self._process.kill()
                self._process.wait(_END)
            assert status == 0, f"the relay ended with status {status}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
