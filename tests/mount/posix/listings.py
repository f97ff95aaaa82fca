"""readdir(3) and its kin: every entry once, also while the directory changes, and from any position on."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mount.posix import CROWD, Place, check, opened
from tests.support.processes import eventually


class _Entry(ctypes.Structure):
    """struct dirent of 64-bit Linux."""

    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_ushort),
        ("d_type", ctypes.c_ubyte),
        ("d_name", ctypes.c_char * 256),
    )


_libc = ctypes.CDLL(None, use_errno=True)
for _name, _result, _arguments in (
    ("opendir", ctypes.c_void_p, (ctypes.c_char_p,)),
    ("readdir", ctypes.POINTER(_Entry), (ctypes.c_void_p,)),
    ("telldir", ctypes.c_long, (ctypes.c_void_p,)),
    ("seekdir", None, (ctypes.c_void_p, ctypes.c_long)),
    ("rewinddir", None, (ctypes.c_void_p,)),
    ("closedir", ctypes.c_int, (ctypes.c_void_p,)),
):
    _function = getattr(_libc, _name)
    _function.restype, _function.argtypes = _result, _arguments


class Stream:
    """A directory stream of the C library. `.` and `..` are left out."""

    def __init__(self, stream: int) -> None:
        self._stream = stream

    def next(self) -> str | None:
        """The next name; None at the end. OSError as readdir(3) says."""
        while True:
            ctypes.set_errno(0)
            entry = _libc.readdir(self._stream)
            if not entry:
                if number := ctypes.get_errno():
                    raise OSError(number, os.strerror(number))
                return None
            name = os.fsdecode(entry.contents.d_name)
            if name not in (".", ".."):
                return name

    def take(self, count: int) -> list[str]:
        """This many names, or those that are left."""
        names: list[str] = []
        while len(names) < count and (name := self.next()) is not None:
            names.append(name)
        return names

    def tell(self) -> int:
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        _libc.seekdir(self._stream, position)

    def rewind(self) -> None:
        _libc.rewinddir(self._stream)


@contextmanager
def stream_of(path: Path) -> Iterator[Stream]:
    handle = _libc.opendir(os.fsencode(path))
    if not handle:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    try:
        yield Stream(handle)
    finally:
        _libc.closedir(handle)


def next_names(handle: int, room: int) -> list[str]:
    """Names by getdents64(2) into a small buffer: the C library's holds some 40,000 of them where st_blksize is large.

    None at the end.
    """
    buffer = ctypes.create_string_buffer(room)
    size = _libc.getdents64(handle, buffer, room)
    if size < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    names, at = [], 0
    while at < size:
        length = int.from_bytes(buffer.raw[at + 16 : at + 18], "little")
        names.append(os.fsdecode(buffer.raw[at + 19 : at + length].split(b"\0", 1)[0]))
        at += length
    return names


ONCE = "listings: every entry once, with its kind and number"


@check(ONCE)
def every_entry_of_3000_once(place: Place) -> None:
    names = {f"entry number {number:05} with a name of some length" for number in range(3000)}
    directories = {name for name in names if name[13:18].endswith("7")}
    for name in names:
        if name in directories:
            (place.behind / name).mkdir()
        else:
            (place.behind / name).touch()
    # A listing that was fetched ahead while they were made may be shown until its time is over.
    eventually(lambda: len(os.listdir(place.path)) >= len(names), place.lifetime + 2, "all are seen")
    with os.scandir(place.path) as entries:
        found = [
            (entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)) for entry in entries
        ]
    assert len(found) == 3000
    assert {name for name, _, _ in found} == names
    assert {name for name, is_dir, _ in found if is_dir} == directories
    assert all(is_dir != is_file for _, is_dir, is_file in found)
    assert len(os.listdir(place.path)) == 3000


@check(ONCE)
def kinds_in_a_listing_are_those_of_stat(place: Place) -> None:
    """By find(1), which prints `?`... where d_type is unknown it asks; so ask the kernel's way, `ls -U -p`."""
    (place.path / "file").write_bytes(b"")
    (place.path / "directory").mkdir()
    shown = subprocess.check_output(["ls", "-1p", str(place.path)], text=True).splitlines()
    assert shown == ["directory/", "file"]


@check(ONCE)
def own_changes_show_at_once_in_a_listing(place: Place) -> None:
    for number in range(20):
        assert len(os.listdir(place.path)) == number
        (place.path / f"f{number}").write_bytes(b"x" * number)
        with os.scandir(place.path) as entries:
            assert {entry.name: entry.stat().st_size for entry in entries}[f"f{number}"] == number
    for number in range(20):
        (place.path / f"f{number}").unlink()
        assert len(os.listdir(place.path)) == 19 - number


POSITIONS = "telldir, seekdir, rewinddir"


@check(POSITIONS)
def a_rewound_listing_is_new(place: Place) -> None:
    for number in range(300):
        (place.behind / f"f{number}").touch()
    with opened(place.path, os.O_RDONLY | os.O_DIRECTORY) as handle:
        first = os.listdir(handle)
        (place.path / "more").touch()
        again = os.listdir(handle)  # rewinds
    assert len(first) == len(set(first)) == 300
    assert sorted(again) == sorted([*first, "more"])
    with stream_of(place.path) as stream:
        assert len(stream.take(100)) == 100
        (place.path / "still more").touch()
        stream.rewind()
        assert sorted(stream.take(1000)) == sorted([*first, "more", "still more"])


