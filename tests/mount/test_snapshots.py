"""@GMT path components: the share as it was, in every directory, for reading only."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.posix import fails
from tests.samba.content import NEWER, OLDER, PRESENT_FILES, SNAPSHOT_FILES, snapshot_time, write_files
from tests.samba.smbd import Smbd
from tests.support.mount import Mount


@pytest.fixture(params=["unix", "nounix"])
def snaps(request: pytest.FixtureRequest, mount: Callable[..., Mount], samba: Smbd) -> Path:
    return mount(samba, "snaps", **({"nounix": True} if request.param == "nounix" else {})).path


@pytest.fixture
def expected(tmp_path: Path) -> Path:
    """Both snapshots as plain directories."""
    for label, files in SNAPSHOT_FILES.items():
        write_files(tmp_path / "expected" / label, files)
    return tmp_path / "expected"


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("label", [OLDER, NEWER])
def test_the_whole_snapshot_is_as_it_was(snaps: Path, expected: Path, label: str) -> None:
    assert run("ls", snaps / label).split() == sorted({name.split("/")[0] for name in SNAPSHOT_FILES[label]})
    run("diff", "-r", snaps / label, expected / label)
    for path in (snaps / label).rglob("*"):
        assert int(path.stat().st_mtime) == snapshot_time(label)


@pytest.mark.parametrize("label", [OLDER, NEWER])
def test_the_token_may_stand_behind_a_directory(snaps: Path, expected: Path, label: str) -> None:
    run("diff", "-r", snaps / "sub" / label, expected / label / "sub")
    (name,) = run("ls", snaps / "sub" / label).split()
    assert (snaps / "sub" / label / name).read_bytes() == SNAPSHOT_FILES[label][f"sub/{name}"]
    assert (snaps / label / "sub" / name).read_bytes() == SNAPSHOT_FILES[label][f"sub/{name}"]


def test_the_present_is_not_touched(snaps: Path, expected: Path) -> None:
    for label in SNAPSHOT_FILES:
        run("diff", "-r", snaps / label, expected / label)
    assert run("ls", "-a", snaps).split() == [".", "..", "report.txt", "sub"]
    assert run("ls", "-a", snaps / "sub").split() == [".", "..", "kept.txt"]
    for name, content in PRESENT_FILES.items():
        assert (snaps / name).read_bytes() == content


def test_files_of_all_times_side_by_side(snaps: Path) -> None:
    places = {OLDER: snaps / OLDER, NEWER: snaps / NEWER, "": snaps}
    handles = {label: os.open(path / "report.txt", os.O_RDONLY) for label, path in places.items()}
    try:
        contents = {label: os.pread(handle, 100, 0) for label, handle in handles.items()}
        numbers = {os.fstat(handle).st_ino for handle in handles.values()}
    finally:
        for handle in handles.values():
            os.close(handle)
    then = {label: files["report.txt"] for label, files in SNAPSHOT_FILES.items()}
    assert contents == {**then, "": PRESENT_FILES["report.txt"]}
    assert len(numbers) == 3
    assert len({(path / "sub").stat().st_ino for path in places.values()}) == 3
    assert len({path.stat().st_ino for path in places.values()}) == 3


def test_numbers_in_a_snapshot_stay(snaps: Path) -> None:
    with os.scandir(snaps / OLDER) as entries:
        listed = {entry.name: entry.inode() for entry in entries}
    assert listed == {name: (snaps / OLDER / name).stat().st_ino for name in ("report.txt", "sub")}


@pytest.mark.parametrize("where", [OLDER, f"sub/{NEWER}", f"{NEWER}/sub"])
def test_nothing_can_be_changed(snaps: Path, where: str) -> None:
    inside = snaps / where
    name = next(path.name for path in inside.iterdir() if path.is_file())
    content = (inside / name).read_bytes()
    with fails(errno.EROFS):
        (inside / "new").write_bytes(b"")
    with fails(errno.EROFS):
        (inside / name).open("r+b")
    with fails(errno.EROFS):
        os.truncate(inside / name, 0)
    with fails(errno.EROFS):
        (inside / name).unlink()
    with fails(errno.EROFS):
        (inside / "directory").mkdir()
    with fails(errno.EROFS):
        (inside / name).rename(inside / "renamed")
    with fails(errno.EROFS, errno.EXDEV):
        (inside / name).rename(snaps / "renamed")
    with fails(errno.EROFS, errno.EXDEV):
        (snaps / "report.txt").rename(inside / "renamed")
    with fails(errno.EROFS):
        (inside / name).chmod(0o600)
    with fails(errno.EROFS):
        os.utime(inside / name)
    assert (inside / name).read_bytes() == content
    assert (snaps / "report.txt").read_bytes() == PRESENT_FILES["report.txt"]


def test_a_snapshot_itself_can_be_neither_made_nor_removed(snaps: Path) -> None:
    with fails(errno.EROFS, errno.EEXIST):
        (snaps / "@GMT-2001.01.01-01.01.01").mkdir()
    with fails(errno.EROFS):
        (snaps / OLDER).rmdir()
    with fails(errno.EROFS):
        (snaps / OLDER).rename(snaps / "x")
    assert (snaps / OLDER / "report.txt").exists()


@pytest.mark.parametrize("token", ["@GMT-2001.01.01-01.01.01", "@GMT-9999.99.99-99.99.99"])
def test_an_unknown_snapshot_is_not_there(snaps: Path, token: str) -> None:
    for path in (snaps / token, snaps / "sub" / token, snaps / token / "report.txt", snaps / "none" / OLDER):
        with fails(errno.ENOENT):
            path.stat()
    with fails(errno.ENOENT):
        os.listdir(snaps / token)


def test_what_a_snapshot_did_not_hold(snaps: Path) -> None:
    with fails(errno.ENOENT):
        (snaps / OLDER / "sub" / "kept.txt").read_bytes()
    with fails(errno.ENOENT):
        (snaps / NEWER / "sub" / "dropped.txt").read_bytes()


def test_a_token_behind_a_file(snaps: Path) -> None:
    with fails(errno.ENOTDIR):
        (snaps / "report.txt" / OLDER).stat()


def test_copied_out(snaps: Path, expected: Path, tmp_path: Path) -> None:
    run("cp", "-a", snaps / OLDER, tmp_path / "restored")
    run("diff", "-r", expected / OLDER, tmp_path / "restored")
    assert int((tmp_path / "restored" / "report.txt").stat().st_mtime) == snapshot_time(OLDER)


def test_a_share_without_snapshots(mount: Callable[..., Mount], samba: Smbd) -> None:
    """smbd passes over the token there and shows the present; it must not be writable by such a name."""
    path = mount(samba).path
    assert "hello.txt" in os.listdir(path)
    with fails(errno.EROFS):
        (path / OLDER / "new").write_bytes(b"")
    with fails(errno.ENOENT):
        (path / OLDER / "none").stat()
