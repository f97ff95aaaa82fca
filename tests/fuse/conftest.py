"""The file systems of `tiny.py` and `extra.py`, mounted: what the tests of this directory share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import pytest

PATIENCE = 30.0
"""Seconds after which a test gives up on something that takes milliseconds."""


class Mount:
    """A running file system: its mountpoint, and the line to it."""

    def __init__(self, path: Path, line: socket.socket) -> None:
        self.path = path
        self._line = line
        self._lines = line.makefile("rb")

    def expect(self, line: str) -> None:
        """Wait for the file system to say `line` next."""
        assert self.next_line() == line

    def next_line(self) -> str:
        """What the file system says next."""
        return self._lines.readline().decode().rstrip("\n")

    def numbers(self, name: str) -> list[int]:
        """Wait for the file system to say `name` and numbers, whatever it says before that. Returns the numbers."""
        while line := self.next_line():
            first, *numbers = line.split()
            if first == name:
                return [int(number) for number in numbers]
        raise AssertionError(f"it never said {name}")

    def ask(self, word: str) -> None:
        self._line.sendall(f"{word}\n".encode())

    def ping(self) -> float:
        """Seconds that the event loop takes to answer a message that came by TCP."""
        begun = monotonic()
        self.ask("ping")
        self.expect("pong")
        return monotonic() - begun

    def answers_within(self, seconds: float) -> bool:
        """Whether the event loop answers in time. If it does not, a FUSE request sets it going again."""
        self.ask("ping")
        self._line.settimeout(seconds)
        try:
            in_time = bool(self._line.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            in_time = False
            self.path.joinpath("wake-up").exists()
        self._line.settimeout(PATIENCE)
        self.expect("pong")
        return in_time


@contextmanager
def mounted(path: Path, program: str, *arguments: object) -> Iterator[Mount]:
    """Mount the file system of that module at `path` while the block runs."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(PATIENCE)
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", f"tests.fuse.{program}", os.fspath(path)]
        port = listener.getsockname()[1]
        process = stack.enter_context(subprocess.Popen([*command, str(port), *map(str, arguments)]))
        stack.callback(process.kill)
        line = stack.enter_context(listener.accept()[0])
        line.settimeout(PATIENCE)
        mount = Mount(path, line)
        mount.expect("mounted")
        yield mount
        line.shutdown(socket.SHUT_WR)
        assert process.wait(PATIENCE) == 0
        assert not path.is_mount()


Mounter = Callable[..., Mount]


@pytest.fixture
def mount_tiny(tmp_path: Path) -> Iterator[Mounter]:
    """Mounts the tiny file system: mount_tiny(cure, busy=0.0)."""
    with ExitStack() as stack:

        def mount(cure: str, busy: float = 0.0) -> Mount:
            return stack.enter_context(mounted(tmp_path, "tiny", cure, busy))

        yield mount


@pytest.fixture
def mount_extra(tmp_path: Path) -> Iterator[Mounter]:
    """Mounts the file system with further operations: mount_extra(mode)."""
    with ExitStack() as stack:

        def mount(mode: str) -> Mount:
            return stack.enter_context(mounted(tmp_path, "extra", mode))

        yield mount
