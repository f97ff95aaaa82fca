"""The option nocase: names in another case, on a server that tells them apart."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.posix import fails, listing
from tests.samba.smbd import Share, Smbd, User
from tests.support.mount import Mount
from tests.support.tap import Tap
from tests.support.told import await_watch

pytestmark = [pytest.mark.samba, pytest.mark.fuse]


@dataclass
class Place:
    path: Path
    behind: Path


@pytest.fixture
def server(make_smbd: Callable[..., Smbd], tmp_path: Path) -> Smbd:
    (tmp_path / "share").mkdir()
    return make_smbd([Share(name="share", path=tmp_path / "share")])


@pytest.fixture(params=[1, 0], ids=["cached", "uncached"])
def place(request: pytest.FixtureRequest, server: Smbd, mount: Callable[..., Mount]) -> Place:
    made = mount(server, nocase=True, actimeo=request.param)
    return Place(made.path, server.shares["share"].path)


def test_a_file_is_found_in_any_case(place: Place) -> None:
    (place.behind / "ReadMe").write_bytes(b"content")
    (place.behind / "Dir").mkdir()
    (place.behind / "Dir" / "Träume").write_bytes(b"inside")
    for name in ("ReadMe", "README", "readme"):
        assert (place.path / name).read_bytes() == b"content"
    assert (place.path / "README").stat().st_ino == (place.path / "readme").stat().st_ino
    assert (place.path / "README").stat().st_nlink == 1
    assert (place.path / "DIR" / "TRÄUME").read_bytes() == b"inside"
    assert listing(place.path) == ["Dir", "ReadMe"]
    with fails(errno.ENOENT):
        (place.path / "ReadMe2").stat()


def test_the_exact_name_goes_first(place: Place) -> None:
    for name in ("readme", "README"):
        (place.behind / name).write_bytes(name.encode())
        assert (place.path / name).read_bytes() == name.encode()
    assert (place.path / "readme").read_bytes() == b"readme"
    assert (place.path / "ReadMe").read_bytes() == b"README"
    (place.path / "readme").unlink()
    assert os.listdir(place.behind) == ["README"]
    assert (place.path / "readme").read_bytes() == b"README"


def test_what_is_there_in_another_case_is_not_made_again(place: Place) -> None:
    (place.behind / "ReadMe").write_bytes(b"content")
    (place.behind / "Dir").mkdir()
    for work in (
        lambda: os.open(place.path / "README", os.O_CREAT | os.O_EXCL | os.O_WRONLY),
        lambda: os.mkdir(place.path / "DIR"),
        lambda: os.symlink("nowhere", place.path / "README"),
        lambda: os.link(place.path / "ReadMe", place.path / "README"),
    ):
        with fails(errno.EEXIST):
            work()
    with (place.path / "README").open("ab") as file:
        file.write(b" and more")
    assert (place.behind / "ReadMe").read_bytes() == b"content and more"
    assert sorted(os.listdir(place.behind)) == ["Dir", "ReadMe"]


def test_changes_by_another_case(place: Place) -> None:
    for name in ("One", "Two", "Three"):
        (place.path / name).write_bytes(name.encode())
    (place.path / "Dir").mkdir()
    (place.path / "ONE").unlink()
    (place.path / "two").rename(place.path / "dir" / "Moved")
    (place.path / "THREE").chmod(0o600)
    assert sorted(os.listdir(place.behind)) == ["Dir", "Three"]
    assert os.listdir(place.behind / "Dir") == ["Moved"]
    assert (place.behind / "Three").stat().st_mode & 0o777 == 0o600
    (place.path / "three").rename(place.path / "DIR" / "MOVED")
    assert (place.behind / "Dir" / "Moved").read_bytes() == b"Three"
    (place.path / "dir" / "moved").unlink()
    (place.path / "DIR").rmdir()
    assert os.listdir(place.behind) == []


def test_what_is_gone_or_new_is_so_in_every_case_at_once(place: Place) -> None:
    for name in ("name", "NAME"):
        assert not (place.path / name).exists()
    (place.path / "Name").write_bytes(b"x")
    for name in ("name", "NAME"):
        assert (place.path / name).read_bytes() == b"x"
    (place.path / "name").rename(place.path / "other")
    assert not (place.path / "NAME").exists()
    (place.path / "OTHER").unlink()
    assert not (place.path / "other").exists()


def test_git_and_a_working_directory_in_another_case(place: Place) -> None:
    (place.path / "Work").mkdir()
    command = ["git", "-c", "init.defaultBranch=main", "-c", "safe.directory=*", "-c", "user.name=x"]
    command += ["-c", "user.email=x@y"]

    def git(*words: str) -> str:
        return subprocess.check_output([*command, *words], cwd=place.path / "WORK", text=True, timeout=60)

    git("init", "-q")
    (place.path / "work" / "File").write_bytes(b"x")
    git("add", ".")
    git("commit", "-qm", "one")
    assert git("ls-files").split() == ["File"]
    assert git("status", "--porcelain") == ""


def test_without_the_option_cases_are_told_apart(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server).path
    (path / "readme").write_bytes(b"x")
    with fails(errno.ENOENT):
        (path / "README").stat()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the server works as another user")
def test_a_directory_that_cannot_be_listed(make_smbd: Callable[..., Smbd], mount: Callable[..., Mount]) -> None:
    """One may pass through it: names are found as they are."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-anycase-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "passage").mkdir()
        (Path(name) / "passage" / "f").write_bytes(b"x")
        (Path(name) / "passage").chmod(0o711)
        server = make_smbd([Share(name="share", path=Path(name))], users=[User(account="daemon")])
        path = mount(server, nocase=True).path / "passage"
        assert (path / "f").read_bytes() == b"x"
        with fails(errno.ENOENT):
            (path / "F").stat()


def test_what_it_costs(server: Smbd, mount: Callable[..., Mount]) -> None:
    behind = server.shares["share"].path
    for number in range(50):
        (behind / f"f{number}").write_bytes(b"")
    with Tap((server.address, server.port)) as tap:
        made = mount(server, nocase=True, port=tap.port, actimeo=30)
        await_watch(made.path)
        with tap.counted() as first:
            assert (made.path / "F7").exists()
        assert first["FIND_FIRST2"] == 1
        with tap.counted() as further:
            assert all((made.path / f"F{number}").exists() for number in range(50))
            assert not (made.path / "F50").exists()
        assert further == {}
        made.umount()
