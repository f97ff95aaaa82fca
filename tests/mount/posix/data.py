"""Contents of files: written, read, cut, with holes, far out, by many at once."""

from __future__ import annotations

import errno
import mmap
import os
from concurrent.futures import ThreadPoolExecutor

from tests.mount.posix import Place, check, fails, listing, opened, pattern

SIZES = (0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 131072, (1 << 20) + 1, 5 << 20)
BEYOND = (4 << 30) + 5
"""An offset that does not fit 32 bits."""
READ_WRITE = "reading and writing, files of any size"


@check(READ_WRITE)
def contents_of_every_size_come_back(place: Place) -> None:
    for size in SIZES:
        path, content = place.path / f"size{size}", pattern(size)
        path.write_bytes(content)
        assert path.stat().st_size == size
        assert path.read_bytes() == content
        assert (place.behind / path.name).read_bytes() == content


@check(READ_WRITE)
def small_writes_and_reads_at_odd_places(place: Place) -> None:
    path, expected = place.path / "f", bytearray(200_000)
    with path.open("wb", buffering=0) as file:
        for number in range(100):
            offset, piece = number * 7919 % 190_000, pattern(number * 31 % 5000 + 1, seed=number)
            assert os.pwrite(file.fileno(), piece, offset) == len(piece)
            expected[offset : offset + len(piece)] = piece
        os.ftruncate(file.fileno(), len(expected))
    with path.open("rb", buffering=0) as file:
        for number in range(100):
            offset = number * 6007 % 200_000
            assert os.pread(file.fileno(), 777, offset) == expected[offset : offset + 777]


