"""Options about owners, modes and numbers: dynperm, setuids, noserverino."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.samba.smbd import Share, Smbd, User
from tests.support.mount import Mount

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users are to be played")
SOMEBODY, THEIR_GROUP = 1234, 4321


@pytest.fixture
def base() -> Iterator[Path]:
    """Not pytest's directory, which lets no other user in."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-owners-") as name:
        (Path(name) / "share").mkdir()
        for path in (Path(name), Path(name) / "share"):
            path.chmod(0o777)
        yield Path(name)


@pytest.fixture
def server(make_smbd: Callable[..., Smbd], base: Path) -> Smbd:
    return make_smbd([Share(name="share", path=base / "share")])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> tuple[int, int]:
    told = path.lstat()
    return told.st_uid, told.st_gid


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


# --- dynperm


def test_modes_are_remembered(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server, nounix=True, dynperm=True, file_mode="640", dir_mode="750").path
    (path / "d").mkdir()
    (path / "f").write_bytes(b"x")
    for wanted in (0o600, 0o4755, 0o444, 0o640):
        (path / "f").chmod(wanted)
        assert mode(path / "f") == wanted
    (path / "f").chmod(0o751)
    (path / "d").chmod(0o1777)
    (path / "f").rename(path / "d" / "g")
    with os.scandir(path) as entries:
        assert [(entry.name, stat.S_IMODE(entry.stat().st_mode)) for entry in entries] == [("d", 0o1777)]
    assert mode(path / "d" / "g") == 0o751


def test_the_read_only_attribute_goes_to_the_server_and_counts_there(server: Smbd, mount: Callable[..., Mount]) -> None:
    one = mount(server, nounix=True, dynperm=True, actimeo=0).path
    two = mount(server, nounix=True, actimeo=0).path
    (one / "f").write_bytes(b"x")
    (one / "f").chmod(0o551)
    assert not mode(two / "f") & 0o222
    (two / "f").chmod(0o755)
    assert mode(two / "f") & 0o222
    (one / "f").chmod(0o751)
    (two / "f").chmod(0o555)
    assert mode(one / "f") == 0o551


