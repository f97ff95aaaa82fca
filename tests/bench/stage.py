"""Where a bench takes place: one private smbd, the directory that it serves, room for mounts. No measuring here.

The served directory lies in memory where the machine has such a place, so that the clients are compared and not a disk.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from tests.samba.smbd import Share, Smbd

SHARE = "bench"
MEMORY = Path("/dev/shm")
ROOM = 2 << 30
"""Bytes that must be free in memory: the big file, a copy of it, and as much again."""


class Stage:
    """A running server with one share, all below a directory that is gone at the end; a context manager."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="smbfuse-bench-", dir=memory_directory()))
        # The server's users and their FUSE mounts get at what is below.
        self._root.chmod(0o755)
        self.served = self._made("served")
        self.local = self._made("local")
        """Beside the share, on the same disk: where copies go that do not concern the server."""
        self.server = Smbd([Share(name=SHARE, path=self.served)])

    def _made(self, name: str) -> Path:
        path = self._root / name
        path.mkdir()
        return path

    @property
    def in_memory(self) -> bool:
        return self._root.is_relative_to(MEMORY)

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
            self.server.__enter__()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.server.stop()
        finally:
            self._discard()

    def _discard(self) -> None:
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
