"""Open files that lose their name, by unlink or because another takes it: they live until the last close."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from tests.mount.posix import Place, check, listing, opened
from tests.mount.posix.actor import Actor
from tests.support.processes import eventually

UNLINK = "unlink of an open file: it can be read, written and changed until the last close"
REPLACE = "rename over an open file, and of an open file"


def use(file: int, content: bytes) -> None:
    """All that a program may do with a file that has no name any more."""
    assert os.pread(file, 100, 0) == content
    assert os.fstat(file).st_nlink == 0
    os.pwrite(file, b"written", len(content))
    assert os.fstat(file).st_size == len(content) + 7
    os.ftruncate(file, 3)
    assert os.pread(file, 100, 0) == content[:3]
    assert os.fstat(file).st_size == 3
    os.utime(file, ns=(10**18, 10**18 + 100))
    assert os.fstat(file).st_mtime_ns == 10**18 + 100
    os.fsync(file)


@check(UNLINK)
def an_open_file_is_unlinked(place: Place) -> None:
    (place.path / "d").mkdir()
    for name in ("f", "d/.dotted", "d/two words"):
        path = place.path / name
        path.write_bytes(b"content")
        with opened(path, os.O_RDWR) as file:
            path.unlink()
            assert not path.exists()
            assert listing(path.parent) in ([], ["d"])
            path.write_bytes(b"another")
            assert os.fstat(file).st_ino != path.stat().st_ino
            use(file, b"content")
            assert path.read_bytes() == b"another"
        path.unlink()


@check(UNLINK)
def of_two_handles_the_last_one_counts(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    with opened(path, os.O_RDONLY) as reading:
        with opened(path, os.O_RDWR) as writing, Actor() as other:
            theirs = other.do("open", path, os.O_RDONLY)
            path.unlink()
            os.pwrite(writing, b"C", 0)
            assert other.do("pread", theirs, 100, 0) == b"Content"
        assert os.pread(reading, 100, 0) == b"Content"
        assert os.fstat(reading).st_nlink == 0


@check(UNLINK)
def read_only_files_are_removed_while_open(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    path.chmod(0o444)
    with path.open("rb", buffering=0) as file:
        path.unlink()
        assert file.read() == b"content"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert listing(place.path) == []


@check(UNLINK)
def the_directory_of_an_unlinked_open_file_can_be_removed(place: Place) -> None:
    directory = place.path / "d"
    directory.mkdir()
    with (directory / "f").open("w+b", buffering=0) as file:
        (directory / "f").unlink()
        assert listing(directory) == []
        directory.rmdir()
        file.write(b"still")
        assert os.pread(file.fileno(), 10, 0) == b"still"


@check(UNLINK)
def an_unlinked_file_is_mapped(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x" * 10_000)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        path.unlink()
        mapped[5_000:5_006] = b"mapped"
        mapped.flush()
        assert os.pread(file.fileno(), 6, 5_000) == b"mapped"


@check(UNLINK)
def one_of_two_names_is_unlinked_while_open(place: Place) -> None:
    one, two = place.path / "one", place.path / "two"
    one.write_bytes(b"content")
    os.link(one, two)
    with one.open("r+b", buffering=0) as file:
        one.unlink()
        assert two.read_bytes() == b"content"
        assert os.fstat(file.fileno()).st_nlink == 1
        file.write(b"CON")
        assert two.read_bytes() == b"CONtent"
        assert listing(place.path) == ["two"]
    assert two.read_bytes() == b"CONtent"


@check("what was unlinked while it was open is gone from the server after the last close")
def nothing_is_left_on_the_server(place: Place) -> None:
    (place.path / "d").mkdir()
    for name in ("f", "d/g"):
        with opened(place.path / name, os.O_RDWR | os.O_CREAT) as file:
            os.write(file, b"content")
            (place.path / name).unlink()
        with opened(place.path / name, os.O_RDWR | os.O_CREAT):
            (place.path / "new").write_bytes(b"new")
            (place.path / "new").rename(place.path / name)
    eventually(lambda: _files(place.behind) == ["d", "d/g", "f"], 5, "only what has a name is left")
    assert (place.behind / "f").read_bytes() == b"new"


def _files(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


@check(REPLACE)
def a_handle_survives_rename(place: Place) -> None:
    old, new = place.path / "old", place.path / "new"
    with old.open("w+b", buffering=0) as file:
        file.write(b"before ")
        old.rename(new)
        file.write(b"after")
        assert os.fstat(file.fileno()).st_size == 12
        assert new.read_bytes() == b"before after"
    assert listing(place.path) == ["new"]


@check(REPLACE)
def a_file_replaced_while_it_is_open(place: Place) -> None:
    (place.path / "d").mkdir()
    for name in ("target", "d/.target"):
        target = place.path / name
        target.write_bytes(b"content")
        (place.path / "new").write_bytes(b"new")
        with opened(target, os.O_RDWR) as file:
            os.rename(place.path / "new", target)
            assert target.read_bytes() == b"new"
            assert target.stat().st_nlink == 1
            use(file, b"content")
            assert target.read_bytes() == b"new"


@check(REPLACE)
def an_open_file_replaces_an_open_file(place: Place) -> None:
    old, new = place.path / "old", place.path / "new"
    old.write_bytes(b"content")
    with new.open("w+b", buffering=0) as ours, old.open("r+b", buffering=0) as theirs:
        ours.write(b"new")
        new.rename(old)
        ours.write(b"er")
        assert old.read_bytes() == b"newer"
        assert os.fstat(ours.fileno()).st_ino == old.stat().st_ino
        use(theirs.fileno(), b"content")
    assert listing(place.path) == ["old"]


@check(REPLACE)
def readers_see_the_old_or_the_new_file(place: Place) -> None:
    """While another process replaces it again and again: each open finds one of them, whole."""
    contents = [b"%03d" % number * 1_000 for number in range(40)]
    target = place.path / "config"
    target.write_bytes(contents[0])
    with Actor() as other:
        other.begin("replace", place.path, "config", contents)
        last = -1
        while last < 39:
            content = target.read_bytes()
            assert content in contents[max(last, 0) :]
            last = contents.index(content)
        other.end()
    assert listing(place.path) == ["config"]
