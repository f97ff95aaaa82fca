"""Extended attributes as programs use them. What is SMB's about them is in tests/mount/test_xattrs.py."""

from __future__ import annotations

import errno
import os

from tests.mount.posix import Place, check, fails

BASICS = "user.* attributes: set, get, list, remove; XATTR_CREATE and XATTR_REPLACE"


def all_of(path: object) -> dict[str, bytes]:
    return {name: os.getxattr(str(path), name) for name in os.listxattr(str(path))}


@check(BASICS)
def attributes_are_set_and_removed(place: Place) -> None:
    (place.path / "f").write_bytes(b"x")
    (place.path / "d").mkdir()
    for path in (place.path / "f", place.path / "d"):
        assert all_of(path) == {}
        os.setxattr(path, "user.one", b"first")
        os.setxattr(path, "user.two", bytes(range(256)))
        assert all_of(path) == {"user.one": b"first", "user.two": bytes(range(256))}
        os.setxattr(path, "user.one", b"and then a longer one")
        assert os.getxattr(path, "user.one") == b"and then a longer one"
        os.removexattr(path, "user.two")
        assert all_of(path) == {"user.one": b"and then a longer one"}
        for call in (os.getxattr, os.removexattr):
            with fails(errno.ENODATA):
                call(path, "user.two")


@check(BASICS)
def attributes_are_made_or_replaced(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    with fails(errno.ENODATA):
        os.setxattr(path, "user.a", b"x", os.XATTR_REPLACE)
    os.setxattr(path, "user.a", b"made", os.XATTR_CREATE)
    with fails(errno.EEXIST):
        os.setxattr(path, "user.a", b"again", os.XATTR_CREATE)
    os.setxattr(path, "user.a", b"replaced", os.XATTR_REPLACE)
    assert all_of(path) == {"user.a": b"replaced"}


@check("attributes stay with a file that is renamed, and go with one that is removed")
def attributes_belong_to_the_file(place: Place) -> None:
    path, moved = place.path / "f", place.path / "g"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        os.setxattr(file.fileno(), "user.a", b"by handle")
        path.rename(moved)
        assert os.getxattr(file.fileno(), "user.a") == b"by handle"
    assert all_of(moved) == {"user.a": b"by handle"}
    moved.unlink()
    moved.write_bytes(b"another")
    assert all_of(moved) == {}


@check("attributes with names of 200 and values of 2,000 bytes; ERANGE, EOPNOTSUPP")
def names_and_sizes(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    with fails(errno.ERANGE):
        os.setxattr(path, "user." + "n" * 251, b"x")
    with fails(errno.EOPNOTSUPP):
        os.setxattr(path, "nosuchnamespace.a", b"x")
    os.setxattr(path, "user." + "n" * 200, b"v" * 2_000)
    assert all_of(path) == {"user." + "n" * 200: b"v" * 2_000}


@check("attributes with empty values", unix="EOPNOTSUPP", nounix="EOPNOTSUPP")
def empty_values(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.setxattr(path, "user.a", b"")
    assert all_of(path) == {"user.a": b""}


@check("attributes whose names differ in case only", unix="one attribute", nounix="one attribute")
def case_of_attributes(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.setxattr(path, "user.name", b"small")
    os.setxattr(path, "user.NAME", b"large")
    assert all_of(path) == {"user.name": b"small", "user.NAME": b"large"}


@check("trusted.* and security.* attributes", unix="EOPNOTSUPP", nounix="EOPNOTSUPP", root=True)
def attributes_of_the_system(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    for name in ("trusted.a", "security.a"):
        os.setxattr(path, name, b"value")
        assert os.getxattr(path, name) == b"value"
