"""What other people's programs have shown to be wrong once (tests/programs)."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.mount.posix import Place, check, fails


@check("files too large are refused (EFBIG)", share="how large a file may be is the file system's own business")
def a_file_that_would_be_too_large_is_refused(place: Place) -> None:
    """stress-ng's fsize. The largest file of NTFS, and of smbd, has 64 KiB less than 16 TiB."""
    path = place.path / "f"
    with path.open("wb", buffering=0) as file:
        for offset in (0xFFF_FFFF_0000, 1 << 45, 1 << 62):
            with fails(errno.EFBIG):
                os.pwrite(file.fileno(), b"x", offset)
        assert os.fstat(file.fileno()).st_size == 0
        assert os.pwrite(file.fileno(), b"x", 0xFFF_FFFE_FFFF) == 1
        assert os.fstat(file.fileno()).st_size == 0xFFF_FFFF_0000
        file.truncate(1)
    assert path.read_bytes() == b"\0"


@check("changes of killed programs are whole")
def a_killed_process_changes_nothing_any_more(place: Place) -> None:
    """stress-ng's fanotify: who waited for its end finds its last change done, and can remove the directory.

    Killed at every stage of a rename over an open file, which takes several requests.
    """
    for number in range(40):
        directory = place.path / str(number)
        directory.mkdir()
        _killed_after(number * 0.0005, _rename_over_open, directory)
        for name in ("old", "new"):
            (directory / name).unlink(missing_ok=True)
        directory.rmdir()


def _rename_over_open(directory: Path) -> None:
    with (directory / "old").open("w"), (directory / "new").open("w"):
        (directory / "old").rename(directory / "new")


def _killed_after(seconds: float, work: Callable[[Path], None], directory: Path) -> None:
    """Let a child do this again and again, and kill it so long after it began for the second time."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(directory)
            os.write(tell, b"x")
            while True:
                work(directory)
        finally:
            os._exit(1)
    try:
        assert select.select([told], [], [], 60)[0], "the child does not get anywhere"
        time.sleep(seconds)  # a moment like any other
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)
