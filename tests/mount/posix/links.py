"""Symbolic and hard links."""

from __future__ import annotations

import errno
import os

from tests.mount.posix import MFSYMLINKS, Place, check, fails, listing, opened

TARGETS = ("f", "../elsewhere", "/an/absolute/path", "日本語/🐧", "with blank", "x" * 1000, 'a\\b:c*?"<>|', ".")
SYMBOLIC = "symbolic links"
NONE = f"EPERM; {MFSYMLINKS}yes"


@check(SYMBOLIC, nounix=NONE)
def symbolic_links_say_where(place: Place) -> None:
    for number, target in enumerate(TARGETS):
        link = place.path / f"link{number}"
        link.symlink_to(target)
        assert os.readlink(link) == target
        assert link.is_symlink()
        assert link.lstat().st_size == len(target.encode())
    with os.scandir(place.path) as entries:
        assert all(entry.is_symlink() for entry in entries)


@check(SYMBOLIC, nounix=NONE)
def a_symbolic_link_dates_its_directory_once(place: Place) -> None:
    """What is told right after it was made is the server's time, not one that is put right later."""
    directory = place.path / "directory"
    directory.mkdir()
    for number in range(5):
        (directory / f"link{number}").symlink_to("target")
        told, real = directory.stat(), (place.behind / "directory").stat()
        assert abs(told.st_mtime_ns - real.st_mtime_ns) < 100
        assert abs(told.st_ctime_ns - real.st_ctime_ns) < 100


