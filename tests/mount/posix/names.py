"""Names of every kind come back as they went in, and paths may be long."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mount.posix import Place, check, fails, listing, opened

ORDINARY = (
    "plain",
    "two words",
    "  leading blanks",
    ".hidden",
    "Grüße",
    "日本語のファイル",
    "🐧🎉.txt",
    "caf\u00e9",
    "cafe\u0301",
    "Ελληνικά",
    "עברית",
    "quotes ' and `backticks`",
    "semi;colon & dollar $HOME",
    "percent %41 and #hash",
    "~tilde~1",
    "ABCDEF~1.TXT",
    "comma, and + plus = equals [brackets] {braces}",
    "-rf",
    "a" * 200,
    "b" * 255,
    "日" * 85,
    "🐧" * 63,
    "@GMT-1999",
    "x@GMT-2023.03.04-05.06.07",
    "...",
    "..a",
    "\x7f delete",
)

RESERVED = (
    'double "quotes"',
    "star*",
    "colon: here",
    "a:stream",
    "less < more >",
    "question?",
    "back\\slash",
    "pi|pe",
    ':*?"<>|\\',
    "trailing dot.",
    "trailing blank ",
    "trailing dots..",
    " ",
    "\x01\x1f control",
    "tab\there",
    "new\nline",
)
"""What a Windows server takes for something else, or not at all."""


KINDS = "names in every script, with blanks and quotes"
RESERVED_NAMES = 'names with : * ? " < > | \\ and control characters, or a dot or blank at the end'


def _round_trip(place: Place, name: str) -> None:
    path = place.path / name
    content = f"content of {name!r}".encode()
    path.write_bytes(content)
    assert listing(place.path) == [name]
    assert path.read_bytes() == content
    assert path.stat().st_size == len(content)
    path.rename(place.path / "between")
    (place.path / "between").rename(path)
    assert listing(place.path) == [name]
    path.unlink()
    assert listing(place.path) == []
    path.mkdir()
    (path / name).write_bytes(content)
    assert listing(place.path) == [name]
    assert listing(path) == [name]
    assert (path / name).read_bytes() == content
    (path / name).unlink()
    path.rmdir()
    assert not path.exists()


@check(KINDS)
def ordinary_names(place: Place) -> None:
    for name in ORDINARY:
        _round_trip(place, name)


@check(RESERVED_NAMES)
def reserved_names(place: Place) -> None:
    for name in RESERVED:
        _round_trip(place, name)


@check(RESERVED_NAMES)
def all_names_at_once(place: Place) -> None:
    names = [*ORDINARY, *RESERVED]
    for name in names:
        (place.path / name).write_bytes(name.encode())
    assert listing(place.path) == sorted(names)
    for name in names:
        assert (place.path / name).read_bytes() == name.encode()


@check("reserved characters on the server's disk: as other clients write them (see mapposix)")
def names_on_the_servers_disk(place: Place) -> None:
    """With UNIX extensions as they are, else reserved characters in the private range, as other clients have them."""
    for name in RESERVED:
        (place.path / name).write_bytes(b"")
    reserved = {ord(char): 0xF020 + index for index, char in enumerate('"*:<>?\\|')}
    reserved |= {number: 0xF000 + number for number in range(1, 32)}
    ends = {" ": "\uf028", ".": "\uf029"}
    mapped = [name.translate(reserved) for name in RESERVED]
    mapped = [name[:-1] + ends.get(name[-1], name[-1]) for name in mapped]
    assert listing(place.behind) == sorted(RESERVED if place.unix else mapped)


@check(KINDS)
def ordinary_names_are_the_same_on_the_servers_disk(place: Place) -> None:
    names = [name for name in ORDINARY if not name.endswith(".")]
    for name in names:
        (place.path / name).write_bytes(b"")
    assert listing(place.behind) == sorted(names)


@check(KINDS)
def names_made_on_the_server(place: Place) -> None:
    names = [name for name in ORDINARY if name != "..." and "~" not in name]
    for name in names:
        (place.behind / name).write_bytes(name.encode())
    assert listing(place.path) == sorted(names)
    for name in names:
        assert (place.path / name).read_bytes() == name.encode()


@check("names of DOS devices: con, aux.txt, nul", nounix="listed under made-up short names")
def names_of_devices(place: Place) -> None:
    for name in ("con", "aux.txt", "nul", "com1"):
        _round_trip(place, name)


@check("names of 255 bytes; ENAMETOOLONG for more")
def names_too_long(place: Place) -> None:
    for name in ("a" * 256, "日" * 86, "a" * 1000):
        with fails(errno.ENAMETOOLONG):
            (place.path / name).write_bytes(b"")
        with fails(errno.ENAMETOOLONG):
            (place.path / name).stat()
        with fails(errno.ENAMETOOLONG):
            (place.path / name).mkdir()
    (place.path / "short").write_bytes(b"")
    with fails(errno.ENAMETOOLONG):
        (place.path / "short").rename(place.path / ("a" * 256))
    assert listing(place.path) == ["short"]


@check("names that are no UTF-8")
def names_that_are_no_text(place: Place) -> None:
    """Bytes that are no UTF-8 come back, too."""
    for name in (b"\xff", b"caf\xe9", b"cut \xe6\x97", b"\x80\xfe and \xe6\x97\xa5"):
        path = os.path.join(os.fsencode(place.path), name)
        with open(path, "xb") as file:
            file.write(name)
        assert os.listdir(os.fsencode(place.path)) == [name]
        with open(path, "rb") as file:
            assert file.read() == name
        os.unlink(path)
        assert not os.path.exists(path)
        os.mkdir(path)
        os.rmdir(path)


@check(KINDS)
def names_that_look_alike_are_different(place: Place) -> None:
    """Different for every server: precomposed and combining, and what only full case folding takes for the same."""
    names = ("caf\u00e9", "cafe\u0301", "stra\u00dfe", "strasse", "\ufb01n", "fin", "\u212a", "k")
    for name in names:
        (place.path / name).write_bytes(name.encode())
    assert listing(place.path) == sorted(names)
    for name in names:
        assert (place.path / name).read_bytes() == name.encode()
        assert (place.path / name).stat().st_size == len(name.encode())
    for name in names[::2]:
        (place.path / name).unlink()
    assert listing(place.path) == sorted(names[1::2])
    for name in names[1::2]:
        assert (place.path / name).read_bytes() == name.encode()


@check("names that differ in case only are different files", nounix="one file, found by either")
def case_counts(place: Place) -> None:
    (place.path / "Name.Txt").write_bytes(b"first")
    assert listing(place.path) == ["Name.Txt"]
    assert not (place.path / "name.txt").exists()
    (place.path / "name.txt").write_bytes(b"second")
    assert (place.path / "Name.Txt").read_bytes() == b"first"
    assert listing(place.path) == ["Name.Txt", "name.txt"]


OTHER_CASE = "a name in another case finds the file, under one number; getcwd stays sane"
POSIX_NAMES = "to POSIX another case is another name"


@check(OTHER_CASE, unix="ENOENT, as POSIX wants it", share=POSIX_NAMES)
def a_name_in_another_case_is_found(place: Place) -> None:
    path, other = place.path / "Name.Txt", place.path / "name.TXT"
    path.write_bytes(b"first")
    assert other.read_bytes() == b"first"
    assert other.stat().st_ino == path.stat().st_ino
    assert other.stat().st_nlink == 1
    other.write_bytes(b"longer")
    assert (path.read_bytes(), path.stat().st_size) == (b"longer", 6)
    assert listing(place.path) == ["Name.Txt"]
    with fails(errno.EEXIST):
        other.mkdir()
    with fails(errno.EEXIST):
        os.open(other, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    (place.path / "NAME.txt").unlink()
    assert listing(place.path) == []
    assert not path.exists()


@check(OTHER_CASE, unix="ENOENT, as POSIX wants it", share=POSIX_NAMES)
def a_working_directory_in_another_case(place: Place) -> None:
    (place.path / "Dir" / "Sub").mkdir(parents=True)
    with working_in(place.path / "DIR" / "sub"):
        assert os.getcwd().lower() == str(place.path / "Dir" / "Sub").lower()
        assert os.stat(os.getcwd()).st_ino == os.stat(".").st_ino == (place.path / "Dir" / "Sub").stat().st_ino
        Path("f").write_bytes(b"x")
        (place.path / "dir").rename(place.path / "Elsewhere")
        assert os.getcwd().lower() == str(place.path / "Elsewhere" / "Sub").lower()
        assert Path("F").read_bytes() == b"x"
    assert listing(place.path / "Elsewhere" / "Sub") == ["f"]


@check(RESERVED_NAMES)
def wildcards_stand_for_themselves(place: Place) -> None:
    for name in ("abc", "a?c", "a*", "*", "?", "a<c", 'a"c', "a>c"):
        assert not (place.path / name).exists()
        (place.path / name).write_bytes(name.encode())
    assert len(listing(place.path)) == 8
    (place.path / "*").unlink()
    (place.path / "?").unlink()
    assert len(listing(place.path)) == 6
    with fails(errno.ENOENT):
        (place.path / "*").unlink()
    with fails(errno.ENOENT):
        (place.path / "a?").stat()
    assert (place.path / "a?c").read_bytes() == b"a?c"


@contextmanager
def working_in(path: Path) -> Iterator[None]:
    """With this working directory."""
    with opened(Path("."), os.O_RDONLY) as before:
        os.chdir(path)
        try:
            yield
        finally:
            os.fchdir(before)


PATHS = "paths of 4,000 bytes; ENAMETOOLONG from 4,096 on"


@check(PATHS)
def paths_of_4000_bytes(place: Place) -> None:
    """In names of 199 bytes; of characters of three bytes each, too."""
    for number, letter in enumerate(("d", "日")):
        names = [letter * (199 // len(letter.encode()))] * 19
        with working_in(place.path):
            os.mkdir(str(number))
            os.chdir(str(number))
            for name in names:
                os.mkdir(name)
                os.chdir(name)
            os.chdir(place.path / str(number))
            below = "/".join([*names, "f" * 180])
            Path(below).write_bytes(b"deep")
            assert Path(below).read_bytes() == b"deep"
            os.rename(below, f"{below}2")
            assert Path(f"{below}2").stat().st_size == 4
            assert os.listdir(os.path.dirname(below)) == ["f" * 180 + "2"]
            with opened(Path(f"{below}2"), os.O_RDWR) as handle:
                os.unlink(f"{below}2")
                assert os.pread(handle, 10, 0) == b"deep"


@check(PATHS)
def paths_too_long(place: Place) -> None:
    (place.path / "d").mkdir()
    with working_in(place.path):
        fitting, too_long = "./" * 2047 + "d", "./" * 2047 + "dd"
        assert (len(fitting), len(too_long)) == (4095, 4096)
        assert os.path.isdir(fitting)
        for call in (os.stat, os.mkdir, os.rmdir, os.unlink, os.listdir):
            with fails(errno.ENAMETOOLONG):
                call(too_long)


@check("trees deeper than 4,096 bytes of a path can say", unix="ENOENT", nounix="ENOENT")
def deeper_than_any_path(place: Place) -> None:
    with working_in(place.path):
        for _ in range(25):
            os.mkdir("d" * 199)
            os.chdir("d" * 199)
        Path("f").write_bytes(b"deep")
        assert os.listdir() == ["f"]
