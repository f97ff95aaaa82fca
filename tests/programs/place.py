"""Where a program is tried: a directory on the file system in question, one on the disk beside it, and how much."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMMAND_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything. Counts, bytes where `_bytes` says so, and seconds."""

    files: int = 2000
    transactions: int = 1000
    fio_bytes: int = 32 << 20
    stress_seconds: int = 60
    each_seconds: int = 2
    """For each stressor alone."""


FULL = Scale()
SHORT = Scale(files=30, transactions=25, fio_bytes=1 << 20, stress_seconds=3, each_seconds=1)


@dataclass(frozen=True, slots=True)
class Place:
    """What a program gets. Both directories are empty, and only for it."""

    path: Path
    """On the file system that is tried."""
    local: Path
    """On the disk."""
    unix: bool
    """Whether the file system keeps modes, owners, symbolic links and device nodes."""
    symlinks: bool
    """Whether it has symbolic links, perhaps no more than that."""
    scale: Scale


class CommandError(RuntimeError):
    """A program failed. The text is its status and the end of what it said."""


def run(
    *command: str | Path,
    cwd: Path | None = None,
    timeout: float = COMMAND_TIMEOUT,
    text: str = "",
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program in C locale with `text` for its input, and return what it printed. CommandError, TimeoutExpired.

    `env` adds to the environment. It runs at low priority: whoever waits for it waits for the file system.
    """
    done = subprocess.run(
        ["nice", *map(str, command)],
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=timeout,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
    )
    if done.returncode:
        raise CommandError(f"{command[0]}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout
