"""mmap(2): what a map shows, where writes to it go, and when."""

from __future__ import annotations

import errno
import mmap
import os
import signal

from tests.mount.posix import Place, check, fails, opened, pattern
from tests.mount.posix.actor import Actor
from tests.support.processes import eventually

SHARED = "shared maps: written, seen by other processes, and by read and write"


@check("maps for reading")
def maps_read(place: Place) -> None:
    path, content = place.path / "f", pattern(1_000_003)
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[999_000:] == content[999_000:]
        assert mapped[:] == content


@check(SHARED)
def shared_maps_write(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(pattern(50_000))
    expected = bytearray(pattern(50_000))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        for offset in (0, 4095, 20_000, 49_990):
            mapped[offset : offset + 10] = expected[offset : offset + 10] = b"0123456789"
        mapped.flush()
    assert path.read_bytes() == expected
    assert (place.behind / "f").read_bytes() == expected


@check(SHARED)
def maps_written_are_kept_without_msync(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(bytes(10_000))
    with opened(path, os.O_RDWR) as handle:
        mapped = mmap.mmap(handle, 0)
    mapped[5_000:5_007] = b"written"
    mapped.close()
    eventually(lambda: (place.behind / "f").read_bytes()[5_000:5_007] == b"written", 10, "the server has it")
    assert path.read_bytes()[5_000:5_007] == b"written"


@check(SHARED)
def two_processes_share_a_map(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(bytes(10_000))
    with Actor() as other, path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        other.do("map", path)
        mapped[5_000:5_004] = b"ours"
        assert other.do("get", path, 5_000, 5_004) == b"ours"
        other.do("put", path, 9_000, b"theirs")
        assert mapped[9_000:9_006] == b"theirs"
    assert path.read_bytes()[5_000:5_004] == b"ours"


@check(SHARED)
def maps_and_calls_see_each_other(place: Place) -> None:
    with opened(place.path / "f", os.O_RDWR | os.O_CREAT) as handle:
        os.write(handle, bytes(10_000))
        with mmap.mmap(handle, 0) as mapped:
            os.pwrite(handle, b"written", 4_093)
            assert mapped[4_093:4_100] == b"written"
            mapped[8_000:8_006] = b"mapped"
            assert os.pread(handle, 6, 8_000) == b"mapped"
            os.pwrite(handle, b"beside it", 8_010)
            assert mapped[8_000:8_019] == b"mapped\0\0\0\0beside it"
    assert (place.path / "f").read_bytes()[8_000:8_019] == b"mapped\0\0\0\0beside it"


@check("private maps: writes stay in the process")
def private_maps_are_written_nowhere(place: Place) -> None:
    path, content = place.path / "f", pattern(10_000)
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[5_000:5_007] = b"private"
        assert mapped[4_990:5_010] == content[4_990:5_000] + b"private" + content[5_007:5_010]
        assert path.read_bytes() == content
    assert (place.behind / "f").read_bytes() == content


@check("maps end where the file ends: zeroes to the end of the page, then SIGBUS")
def maps_end_with_the_file(place: Place) -> None:
    path = place.path / "f"
    with opened(path, os.O_RDWR | os.O_CREAT) as handle, Actor() as other:
        os.write(handle, b"x" * 10_000)
        other.do("map", path)
        os.ftruncate(handle, 5_000)
        assert other.do("get", path, 4_998, 5_002) == b"xx\0\0"
        other.begin("get", path, 8_192, 8_193)
        assert other.wait() == -signal.SIGBUS


@check("maps of files for reading only: EACCES to a shared one for writing")
def maps_may_what_the_handle_may(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    with opened(path, os.O_RDONLY) as handle, fails(errno.EACCES):
        mmap.mmap(handle, 0, mmap.MAP_SHARED, mmap.PROT_WRITE)
    with opened(path, os.O_WRONLY) as handle, fails(errno.EACCES):
        mmap.mmap(handle, 0, mmap.MAP_SHARED, mmap.PROT_READ)


@check("a map outlives close and unlink")
def a_map_outlives_its_file(place: Place) -> None:
    path, content = place.path / "f", pattern(200_000)
    path.write_bytes(content)
    with opened(path, os.O_RDONLY) as handle:
        mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
    path.unlink()
    assert mapped[:] == content
    mapped.close()
    eventually(lambda: os.listdir(place.behind) == [], 5, "the file is gone on the server, too")
