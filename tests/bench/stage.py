"""Where a bench takes place: private smbds, the directory that they serve, room for mounts. No measuring here.

The served directory lies in memory where the machine has such a place, so that the clients are compared and not a disk.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.bench.circumstances import Link
from tests.samba.smbd import Share, Smbd
from tests.support.relay import Relay

SHARE = "bench"
MEMORY = Path("/dev/shm")
ROOM = 2 << 30
"""Bytes that must be free in memory: the big file, a copy of it, and as much again."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a client connects to: a server, by its own port or by that of something on the way."""

    server: Smbd
    port: int


class Stage:
    """Two running servers, one that signs and one that does not, with one share for both.

    All is below a directory that is gone at the end; a context manager.
    """

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="smbfuse-bench-", dir=memory_directory()))
        # The server's users and their FUSE mounts get at what is below.
        self._root.chmod(0o755)
        self.served = self._made("served")
        self.local = self._made("local")
        """Beside the share, on the same disk: where copies go that do not concern the server."""
        shares = [Share(name=SHARE, path=self.served)]
        self._servers = {
            signed: Smbd(shares, options={"server signing": signing, "smbd profiling level": "count"})
            for signed, signing in ((False, "disabled"), (True, "mandatory"))
        }
        self._relays: dict[tuple[bool, float], Relay] = {}
        self._running = ExitStack()

    def _made(self, name: str) -> Path:
        path = self._root / name
        path.mkdir()
        return path

    @property
    def in_memory(self) -> bool:
        return self._root.is_relative_to(MEMORY)

    def endpoint(self, link: Link, *, signed: bool = False) -> Endpoint:
        """The server that signs, or the other one, as it is reached over this link."""
        server = self._servers[signed]
        return Endpoint(server, server.port if link.delay is None else self._relay(server, signed, link.delay).port)

    def _relay(self, server: Smbd, signed: bool, delay: float) -> Relay:
        if (signed, delay) not in self._relays:
            relay = Relay(server.port, target=server.address, delay=delay / 2)
            self._relays[signed, delay] = self._running.enter_context(relay)
        return self._relays[signed, delay]

    def mountpoint(self, name: str) -> Path:
        """An empty directory for a mount, the same for each call with this name."""
        path = self._root / f"mnt-{name}"
        path.mkdir(exist_ok=True)
        return path

    def clear(self) -> None:
        """Empty the share and the local directory, past all clients."""
        for directory in (self.served, self.local):
            for entry in directory.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def __enter__(self) -> Self:
        try:
            for server in self._servers.values():
                self._running.enter_context(server)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._running.close()
            for server in self._servers.values():
                server.stop()  # what was never started has its directory all the same
        finally:
            shutil.rmtree(self._root, ignore_errors=True)


def memory_directory() -> Path | None:
    """A directory in memory with room enough, else None: the machine's usual place for temporary files."""
    try:
        room = os.statvfs(MEMORY)
    except OSError:
        return None
    usable = os.access(MEMORY, os.W_OK) and room.f_bavail * room.f_frsize >= ROOM
    return MEMORY if usable else None


def touch_memory(size: int) -> None:
    """Use `size` bytes and give them back, so that whoever comes next gets pages that are really there.

    In a virtual machine the first use of a page may wait for the host. Who is measured first would pay for all.
    """
    block = bytes(1 << 20)
    with mmap.mmap(-1, size) as area:
        for _ in range(size >> 20):
            area.write(block)