def test_new_files_have_the_mode_asked_for(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server, nounix=True, dynperm=True).path
    (server.shares["share"].path / "old").write_bytes(b"")
    with umask(0o027):
        os.close(os.open(path / "f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(path / "x", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o747))
        os.close(os.open(path / "r", os.O_CREAT | os.O_WRONLY, 0o444))
        os.close(os.open(path / "old", os.O_CREAT | os.O_WRONLY, 0o600))
        os.mkdir(path / "d", 0o777)
        os.mknod(path / "n", stat.S_IFREG | 0o666)
    modes = {name: mode(path / name) for name in ("f", "x", "r", "old", "d", "n")}
    assert modes == {"f": 0o640, "x": 0o740, "r": 0o440, "old": 0o755, "d": 0o750, "n": 0o640}


@as_root
def test_owners_are_remembered(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server, nounix=True, dynperm=True).path
    (path / "f").write_bytes(b"x")
    os.chown(path / "f", SOMEBODY, -1)
    assert owner(path / "f") == (SOMEBODY, os.getegid())
    os.chown(path / "f", -1, THEIR_GROUP)
    assert owner(path / "f") == (SOMEBODY, THEIR_GROUP)


def test_without_the_option_only_the_write_bit_is_kept(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server, nounix=True, nodynperm=True).path
    (path / "f").write_bytes(b"x")
    (path / "f").chmod(0o600)
    assert mode(path / "f") == 0o755
    (path / "f").chmod(0o400)
    assert mode(path / "f") == 0o555


def test_rsync_is_content(server: Smbd, mount: Callable[..., Mount], tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number, wanted in enumerate((0o600, 0o755, 0o640, 0o444)):
        (source / "sub" / f"f{number}").write_bytes(b"x")
        (source / "sub" / f"f{number}").chmod(wanted)
    there = mount(server, nounix=True, dynperm=True).path / "there"
    command = ["rsync", "-ai", f"{source}/", f"{there}/"]
    assert "f3" in subprocess.check_output(command, text=True)
    assert subprocess.check_output(command, text=True) == ""


@as_root
def test_with_unix_extensions_the_server_keeps_them(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server, dynperm=True, actimeo=0).path
    (path / "f").write_bytes(b"x")
    (path / "f").chmod(0o600)
    (server.shares["share"].path / "f").chmod(0o640)
    assert mode(path / "f") == 0o640


# --- setuids

MAKES = """
import os, stat, sys
user, group = map(int, sys.argv[1:])
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.umask(0o022)
os.mkdir("d")
os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o775))
os.mknod("n", stat.S_IFREG | 0o644)
os.mkfifo("p")
os.symlink("nowhere", "l")
"""
MADE = ("d", "f", "n", "p", "l")


def make_as(user: int, group: int, directory: Path) -> None:
    subprocess.run([sys.executable, "-c", MAKES, str(user), str(group)], cwd=directory, check=True, timeout=60)


def open_directory(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o777)
    return path


@as_root
def test_what_is_made_belongs_to_who_makes_it(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = open_directory(mount(server, setuids=True).path / "made")
    make_as(SOMEBODY, THEIR_GROUP, path)
    assert {name: owner(path / name) for name in MADE} == dict.fromkeys(MADE, (SOMEBODY, THEIR_GROUP))
    behind = server.shares["share"].path / "made"
    assert {name: owner(behind / name) for name in MADE} == dict.fromkeys(MADE, (SOMEBODY, THEIR_GROUP))
    assert mode(path / "f") == mode(behind / "f") == 0o755
    assert owner(path) == (os.geteuid(), os.getegid())


@as_root
def test_what_was_there_keeps_its_owner(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server, setuids=True, actimeo=30).path
    assert os.listdir(path) == []
    behind = server.shares["share"].path / "f"
    behind.write_bytes(b"by somebody else, since the directory was listed")
    os.chown(behind, SOMEBODY, THEIR_GROUP)
    os.close(os.open(path / "f", os.O_CREAT | os.O_WRONLY, 0o666))
    assert owner(path / "f") == owner(behind) == (SOMEBODY, THEIR_GROUP)


@as_root
def test_a_directory_hands_its_group_on(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = open_directory(mount(server, setuids=True).path / "handed")
    os.chown(path, -1, 99)
    path.chmod(0o2777)
    make_as(SOMEBODY, THEIR_GROUP, path)
    assert {name: owner(path / name) for name in MADE} == dict.fromkeys(MADE, (SOMEBODY, 99))


@as_root
def test_without_the_option_it_belongs_to_who_logged_on(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = open_directory(mount(server).path / "made")
    make_as(SOMEBODY, THEIR_GROUP, path)
    assert {owner(path / name) for name in MADE} == {(os.geteuid(), os.getegid())}


@as_root
def test_a_user_who_may_not_give_files_away_keeps_them(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], base: Path
) -> None:
    server = make_smbd([Share(name="share", path=base / "share")], users=[User(account="daemon")])
    path = open_directory(mount(server, setuids=True).path / "made")
    make_as(SOMEBODY, THEIR_GROUP, path)
    assert {owner(path / name) for name in MADE} == {owner(path)} != {(SOMEBODY, THEIR_GROUP)}
    assert mode(path / "f") == 0o755


# --- noserverino


@pytest.mark.parametrize("options", [{}, {"nounix": True}], ids=["unix", "nounix"])
def test_numbers_made_of_paths(server: Smbd, mount: Callable[..., Mount], options: dict[str, object]) -> None:
    behind = server.shares["share"].path
    (behind / "d").mkdir()
    (behind / "d" / "f").write_bytes(b"")
    os.link(behind / "d" / "f", behind / "d" / "g")
    names = ("d", "d/f", "d/g")
    seen = []
    for _ in range(2):
        made = mount(server, noserverino=True, **options)
        seen.append({name: (made.path / name).stat().st_ino for name in names})
        (made.path / "d" / "f").write_bytes(b"x")
        assert (made.path / "d" / "f").stat().st_ino == seen[-1]["d/f"]
        made.umount()
        (behind / "d" / "f").unlink()
        (behind / "d" / "f").write_bytes(b"another file by number, the same by path")
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 3
    assert not set(seen[0].values()) & {(behind / name).stat().st_ino for name in names}
