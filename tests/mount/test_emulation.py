"""What is made up for, and what only a whole mount shows: crashes, other machines, options. The rest is `posix/`."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.posix import fails, listing
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually

pytestmark = [pytest.mark.samba, pytest.mark.fuse]


@dataclass
class Setting:
    """A mount of an empty share; `behind` is the share on the server's disk."""

    path: Path
    behind: Path
    unix: bool


@pytest.fixture(scope="module", params=["unix", "nounix"])
def mounted(request: pytest.FixtureRequest) -> Iterator[tuple[Mount, Path, bool]]:
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-emulation-")))
        for path in (base, base / "mnt", base / "share"):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        server = stack.enter_context(Smbd([Share(name="share", path=base / "share")]))
        made = stack.enter_context(Mount.of(server, "share", base / "mnt", {request.param: True}))
        yield made, base / "share", request.param == "unix"


@pytest.fixture
def setting(mounted: tuple[Mount, Path, bool]) -> Iterator[Setting]:
    made, behind, unix = mounted
    yield Setting(made.path, behind, unix)
    eventually(lambda: not any(name.startswith(".smbfuse") for name in os.listdir(behind)), 5, "hidden files are gone")
    for path in sorted(made.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_nothing_is_left_after_a_crash(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    server = make_smbd([Share(name="share", path=share)])
    for options in ({}, {"nounix": True}):
        made = mount(server, **options)
        file = os.open(made.path / "f", os.O_RDWR | os.O_CREAT)
        os.write(file, b"content")
        (made.path / "f").unlink()
        made.kill()
        with fails(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
            os.fstat(file)
        with fails(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
            os.close(file)
        eventually(lambda: not os.listdir(share), 10, "the server deletes it")


def test_another_machine_has_it_open(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    """Servers refuse to delete what others use; a hidden name is refused to nobody who shares deletion."""
    share = tmp_path / "share"
    share.mkdir()
    server = make_smbd([Share(name="share", path=share)])
    theirs = mount(server, nounix=True)
    for options in ({}, {"nounix": True}):
        ours = mount(server, **options)
        (share / "f").write_bytes(b"content")
        with (theirs.path / "f").open("rb", buffering=0) as file:
            (ours.path / "f").unlink()
            assert listing(ours.path) == []
            assert file.read() == b"content"
        eventually(lambda: not os.listdir(share), 10, "the server deletes it")
        ours.umount()


def test_special_bits_of_the_mode(setting: Setting) -> None:
    """Of new files too: what the kernel asks for has the umask taken off already."""
    path, directory = setting.path / "f", setting.path / "d"
    if not setting.unix:
        path.touch(0o666)
        shown = path.stat().st_mode
        path.chmod(0o4711)  # nothing to keep them in: silently without effect, so that copies do not stop
        assert path.stat().st_mode == shown
        return
    before = os.umask(0o027)
    try:
        path.touch(0o666)
        directory.mkdir(0o777)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o640
    assert directory.stat().st_mode & 0o7777 == 0o750
    for mode in (0o4755, 0o2755, 0o6711, 0o755):
        path.chmod(mode)
        assert path.stat().st_mode & 0o7777 == mode
    directory.chmod(0o1777)
    assert (setting.behind / "d").stat().st_mode & 0o7777 == 0o1777


@pytest.fixture(params=["unix", "nounix"])
def server_and_option(
    request: pytest.FixtureRequest, make_smbd: Callable[..., Smbd], tmp_path: Path
) -> tuple[Smbd, str]:
    (tmp_path / "share").mkdir()
    return make_smbd([Share(name="share", path=tmp_path / "share")]), request.param


def test_links_of_minshall_and_french(
    server_and_option: tuple[Smbd, str], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    server, option = server_and_option
    path = mount(server, mfsymlinks=True, **{option: True}).path
    plain = mount(server, nounix=True).path
    (path / "d").mkdir()
    (path / "d" / "file").write_bytes(b"content")
    link = path / "link"
    link.symlink_to("d/file")
    assert link.is_symlink()
    assert os.readlink(link) == "d/file"
    assert link.lstat().st_size == 6
    assert link.read_bytes() == b"content"
    with fails(errno.EEXIST):
        link.symlink_to("elsewhere")
    stored = (tmp_path / "share" / "link").read_bytes()
    assert len(stored) == 1067
    # Without the option a link is a file, and cannot be made.
    assert (plain / "link").read_bytes() == stored
    with fails(errno.EPERM):
        (plain / "other").symlink_to("d")
    # What others made shows in listings and lookups, and ordinary files of that size stay files.
    (tmp_path / "share" / "d" / "theirs").write_bytes(stored)
    (tmp_path / "share" / "d" / "ordinary").write_bytes(b"x" * 1067)
    kinds = {entry.name: entry.is_symlink() for entry in os.scandir(path / "d")}
    assert kinds == {"file": False, "theirs": True, "ordinary": False}
    assert (path / "d" / "ordinary").read_bytes() == b"x" * 1067
    link.rename(path / "d" / "moved")
    assert os.readlink(path / "d" / "moved") == "d/file"
    os.link(path / "d" / "moved", path / "again", follow_symlinks=False)
    assert os.readlink(path / "again") == "d/file"
    with fails(errno.ENAMETOOLONG):
        (path / "long").symlink_to("x" * 1025)
    for name in ("d/moved", "d/theirs", "again"):
        (path / name).unlink()
    assert listing(path / "d") == ["file", "ordinary"]


def test_names_mapped_as_services_for_unix(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    server = make_smbd([Share(name="share", path=share)])
    mapped = mount(server, nounix=True, mapchars=True).path
    (mapped / "a:b*c").write_bytes(b"x")
    assert os.listdir(share) == ["a\uf03ab\uf02ac"]
    assert listing(mapped) == ["a:b*c"]
    refusing = mount(server, nounix=True, nomapposix=True).path
    assert listing(refusing) == ["a\uf03ab\uf02ac"]
    for name in ("a?", "*", 'q"', "a\\b"):
        with fails(errno.EINVAL):
            (refusing / name).write_bytes(b"")
        with fails(errno.EINVAL, errno.ENOENT):
            (refusing / name).unlink()
    assert listing(mapped) == ["a:b*c"]


def test_umask(make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    server = make_smbd([Share(name="share", path=tmp_path / "share")])
    path = mount(server, nounix=True, umask="027", dir_mode="0700").path
    (path / "f").write_bytes(b"")
    assert stat.S_IMODE((path / "f").stat().st_mode) == 0o750
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_directory_is_renamed_while_files_below_are_written(setting: Setting) -> None:
    """Whatever is under way waits for the new FID: each byte goes where it belongs."""
    (setting.path / "d").mkdir()
    names = [f"f{number}" for number in range(4)]
    stop = threading.Event()

    def write(name: str) -> int:
        count = 0
        with (setting.path / "d" / name).open("wb", buffering=0) as file:
            started.wait(10)
            while not stop.is_set():
                file.write(f"{name}:{count:06}\n".encode())
                count += 1
        return count

    started = threading.Barrier(len(names) + 1)
    with ThreadPoolExecutor(len(names)) as pool:
        writers = [pool.submit(write, name) for name in names]
        started.wait(10)
        for _ in range(10):
            (setting.path / "d").rename(setting.path / "e")
            (setting.path / "e").rename(setting.path / "d")
        stop.set()
        counts = [writer.result() for writer in writers]
    for name, count in zip(names, counts, strict=True):
        lines = (setting.behind / "d" / name).read_text().splitlines()
        assert lines == [f"{name}:{number:06}" for number in range(count)]
