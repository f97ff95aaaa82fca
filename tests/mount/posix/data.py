"""Contents of files: create, write, read, append, truncate, map, and who sees what when."""

from __future__ import annotations

import errno
import mmap
import os
from concurrent.futures import ThreadPoolExecutor

from tests.mount.posix import Place, check, fails, listing, pattern
from tests.support.processes import eventually

SIZES = (0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 131072, (1 << 20) + 1, 5 << 20)
BEYOND = (4 << 30) + 5
"""An offset that does not fit 32 bits."""


@check()
def contents_of_every_size_come_back(place: Place) -> None:
    for size in SIZES:
        path, content = place.path / f"size{size}", pattern(size)
        path.write_bytes(content)
        assert path.stat().st_size == size
        assert path.read_bytes() == content
        assert (place.behind / path.name).read_bytes() == content


@check()
def contents_written_on_the_server_are_read(place: Place) -> None:
    for size in SIZES:
        (place.behind / f"size{size}").write_bytes(pattern(size, seed=1))
    for size in SIZES:
        assert (place.path / f"size{size}").read_bytes() == pattern(size, seed=1)


@check()
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


@check()
def reads_at_the_end_are_short(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(pattern(10_000))
    handle = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(handle, 4096, 9_000) == pattern(10_000)[9_000:]
        assert os.pread(handle, 4096, 10_000) == b""
        assert os.pread(handle, 4096, BEYOND) == b""
    finally:
        os.close(handle)


@check()
def offsets_beyond_4_gib(place: Place) -> None:
    path = place.path / "sparse"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert os.pwrite(handle, b"far out", BEYOND) == 7
        assert os.fstat(handle).st_size == BEYOND + 7
        assert os.pread(handle, 20, BEYOND - 3) == b"\0\0\0far out"
        assert os.pread(handle, 10, 0xFFFF_FFFB) == bytes(10)
        os.ftruncate(handle, BEYOND + 3)
        assert os.pread(handle, 20, BEYOND) == b"far"
    finally:
        os.close(handle)
    assert (place.behind / "sparse").stat().st_size == BEYOND + 3
    os.truncate(path, 6 << 30)
    assert path.stat().st_size == 6 << 30
    os.truncate(path, 3)
    assert path.read_bytes() == bytes(3)


@check()
def direct_io(place: Place) -> None:
    path = place.path / "f"
    buffer = mmap.mmap(-1, 256 << 10)
    buffer.write(pattern(256 << 10))
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    try:
        assert os.pwritev(handle, [buffer], 4096) == 256 << 10
        back = mmap.mmap(-1, 512 << 10)
        assert os.preadv(handle, [back], 0) == (256 << 10) + 4096
        assert back[4096 : (256 << 10) + 4096] == pattern(256 << 10)
    finally:
        os.close(handle)


@check()
def append_goes_to_the_end(place: Place) -> None:
    path = place.path / "log"
    for number in range(20):
        with path.open("ab") as file:
            file.write(b"%04d\n" % number)
    first, second = (os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(2))
    try:
        for number in range(20, 40):
            handle = first if number % 2 else second
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, b"%04d\n" % number)
    finally:
        os.close(first)
        os.close(second)
    assert path.read_bytes() == b"".join(b"%04d\n" % number for number in range(40))


@check()
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


@check()
def truncate_needs_a_handle_for_writing(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    with path.open("rb") as reading:
        with fails(errno.EINVAL):
            os.ftruncate(reading.fileno(), 0)
        os.truncate(path, 3)
        assert os.pread(reading.fileno(), 10, 0) == b"con"


@check()
def flags_of_open(place: Place) -> None:
    path = place.path / "f"
    with fails(errno.ENOENT):
        os.open(path, os.O_RDWR)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with fails(errno.EEXIST):
        os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    path.write_bytes(b"content")
    os.close(os.open(path, os.O_CREAT | os.O_RDWR))
    assert path.read_bytes() == b"content"
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert path.stat().st_size == 0
    path.write_bytes(b"more")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC))
    assert path.read_bytes() == b""
    assert listing(place.path) == ["f"]


