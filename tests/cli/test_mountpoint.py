"""The checks of this machine: mountpoint, FUSE, fuse.conf."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from smbfuse.cli import mountpoint
from smbfuse.cli.mountpoint import FuseMissing, check_allow_other, check_fuse, check_mountpoint, mounted_by_us
from smbfuse.errors import MountError

LINE = "36 25 0:32 / {point} rw,nosuid,nodev shared:1 - {kind} {source} rw,user_id=0\n"


def mounts(tmp_path: Path, *entries: tuple[str, str, str]) -> str:
    path = tmp_path / "mountinfo"
    path.write_text("".join(LINE.format(point=point, kind=kind, source=source) for point, kind, source in entries))
    return str(path)


def test_good_mountpoint(tmp_path: Path) -> None:
    check_mountpoint(str(tmp_path), is_root=True)
    check_mountpoint("/dev/fd/9", is_root=True)  # from mount.fuse3 with drop_privileges


def test_missing_and_wrong_mountpoints(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, line in (
        (tmp_path / "none", f"does not exist: type mkdir -p {tmp_path}/none"),
        (file, "is not a directory"),
        (file / "x", "a part of this path is not a directory"),
    ):
        with pytest.raises(MountError, match=line):
            check_mountpoint(str(path), is_root=True)


def test_nothing_is_mounted_over_the_root(tmp_path: Path) -> None:
    """As `"$UNSET/"` asks for: no path would lead to it."""
    (tmp_path / "link").symlink_to("/")
    for path in ("/", str(tmp_path / "link")):
        with pytest.raises(MountError, match="mounted on /: name another directory"):
            check_mountpoint(path, is_root=True)


def test_a_mountpoint_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hangs(path: str) -> str:
        over.wait(60)
        return path

    monkeypatch.setattr(os.path, "realpath", hangs)
    monkeypatch.setattr(mountpoint, "_ANSWER", 0.01)
    try:
        with pytest.raises(MountError, match="unmount what hangs there"):
            check_mountpoint(str(tmp_path), is_root=True)
        table = mounts(tmp_path, (str(tmp_path), "fuse.smbfuse", "//srv/share"))
        with pytest.raises(MountError, match="is busy: //srv/share"):
            check_mountpoint(str(tmp_path), is_root=True, mounts=table)
    finally:
        over.set()


def test_below_a_mount_that_died_that_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(path: str) -> os.stat_result:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    table = mounts(tmp_path, (str(tmp_path), "fuse.smbfuse", "//srv/share"))
    monkeypatch.setattr(os, "stat", dead)
    with pytest.raises(MountError, match=f"type umount {tmp_path}$"):
        check_mountpoint(f"{tmp_path}/a/b", is_root=True, mounts=table)


def test_mountpoint_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(MountError, match="not yours to write"):
        check_mountpoint(str(tmp_path), is_root=False)
    check_mountpoint(str(tmp_path), is_root=True)


def test_busy_mountpoint_says_how_to_unmount(tmp_path: Path) -> None:
    directory = tmp_path / "my mount"
    directory.mkdir()
    (tmp_path / "link").symlink_to(directory)
    table = mounts(tmp_path, (str(directory).replace(" ", r"\040"), "fuse.smbfuse", r"//srv/my\040share"))
    assert mounted_by_us(str(directory), table) == "//srv/my share"
    with pytest.raises(MountError, match=r"is busy: //srv/my share is mounted there.*type umount"):
        check_mountpoint(str(directory), is_root=True, mounts=table)
    with pytest.raises(MountError, match=r"fusermount3 -u"):
        check_mountpoint(str(tmp_path / "link"), is_root=False, mounts=table)


def test_only_our_own_mount_on_top_counts(tmp_path: Path) -> None:
    ours, other = ("/m", "fuse.smbfuse", "//a/b"), ("/m", "autofs", "systemd-1")
    assert mounted_by_us("/m", mounts(tmp_path, other, ours)) == "//a/b"
    assert mounted_by_us("/m", mounts(tmp_path, ours, other)) is None
    assert mounted_by_us("/m/x", mounts(tmp_path, ours)) is None
    assert mounted_by_us("/m") is None  # the real table has the form that is expected


def test_no_fuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "fuse"
    with pytest.raises(FuseMissing, match="modprobe fuse"):
        check_fuse(is_root=True, device=str(device))
    device.touch()
    check_fuse(is_root=True, device=str(device))
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    check_fuse(is_root=True, device=str(device))
    with pytest.raises(FuseMissing, match="install the package fuse3"):
        check_fuse(is_root=False, device=str(device))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(FuseMissing, match="may not be opened by you"):
        check_fuse(is_root=False, device=str(device))


def test_allow_other_needs_fuse_conf(tmp_path: Path) -> None:
    conf = tmp_path / "fuse.conf"
    check_allow_other(is_root=True, conf=str(conf))
    for text in (None, "# user_allow_other\n", "mount_max = 3\n"):
        if text is not None:
            conf.write_text(text)
        with pytest.raises(MountError, match="add the line user_allow_other"):
            check_allow_other(is_root=False, conf=str(conf))
    conf.write_text("#x\n user_allow_other \n")
    check_allow_other(is_root=False, conf=str(conf))
