"""What POSIX programs need of files and names, with the UNIX extensions and without them, on a real server."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.posix import RENAME_EXCHANGE, RENAME_NOREPLACE, fails, listing, renameat2
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


def _use(file: int, content: bytes) -> None:
    """All that a program may do with a file that has no name any more."""
    assert os.pread(file, 100, 0) == content
    assert os.fstat(file).st_nlink == 0
    os.pwrite(file, b"written", len(content))
    assert os.fstat(file).st_size == len(content) + 7
    os.ftruncate(file, 3)
    assert os.pread(file, 100, 0) == content[:3]
    assert os.fstat(file).st_size == 3
    os.utime(file, ns=(10**18, 10**18 + 100))
    assert os.fstat(file).st_mtime_ns == 10**18 + 100
    os.fsync(file)


def test_an_open_file_is_unlinked(setting: Setting) -> None:
    for name in ("f", "d/.dotted", "d/two words"):
        path = setting.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"content")
        file = os.open(path, os.O_RDWR)
        try:
            path.unlink()
            assert not path.exists()
            assert not [seen for seen in listing(setting.path) if seen.startswith(".smbfuse")]
            path.write_bytes(b"another")
            _use(file, b"content")
            assert path.read_bytes() == b"another"
        finally:
            os.close(file)


def test_a_file_replaced_while_it_is_open(setting: Setting) -> None:
    for name in ("target", "d/.target"):
        target = setting.path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"content")
        (setting.path / "new").write_bytes(b"new")
        file = os.open(target, os.O_RDWR)
        try:
            os.rename(setting.path / "new", target)
            assert target.read_bytes() == b"new"
            assert target.stat().st_nlink == 1
            _use(file, b"content")
            assert target.read_bytes() == b"new"
        finally:
            os.close(file)


def test_an_open_file_replaces_an_open_file(setting: Setting) -> None:
    old, new = setting.path / "old", setting.path / "new"
    old.write_bytes(b"content")
    with new.open("w+b", buffering=0) as ours, old.open("r+b", buffering=0) as theirs:
        ours.write(b"new")
        new.rename(old)
        ours.write(b"er")
        assert old.read_bytes() == b"newer"
        assert os.fstat(ours.fileno()).st_ino == old.stat().st_ino
        _use(theirs.fileno(), b"content")
    assert listing(setting.path) == ["old"]


def test_read_only_files_are_removed_while_open(setting: Setting) -> None:
    path = setting.path / "f"
    path.write_bytes(b"content")
    path.chmod(0o444)
    with path.open("rb", buffering=0) as file:
        path.unlink()
        assert file.read() == b"content"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert listing(setting.path) == []


def test_the_directory_of_an_unlinked_open_file_can_be_removed(setting: Setting) -> None:
    directory = setting.path / "d"
    directory.mkdir()
    with (directory / "f").open("w+b", buffering=0) as file:
        (directory / "f").unlink()
        directory.rmdir()
        file.write(b"still")
        assert os.pread(file.fileno(), 10, 0) == b"still"


def test_one_of_two_names_is_unlinked_while_open(setting: Setting) -> None:
    one, two = setting.path / "one", setting.path / "two"
    one.write_bytes(b"content")
    os.link(one, two)
    with one.open("r+b", buffering=0) as file:
        one.unlink()
        assert two.read_bytes() == b"content"
        assert os.fstat(file.fileno()).st_nlink == 1
        file.write(b"CON")
        assert two.read_bytes() == b"CONtent"
        assert listing(setting.path) == ["two"]
    assert two.read_bytes() == b"CONtent"
    eventually(lambda: os.listdir(setting.behind) == ["two"], 5, "the hidden name is gone")


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


def test_times_of_writes_show_at_once(setting: Setting) -> None:
    """Also where the server is late with them, and after a time that was set while the file was open."""
    path, old = setting.path / "f", 10**18
    path.write_bytes(b"")
    os.utime(path, ns=(old, old))
    for step in ("write", "truncate"):
        with path.open("r+b", buffering=0) as file:
            os.utime(file.fileno(), ns=(old, old))
            assert path.stat().st_mtime_ns == old
            before = time.time_ns()
            file.write(b"more") if step == "write" else file.truncate(1)
            seen = path.stat().st_mtime_ns
            # The server's clock is the same one here, read at the negotiation.
            assert before - 10**9 < seen < time.time_ns() + 10**9
            assert os.fstat(file.fileno()).st_mtime_ns == seen
        eventually(lambda: (setting.behind / "f").stat().st_mtime_ns > old, 5, "the server has the time")
        assert path.stat().st_mtime_ns == seen


def test_what_is_written_and_then_dated_keeps_the_date(setting: Setting) -> None:
    path = setting.path / "f"
    for way in ("path", "file"):
        with path.open("wb", buffering=0) as file:
            file.write(b"content")
            os.utime(path if way == "path" else file.fileno(), ns=(10**18, 10**18))
        assert path.stat().st_mtime_ns == 10**18
        with path.open("rb", buffering=0) as file:
            os.utime(file.fileno(), ns=(10**18, 10**18 + 200))
        assert path.stat().st_mtime_ns == 10**18 + 200


def test_times_of_every_century(setting: Setting) -> None:
    """100 ns is the grain; from 1901 to 2446 is what the disk of the server holds here."""
    path = setting.path / "f"
    path.write_bytes(b"")
    for seconds in (-(2**31) + 1, -1, 0, 1, 2**31, 2**32, 2**33):
        stamp = seconds * 10**9 + 123_456_700
        os.utime(path, ns=(stamp, stamp + 100))
        found = path.stat()
        assert (found.st_atime_ns, found.st_mtime_ns) == (stamp, stamp + 100)


def test_nodes_of_every_kind(setting: Setting) -> None:
    path = setting.path / "node"
    kinds = {
        stat.S_IFIFO | 0o640: 0,
        stat.S_IFSOCK | 0o600: 0,
        stat.S_IFCHR | 0o666: os.makedev(1, 3),
        stat.S_IFBLK | 0o660: os.makedev(7, 300),
    }
    for mode, device in kinds.items():
        if not setting.unix:
            with fails(errno.EPERM):
                os.mknod(path, mode, device)
            continue
        before = os.umask(0)
        try:
            os.mknod(path, mode, device)
        finally:
            os.umask(before)
        made = path.stat()
        assert (made.st_mode, made.st_rdev) == (mode, device)
        assert (setting.behind / "node").stat().st_mode == mode
        with fails(errno.EEXIST):
            os.mknod(path, mode, device)
        path.unlink()


def test_a_fifo_and_a_socket_work(setting: Setting) -> None:
    fifo = setting.path / "fifo"
    if not setting.unix:
        with fails(errno.EPERM):
            os.mkfifo(fifo)
        return
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(fifo, os.O_WRONLY)
    os.write(writing, b"through")
    assert os.read(reading, 100) == b"through"
    os.close(reading)
    os.close(writing)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(setting.path / "socket"))
        server.listen()
        client.connect(str(setting.path / "socket"))


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


def test_hard_links_are_counted(setting: Setting) -> None:
    one, two, three = (setting.path / name for name in ("one", "two", "d/three"))
    three.parent.mkdir()
    one.write_bytes(b"content")
    os.link(one, two)
    os.link(two, three)
    assert {path.stat().st_nlink for path in (one, two, three)} == {3}
    assert {path.stat().st_ino for path in (one, two, three)} == {one.stat().st_ino}
    assert (setting.behind / "one").stat().st_nlink == 3
    two.write_bytes(b"changed")
    assert three.read_bytes() == b"changed"
    one.unlink()
    assert three.stat().st_nlink == 2
    two.unlink()
    assert three.stat().st_nlink == 1
    with fails(errno.EEXIST):
        os.link(three, three)


def test_links_made_by_others_are_known_from_listings(setting: Setting) -> None:
    (setting.path / "d").mkdir()
    (setting.behind / "d" / "a").write_bytes(b"content")
    os.link(setting.behind / "d" / "a", setting.behind / "d" / "b")
    found = {entry.name: entry.stat() for entry in os.scandir(setting.path / "d")}
    assert found["a"].st_ino == found["b"].st_ino
    assert (found["a"].st_nlink, found["b"].st_nlink) == (2, 2)


def test_a_directory_with_open_files_below(setting: Setting) -> None:
    (setting.path / "d" / "sub").mkdir(parents=True)
    (setting.path / "e").mkdir()  # an empty one is replaced
    inner = setting.path / "d" / "sub" / "f"
    with inner.open("w+b", buffering=0) as file, inner.open("rb", buffering=0) as reader:
        file.write(b"content")
        (setting.path / "d").rename(setting.path / "e")
        assert os.pread(file.fileno(), 100, 0) == b"content"
        os.pwrite(file.fileno(), b"more", 7)
        assert reader.read() == b"contentmore"
        assert os.fstat(file.fileno()).st_size == 11
        assert (setting.behind / "e" / "sub" / "f").read_bytes() == b"contentmore"
        (setting.path / "e").rename(setting.path / "d")
        assert inner.read_bytes() == b"contentmore"
    for _ in range(20):
        inner.write_bytes(b"closed a moment ago")
        (setting.path / "d").rename(setting.path / "e")
        (setting.path / "e").rename(setting.path / "d")
    assert inner.read_bytes() == b"closed a moment ago"


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


def test_renames_that_must_not_replace_and_swaps(setting: Setting) -> None:
    for name in ("a", "b"):
        (setting.path / name).write_bytes(name.encode())
    with fails(errno.EEXIST):
        renameat2(setting.path / "a", setting.path / "b", RENAME_NOREPLACE)
    with fails(errno.EINVAL):
        renameat2(setting.path / "a", setting.path / "b", RENAME_EXCHANGE)
    renameat2(setting.path / "a", setting.path / "c", RENAME_NOREPLACE)
    assert listing(setting.path) == ["b", "c"]


def test_the_case_of_names(setting: Setting) -> None:
    readme = setting.path / "ReadMe"
    readme.write_bytes(b"content")
    other = setting.path / "README"
    if setting.unix:
        assert not other.exists()
        other.write_bytes(b"another")
        assert listing(setting.path) == ["README", "ReadMe"]
        return
    assert other.read_bytes() == b"content"
    assert other.stat().st_ino == readme.stat().st_ino
    assert other.stat().st_nlink == 1
    with fails(errno.EEXIST):
        os.open(other, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert listing(setting.path) == ["ReadMe"]
    (setting.path / "Dir").mkdir()
    before = os.getcwd()
    os.chdir(setting.path / "DIR")
    try:
        assert os.getcwd() in (str(setting.path / "Dir"), str(setting.path / "DIR"))
        Path("f").write_bytes(b"x")
    finally:
        os.chdir(before)
    assert listing(setting.path / "Dir") == ["f"]


def test_a_path_of_4000_bytes(setting: Setting) -> None:
    names = ["d" * 199] * 19
    opened = [os.open(setting.path, os.O_RDONLY)]
    try:
        for name in names:
            os.mkdir(name, dir_fd=opened[-1])
            opened.append(os.open(name, os.O_RDONLY, dir_fd=opened[-1]))
        below = "/".join([*names, "f" * 199])
        before = os.open(".", os.O_RDONLY)
        os.chdir(setting.path)
        try:
            assert len(below) == 3999
            Path(below).write_bytes(b"deep")
            assert Path(below).read_bytes() == b"deep"
            os.unlink(below)
        finally:
            os.fchdir(before)
            os.close(before)
    finally:
        while len(opened) > 1:
            os.close(opened.pop())
            os.rmdir(names[0], dir_fd=opened[-1])
        os.close(opened[0])