@check(POSITIONS)
def every_position_leads_back(place: Place) -> None:
    for number in range(200):
        (place.behind / f"f{number}").touch()
    positions = {}
    with stream_of(place.path) as stream:
        while True:
            position = stream.tell()
            name = stream.next()
            if name is None:
                break
            positions[name] = position
        assert len(positions) == 200
        for name in random.Random(1).sample(sorted(positions), 50):
            stream.seek(positions[name])
            assert stream.next() == name
        names = list(positions)
        stream.seek(positions[names[100]])
        assert stream.take(1000) == names[100:]


@check(POSITIONS)
def positions_stay_when_the_first_one_was_gone_back_to(place: Place) -> None:
    """To go back to the beginning is not to forget the other positions, also where names have come and gone."""
    for number in range(200):
        (place.behind / f"f{number}").touch()
    with stream_of(place.path) as stream:
        beginning = stream.tell()
        first = stream.take(100)
        middle = stream.tell()
        second = stream.take(200)
        for name in first[:10]:
            (place.path / name).unlink()
        (place.path / "new").touch()
        stream.seek(beginning)
        assert stream.next() not in first[:10]
        stream.seek(middle)
        assert [name for name in stream.take(300) if name != "new"] == second


CHANGING = "listings while the directory changes: what stays is given once"


@check(CHANGING)
def changes_made_while_listing_are_not_taken_back(place: Place) -> None:
    """What is read of a directory may be older than a change; it must not hide the change from stat and open."""
    for number in range(200):
        (place.behind / f"f{number}").write_bytes(b"old")
    order = os.listdir(place.path)
    grown, cut, removed, moved, replaced, remade, in_use = order[-7:]
    with opened(place.path, os.O_RDONLY) as handle, (place.path / in_use).open("r+b", buffering=0) as file:
        assert next_names(handle, 1024)
        (place.path / grown).write_bytes(b"longer")
        os.truncate(place.path / cut, 1)
        (place.path / removed).unlink()
        (place.path / moved).rename(place.path / "new name")
        (place.path / "temporary").write_bytes(b"replacement")
        (place.path / "temporary").rename(place.path / replaced)
        (place.path / remade).unlink()
        (place.path / remade).write_bytes(b"made again")
        file.write(b"open and longer")
        rest = [name for names in iter(lambda: next_names(handle, 4096), []) for name in names]
        assert {grown, cut, replaced, in_use} <= set(rest)
        assert not (place.path / removed).exists()
        assert not (place.path / moved).exists()
        sizes = {name: (place.path / name).stat().st_size for name in (grown, cut, replaced, remade, in_use)}
    assert sizes == {grown: 6, cut: 1, replaced: 11, remade: 10, in_use: 15}
    assert (place.path / grown).read_bytes() == b"longer"


@check(CHANGING)
def listings_while_others_create_and_delete(place: Place) -> None:
    stable = {f"stable{number}" for number in range(400)}
    for name in stable:
        (place.behind / name).touch()
    stop = threading.Event()
    troubles: list[BaseException] = []

    def churn() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                (place.path / f"mine{number}").touch()
                (place.behind / f"theirs{number}").touch()
                if number > 5:
                    (place.path / f"mine{number - 5}").unlink()
                    (place.behind / f"theirs{number - 5}").unlink()
        except BaseException as error:
            troubles.append(error)

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(8):
            found = os.listdir(place.path)
            assert len(found) == len(set(found))
            assert stable <= set(found)
    finally:
        stop.set()
        churning.join(30)
    assert not churning.is_alive()
    assert troubles == []


@check(f"listings of {CROWD:,} entries that change, and telldir and seekdir in them")
def many_entries_while_the_directory_changes(place: Place) -> None:
    """Read in five parts; between them files come and go, here and on the server, and some is read again."""
    path, behind = place.elsewhere("crowded")
    there = {name for name in os.listdir(behind) if name.isdigit()}
    removed: set[str] = set()
    seen: list[str] = []
    with stream_of(path) as stream:
        seen += stream.take(10)
        for part in range(5):
            before = stream.tell()
            names = stream.take(CROWD // 5)
            after = stream.tell()
            removed |= _come_and_go(path, behind, sorted(there - removed), names, part)
            stream.seek(before)
            again = _staying(stream.take(CROWD // 100), removed)
            assert again == _staying(names, removed)[: len(again)]
            stream.seek(after)
            seen += names
        seen += stream.take(CROWD)
    assert len(removed) == 20
    assert sorted(_staying(seen, removed)) == sorted(there - removed)


def _come_and_go(path: Path, behind: Path, there: list[str], listed: list[str], part: int) -> set[str]:
    """Make and remove files on the mount and on the server: of those just listed, and of all. Which were removed."""
    where = behind if part % 2 else path
    (where / f"new{part}").touch()
    (where / f"new{part}").unlink()
    listed = [name for name in listed if name.isdigit()]
    removed = {listed[part], listed[part + 100], there[part * 1_000], there[-1 - part * 1_000]}
    for name in removed:
        (path if int(name) % 2 else behind).joinpath(name).unlink()
    return removed


def _staying(names: list[str], removed: set[str]) -> list[str]:
    return [name for name in names if name.isdigit() and name not in removed]