@check(READ_WRITE)
def reads_at_the_end_are_short(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(pattern(10_000))
    with opened(path, os.O_RDONLY) as handle:
        assert os.pread(handle, 4096, 9_000) == pattern(10_000)[9_000:]
        assert os.pread(handle, 4096, 10_000) == b""
        assert os.pread(handle, 4096, BEYOND) == b""
        assert os.lseek(handle, -1, os.SEEK_END) == 9_999
        assert os.read(handle, 100) == pattern(10_000)[-1:]


@check(READ_WRITE)
def two_handles_see_each_other(place: Place) -> None:
    path = place.path / "f"
    with path.open("w+b", buffering=0) as first, path.open("r+b", buffering=0) as second:
        first.write(b"0123456789")
        assert os.fstat(second.fileno()).st_size == 10
        assert os.pread(second.fileno(), 20, 0) == b"0123456789"
        os.pwrite(second.fileno(), b"abc", 3)
        assert os.pread(first.fileno(), 20, 0) == b"012abc6789"
        second.truncate(4)
        assert os.pread(first.fileno(), 20, 0) == b"012a"
        assert path.stat().st_size == 4


@check("offsets beyond 4 GiB")
def offsets_beyond_4_gib(place: Place) -> None:
    path = place.path / "sparse"
    with opened(path, os.O_RDWR | os.O_CREAT) as handle:
        assert os.pwrite(handle, b"far out", BEYOND) == 7
        assert os.fstat(handle).st_size == BEYOND + 7
        assert os.pread(handle, 20, BEYOND - 3) == b"\0\0\0far out"
        assert os.pread(handle, 10, 0xFFFF_FFFB) == bytes(10)
        os.ftruncate(handle, BEYOND + 3)
        assert os.pread(handle, 20, BEYOND) == b"far"
    assert (place.behind / "sparse").stat().st_size == BEYOND + 3
    os.truncate(path, 6 << 30)
    assert path.stat().st_size == 6 << 30
    os.truncate(path, 3)
    assert path.read_bytes() == bytes(3)


@check("sparse files: holes read as zeroes and take no room")
def holes_take_no_room(place: Place) -> None:
    path = place.path / "f"
    with opened(path, os.O_RDWR | os.O_CREAT) as handle:
        os.pwrite(handle, b"begin", 0)
        os.pwrite(handle, b"end", 64 << 20)
        assert os.pread(handle, 10, 0) == b"begin" + bytes(5)
        assert os.pread(handle, 1 << 20, 31 << 20) == bytes(1 << 20)
    for told in (path.stat(), (place.behind / "f").stat()):
        assert told.st_size == (64 << 20) + 3
        assert 0 < told.st_blocks * 512 < 4 << 20


TRUNCATE = "truncate and ftruncate: shorter and longer, by zeroes"


@check(TRUNCATE)
def truncate_by_path_and_by_handle(place: Place) -> None:
    path, content = place.path / "f", pattern(100_000)
    path.write_bytes(content)
    os.truncate(path, 70_001)
    assert path.read_bytes() == content[:70_001]
    os.truncate(path, 80_000)
    assert path.read_bytes() == content[:70_001] + bytes(9_999)
    with path.open("r+b", buffering=0) as file:
        file.truncate(5)
        assert os.fstat(file.fileno()).st_size == path.stat().st_size == 5
        file.truncate(10)
        assert file.read() == content[:5] + bytes(5)
        file.truncate(0)
    assert path.read_bytes() == b""
    with fails(errno.ENOENT):
        os.truncate(place.path / "none", 0)
    with fails(errno.EISDIR):
        os.truncate(place.path, 0)


@check(TRUNCATE)
def what_was_cut_off_does_not_come_back(place: Place) -> None:
    """Not out of the page that was cut in two, and not where a write leaves a gap either."""
    path, content = place.path / "f", pattern(9_000)
    with opened(path, os.O_RDWR | os.O_CREAT) as handle:
        os.pwrite(handle, content, 0)
        assert os.pread(handle, 10_000, 0) == content
        os.ftruncate(handle, 5_000)
        os.ftruncate(handle, 9_000)
        assert os.pread(handle, 10_000, 0) == content[:5_000] + bytes(4_000)
        os.ftruncate(handle, 100)
        os.pwrite(handle, b"x", 8_000)
        assert os.pread(handle, 10_000, 0) == content[:100] + bytes(7_900) + b"x"
        with mmap.mmap(handle, 8_001, access=mmap.ACCESS_READ) as mapped:
            assert mapped[:] == content[:100] + bytes(7_900) + b"x"


@check(TRUNCATE)
def truncate_needs_a_handle_for_writing(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    with path.open("rb") as reading:
        with fails(errno.EINVAL):
            os.ftruncate(reading.fileno(), 0)
        os.truncate(path, 3)
        assert os.pread(reading.fileno(), 10, 0) == b"con"


@check(TRUNCATE)
def the_position_stays_where_it_is(place: Place) -> None:
    """After ftruncate as before it; what is written there then leaves a gap."""
    with opened(place.path / "f", os.O_RDWR | os.O_CREAT) as handle:
        os.write(handle, b"0123456789")
        os.ftruncate(handle, 2)
        assert os.lseek(handle, 0, os.SEEK_CUR) == 10
        os.write(handle, b"x")
        assert os.pread(handle, 20, 0) == b"01" + bytes(8) + b"x"


@check("O_DIRECT")
def direct_io(place: Place) -> None:
    path = place.path / "f"
    buffer = mmap.mmap(-1, 256 << 10)
    buffer.write(pattern(256 << 10))
    with opened(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT) as handle:
        assert os.pwritev(handle, [buffer], 4096) == 256 << 10
        back = mmap.mmap(-1, 512 << 10)
        assert os.preadv(handle, [back], 0) == (256 << 10) + 4096
        assert back[4096 : (256 << 10) + 4096] == pattern(256 << 10)


SYNC = "fsync, fdatasync, O_SYNC; fsync of directories"


@check(SYNC)
def fsync_of_files_and_directories(place: Place) -> None:
    with (place.path / "f").open("wb") as file:
        file.write(pattern(100_000))
        file.flush()
        os.fsync(file.fileno())
        assert (place.behind / "f").read_bytes() == pattern(100_000)
        file.write(b"more")
        file.flush()
        os.fdatasync(file.fileno())
        assert (place.behind / "f").read_bytes() == pattern(100_000) + b"more"
    for path in (place.path / "f", place.path):
        with opened(path, os.O_RDONLY) as handle:
            os.fsync(handle)


@check(SYNC)
def synchronous_writes_are_there_when_they_return(place: Place) -> None:
    for flag in (os.O_SYNC, os.O_DSYNC):
        with opened(place.path / "f", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flag) as handle:
            for number in range(1, 4):
                assert os.write(handle, b"x" * 5_000) == 5_000
                assert (place.behind / "f").read_bytes() == b"x" * 5_000 * number


AT_ONCE = "many files, and pieces of one file, written at once"


@check(AT_ONCE)
def many_at_once(place: Place) -> None:
    def work(number: int) -> None:
        path, content = place.path / f"f{number}", pattern(number * 3001 % 300_000, seed=number)
        path.write_bytes(content)
        assert path.read_bytes() == content
        path.rename(place.path / f"g{number}")
        assert (place.path / f"g{number}").stat().st_size == len(content)
        if number % 2:
            (place.path / f"g{number}").unlink()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(64)))
    assert listing(place.path) == sorted(f"g{number}" for number in range(0, 64, 2))


@check(AT_ONCE)
def one_file_written_in_pieces_at_once(place: Place) -> None:
    path, content, piece = place.path / "f", pattern(3 << 20), 100_001
    path.touch()

    def work(offset: int) -> None:
        with path.open("r+b", buffering=0) as file:
            assert os.pwrite(file.fileno(), content[offset : offset + piece], offset) > 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(0, len(content), piece)))
    assert path.read_bytes() == content
