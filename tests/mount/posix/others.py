"""Who sees what when: files that are changed on the server, by others, while the mount knows something of them."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from tests.mount.posix import Place, check, fails, listing, pattern
from tests.mount.posix.data import SIZES
from tests.support.processes import eventually

SEEN = "contents written by others are read at the next open"
SOON = "sizes, times and names changed by others show after actimeo="


@check(SEEN)
def contents_written_on_the_server_are_read(place: Place) -> None:
    for size in SIZES:
        (place.behind / f"size{size}").write_bytes(pattern(size, seed=1))
    for size in SIZES:
        assert (place.path / f"size{size}").read_bytes() == pattern(size, seed=1)


@check(SEEN)
def changes_on_the_server_are_seen_after_the_lifetime(place: Place) -> None:
    """Of the same size, too; and by open files as well."""
    path, there = place.path / "f", place.behind / "f"
    there.write_bytes(b"one")
    assert path.read_bytes() == b"one"
    there.write_bytes(b"two")
    assert path.read_bytes() == b"two"  # each open asks anew
    there.write_bytes(b"three!")
    eventually(lambda: path.read_bytes() == b"three!", place.lifetime + 2, "the new size is seen")


@check(SOON)
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


@check(SOON)
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


@check(SOON)
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


@check("files removed by others while open: read and write go on")
def what_others_removed_lives_on(place: Place) -> None:
    """And what cannot reach it any more must not reach something else, as the directory that it was in."""
    with (place.path / "f").open("w+b", buffering=0) as file:
        file.write(b"content")
        _remove(place, "f")
        assert os.pread(file.fileno(), 10, 0) == b"content"
        file.write(b" and more")
        assert os.fstat(file.fileno()).st_size == 16
        assert os.pread(file.fileno(), 20, 0) == b"content and more"
        _only_the_file_changes(place, file.fileno())
    (place.path / "f").write_bytes(b"content")
    with (place.path / "f").open("rb") as reading:
        _remove(place, "f")
        _only_the_file_changes(place, reading.fileno())


def _remove(place: Place, name: str) -> None:
    (place.behind / name).unlink()
    eventually(lambda: not (place.path / name).exists(), place.lifetime + 2, "the file is gone")


def _only_the_file_changes(place: Place, handle: int) -> None:
    """Changes of a file without a name may be refused, but must not hit its directory."""
    above = (place.behind, place.behind.parent)
    before = [(told.st_mode, told.st_mtime_ns) for told in map(os.stat, above)]
    with suppress(OSError):
        os.ftruncate(handle, 3)
    with suppress(OSError):
        os.fchmod(handle, 0o700)
    with suppress(OSError):
        os.utime(handle, (10**9, 10**9))
    assert [(told.st_mode, told.st_mtime_ns) for told in map(os.stat, above)] == before


@check("files renamed or replaced by others are not mistaken for one another")
def a_number_is_given_again(place: Place) -> None:
    """A new file may get the inode number of one that others removed. The old name must not be taken for its."""
    old = place.path / "old"
    (place.behind / "old").write_bytes(b"to be removed")
    number = old.stat().st_ino
    (place.behind / "old").unlink()
    new = _with_number(place, number)
    os.link(new, place.path / "another name")
    assert new.stat().st_nlink == 2
    with new.open("r+b") as file:
        new.unlink()
        (place.path / "another name").unlink()
        (place.behind / "old").write_bytes(b"another file")
        os.fchmod(file.fileno(), 0o444)
        os.ftruncate(file.fileno(), 0)
        assert os.fstat(file.fileno()).st_nlink == 0
    assert (place.behind / "old").stat().st_mode & 0o222
    content = b"another file"
    # As long as names may be kept a listing may say that there is none, though the kernel believes in the old one.
    eventually(
        lambda: old.exists() and old.stat().st_size == len(content), place.lifetime + 2, "the other file is seen"
    )
    assert old.read_bytes() == content


def _with_number(place: Place, number: int) -> Path:
    """A new file that has this number on the server's disk, if that gives it again soon."""
    for attempt in range(20):
        path = place.path / f"new{attempt}"
        path.write_bytes(b"content")
        if (place.behind / path.name).stat().st_ino == number:
            break
    return path


@check("files renamed or replaced by others are not mistaken for one another")
def a_file_is_renamed_by_others(place: Place) -> None:
    old, new = place.path / "old", place.path / "new"
    old.write_bytes(b"content")
    (place.behind / "old").rename(place.behind / "new")
    (place.behind / "old").write_bytes(b"another")
    assert new.read_bytes() == b"content"
    new.write_bytes(b"changed")
    new.chmod(0o444)
    eventually(lambda: old.read_bytes() == b"another", place.lifetime + 2, "the new file is seen")
    assert old.stat().st_ino != new.stat().st_ino
    assert (place.behind / "old").read_bytes() == b"another"
    assert (place.behind / "old").stat().st_mode & 0o222


@check("names that others took a moment ago are in the way (O_EXCL, mkdir, rename)")
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
