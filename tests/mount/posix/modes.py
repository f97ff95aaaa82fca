"""Modes and owners, and who may do what: the kernel decides by them, so they have to be right."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tests.mount.posix import Place, check, fails, opened
from tests.mount.posix.actor import NOBODY, STRANGER, Actor

OPTIONS = "as file_mode= and dir_mode= say"
MODES = "modes, with set-user-id, set-group-id and sticky bit"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def give(path: Path, user: int, mode: int) -> None:
    """Another owner, and the group of the same number."""
    os.chown(path, user, user)
    path.chmod(mode)


@check(MODES, nounix=OPTIONS)
def modes(place: Place) -> None:
    path, made = place.path / "f", place.path / "d"
    path.write_bytes(b"x")
    made.mkdir()
    for mode in (0o644, 0o600, 0o400, 0o755, 0o000, 0o4755, 0o2755, 0o777):
        path.chmod(mode)
        assert mode_of(path) == mode_of(place.behind / "f") == mode
    for mode in (0o700, 0o1777, 0o2775, 0o755):
        made.chmod(mode)
        assert mode_of(made) == mode_of(place.behind / "d") == mode
    with path.open("rb") as file:
        os.fchmod(file.fileno(), 0o640)
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o640


@check("modes of new files and directories, less the umask", nounix=OPTIONS)
def modes_of_what_is_made(place: Place) -> None:
    before = os.umask(0o027)
    try:
        os.close(os.open(place.path / "f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(place.path / "x", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o747))
        os.mkdir(place.path / "d", 0o777)
        os.mknod(place.path / "n", stat.S_IFREG | 0o606)
        os.umask(0)
        os.close(os.open(place.path / "all", os.O_CREAT | os.O_WRONLY, 0o777))
        os.mkdir(place.path / "e", 0o1777)
    finally:
        os.umask(before)
    wanted = {"f": 0o640, "x": 0o740, "d": 0o750, "n": 0o600, "all": 0o777, "e": 0o1777}
    assert {name: mode_of(place.path / name) for name in wanted} == wanted
    assert {name: mode_of(place.behind / name) for name in wanted} == wanted


READ_ONLY = "the owner's write bit, also of new files (git's objects, cp -p)"


@check(READ_ONLY)
def read_only_files(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    path.chmod(0o444)
    assert not path.stat().st_mode & 0o222
    path.chmod(0o644)
    assert path.stat().st_mode & 0o200
    path.write_bytes(b"again")
    path.chmod(0o555)
    path.unlink()
    assert not path.exists()


@check(READ_ONLY)
def made_read_only_and_written(place: Place) -> None:
    """The handle that made it may write."""
    path = place.path / "object"
    with opened(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o444) as handle:
        assert os.write(handle, b"content") == 7
        os.fsync(handle)
        assert os.pread(handle, 10, 0) == b"content"
    assert not path.stat().st_mode & 0o222
    assert path.read_bytes() == b"content"
    path.rename(place.path / "moved")
    (place.path / "moved").unlink()


@check(READ_ONLY)
def times_of_a_read_only_file(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    path.chmod(0o444)
    os.utime(path, ns=(10**18, 10**18))
    assert path.stat().st_mtime_ns == 10**18
    assert not path.stat().st_mode & 0o222
    path.chmod(0o644)
    assert path.stat().st_mtime_ns == 10**18


@check(READ_ONLY)
def made_read_only_while_open(place: Place) -> None:
    path = place.path / "f"
    with opened(path, os.O_RDWR | os.O_CREAT) as handle:
        os.write(handle, b"content")
        os.fchmod(handle, 0o444)
        os.write(handle, b" and more")
        assert not os.fstat(handle).st_mode & 0o222
    assert path.read_bytes() == b"content and more"
    assert not path.stat().st_mode & 0o222


OWNERS = "owners and groups (chown)"
ALL_YOURS = "all as uid= and gid= say"


@check(OWNERS, nounix=ALL_YOURS, root=True)
def owners(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.chown(path, 1234, -1)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, os.getegid())
    os.chown(path, -1, 4321)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    there = (place.behind / "f").stat()
    assert (there.st_uid, there.st_gid) == (1234, 4321)
    made = place.path / "d"
    made.mkdir()
    os.chown(made, 65534, 65534)
    assert (made.stat().st_uid, made.stat().st_gid) == (65534, 65534)


@check("files belong to who makes them", unix="to who logged on", nounix="to uid=", root=True)
def files_belong_to_who_makes_them(place: Place) -> None:
    place.path.chmod(0o777)
    with Actor(user=NOBODY) as other:
        other.do("write_file", place.path / "f", b"x")
        other.do("mkdir", place.path / "d")
    for name in ("f", "d"):
        assert ((place.path / name).stat().st_uid, (place.path / name).stat().st_gid) == (NOBODY, NOBODY)


@check("chown and chgrp: set-user-id and set-group-id go", nounix=ALL_YOURS, root=True)
def a_new_owner_does_not_get_the_old_ones_rights(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    path.chmod(0o6755)
    os.chown(path, NOBODY, NOBODY)
    assert mode_of(path) == mode_of(place.behind / "f") == 0o755


@check("a write by another user: set-user-id and set-group-id go", nounix=OPTIONS, root=True)
def a_write_takes_special_bits_away(place: Place) -> None:
    place.path.chmod(0o777)
    changes: dict[str, tuple[object, ...]] = {
        "write": (b"x",),
        "ftruncate": (3,),
        "posix_fallocate": (0, 100),
        "copy_file_range": (),
        "close": (),
    }
    for step, arguments in changes.items():
        path = place.path / step
        path.write_bytes(b"content")
        (place.path / "source").write_bytes(b"content")
        give(path, NOBODY, 0o6777)
        with Actor(user=STRANGER) as other:
            handle = other.do("open", path, os.O_WRONLY | (os.O_TRUNC if step == "close" else 0))
            if step == "copy_file_range":
                other.do(step, other.do("open", place.path / "source", os.O_RDONLY), handle, 7)
            else:
                other.do(step, handle, *arguments)
        assert (step, mode_of(path), mode_of(place.behind / step)) == (step, 0o777, 0o777)


RULES = "who may read, write, search, create and remove: EACCES as the mode says"


@check(RULES, nounix=OPTIONS, root=True)
def others_may_what_the_mode_says(place: Place) -> None:
    place.path.chmod(0o755)
    path = place.path / "f"
    path.write_bytes(b"x")
    give(path, STRANGER, 0o640)
    with Actor(user=STRANGER) as owner, Actor(user=NOBODY) as other, Actor(NOBODY, (STRANGER,)) as member:
        for mode in (0o640, 0o604, 0o040, 0o421):
            path.chmod(mode)
            for who, shift in ((owner, 6), (member, 3), (other, 0)):
                bits = mode >> shift & 7
                for how in (os.R_OK, os.W_OK, os.X_OK):
                    assert (oct(mode), how, who.do("access", path, how)) == (oct(mode), how, bool(bits & how))
                for how, flags in ((os.R_OK, os.O_RDONLY), (os.W_OK, os.O_WRONLY)):
                    if bits & how:
                        who.do("close", who.do("open", path, flags))
                    else:
                        with fails(errno.EACCES):
                            who.do("open", path, flags)
    assert os.access(path, os.R_OK | os.W_OK)


@check(RULES, nounix=OPTIONS, root=True)
def directories_let_in_whom_their_mode_says(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    (made / "f").write_bytes(b"content")
    place.path.chmod(0o755)
    with Actor(user=NOBODY) as other:
        made.chmod(0o711)  # no listing, but names that one knows
        assert other.do("read_file", made / "f") == b"content"
        with fails(errno.EACCES):
            other.do("listdir", made)
        made.chmod(0o744)  # a listing, but no way in
        assert other.do("listdir", made) == ["f"]
        with fails(errno.EACCES):
            other.do("stat", made / "f")
        made.chmod(0o755)
        for call in (("unlink", made / "f"), ("mkdir", made / "e"), ("rename", made / "f", made / "g")):
            with fails(errno.EACCES):
                other.do(*call)
        made.chmod(0o757)
        other.do("rename", made / "f", made / "g")
        other.do("unlink", made / "g")


@check("chmod and chown by others: EPERM", nounix="EPERM to all but uid=", root=True)
def only_owners_change_modes(place: Place) -> None:
    place.path.chmod(0o755)
    path = place.path / "f"
    path.write_bytes(b"x")
    give(path, NOBODY, 0o666)
    with Actor(user=STRANGER) as other, Actor(NOBODY, (STRANGER,)) as owner:
        for call in (("chmod", path, 0o777), ("chown", path, STRANGER, -1), ("chown", path, -1, STRANGER)):
            with fails(errno.EPERM):
                other.do(*call)
        with fails(errno.EPERM):
            owner.do("chown", path, STRANGER, -1)
        with fails(errno.EPERM):
            owner.do("chown", path, -1, 1234)
        owner.do("chmod", path, 0o640)
        owner.do("chown", path, -1, STRANGER)
    told = path.stat()
    assert (told.st_uid, told.st_gid, mode_of(path)) == (NOBODY, STRANGER, 0o640)


@check("sticky directories: only owners remove and rename", nounix=OPTIONS, root=True)
def sticky_directories(place: Place) -> None:
    shared = place.path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    place.path.chmod(0o755)
    for name in ("f", "g"):
        (shared / name).write_bytes(b"x")
        give(shared / name, NOBODY, 0o666)
    with Actor(user=STRANGER) as other, Actor(user=NOBODY) as owner:
        with fails(errno.EPERM, errno.EACCES):
            other.do("unlink", shared / "f")
        with fails(errno.EPERM, errno.EACCES):
            other.do("rename", shared / "f", shared / "h")
        owner.do("rename", shared / "f", shared / "h")
        owner.do("unlink", shared / "h")
    assert os.listdir(shared) == ["g"]


@check("set-group-id directories hand down their group", nounix=ALL_YOURS, root=True)
def directories_hand_down_their_group(place: Place) -> None:
    made = place.path / "d"
    made.mkdir()
    os.chown(made, -1, 4321)
    made.chmod(0o2775)
    (made / "f").write_bytes(b"x")
    (made / "e").mkdir()
    os.mknod(made / "n", stat.S_IFREG | 0o644)
    assert {name: (made / name).stat().st_gid for name in ("f", "e", "n")} == {"f": 4321, "e": 4321, "n": 4321}
    assert mode_of(made / "e") & stat.S_ISGID
    assert not mode_of(made / "f") & stat.S_ISGID
