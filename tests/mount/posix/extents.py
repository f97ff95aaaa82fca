"""Ranges of bytes: copy_file_range, data and holes, space that is kept, and what caches and maps show of it all."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mount.posix import Place, check, fails, pattern

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
_libc = ctypes.CDLL(None, use_errno=True)


def fallocate(handle: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2). OSError as it says."""
    if _libc.fallocate(handle, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def handle_of(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """An open file, made if it is not there."""
    handle = os.open(path, flags | os.O_CREAT, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def pair(place: Place) -> Iterator[tuple[int, int]]:
    """The files `source` and `target`, open."""
    with handle_of(place.path / "source") as source, handle_of(place.path / "target") as target:
        yield source, target


def copied(source: int, target: int, length: int, start: int, to: int) -> int:
    """copy_file_range(2), repeated as programs do: until 0 comes or all is copied."""
    done = 0
    while done < length and (count := os.copy_file_range(source, target, length - done, start + done, to + done)):
        done += count
    return done


def data_at(handle: int, offset: int) -> int | None:
    """Where the next data begin; None: there are no more."""
    try:
        return os.lseek(handle, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def runs(handle: int) -> list[tuple[int, int]]:
    """Where the file has data, as programs find it out."""
    found: list[tuple[int, int]] = []
    at = 0
    while (first := data_at(handle, at)) is not None:
        at = os.lseek(handle, first, os.SEEK_HOLE)
        assert first < at
        found.append((first, at))
    return found


def covered(found: list[tuple[int, int]], offset: int, size: int) -> bool:
    return any(first <= offset and offset + size <= last for first, last in found)


# --- copy_file_range


@check("copy_file_range")
def ranges_are_copied(place: Place) -> None:
    content = pattern(2_500_000)
    (place.path / "source").write_bytes(content)
    with pair(place) as (source, target):
        expected = bytearray(b"-" * 300_000)
        os.pwrite(target, expected, 0)
        for start, to, length in ((0, 0, 10), (4095, 100_001, 8193), (1_000_000, 299_990, 1_234_567), (7, 4096, 1)):
            assert copied(source, target, length, start, to) == length
            expected.extend(bytes(max(to + length - len(expected), 0)))
            expected[to : to + length] = content[start : start + length]
        assert os.fstat(target).st_size == (place.path / "target").stat().st_size == len(expected)
        assert os.pread(target, 1 << 22, 0) == expected
    assert (place.path / "target").read_bytes() == (place.behind / "target").read_bytes() == expected


@check("copy_file_range")
def copies_end_with_their_source(place: Place) -> None:
    (place.path / "source").write_bytes(pattern(1000))
    with pair(place) as (source, target):
        assert os.copy_file_range(source, target, 1 << 30, 900, 5) == 100
        assert os.copy_file_range(source, target, 100, 1000, 0) == 0
        assert os.copy_file_range(source, target, 100, 5000, 0) == 0
        assert os.copy_file_range(source, target, 0, 0, 0) == 0
        assert os.pread(target, 1000, 0) == bytes(5) + pattern(1000)[900:]


@check("copy_file_range")
def copies_move_the_positions(place: Place) -> None:
    (place.path / "source").write_bytes(b"0123456789")
    with pair(place) as (source, target):
        os.lseek(source, 4, os.SEEK_SET)
        assert os.copy_file_range(source, target, 3) == 3
        assert os.copy_file_range(source, target, 100) == 3
        assert (os.lseek(source, 0, os.SEEK_CUR), os.lseek(target, 0, os.SEEK_CUR)) == (10, 6)
    assert (place.path / "target").read_bytes() == b"456789"


@check("copy_file_range")
def copies_within_a_file(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        os.pwrite(handle, b"0123456789", 0)
        assert os.copy_file_range(handle, handle, 5, 0, 5) == 5
        assert os.copy_file_range(handle, handle, 2, 8, 20) == 2
        for start, to in ((0, 4), (4, 0), (3, 3)):
            with fails(errno.EINVAL):
                os.copy_file_range(handle, handle, 5, start, to)
    assert (place.path / "f").read_bytes() == b"0123401234" + bytes(10) + b"34"


@check("copy_file_range")
def copies_want_handles_that_may(place: Place) -> None:
    path = place.path / "f"
    with (
        handle_of(path) as both,
        handle_of(path, os.O_RDONLY) as reading,
        handle_of(path, os.O_WRONLY) as writing,
        handle_of(path, os.O_WRONLY | os.O_APPEND) as appending,
    ):
        os.pwrite(both, b"content", 0)
        for source, target in ((writing, both), (both, reading), (both, appending)):
            with fails(errno.EBADF):
                os.copy_file_range(source, target, 2, 0, 5)
        directory = os.open(place.path, os.O_RDONLY)
        with fails(errno.EISDIR):
            os.copy_file_range(directory, both, 2, 0, 5)
        os.close(directory)
    assert path.read_bytes() == b"content"


@check("copy_file_range")
def copies_are_seen_where_old_pages_were(place: Place) -> None:
    """Through a handle and a map that have the target's pages already, and only there."""
    old, new = b"o" * 100_000, pattern(50_000)
    (place.path / "source").write_bytes(new)
    (place.path / "target").write_bytes(old)
    with pair(place) as (source, target), mmap.mmap(target, 0) as mapped:
        assert mapped[:] == os.pread(target, 1 << 20, 0) == old
        assert copied(source, target, 50_000, 0, 10_001) == 50_000
        expected = old[:10_001] + new + old[60_001:]
        assert os.pread(target, 1 << 20, 0) == expected
        assert mapped[:] == expected
        mapped[10_001:10_004] = b"map"
        assert os.pread(target, 3, 10_001) == b"map"


@check("copy_file_range")
def copies_take_what_a_map_has_written(place: Place) -> None:
    (place.path / "source").write_bytes(bytes(20_000))
    with pair(place) as (source, target), mmap.mmap(source, 0) as mapped:
        mapped[5_000:5_007] = b"written"
        assert copied(source, target, 20_000, 0, 0) == 20_000
    assert (place.path / "target").read_bytes() == bytes(5_000) + b"written" + bytes(14_993)


@check("copy_file_range")
def copies_keep_what_a_map_has_written_beside_them(place: Place) -> None:
    (place.path / "source").write_bytes(b"s" * 100)
    (place.path / "target").write_bytes(bytes(20_000))
    with pair(place) as (source, target), mmap.mmap(target, 0) as mapped:
        mapped[5_000:5_007] = b"written"
        assert copied(source, target, 100, 0, 4_500) == 100
        assert mapped[5_000:5_007] == b"written"
    content = (place.path / "target").read_bytes()
    assert content[4_500:4_600] == b"s" * 100
    assert content[5_000:5_007] == b"written"


@check("copy_file_range")
def copies_change_the_time(place: Place) -> None:
    (place.path / "source").write_bytes(b"x")
    (place.path / "target").touch()
    os.utime(place.path / "target", ns=(10**18, 10**18))
    with pair(place) as (source, target):
        assert os.fstat(target).st_mtime_ns == 10**18
        os.copy_file_range(source, target, 1, 0, 0)
        changed = os.fstat(target).st_mtime_ns
        assert changed > 10**18
    assert (place.path / "target").stat().st_mtime_ns == changed


# --- data and holes


@check("data and holes (lseek)")
def data_and_holes_of_a_full_file(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        os.pwrite(handle, pattern(100_000), 0)
        os.fsync(handle)
        for offset in (0, 1, 4096, 99_999):
            assert os.lseek(handle, offset, os.SEEK_DATA) == offset
            assert os.lseek(handle, offset, os.SEEK_HOLE) == 100_000
        for offset in (100_000, 100_001, 1 << 40):
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                with fails(errno.ENXIO):
                    os.lseek(handle, offset, whence)
        os.ftruncate(handle, 0)
        with fails(errno.ENXIO):
            os.lseek(handle, 0, os.SEEK_DATA)


@check("data and holes (lseek)")
def no_data_are_told_to_be_a_hole(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        os.ftruncate(handle, 3 << 20)
        written = {0: 1, 300_000: 5000, 1 << 20: 65536, (3 << 20) - 1: 1}
        for offset, size in written.items():
            os.pwrite(handle, b"d" * size, offset)
        found = runs(handle)
        for offset, size in written.items():
            assert covered(found, offset, size), (offset, found)
        assert all(last <= 3 << 20 for _, last in found)


@check("data and holes (lseek)")
def what_a_map_wrote_into_a_hole_is_data(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        os.ftruncate(handle, 1 << 20)
        with mmap.mmap(handle, 0) as mapped:
            mapped[700_000:700_004] = b"data"
            assert covered(runs(handle), 700_000, 4)


# --- space


@check("space (fallocate, posix_fallocate)")
def space_is_kept(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        os.pwrite(handle, b"content", 0)
        os.posix_fallocate(handle, 0, 3)
        assert os.fstat(handle).st_size == 7
        os.posix_fallocate(handle, 3, 1 << 20)
        assert os.fstat(handle).st_size == (place.path / "f").stat().st_size == (1 << 20) + 3
        assert os.fstat(handle).st_blocks * 512 >= 1 << 20
        os.posix_fallocate(handle, 0, 1 << 20)
        assert os.fstat(handle).st_size == (1 << 20) + 3
    assert (place.behind / "f").stat().st_blocks * 512 >= 1 << 20
    assert (place.behind / "f").read_bytes() == b"content" + bytes((1 << 20) - 4)


@check("space (fallocate, posix_fallocate)")
def space_in_a_hole_is_kept(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        os.ftruncate(handle, 1 << 20)
        os.pwrite(handle, b"data", 500_000)
        os.posix_fallocate(handle, 0, 1 << 20)
    assert (place.behind / "f").stat().st_blocks * 512 >= 1 << 20
    assert (place.path / "f").read_bytes() == bytes(500_000) + b"data" + bytes((1 << 20) - 500_004)


@check("space (fallocate, posix_fallocate)")
def space_behind_a_gap(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        fallocate(handle, 0, 1 << 20, 1000)
        assert os.fstat(handle).st_size == (1 << 20) + 1000
        os.posix_fallocate(handle, 1 << 20, 500)
        assert os.fstat(handle).st_size == (1 << 20) + 1000
    assert (place.path / "f").read_bytes() == bytes((1 << 20) + 1000)


@check("space (fallocate, posix_fallocate)")
def space_that_is_not_there(place: Place) -> None:
    with handle_of(place.path / "f") as handle:
        os.pwrite(handle, b"content", 0)
        for length in (1 << 52, 1 << 62):
            with fails(errno.ENOSPC, errno.EFBIG):
                fallocate(handle, 0, 0, length)
        with fails(errno.EINVAL):
            fallocate(handle, 0, 0, 0)
        with fails(errno.EINVAL):
            fallocate(handle, 0, -1, 10)
        assert os.fstat(handle).st_size == 7
    with handle_of(place.path / "f", os.O_RDONLY) as reading, fails(errno.EBADF):
        fallocate(reading, 0, 0, 100)
    assert (place.path / "f").read_bytes() == b"content"


@check("space (fallocate, posix_fallocate)")
def zeroed_ranges(place: Place) -> None:
    """Seen through a handle and a map that have the pages already."""
    content = pattern(200_000)
    (place.path / "f").write_bytes(content)
    with handle_of(place.path / "f") as handle, mmap.mmap(handle, 0) as mapped:
        assert mapped[:] == os.pread(handle, 1 << 20, 0) == content
        mapped[100:103] = b"map"
        fallocate(handle, ZERO_RANGE | KEEP_SIZE, 5_001, 100_000)
        expected = content[:100] + b"map" + content[103:5_001] + bytes(100_000) + content[105_001:]
        assert os.pread(handle, 1 << 20, 0) == expected
        assert mapped[:] == expected
        fallocate(handle, ZERO_RANGE, 199_999, 10_001)
        assert os.fstat(handle).st_size == 210_000
        assert mapped[199_999:] == b"\0"
    assert (place.behind / "f").read_bytes() == expected[:199_999] + bytes(10_001)


def punched(handle: int, offset: int, length: int) -> bool:
    try:
        fallocate(handle, PUNCH_HOLE | KEEP_SIZE, offset, length)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    return True


@check("space (fallocate, posix_fallocate)")
def holes_are_punched_or_refused(place: Place) -> None:
    """smbd makes none over SMB1; then the file stays as it is."""
    content = pattern(200_000)
    (place.path / "f").write_bytes(content)
    with handle_of(place.path / "f") as handle:
        expected = content
        if punched(handle, 10_000, 100_000):
            expected = content[:10_000] + bytes(100_000) + content[110_000:]
        assert os.pread(handle, 1 << 20, 0) == expected
    assert (place.behind / "f").read_bytes() == expected


# --- O_DIRECT


def aligned(content: bytes) -> mmap.mmap:
    """A buffer that O_DIRECT takes on every file system."""
    buffer = mmap.mmap(-1, len(content))
    buffer.write(content)
    return buffer


@check("O_DIRECT beside a map")
def direct_io_and_maps_see_each_other(place: Place) -> None:
    (place.path / "f").write_bytes(bytes(20_480))
    with (
        handle_of(place.path / "f", os.O_RDWR | os.O_DIRECT) as direct,
        handle_of(place.path / "f") as other,
        mmap.mmap(other, 0) as mapped,
        mmap.mmap(direct, 0) as too,
    ):
        assert mapped[:] == too[:] == bytes(20_480)
        written = pattern(8192)
        assert os.pwritev(direct, [aligned(written)], 4096) == 8192
        assert mapped[4096:12_288] == too[4096:12_288] == os.pread(other, 8192, 4096) == written
        mapped[5_000:5_003] = b"map"
        back = aligned(bytes(32_768))
        assert os.preadv(direct, [back], 0) == 20_480
        assert back[5_000:5_003] == too[5_000:5_003] == b"map"
        assert os.preadv(direct, [back], 20_480) == 0
        too[15_000:15_003] = b"too"
        assert mapped[15_000:15_003] == b"too"
    content = (place.path / "f").read_bytes()
    assert content == bytes(4096) + written[:904] + b"map" + written[907:] + bytes(2712) + b"too" + bytes(5477)
