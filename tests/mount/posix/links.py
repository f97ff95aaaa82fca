"""Symbolic and hard links: the server's with the UNIX extensions."""

from __future__ import annotations

import errno
import os

from tests.mount.posix import Place, check, fails, listing

TARGETS = ("f", "../elsewhere", "/an/absolute/path", "日本語/🐧", "with blank", "x" * 1000, 'a\\b:c*?"<>|', ".")


@check(unix=True)
def symbolic_links_say_where(place: Place) -> None:
    for number, target in enumerate(TARGETS):
        link = place.path / f"link{number}"
        link.symlink_to(target)
        assert os.readlink(link) == target
        assert os.readlink(place.behind / link.name) == target
        assert link.is_symlink()
        assert link.lstat().st_size == len(target.encode())
    with os.scandir(place.path) as entries:
        assert all(entry.is_symlink() for entry in entries)


@check(unix=True)
def symbolic_links_are_followed(place: Place) -> None:
    (place.path / "d").mkdir()
    (place.path / "d" / "f").write_bytes(b"content")
    (place.path / "to_file").symlink_to("d/f")
    (place.path / "to_dir").symlink_to("d")
    (place.path / "dangling").symlink_to("none")
    (place.path / "loop").symlink_to("loop")
    assert (place.path / "to_file").read_bytes() == b"content"
    assert listing(place.path / "to_dir") == ["f"]
    (place.path / "to_file").write_bytes(b"changed")
    assert (place.path / "d" / "f").read_bytes() == b"changed"
    with fails(errno.ENOENT):
        (place.path / "dangling").read_bytes()
    with fails(errno.ELOOP):
        (place.path / "loop").read_bytes()
    with fails(errno.EEXIST):
        (place.path / "to_file").symlink_to("x")
    with fails(errno.EINVAL):
        os.readlink(place.path / "d" / "f")
    (place.path / "to_dir").unlink()
    (place.path / "to_file").unlink()
    assert (place.path / "d" / "f").read_bytes() == b"changed"


@check(unix=True)
def symbolic_links_lead_into_this_machine(place: Place) -> None:
    """Not the server follows them: what they name is a path here."""
    (place.path / "up").symlink_to("../../../../../../../../../../etc/hostname")
    (place.behind / "theirs").symlink_to("/proc/self/comm")
    assert os.readlink(place.path / "theirs") == "/proc/self/comm"
    with open("/proc/self/comm") as own, open(place.path / "theirs") as through:
        assert through.read() == own.read()


@check(unix=True)
def symbolic_links_have_attributes_of_their_own(place: Place) -> None:
    """As cp -a and rsync -a set them. smbd says that it did, sets no times of a link, but spares the target, too."""
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


@check(unix=True, root=True)
def symbolic_links_have_owners_of_their_own(place: Place) -> None:
    target, link = place.path / "f", place.path / "link"
    target.write_bytes(b"x")
    link.symlink_to("f")
    os.lchown(link, 1234, 4321)
    assert (link.lstat().st_uid, link.lstat().st_gid) == (1234, 4321)
    assert target.stat().st_uid == os.geteuid()


@check(unix=True)
def targets_that_are_no_text(place: Place) -> None:
    os.symlink(b"caf\xe9", os.fsencode(place.path / "link"))
    assert os.readlink(os.fsencode(place.path / "link")) == b"caf\xe9"


@check(unix=True)
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


@check(unix=True)
def hard_links_are_one_file(place: Place) -> None:
    first, second = place.path / "first", place.path / "second"
    (place.path / "d").mkdir()
    first.write_bytes(b"x")
    second.hardlink_to(first)
    (place.path / "d" / "third").hardlink_to(first)
    assert first.stat().st_nlink == second.stat().st_nlink == 3
    assert first.stat().st_ino == second.stat().st_ino
    second.write_bytes(b"longer")
    assert first.stat().st_size == 6
    assert first.read_bytes() == b"longer"
    first.unlink()
    assert second.read_bytes() == b"longer"
    assert second.stat().st_nlink == 2
    with fails(errno.EEXIST):
        os.link(second, place.path / "d" / "third")
    second.unlink()
    assert (place.path / "d" / "third").read_bytes() == b"longer"
    assert (place.path / "d" / "third").stat().st_nlink == 1


@check(unix=True)
def rename_between_names_of_one_file_does_nothing(place: Place) -> None:
    (place.path / "a").write_bytes(b"x")
    os.link(place.path / "a", place.path / "b")
    os.rename(place.path / "a", place.path / "b")
    assert listing(place.path) == ["a", "b"]
    assert (place.path / "a").read_bytes() == (place.path / "b").read_bytes() == b"x"


@check()
def no_hard_links_of_directories(place: Place) -> None:
    (place.path / "d").mkdir()
    with fails(errno.EPERM):
        os.link(place.path / "d", place.path / "e")
