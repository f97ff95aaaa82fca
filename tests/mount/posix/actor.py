"""Another process, and another user: it makes the system calls that it is told to.

    with Actor(user=NOBODY) as other, fails(errno.EPERM):
        other.do("chmod", path, 0o777)

`do` knows the functions of `os` and those of this module that are in EXTRA, and raises what they raise there. This file
is the process's program, too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Self

NOBODY = 65534
STRANGER = 65533
"""Numbers of users of which nothing else is known. Groups have the same."""
LIMIT = 30.0


class Actor:
    """The process, for as long as the `with` block runs. `user`: becomes this user, of the group of the same number."""

    def __init__(self, user: int | None = None, groups: tuple[int, ...] = ()) -> None:
        # Without site and environment: it starts in half the time, and many are started.
        command = [sys.executable, "-I", "-S", __file__, *map(str, () if user is None else (user, *groups))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, name: str, *arguments: object) -> None:
        """Have it make a call, and do not wait for the end."""
        assert self._process.stdin is not None
        plain = [os.fspath(one) if isinstance(one, os.PathLike) else one for one in arguments]
        pickle.dump((name, plain), self._process.stdin)
        self._process.stdin.flush()

    def end(self) -> Any:  # noqa: ANN401 - whatever the function gives
        """What the call that was begun gave. Raises what it raised."""
        assert self._process.stdout is not None
        done, value = pickle.load(self._process.stdout)
        if done:
            return value
        raise value

    def do(self, name: str, *arguments: object) -> Any:  # noqa: ANN401
        """What the function gives there. Raises what it raises there."""
        self.begin(name, *arguments)
        return self.end()

    def wait(self) -> int:
        """Its status, when it has ended by itself."""
        return self._process.wait(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


# --- what it can do besides what is in `os`


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write_file(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def claim(directory: str, count: int) -> list[int]:
    """Create the files 0 to `count` that nobody has created yet; which ones these were."""
    won = []
    for number in range(count):
        try:
            os.close(os.open(f"{directory}/{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            continue
        won.append(number)
    return won


def append(path: str, records: list[bytes]) -> None:
    """Add records to a file, each with one write."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND)
    for record in records:
        if os.write(number, record) != len(record):
            raise OSError("a short write")
    os.close(number)


def replace(directory: str, name: str, contents: list[bytes]) -> None:
    """Write each of these to a new file and rename it to `name`."""
    for content in contents:
        write_file(f"{directory}/{name}.new", content)
        os.rename(f"{directory}/{name}.new", f"{directory}/{name}")


class Maps:
    """Memory maps of this process, by the name of their file."""

    def __init__(self) -> None:
        self.of: dict[str, mmap.mmap] = {}

    def map(self, path: str) -> None:
        with open(path, "r+b") as file:
            self.of[path] = mmap.mmap(file.fileno(), 0)

    def get(self, path: str, start: int, end: int) -> bytes:
        return self.of[path][start:end]

    def put(self, path: str, start: int, content: bytes) -> None:
        self.of[path][start : start + len(content)] = content


_maps = Maps()
EXTRA: dict[str, Callable[..., Any]] = {
    "read_file": read_file,
    "write_file": write_file,
    "claim": claim,
    "append": append,
    "replace": replace,
    "map": _maps.map,
    "get": _maps.get,
    "put": _maps.put,
    "lockf": fcntl.lockf,
    "flock": fcntl.flock,
    "access_as": lambda path, how: os.access(path, how, effective_ids=True),
}


def become(user: int, *groups: int) -> None:
    os.setgroups(groups)
    os.setgid(user)
    os.setuid(user)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Make the calls that come in until none do."""
    while True:
        try:
            name, arguments = pickle.load(requests)
        except EOFError:
            return
        function = EXTRA.get(name) or getattr(os, name)
        try:
            answer = (True, function(*arguments))
        except OSError as error:
            answer = (False, error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        become(*map(int, sys.argv[1:]))
    serve(sys.stdin.buffer, sys.stdout.buffer)
