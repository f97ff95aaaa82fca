"""rename(2) and renameat2(2): what takes whose place, and what is refused."""

from __future__ import annotations

import errno
import os

from tests.mount.posix import RENAME_EXCHANGE, RENAME_NOREPLACE, Place, check, fails, listing, renameat2
from tests.mount.posix.actor import Actor

PLAIN = "rename, within a directory and between two"
OVER = "rename over a file: the name always stands for the old one or the new one"
DIRECTORIES = "rename of directories, and over an empty one; EINVAL, ENOTEMPTY, ENOTDIR, EISDIR"


@check(PLAIN)
def to_a_free_name(place: Place) -> None:
    (place.path / "d").mkdir()
    (place.path / "a").write_bytes(b"a")
    number = (place.path / "a").stat().st_ino
    (place.path / "a").rename(place.path / "b")
    (place.path / "b").rename(place.path / "d" / "c")
    assert listing(place.path) == ["d"]
    assert listing(place.path / "d") == ["c"]
    assert (place.path / "d" / "c").read_bytes() == b"a"
    assert (place.path / "d" / "c").stat().st_ino == number
    assert not (place.path / "a").exists()
    with fails(errno.ENOENT):
        (place.path / "a").rename(place.path / "x")


@check(OVER)
def over_a_file(place: Place) -> None:
    """In the same directory and in another one; from and to hidden names, which servers treat in their own way."""
    (place.path / "other").mkdir()
    sources = ("plain", ".hidden", "two words", ".dot and blank")
    for source in sources:
        for target in ("target", ".target", "other/target", "other/.target"):
            (place.path / source).write_bytes(source.encode())
            (place.path / target).write_bytes(b"to be replaced, and longer")
            number = (place.path / source).stat().st_ino
            os.rename(place.path / source, place.path / target)
            assert (place.path / target).read_bytes() == source.encode()
            assert (place.path / target).stat().st_ino == number
            assert not (place.path / source).exists()
            assert (place.behind / target).read_bytes() == source.encode()
    assert listing(place.path) == [".target", "other", "target"]
    assert listing(place.path / "other") == [".target", "target"]


@check(OVER)
def over_a_read_only_file(place: Place) -> None:
    for name in ("target", ".target"):
        target = place.path / name
        target.write_bytes(b"old")
        target.chmod(0o444)
        (place.path / "new").write_bytes(b"new")
        (place.path / "new").rename(target)
        assert target.read_bytes() == b"new"
    assert listing(place.path) == [".target", "target"]


@check(PLAIN)
def a_read_only_file(place: Place) -> None:
    (place.path / "a").write_bytes(b"a")
    (place.path / "a").chmod(0o444)
    (place.path / "a").rename(place.path / "b")
    (place.path / "c").write_bytes(b"c")
    (place.path / "b").rename(place.path / "c")
    assert (place.path / "c").read_bytes() == b"a"
    assert (place.path / "c").stat().st_mode & 0o777 == 0o444 or not place.unix


@check(OVER)
def over_what_another_made_a_moment_ago(place: Place) -> None:
    """The mount believes that the name is free."""
    assert not (place.path / "target").exists()
    (place.path / "source").write_bytes(b"ours")
    (place.behind / "target").write_bytes(b"theirs")
    (place.path / "source").rename(place.path / "target")
    assert (place.path / "target").read_bytes() == b"ours"
    assert listing(place.path) == ["target"]


