"""Directories: made, removed, listed, and listed while they change."""

from __future__ import annotations

import errno
import os
import subprocess
import threading

from tests.mount.posix import Place, check, fails, listing


@check()
def mkdir_and_rmdir(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    assert made.is_dir()
    assert listing(place.path) == ["d"]
    assert (place.behind / "d").is_dir()
    with fails(errno.EEXIST):
        made.mkdir()
    made.rmdir()
    assert not made.exists()
    assert listing(place.path) == []
    with fails(errno.ENOENT):
        made.rmdir()
    with fails(errno.ENOENT):
        (made / "e").mkdir()
    made.mkdir()
    assert listing(made) == []


@check()
def files_are_no_directories(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"")
    with fails(errno.EEXIST):
        path.mkdir()
    with fails(errno.ENOTDIR):
        (path / "d").mkdir()
    with fails(errno.ENOTDIR):
        path.rmdir()
    with fails(errno.ENOTDIR):
        os.listdir(path)


@check()
def directories_are_no_files(place: Place) -> None:
    path = place.path / "d"
    path.mkdir()
    with fails(errno.EISDIR):
        path.unlink()
    with fails(errno.EISDIR):
        path.read_bytes()
    with fails(errno.ENOENT):
        (place.path / "none").unlink()
    assert path.is_dir()


@check()
def rmdir_of_what_is_not_empty(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    (made / "f").write_bytes(b"")
    with fails(errno.ENOTEMPTY):
        made.rmdir()
    (made / "f").unlink()
    (place.behind / "d" / "theirs").write_bytes(b"")
    with fails(errno.ENOTEMPTY):
        made.rmdir()
    (place.behind / "d" / "theirs").unlink()
    (made / ".hidden").write_bytes(b"")
    with fails(errno.ENOTEMPTY):
        made.rmdir()
    (made / ".hidden").unlink()
    made.rmdir()


@check()
def a_removed_directory_takes_nothing_in(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
    try:
        made.rmdir()
        with fails(errno.ENOENT):
            os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=handle)
    finally:
        os.close(handle)


@check()
def deep_trees(place: Place) -> None:
    deep = place.path
    for number in range(30):
        deep = deep / f"level {number}"
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"down here")
    assert (place.behind / deep.relative_to(place.path) / "f").read_bytes() == b"down here"
    assert subprocess.check_output(["find", str(place.path), "-type", "f"], text=True).strip() == str(deep / "f")


@check()
def every_entry_of_3000_once(place: Place) -> None:
    names = {f"entry number {number:05} with a name of some length" for number in range(3000)}
    directories = {name for name in names if name[13:18].endswith("7")}
    for name in names:
        if name in directories:
            (place.behind / name).mkdir()
        else:
            (place.behind / name).touch()
    with os.scandir(place.path) as entries:
        found = [
            (entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)) for entry in entries
        ]
    assert len(found) == 3000
    assert {name for name, _, _ in found} == names
    assert {name for name, is_dir, _ in found if is_dir} == directories
    assert all(is_dir != is_file for _, is_dir, is_file in found)
    assert len(os.listdir(place.path)) == 3000


@check()
def kinds_in_a_listing_are_those_of_stat(place: Place) -> None:
    """By find(1), which prints `?`... where d_type is unknown it asks; so ask the kernel's way, `ls -U -p`."""
    (place.path / "file").write_bytes(b"")
    (place.path / "directory").mkdir()
    shown = subprocess.check_output(["ls", "-1p", str(place.path)], text=True).splitlines()
    assert shown == ["directory/", "file"]


@check()
def dot_and_dot_dot(place: Place) -> None:
    inner = place.path / "inner"
    inner.mkdir()
    shown = subprocess.check_output(["ls", "-1aiU", str(inner)], text=True).split()
    assert dict(zip(shown[1::2], map(int, shown[::2]), strict=True)) == {
        ".": inner.stat().st_ino,
        "..": place.path.stat().st_ino,
    }
    assert os.stat(f"{inner}/.").st_ino == inner.stat().st_ino
    assert os.stat(f"{inner}/..").st_ino == place.path.stat().st_ino


@check()
def a_listing_goes_on_where_it_was_told_to(place: Place) -> None:
    """telldir, seekdir and rewinddir of the C library, by way of a directory handle read twice."""
    for number in range(300):
        (place.behind / f"f{number}").touch()
    handle = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        first = os.listdir(handle)
        (place.path / "more").touch()
        again = os.listdir(handle)  # rewinds
    finally:
        os.close(handle)
    assert len(first) == len(set(first)) == 300
    assert sorted(again) == sorted([*first, "more"])


@check()
def listings_while_others_create_and_delete(place: Place) -> None:
    """What is there all the time is in every listing, once."""
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
        for _ in range(15):
            found = os.listdir(place.path)
            assert len(found) == len(set(found))
            assert stable <= set(found)
    finally:
        stop.set()
        churning.join(30)
    assert not churning.is_alive()
    assert troubles == []


@check()
def own_changes_show_at_once_in_a_listing(place: Place) -> None:
    for number in range(20):
        assert len(os.listdir(place.path)) == number
        (place.path / f"f{number}").write_bytes(b"x" * number)
        with os.scandir(place.path) as entries:
            assert {entry.name: entry.stat().st_size for entry in entries}[f"f{number}"] == number
    for number in range(20):
        (place.path / f"f{number}").unlink()
        assert len(os.listdir(place.path)) == 19 - number


@check()
def a_directory_left_and_made_anew_is_empty(place: Place) -> None:
    made = place.path / "d"
    for _ in range(3):
        made.mkdir()
        (made / "f").write_bytes(b"x")
        assert listing(made) == ["f"]
        (made / "f").unlink()
        made.rmdir()
        assert listing(place.path) == []


@check()
def a_name_changes_its_kind(place: Place) -> None:
    path = place.path / "x"
    path.write_bytes(b"file")
    assert path.is_file()
    path.unlink()
    path.mkdir()
    assert path.is_dir()
    path.rmdir()
    path.write_bytes(b"file again")
    assert path.read_bytes() == b"file again"


@check()
def the_working_directory_is_known(place: Place) -> None:
    inner = place.path / "a" / "b"
    inner.mkdir(parents=True)
    script = 'pwd -P; mv "$1" "$2"; /bin/pwd -P; echo x > here; cd ..; pwd -P'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(place.path / "a"), str(place.path / "moved")],
        cwd=inner, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    moved = place.path / "moved"
    assert done.stdout.splitlines()[:2] == [str(inner), str(moved / "b")]
    assert (moved / "b" / "here").read_text() == "x\n"