@check()
def kinds_are_told_apart_by_open(place: Place) -> None:
    (place.path / "f").write_bytes(b"")
    (place.path / "d").mkdir()
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT | os.O_WRONLY, os.O_WRONLY | os.O_TRUNC):
        with fails(errno.EISDIR):
            os.open(place.path / "d", flags)
    with fails(errno.EEXIST):
        os.open(place.path / "d", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with fails(errno.ENOTDIR):
        os.open(place.path / "f", os.O_RDONLY | os.O_DIRECTORY)
    with fails(errno.ENOTDIR):
        os.open(place.path / "f" / "x", os.O_RDONLY)
    with fails(errno.ENOENT):
        os.open(place.path / "none" / "x", os.O_CREAT | os.O_WRONLY)


@check()
def what_another_made_a_moment_ago_is_in_the_way(place: Place) -> None:
    """The mount believes that the names are free."""
    for name in ("file", "directory"):
        assert not (place.path / name).exists()
    assert listing(place.path) == []
    (place.behind / "file").write_bytes(b"theirs")
    (place.behind / "directory").mkdir()
    with fails(errno.EEXIST):
        os.open(place.path / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with fails(errno.EEXIST):
        (place.path / "directory").mkdir()
    with fails(errno.EISDIR):
        os.open(place.path / "directory", os.O_CREAT | os.O_WRONLY)
    assert (place.path / "file").read_bytes() == b"theirs"


@check()
def handles_open_for_one_thing_do_not_do_the_other(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    with path.open("rb", buffering=0) as reading, fails(errno.EBADF):
        os.write(reading.fileno(), b"x")
    handle = os.open(path, os.O_WRONLY)
    try:
        with fails(errno.EBADF):
            os.read(handle, 1)
        # The kernel reads the rest of the page itself where it must; the program may not.
        os.pwrite(handle, b"C", 0)
    finally:
        os.close(handle)
    assert path.read_bytes() == b"Content"


@check()
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


@check()
def a_handle_survives_rename(place: Place) -> None:
    old, new = place.path / "old", place.path / "new"
    with old.open("w+b", buffering=0) as file:
        file.write(b"before ")
        old.rename(new)
        file.write(b"after")
        assert os.fstat(file.fileno()).st_size == 12
        assert new.read_bytes() == b"before after"
    assert listing(place.path) == ["new"]


@check(unix=True)
def a_handle_survives_unlink(place: Place) -> None:
    path = place.path / "f"
    with path.open("w+b", buffering=0) as file:
        file.write(b"still ")
        path.unlink()
        assert not path.exists()
        assert listing(place.path) == []
        file.write(b"here")
        assert os.pread(file.fileno(), 20, 0) == b"still here"
        assert os.fstat(file.fileno()).st_size == 10
        path.write_bytes(b"another")
        assert os.fstat(file.fileno()).st_ino != path.stat().st_ino
        assert os.pread(file.fileno(), 20, 0) == b"still here"
    assert path.read_bytes() == b"another"


@check()
def growth_on_the_server_is_followed(place: Place) -> None:
    """As `tail -f` does it: never anything but what was written, and all of it in the end."""
    there, expected = place.behind / "log", pattern(50_000)
    there.write_bytes(expected[:100])
    with (place.path / "log").open("rb", buffering=0) as reading, there.open("ab", buffering=0) as writing:
        assert os.pread(reading.fileno(), 1 << 17, 0) == expected[:100]
        for end in (4097, 50_000):
            writing.write(expected[there.stat().st_size : end])
            eventually(
                lambda end=end: _checked_size(reading.fileno(), expected) == end,  # type: ignore[misc]
                place.lifetime + 5,
                f"{end} bytes are seen",
            )


def _checked_size(handle: int, expected: bytes) -> int:
    content = os.pread(handle, 1 << 17, 0)
    assert content == expected[: len(content)]
    os.fstat(handle)
    return len(content)


@check()
def changes_on_the_server_are_seen_after_the_lifetime(place: Place) -> None:
    """Of the same size, too; and by open files as well."""
    path, there = place.path / "f", place.behind / "f"
    there.write_bytes(b"one")
    assert path.read_bytes() == b"one"
    there.write_bytes(b"two")
    assert path.read_bytes() == b"two"  # each open asks anew
    there.write_bytes(b"three!")
    eventually(lambda: path.read_bytes() == b"three!", place.lifetime + 2, "the new size is seen")


@check()
def a_file_removed_on_the_server_is_gone_after_the_lifetime(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    assert path.stat().st_size == 1
    (place.behind / "f").unlink()
    eventually(lambda: not path.exists(), place.lifetime + 2, "the file is gone")
    assert listing(place.path) == []
    with fails(errno.ENOENT):
        path.read_bytes()
    path.write_bytes(b"new")
    assert (place.behind / "f").read_bytes() == b"new"


@check()
def reading_what_was_removed_on_the_server_fails_by_name(place: Place) -> None:
    """Within the lifetime, where the kernel still believes in the name."""
    path = place.path / "f"
    path.write_bytes(b"x")
    path.stat()
    (place.behind / "f").unlink()
    with fails(errno.ENOENT, errno.ESTALE):
        path.read_bytes()
    with fails(errno.ENOENT, errno.ESTALE):
        path.unlink()
    assert listing(place.path) == []


@check()
def fsync_of_files_and_directories(place: Place) -> None:
    with (place.path / "f").open("wb") as file:
        file.write(pattern(100_000))
        file.flush()
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    for path in (place.path / "f", place.path):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@check()
def maps_read(place: Place) -> None:
    path, content = place.path / "f", pattern(1_000_003)
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[999_000:] == content[999_000:]
        assert mapped[:] == content


@check()
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


@check()
def maps_written_are_kept_without_msync(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(bytes(10_000))
    handle = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(handle, 0)
    os.close(handle)
    mapped[5_000:5_007] = b"written"
    mapped.close()
    eventually(lambda: (place.behind / "f").read_bytes()[5_000:5_007] == b"written", 10, "the server has it")
    assert path.read_bytes()[5_000:5_007] == b"written"


@check()
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


@check()
def one_file_written_in_pieces_at_once(place: Place) -> None:
    path, content, piece = place.path / "f", pattern(3 << 20), 100_001
    path.touch()

    def work(offset: int) -> None:
        with path.open("r+b", buffering=0) as file:
            assert os.pwrite(file.fileno(), content[offset : offset + piece], offset) > 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(0, len(content), piece)))
    assert path.read_bytes() == content
