"""TCP ports for servers that cannot be told to take any free one.

Between "this port is free" and the server's own bind another test run may take it, so a port is claimed
machine-wide first: by an abstract Unix socket of that number, which the kernel frees when we end, however we
end.
"""

from __future__ import annotations

import random
import socket
from typing import Self

# Below 32768, where the kernel takes ports for outgoing connections, and free of well-known services.
RANGE = range(21000, 32000)


class PortClaim:
    """A TCP port of the loopback address that is ours until `release`."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        for _ in range(200):
            port = random.choice(RANGE)
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                lock.bind(f"\0smbfuse-test-port-{port}")
                _try_bind(address, port)
            except OSError:
                lock.close()
                continue
            self.port = port
            self._lock = lock
            return
        raise OSError(f"no free port on {address} in {RANGE}")

    def release(self) -> None:
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _try_bind(address: str, port: int) -> None:
    with socket.socket() as probe:
        # As smbd does; else connections of an earlier server on this port would look like a server for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
