"""A process that opens, locks, reads and writes files on command: `python -m tests.support.locker`, or `Locker`.

Commands are lines of JSON, [name, arguments...]; answers are lines of JSON, ["ok", value] or ["errno", name].
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of Linux on 64-bit machines
_OFD_SETLK = 37  # asm-generic/fcntl.h; Python 3.11 has no name for it
ANSWER_TIMEOUT = 20.0


class Commands:
    """What the process can do; one file at a time under each name."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}

    def open(self, name: str, path: str, flags: int) -> None:
        self.files[name] = os.open(path, flags)

    def close(self, name: str) -> None:
        os.close(self.files.pop(name))

    def lock(self, name: str, kind: int, start: int, length: int) -> None:
        fcntl.fcntl(self.files[name], fcntl.F_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))

    def wait(self, name: str, kind: int, start: int, length: int) -> None:
        fcntl.fcntl(self.files[name], fcntl.F_SETLKW, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))

    def ofd(self, name: str, kind: int, start: int, length: int) -> None:
        """A lock of the open file description."""
        fcntl.fcntl(self.files[name], _OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))

    def test(self, name: str, kind: int, start: int, length: int) -> list[int]:
        asked = _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
        found, _, first, size, pid = _FLOCK.unpack(fcntl.fcntl(self.files[name], fcntl.F_GETLK, asked))
        return [found] if found == fcntl.F_UNLCK else [found, first, size, pid]

    def flock(self, name: str, operation: int) -> None:
        fcntl.flock(self.files[name], operation)

    def read(self, name: str, offset: int, size: int) -> str:
        return os.pread(self.files[name], size, offset).decode()

    def write(self, name: str, offset: int, text: str) -> int:
        return os.pwrite(self.files[name], text.encode(), offset)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise OSError(errno.EINTR, "a signal")  # else Python would repeat the system call


def main() -> None:
    """Answer commands until there are none. SIGUSR1 ends one that waits, with EINTR."""
    signal.signal(signal.SIGUSR1, _interrupt)
    commands = Commands()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        command: Callable[..., Any] = getattr(commands, name)
        try:
            answer = ["ok", command(*arguments)]
        except OSError as exc:
            answer = ["errno", errno.errorcode[exc.errno or 0]]
        print(json.dumps(answer), flush=True)


class Locker:
    """Such a process, from outside. `locker("lock", "f", F_WRLCK, 0, 10)` gives the value, or the name of the errno."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.locker"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)

    def ask(self, *command: object) -> None:
        """Give a command without waiting for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answered(self) -> bool:
        """Whether an answer is there."""
        return not self._answers.empty()

    def answer(self) -> Any:  # noqa: ANN401 - whatever the command gives
        """The next answer. queue.Empty if none comes."""
        return json.loads(self._answers.get(timeout=ANSWER_TIMEOUT))[1]

    def __call__(self, *command: object) -> Any:  # noqa: ANN401
        self.ask(*command)
        return self.answer()

    def blocked(self) -> bool:
        """Whether it is in a system call that waits for a lock."""
        function = Path(f"/proc/{self.process.pid}/wchan").read_text()
        return any(word in function for word in ("fuse", "request_wait", "lock", "setlk"))

    def interrupt(self) -> None:
        """End the command under way."""
        self.process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait(ANSWER_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill it, and let go of what we had for it."""
        self.kill()
        self._reader.join(ANSWER_TIMEOUT)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


if __name__ == "__main__":
    main()