@check(SYMBOLIC, nounix=NONE)
def symbolic_links_are_followed(place: Place) -> None:
    (place.path / "d").mkdir()
    (place.path / "d" / "f").write_bytes(b"content")
    (place.path / "to_file").symlink_to("d/f")
    (place.path / "to_dir").symlink_to("d")
    (place.path / "dangling").symlink_to("none")
    assert (place.path / "to_file").read_bytes() == b"content"
    assert listing(place.path / "to_dir") == ["f"]
    (place.path / "to_file").write_bytes(b"changed")
    assert (place.path / "d" / "f").read_bytes() == b"changed"
    with fails(errno.ENOENT):
        (place.path / "dangling").read_bytes()
    with fails(errno.EEXIST):
        os.open(place.path / "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with fails(errno.EEXIST):
        (place.path / "to_file").symlink_to("x")
    with fails(errno.EINVAL):
        os.readlink(place.path / "d" / "f")
    (place.path / "dangling").write_bytes(b"made through the link")
    assert (place.path / "none").read_bytes() == b"made through the link"
    (place.path / "to_dir").unlink()
    (place.path / "to_file").unlink()
    assert (place.path / "d" / "f").read_bytes() == b"changed"


@check(SYMBOLIC, nounix=NONE)
def links_in_a_circle(place: Place) -> None:
    (place.path / "loop").symlink_to("loop")
    (place.path / "a").symlink_to("b")
    (place.path / "b").symlink_to("a")
    for name in ("loop", "a"):
        with fails(errno.ELOOP):
            (place.path / name).read_bytes()
        with fails(errno.ELOOP):
            (place.path / name / "x").stat()
        with fails(errno.ELOOP):
            os.open(place.path / name, os.O_RDONLY | os.O_NOFOLLOW)
    (place.path / "f").write_bytes(b"content")
    (place.path / "link0").symlink_to("f")
    for number in range(1, 45):
        (place.path / f"link{number}").symlink_to(f"link{number - 1}")
    assert (place.path / "link39").read_bytes() == b"content"
    with fails(errno.ELOOP):
        (place.path / "link44").read_bytes()


@check(SYMBOLIC, nounix=NONE)
def links_are_renamed_and_replaced(place: Place) -> None:
    (place.path / "f").write_bytes(b"x")
    (place.path / "link").symlink_to("f")
    (place.path / "link").rename(place.path / "moved")
    assert os.readlink(place.path / "moved") == "f"
    (place.path / "new").write_bytes(b"new")
    (place.path / "new").rename(place.path / "moved")
    assert not (place.path / "moved").is_symlink()
    assert (place.path / "f").read_bytes() == b"x"
    assert (place.path / "moved").read_bytes() == b"new"
    (place.path / "temporary").symlink_to("f")
    (place.path / "temporary").rename(place.path / "moved")  # ln -sfn
    assert os.readlink(place.path / "moved") == "f"


@check(SYMBOLIC, nounix=NONE)
def targets_that_are_no_text(place: Place) -> None:
    os.symlink(b"caf\xe9", os.fsencode(place.path / "link"))
    assert os.readlink(os.fsencode(place.path / "link")) == b"caf\xe9"


@check("symbolic links made by others, as they made them", nounix="the server follows them itself")
def symbolic_links_lead_into_this_machine(place: Place) -> None:
    """Not the server follows them: what they name is a path here."""
    (place.behind / "theirs").symlink_to("/proc/self/comm")
    assert os.readlink(place.path / "theirs") == "/proc/self/comm"
    with open("/proc/self/comm") as own, open(place.path / "theirs") as through:
        assert through.read() == own.read()
    (place.path / "ours").symlink_to("../elsewhere")
    assert os.readlink(place.behind / "ours") == "../elsewhere"


@check("targets of symbolic links of more than 1,024 bytes", nounix=f"EPERM; {MFSYMLINKS}ENAMETOOLONG")
def long_targets(place: Place) -> None:
    for number, target in enumerate(("x" * 1025, "日" * 1300, "y" * 4095)):
        (place.path / f"link{number}").symlink_to(target)
        assert os.readlink(place.path / f"link{number}") == target
    with fails(errno.ENAMETOOLONG):
        (place.path / "too long").symlink_to("z" * 4096)
    with fails(errno.ENOENT):
        os.symlink("", place.path / "empty")


TIMES = "times of symbolic links themselves"


@check(TIMES, unix="smbd leaves them as they are", nounix=NONE)
def symbolic_links_have_times_of_their_own(place: Place) -> None:
    link = place.path / "link"
    link.symlink_to("f")
    os.utime(link, ns=(11 * 10**17, 11 * 10**17), follow_symlinks=False)
    assert link.lstat().st_mtime_ns == 11 * 10**17


@check("times set on a symbolic link leave its target alone (cp -a, rsync)", nounix=NONE)
def the_times_of_a_link_are_not_its_targets(place: Place) -> None:
    target, link = place.path / "f", place.path / "link"
    target.write_bytes(b"x")
    os.utime(target, ns=(10**18, 10**18))
    link.symlink_to("f")
    os.utime(link, ns=(11 * 10**17, 11 * 10**17), follow_symlinks=False)
    assert target.stat().st_mtime_ns == 10**18
    dangling = place.path / "dangling"
    dangling.symlink_to("none")
    os.utime(dangling, ns=(11 * 10**17, 11 * 10**17), follow_symlinks=False)
    assert os.readlink(dangling) == "none"


@check("owners of symbolic links themselves", nounix=f"EPERM; {MFSYMLINKS}as uid= says", root=True)
def symbolic_links_have_owners_of_their_own(place: Place) -> None:
    target, link = place.path / "f", place.path / "link"
    target.write_bytes(b"x")
    link.symlink_to("f")
    os.lchown(link, 1234, 4321)
    assert (link.lstat().st_uid, link.lstat().st_gid) == (1234, 4321)
    assert target.stat().st_uid == os.geteuid()


HARD = "hard links: one file, counted, with one number"


@check(HARD)
def hard_links_are_one_file(place: Place) -> None:
    first, second, third = place.path / "first", place.path / "second", place.path / "d" / "third"
    (place.path / "d").mkdir()
    first.write_bytes(b"x")
    second.hardlink_to(first)
    third.hardlink_to(first)
    assert {path.stat().st_nlink for path in (first, second, third)} == {3}
    assert {path.stat().st_ino for path in (first, second, third)} == {first.stat().st_ino}
    assert (place.behind / "first").stat().st_nlink == 3
    second.write_bytes(b"longer")
    assert first.stat().st_size == 6
    assert first.read_bytes() == b"longer"
    first.unlink()
    assert second.read_bytes() == b"longer"
    assert second.stat().st_nlink == 2
    with fails(errno.EEXIST):
        os.link(second, third)
    with fails(errno.EEXIST):
        os.link(second, second)
    second.unlink()
    assert third.read_bytes() == b"longer"
    assert third.stat().st_nlink == 1


@check(HARD)
def open_files_by_another_name(place: Place) -> None:
    first, second = place.path / "first", place.path / "second"
    with first.open("w+b", buffering=0) as file:
        os.link(first, second)
        file.write(b"content")
        assert second.read_bytes() == b"content"
        second.write_bytes(b"cut")
        assert os.pread(file.fileno(), 100, 0) == b"cut"
        assert os.fstat(file.fileno()).st_nlink == 2


@check(HARD)
def links_made_by_others_are_known_from_listings(place: Place) -> None:
    (place.path / "d").mkdir()
    (place.behind / "d" / "a").write_bytes(b"content")
    os.link(place.behind / "d" / "a", place.behind / "d" / "b")
    found = {entry.name: entry.stat() for entry in os.scandir(place.path / "d")}
    assert found["a"].st_ino == found["b"].st_ino
    if place.lifetime:  # else each is asked for alone, and a server without the UNIX extensions tells no count
        assert (found["a"].st_nlink, found["b"].st_nlink) == (2, 2)


@check(HARD)
def no_hard_links_of_directories(place: Place) -> None:
    (place.path / "d").mkdir()
    with fails(errno.EPERM):
        os.link(place.path / "d", place.path / "e")
    with fails(errno.ENOENT):
        os.link(place.path / "none", place.path / "e")


@check("rename between two names of one file does nothing")
def rename_between_names_of_one_file_does_nothing(place: Place) -> None:
    (place.path / "a").write_bytes(b"x")
    os.link(place.path / "a", place.path / "b")
    os.rename(place.path / "a", place.path / "b")
    assert listing(place.path) == ["a", "b"]
    assert (place.path / "a").read_bytes() == (place.path / "b").read_bytes() == b"x"


@check("hard links of symbolic links", nounix=NONE)
def symbolic_links_have_further_names(place: Place) -> None:
    (place.path / "f").write_bytes(b"x")
    (place.path / "link").symlink_to("f")
    os.link(place.path / "link", place.path / "again", follow_symlinks=False)
    assert os.readlink(place.path / "again") == "f"
    assert (place.path / "again").lstat().st_ino == (place.path / "link").lstat().st_ino
    assert (place.path / "f").stat().st_nlink == 1
    with opened(place.path / "again", os.O_RDONLY) as file:
        assert os.read(file, 10) == b"x"
