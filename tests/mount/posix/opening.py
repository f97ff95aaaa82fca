"""open(2) and its flags: what is created, refused, cut and appended to; and numbers that stand for nothing."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack

from tests.mount.posix import Place, check, fails, listing, opened
from tests.mount.posix.actor import Actor

FLAGS = "flags of open: O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY"


@check(FLAGS)
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


@check(FLAGS)
def created_for_reading_only(place: Place) -> None:
    with opened(place.path / "f", os.O_CREAT | os.O_RDONLY) as handle:
        assert os.read(handle, 10) == b""
        with fails(errno.EBADF):
            os.write(handle, b"x")
        (place.path / "f").write_bytes(b"written by another")
        assert os.read(handle, 100) == b"written by another"


@check(FLAGS)
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
    with fails(errno.ENOTDIR):
        os.open(place.path / "f" / "x", os.O_CREAT | os.O_WRONLY)


@check("O_EXCL: of two processes, one creates the file")
def an_exclusive_creation_has_one_winner(place: Place) -> None:
    count = 60
    with Actor() as one, Actor() as other:
        for actor in (one, other):
            actor.begin("claim", place.path, count)
        won = [number for actor in (one, other) for number in actor.end()]
    assert sorted(won) == list(range(count))
    assert len(os.listdir(place.path)) == count


APPEND = "O_APPEND, by several handles and processes: nothing lost or torn"


@check(APPEND)
def append_goes_to_the_end(place: Place) -> None:
    path = place.path / "log"
    for number in range(20):
        with path.open("ab") as file:
            file.write(b"%04d\n" % number)
    flags = os.O_WRONLY | os.O_APPEND
    with opened(path, flags) as first, opened(path, flags) as second:
        for number in range(20, 40):
            handle = first if number % 2 else second
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, b"%04d\n" % number)
    assert path.read_bytes() == b"".join(b"%04d\n" % number for number in range(40))


@check(APPEND)
def appends_of_several_processes(place: Place) -> None:
    path = place.path / "log"
    path.touch()
    records = {
        who: [b"%c%04d" % (who, number) + b"%c" % who * (number * 97 % 5_000) + b"\n" for number in range(40)]
        for who in b"abc"
    }
    with ExitStack() as stack:
        actors = {who: stack.enter_context(Actor()) for who in records}
        for who, actor in actors.items():
            actor.begin("append", path, records[who])
        for actor in actors.values():
            actor.end()
    found = path.read_bytes().splitlines(keepends=True)
    for who, mine in records.items():
        assert [record for record in found if record[0] == who] == mine
    assert len(found) == 120


@check(APPEND)
def an_append_after_a_cut_goes_to_the_new_end(place: Place) -> None:
    path = place.path / "log"
    with opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as handle:
        os.write(handle, b"to be rotated")
        os.truncate(path, 0)
        os.write(handle, b"anew")
    assert path.read_bytes() == b"anew"


WRONG = "wrong use of descriptors: EBADF, EINVAL, EISDIR"


@check(WRONG)
def handles_open_for_one_thing_do_not_do_the_other(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    with opened(path, os.O_RDONLY) as reading, fails(errno.EBADF):
        os.write(reading, b"x")
    with opened(path, os.O_WRONLY) as writing:
        with fails(errno.EBADF):
            os.read(writing, 1)
        # The kernel reads the rest of the page itself where it must; the program may not.
        os.pwrite(writing, b"C", 0)
    with fails(errno.EBADF):
        os.write(writing, b"closed")
    assert path.read_bytes() == b"Content"


@check(WRONG)
def numbers_that_make_no_sense(place: Place) -> None:
    with opened(place.path / "f", os.O_RDWR | os.O_CREAT) as handle:
        os.write(handle, b"content")
        for call in (
            lambda: os.pread(handle, 1, -1),
            lambda: os.pwrite(handle, b"x", -1),
            lambda: os.ftruncate(handle, -1),
            lambda: os.lseek(handle, -1, os.SEEK_SET),
            lambda: os.truncate(place.path / "f", -1),
        ):
            with fails(errno.EINVAL):
                call()
        assert os.lseek(handle, 0, os.SEEK_CUR) == 7
    assert (place.path / "f").read_bytes() == b"content"


@check(WRONG)
def directories_are_not_read_as_files(place: Place) -> None:
    with opened(place.path, os.O_RDONLY) as handle:
        with fails(errno.EISDIR):
            os.read(handle, 10)
        with fails(errno.EBADF):
            os.write(handle, b"x")
        with fails(errno.EINVAL, errno.EBADF):
            os.ftruncate(handle, 0)


@check("files without a name (O_TMPFILE)", unix="EOPNOTSUPP", nounix="EOPNOTSUPP")
def files_that_never_had_a_name(place: Place) -> None:
    with opened(place.path, os.O_TMPFILE | os.O_RDWR) as handle:
        os.write(handle, b"content")
        assert os.pread(handle, 10, 0) == b"content"
        assert listing(place.path) == []
