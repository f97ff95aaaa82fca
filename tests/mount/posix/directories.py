"""Directories: made, removed, nested, worked in."""

from __future__ import annotations

import errno
import os
import subprocess

from tests.mount.posix import Place, check, fails, listing, opened
from tests.mount.posix.actor import Actor

MAKING = "mkdir and rmdir; ENOTEMPTY, EEXIST, ENOTDIR, EISDIR"


@check(MAKING)
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
    os.mkdir(f"{made}/")
    assert listing(made) == []
    os.rmdir(f"{made}/")


@check(MAKING)
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
    with fails(errno.ENOTDIR):
        os.stat(f"{path}/")
    with fails(errno.ENOTDIR):
        os.stat(f"{path}/.")


@check(MAKING)
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


@check(MAKING)
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


@check(MAKING)
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


@check(MAKING)
def a_directory_left_and_made_anew_is_empty(place: Place) -> None:
    made = place.path / "d"
    for _ in range(3):
        made.mkdir()
        (made / "f").write_bytes(b"x")
        assert listing(made) == ["f"]
        (made / "f").unlink()
        made.rmdir()
        assert listing(place.path) == []


REMOVED = "a directory removed while it is open, or worked in, is empty and takes nothing in"


@check(REMOVED)
def a_removed_directory_takes_nothing_in(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    with opened(made, os.O_RDONLY | os.O_DIRECTORY) as handle:
        made.rmdir()
        with fails(errno.ENOENT):
            os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=handle)
        with fails(errno.ENOENT):
            os.mkdir("d", dir_fd=handle)
        made.mkdir()
        (made / "f").write_bytes(b"")
        assert os.listdir(handle) == []
        assert os.fstat(handle).st_nlink == 0
        assert os.fstat(handle).st_ino != made.stat().st_ino


@check(REMOVED)
def a_removed_working_directory(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    with Actor() as other:
        other.do("chdir", made)
        made.rmdir()
        assert other.do("listdir") == []
        with fails(errno.ENOENT):
            other.do("getcwd")
        for call in (("mkdir", "d"), ("open", "f", os.O_CREAT | os.O_WRONLY), ("stat", "f")):
            with fails(errno.ENOENT):
                other.do(*call)
        other.do("chdir", "..")
        assert other.do("getcwd") == str(place.path)


DOTS = "`.' and `..', in paths and listings"


@check(DOTS)
def dot_and_dot_dot(place: Place) -> None:
    inner = place.path / "inner"
    inner.mkdir()
    assert _numbers_listed(inner) == {".": inner.stat().st_ino, "..": place.path.stat().st_ino}
    assert os.stat(f"{inner}/.").st_ino == inner.stat().st_ino
    assert os.stat(f"{inner}/..").st_ino == place.path.stat().st_ino


@check(DOTS)
def dot_dot_follows_a_move(place: Place) -> None:
    inner, new = place.path / "inner", place.path / "new"
    inner.mkdir()
    new.mkdir()
    with opened(inner, os.O_RDONLY) as handle:
        inner.rename(new / "inner")
        assert os.stat("..", dir_fd=handle).st_ino == new.stat().st_ino
    assert os.stat(f"{new}/inner/..").st_ino == new.stat().st_ino
    assert _numbers_listed(new / "inner")[".."] == new.stat().st_ino


def _numbers_listed(path: object) -> dict[str, int]:
    shown = subprocess.check_output(["ls", "-1aiU", str(path)], text=True).split()
    return dict(zip(shown[1::2], map(int, shown[::2]), strict=True))


@check(DOTS)
def dots_are_not_made_or_removed(place: Place) -> None:
    (place.path / "d").mkdir()
    with fails(errno.EINVAL):
        os.rmdir(f"{place.path}/d/.")
    with fails(errno.ENOTEMPTY, errno.EINVAL):
        os.rmdir(f"{place.path}/d/..")
    with fails(errno.EEXIST):
        os.mkdir(f"{place.path}/d/.")
    with fails(errno.EBUSY):
        os.rename(f"{place.path}/d/.", place.path / "e")
    assert listing(place.path) == ["d"]


@check("deep trees")
def deep_trees(place: Place) -> None:
    deep = place.path
    for number in range(30):
        deep = deep / f"level {number}"
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"down here")
    assert (place.behind / deep.relative_to(place.path) / "f").read_bytes() == b"down here"
    assert subprocess.check_output(["find", str(place.path), "-type", "f"], text=True).strip() == str(deep / "f")


WORKING = "the working directory (getcwd), also after a rename of a parent"


@check(WORKING)
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


@check(WORKING)
def numbers_stay_after_the_rename_of_a_parent(place: Place) -> None:
    inner = place.path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "f").write_bytes(b"content")
    numbers = [path.stat().st_ino for path in (inner.parent, inner, inner / "f")]
    (place.path / "a").rename(place.path / "moved")
    moved = place.path / "moved" / "b"
    assert [path.stat().st_ino for path in (moved.parent, moved, moved / "f")] == numbers
    assert {entry.name: entry.inode() for entry in os.scandir(moved)} == {"f": numbers[2]}


@check("link counts of directories: 2 and one for each directory inside", nounix="1, whatever is inside")
def directories_count_what_is_in_them(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    assert made.stat().st_nlink == 2
    (made / "f").write_bytes(b"")
    (made / "one").mkdir()
    (made / "two").mkdir()
    assert made.stat().st_nlink == 4
    (made / "one").rename(place.path / "one")
    assert made.stat().st_nlink == 3
    (made / "two").rmdir()
    assert made.stat().st_nlink == 2
