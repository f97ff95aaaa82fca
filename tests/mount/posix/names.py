"""Names of every kind come back as they went in."""

from __future__ import annotations

import errno
import os

from tests.mount.posix import Place, check, fails, listing

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


@check()
def ordinary_names(place: Place) -> None:
    for name in ORDINARY:
        _round_trip(place, name)


@check()
def reserved_names(place: Place) -> None:
    for name in RESERVED:
        _round_trip(place, name)


@check()
def all_names_at_once(place: Place) -> None:
    names = [*ORDINARY, *RESERVED]
    for name in names:
        (place.path / name).write_bytes(name.encode())
    assert listing(place.path) == sorted(names)
    for name in names:
        assert (place.path / name).read_bytes() == name.encode()


@check()
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


@check()
def ordinary_names_are_the_same_on_the_servers_disk(place: Place) -> None:
    names = [name for name in ORDINARY if not name.endswith(".")]
    for name in names:
        (place.path / name).write_bytes(b"")
    assert listing(place.behind) == sorted(names)


@check()
def names_made_on_the_server(place: Place) -> None:
    names = [name for name in ORDINARY if name != "..." and "~" not in name]
    for name in names:
        (place.behind / name).write_bytes(name.encode())
    assert listing(place.path) == sorted(names)
    for name in names:
        assert (place.path / name).read_bytes() == name.encode()


@check(unix=True)
def names_of_devices(place: Place) -> None:
    """Without the UNIX extensions smbd lists them under made-up short names."""
    for name in ("con", "aux.txt", "nul", "com1"):
        _round_trip(place, name)


@check()
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


@check()
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


@check()
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


@check()
def case(place: Place) -> None:
    """Two files with the UNIX extensions; without, one that answers to both."""
    (place.path / "Name.Txt").write_bytes(b"first")
    assert listing(place.path) == ["Name.Txt"]
    if not place.unix:
        assert (place.path / "name.TXT").read_bytes() == b"first"
        with fails(errno.EEXIST):
            (place.path / "NAME.TXT").mkdir()
        (place.path / "NAME.txt").unlink()
        assert listing(place.path) == []
        assert not (place.path / "Name.Txt").exists()
        return
    assert not (place.path / "name.txt").exists()
    (place.path / "name.txt").write_bytes(b"second")
    assert (place.path / "Name.Txt").read_bytes() == b"first"
    assert listing(place.path) == ["Name.Txt", "name.txt"]


@check()
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
