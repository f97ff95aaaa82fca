"""What fails, and with which errno: no room, nothing to be changed, another file system, a running program."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mount.posix import SMALL, Place, check, fails, opened, pattern

FULL = "ENOSPC on a full disk; what was written before stays"


@check(FULL, root=True)
def a_full_disk(place: Place) -> None:
    small = place.elsewhere("small")[0]
    block = pattern(64 << 10)
    path = small / "f"
    with opened(path, os.O_RDWR | os.O_CREAT) as handle:
        written = 0
        with fails(errno.ENOSPC):
            while written <= 2 * SMALL:
                count = os.write(handle, block)
                os.fsync(handle)  # until then it may wait
                written += count
        assert SMALL // 2 < written <= SMALL
        assert os.pread(handle, len(block), written - len(block)) == block
        os.fsync(handle)
    assert path.stat().st_size >= written
    path.unlink()
    (small / "g").write_bytes(block)  # there is room again
    (small / "g").unlink()


@check(FULL, root=True)
def a_file_that_cannot_grow_can_be_changed(place: Place) -> None:
    small = place.elsewhere("small")[0]
    path = small / "f"
    with opened(path, os.O_RDWR | os.O_CREAT) as handle:
        with fails(errno.ENOSPC):
            for offset in range(0, 2 * SMALL, 64 << 10):
                os.pwrite(handle, b"x" * (64 << 10), offset)
                os.fsync(handle)  # until then it may wait
        os.pwrite(handle, b"changed", 0)
        assert os.pread(handle, 7, 0) == b"changed"
        os.ftruncate(handle, 4096)
        os.pwrite(handle, b"y" * 4096, 4096)
    assert path.stat().st_size == 8192
    path.unlink()


READ_ONLY = "EROFS on a read-only mount and a read-only share"


@check(READ_ONLY, root=True)
def nothing_is_changed_where_all_is_read_only(place: Place) -> None:
    for there in place.elsewhere("read-only"):
        file, directory = there / "f", there / "d"
        before = file.read_bytes()
        for call, arguments in (
            (os.open, (file, os.O_WRONLY)),
            (os.open, (file, os.O_RDWR)),
            (os.open, (file, os.O_RDONLY | os.O_TRUNC)),
            (os.open, (there / "new", os.O_WRONLY | os.O_CREAT)),
            (os.truncate, (file, 0)),
            (os.mkdir, (there / "new",)),
            (os.rmdir, (directory,)),
            (os.unlink, (file,)),
            (os.rename, (file, there / "new")),
            (os.link, (file, there / "new")),
            (os.symlink, ("f", there / "new")),
            (os.mknod, (there / "new",)),
            (os.chmod, (file, 0o600)),
            (os.utime, (file, (0, 0))),
            (os.setxattr, (file, "user.a", b"x")),
        ):
            with fails(errno.EROFS):
                call(*arguments)
        assert not os.access(file, os.W_OK)
        assert file.read_bytes() == before
        assert sorted(os.listdir(there)) == ["d", "f"]


@check("EXDEV between two mounts (mv then copies)", root=True)
def file_systems_are_told_apart(place: Place) -> None:
    small = place.elsewhere("small")[0]
    (place.path / "f").write_bytes(b"content")
    with fails(errno.EXDEV):
        (place.path / "f").rename(small / "f")
    with fails(errno.EXDEV):
        os.link(place.path / "f", small / "f")
    assert place.path.stat().st_dev != small.stat().st_dev
    shutil.move(place.path / "f", small / "f")
    assert (small / "f").read_bytes() == b"content"
    assert os.listdir(place.path) == []
    (small / "f").unlink()


@check("ETXTBSY for a running program")
def a_running_program_is_not_written(place: Place) -> None:
    program = place.path / "program"
    shutil.copy("/bin/sleep", program)
    program.chmod(0o755)
    with opened(program, os.O_WRONLY), fails(errno.ETXTBSY):
        subprocess.run([str(program), "0"], check=True)
    with _running(program):
        with fails(errno.ETXTBSY):
            os.open(program, os.O_WRONLY)
        with fails(errno.ETXTBSY):
            os.truncate(program, 0)
        program.rename(place.path / "old")
        shutil.copy("/bin/true", program)  # as an update does it
        program.chmod(0o755)
        subprocess.run([str(program)], check=True, timeout=30)
    subprocess.run([str(place.path / "old"), "0"], check=True, timeout=30)


@contextmanager
def _running(program: Path) -> Iterator[None]:
    """The program sleeps, for as long as the block runs."""
    process = subprocess.Popen([str(program), "1000"])
    try:
        yield
    finally:
        process.kill()
        process.wait(30)


@check("files beyond what the server's disk can hold: EFBIG", unix="ENOSPC", nounix="ENOSPC")
def files_too_large(place: Place) -> None:
    with opened(place.path / "f", os.O_RDWR | os.O_CREAT) as handle:
        with fails(errno.EFBIG, errno.EINVAL):
            os.pwrite(handle, b"x", (1 << 63) - 1)
        with fails(errno.EFBIG):
            os.ftruncate(handle, 1 << 60)
        assert os.fstat(handle).st_size == 0
        os.write(handle, b"content")
    assert (place.path / "f").read_bytes() == b"content"
