"""Locks between processes of this machine. What servers and other machines see of them: tests/mount/test_locks.py."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from tests.mount.posix import Place, check, fails, opened
from tests.mount.posix.actor import Actor

SH, EX, UN, NB = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB


def made(place: Place) -> Path:
    path = place.path / "f"
    path.write_bytes(b"x" * 100)
    return path


@check("fcntl locks of byte ranges, shared and exclusive, between processes")
def ranges_are_locked(place: Place) -> None:
    path = made(place)
    with Actor() as other, opened(path, os.O_RDWR) as file:
        theirs = other.do("open", path, os.O_RDWR)
        fcntl.lockf(file, EX | NB, 10, 20)
        with fails(errno.EAGAIN, errno.EACCES):
            other.do("lockf", theirs, SH | NB, 1, 29)
        other.do("lockf", theirs, EX | NB, 10, 30)
        fcntl.lockf(file, UN, 5, 20)
        other.do("lockf", theirs, EX | NB, 5, 20)
        with fails(errno.EAGAIN, errno.EACCES):
            fcntl.lockf(file, EX | NB, 0, 0)
        other.do("lockf", theirs, UN, 0, 0)
        fcntl.lockf(file, SH | NB, 0, 0)
        other.do("lockf", theirs, SH | NB, 0, 0)
        os.pwrite(file, b"advisory", 0)
        assert other.do("pread", theirs, 8, 0) == b"advisory"


WAITING = "waiting for a lock; locks end with close and with the process"


@check(WAITING)
def who_waits_gets_the_lock(place: Place) -> None:
    path = made(place)
    with Actor() as other, opened(path, os.O_RDWR) as file:
        theirs = other.do("open", path, os.O_RDWR)
        fcntl.lockf(file, EX)
        other.begin("lockf", theirs, EX, 0, 0)
        fcntl.lockf(file, UN)
        other.end()
        with fails(errno.EAGAIN, errno.EACCES):
            fcntl.lockf(file, SH | NB)


@check(WAITING)
def locks_end_with_close(place: Place) -> None:
    """Of any handle of the process, as POSIX has it."""
    path = made(place)
    with Actor() as other:
        theirs = other.do("open", path, os.O_RDWR)
        for end in ("close", "exit"):
            with Actor() as one:
                first, second = one.do("open", path, os.O_RDWR), one.do("open", path, os.O_RDONLY)
                one.do("lockf", first, EX | NB, 0, 0)
                with fails(errno.EAGAIN, errno.EACCES):
                    other.do("lockf", theirs, EX | NB, 0, 0)
                if end == "close":
                    one.do("close", second)
                    other.do("lockf", theirs, EX | NB, 0, 0)
            other.do("lockf", theirs, EX, 0, 0)
            other.do("lockf", theirs, UN, 0, 0)


@check("flock, shared and exclusive, independent of fcntl")
def whole_files_are_locked(place: Place) -> None:
    path = made(place)
    with Actor() as other, opened(path, os.O_RDONLY) as file:
        theirs = other.do("open", path, os.O_RDWR)
        fcntl.flock(file, SH | NB)
        other.do("flock", theirs, SH | NB)
        with fails(errno.EWOULDBLOCK):
            other.do("flock", theirs, EX | NB)
        other.do("lockf", theirs, EX | NB, 0, 0)
        fcntl.flock(file, UN)
        other.do("flock", theirs, EX)
        with fails(errno.EWOULDBLOCK):
            fcntl.flock(file, SH | NB)