@check(PLAIN)
def onto_itself(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    path.rename(path)
    assert path.read_bytes() == b"x"
    assert listing(place.path) == ["f"]


@check(PLAIN)
def what_is_renamed_stays_what_it_is(place: Place) -> None:
    path, made = place.path / "f", place.path / "d"
    path.write_bytes(b"content")
    path.chmod(0o444)
    os.utime(path, ns=(10**18, 10**18 + 100))
    made.mkdir()
    before = path.stat()
    path.rename(made / "g")
    after = (made / "g").stat()
    for told in ("st_ino", "st_mode", "st_uid", "st_size", "st_nlink", "st_atime_ns", "st_mtime_ns"):
        assert (told, getattr(after, told)) == (told, getattr(before, told))


@check(PLAIN)
def ways_that_lead_nowhere(place: Place) -> None:
    (place.path / "f").write_bytes(b"x")
    with fails(errno.ENOENT):
        (place.path / "f").rename(place.path / "none" / "f")
    with fails(errno.ENOTDIR):
        (place.path / "f").rename(place.path / "f" / "g")
    with fails(errno.ENOTDIR):
        os.rename(place.path / "f", f"{place.path}/g/")
    with fails(errno.ENOENT):
        (place.path / "none").rename(place.path / "f")
    assert (place.path / "f").read_bytes() == b"x"


@check("rename to another case of the same name", nounix="nothing happens; go by a third name")
def to_another_case(place: Place) -> None:
    """Where both names are one file's the kernel does nothing, as rename(2) says, and does not even tell us."""
    (place.path / "readme").write_bytes(b"x")
    (place.path / "readme").rename(place.path / "README")
    assert listing(place.path) == os.listdir(place.behind) == ["README"]
    assert (place.path / "README").read_bytes() == b"x"


@check(PLAIN)
def to_another_case_by_way_of_a_third_name(place: Place) -> None:
    (place.path / "readme").write_bytes(b"x")
    (place.path / "readme").rename(place.path / "between")
    (place.path / "between").rename(place.path / "README")
    assert listing(place.path) == os.listdir(place.behind) == ["README"]


@check(DIRECTORIES)
def of_directories(place: Place) -> None:
    (place.path / "a" / "sub").mkdir(parents=True)
    (place.path / "a" / "sub" / "f").write_bytes(b"x")
    assert (place.path / "a" / "sub" / "f").read_bytes() == b"x"
    (place.path / "a").rename(place.path / "b")
    assert (place.path / "b" / "sub" / "f").read_bytes() == b"x"
    assert not (place.path / "a").exists()
    (place.path / "into").mkdir()
    (place.path / "b").rename(place.path / "into" / "b")
    assert listing(place.path) == ["into"]
    assert (place.path / "into" / "b" / "sub" / "f").read_bytes() == b"x"
    with fails(errno.EINVAL):
        (place.path / "into").rename(place.path / "into" / "b" / "into")


@check(DIRECTORIES)
def a_directory_over_an_empty_one(place: Place) -> None:
    for name in ("a", "b", "elsewhere/b"):
        (place.path / name).mkdir(parents=True)
    (place.path / "a" / "f").write_bytes(b"x")
    (place.path / "a").rename(place.path / "b")
    assert listing(place.path) == ["b", "elsewhere"]
    (place.path / "b").rename(place.path / "elsewhere" / "b")
    assert listing(place.path / "elsewhere" / "b") == ["f"]
    assert listing(place.path) == ["elsewhere"]


@check(DIRECTORIES)
def a_directory_over_one_that_is_not_empty(place: Place) -> None:
    for name in ("a", "b"):
        (place.path / name).mkdir()
        (place.path / name / name).write_bytes(b"x")
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        (place.path / "a").rename(place.path / "b")
    assert (listing(place.path / "a"), listing(place.path / "b")) == (["a"], ["b"])


@check(DIRECTORIES)
def kinds_do_not_replace_each_other(place: Place) -> None:
    (place.path / "f").write_bytes(b"x")
    (place.path / "d").mkdir()
    with fails(errno.EISDIR):
        (place.path / "f").rename(place.path / "d")
    with fails(errno.ENOTDIR):
        (place.path / "d").rename(place.path / "f")
    assert (place.path / "f").read_bytes() == b"x"
    assert (place.path / "d").is_dir()


@check("RENAME_NOREPLACE")
def noreplace(place: Place) -> None:
    for name in ("a", "b"):
        (place.path / name).write_bytes(name.encode())
    with fails(errno.EEXIST):
        renameat2(place.path / "a", place.path / "b", RENAME_NOREPLACE)
    assert (place.path / "b").read_bytes() == b"b"
    renameat2(place.path / "a", place.path / "c", RENAME_NOREPLACE)
    assert listing(place.path) == ["b", "c"]
    (place.behind / "theirs").write_bytes(b"theirs")
    with fails(errno.EEXIST):
        renameat2(place.path / "c", place.path / "theirs", RENAME_NOREPLACE)
    assert (place.behind / "theirs").read_bytes() == b"theirs"


@check("RENAME_EXCHANGE", unix="EINVAL", nounix="EINVAL")
def two_names_are_exchanged(place: Place) -> None:
    for name in ("a", "b"):
        (place.path / name).write_bytes(name.encode())
    renameat2(place.path / "a", place.path / "b", RENAME_EXCHANGE)
    assert (place.path / "a").read_bytes() == b"b"
    assert (place.path / "b").read_bytes() == b"a"


@check(OVER)
def there_is_always_a_file_under_the_name(place: Place) -> None:
    """Written anew beside and renamed over, again and again: what is under the name is old or new, and whole."""
    target = place.path / "config"
    target.write_bytes(b"0" * 1000)
    for number in range(1, 30):
        temporary = place.path / f".config.{number}"
        temporary.write_bytes(b"%d" % (number % 10) * 1000)
        temporary.rename(target)
        content = target.read_bytes()
        assert content == b"%d" % (number % 10) * 1000
        assert target.stat().st_size == 1000
    assert listing(place.path) == ["config"]


@check("rename of a directory with open files below it")
def a_directory_with_open_files_below(place: Place) -> None:
    """Of this process and another one; one of them without a name, and one that another works beside."""
    old, new = place.path / "old", place.path / "elsewhere" / "new"
    (old / "sub").mkdir(parents=True)
    new.parent.mkdir()
    with (
        (old / "sub" / "f").open("w+b", buffering=0) as file,
        (old / "unlinked").open("w+b", buffering=0) as nameless,
        Actor() as other,
    ):
        file.write(b"before")
        nameless.write(b"nameless")
        (old / "unlinked").unlink()
        theirs = other.do("open", old / "sub" / "f", os.O_RDONLY)
        other.do("chdir", old / "sub")
        for source, target in ((old, new), (new, old)):
            source.rename(target)
            assert not source.exists()
            file.write(b" after")
            assert other.do("getcwd") == str(target / "sub")
            assert other.do("stat", "f").st_ino == os.fstat(file.fileno()).st_ino
            content = (target / "sub" / "f").read_bytes()
            assert content.startswith(b"before after")
            assert other.do("pread", theirs, 100, 0) == content
            assert os.fstat(file.fileno()).st_size == len(content)
            assert os.pread(nameless.fileno(), 100, 0) == b"nameless"
    assert listing(place.path) == ["elsewhere", "old"]
    assert (place.behind / "old" / "sub" / "f").read_bytes() == b"before after after"
    assert listing(place.path / "old") == ["sub"]
