"""Real mounts of a real smbd whose answers are damaged on their way: programs end, mounts too, without a traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.damage import DamagingRelay
from tests.fuzz.figures import Figures
from tests.fuzz.sessions import HangError, refill, smbd
from tests.samba.smbd import Smbd
from tests.support.mount import Mount
from tests.support.processes import wait_gone

RATE: Final = 0.02
OPTIONS: Final = {"request_timeout": 5, "echo_interval": 1, "reconnect_timeout": 3, "retrans": 2}
BOUND: Final = 180.0
"""Seconds after which a program counts as hung."""
WORK: Final = (
    "ls -lR .",
    "cat hello.txt large sub/* link",
    "cp large a; cmp large a; rm a",
    "mkdir b; echo x > b/c; mv b/c b/d; rm -r b",
    "dd if=/dev/zero of=b bs=64k count=10 conv=fsync; truncate -s 100 b; rm b",
    "df .; stat -f .; getfattr -d -m- hello.txt sub",
    "find . -newer hello.txt; touch hello.txt",
    "ln -s x gone; readlink gone link; rm gone",
)
_BUG: Final = re.compile(r"Traceback|bug in smbfuse|Fatal Python error|never awaited")


def work(path: Path, random: Random, figures: Figures) -> None:
    """Programs, one after the other; what they say of errors is theirs."""
    for script in random.sample(WORK, 4):
        with subprocess.Popen(
            ["sh", "-c", script],
            cwd=path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as child:
            left = wait_gone([child.pid], BOUND)
            if left:
                os.killpg(child.pid, signal.SIGKILL)
                raise HangError(f"'{script}' took more than {BOUND:g} s")
            figures.outcomes["programs fine" if child.wait() == 0 else "programs with errors"] += 1


@contextmanager
def told(mount: Mount) -> Iterator[None]:
    """What comes up takes the mount's log with it."""
    try:
        yield
    except BaseException as error:
        error.add_note(mount.report())
        raise


def one(server: Smbd, port: int, mountpoint: Path, random: Random, figures: Figures) -> None:
    """One mount, from its start to its end."""
    options = {**OPTIONS, "port": port, "nounix": random.random() < 0.5}
    mount = Mount.of(server, "share", mountpoint, options)
    try:
        mount.start()
    except AssertionError as error:  # the damage came before it was mounted
        if "ended with" not in str(error) or "is not valid" in str(error):
            raise
        figures.outcomes["refused"] += 1
    else:
        with told(mount):
            try:
                work(mount.path, random, figures)
            except FileNotFoundError:
                figures.outcomes["gone at once"] += 1
            except OSError:
                figures.outcomes["not to be entered"] += 1
            mount.umount()
    if _BUG.search(mount.log()):
        raise AssertionError(mount.report())


def run(count: int, seed: int, figures: Figures) -> None:
    """So many mounts, one after the other."""
    random = Random(seed)
    with tempfile.TemporaryDirectory(prefix="smbfuse-fuzz-") as name, smbd(Path(name)) as server:
        mountpoint = Path(name) / "mnt"
        mountpoint.mkdir()
        with DamagingRelay((server.address, server.port), seed, RATE) as relay:
            for _ in figures.counted(count):
                refill(server.shares["share"].path)
                one(server, relay.port, mountpoint, random, figures)
            figures.outcomes.update(relay.damaged)
