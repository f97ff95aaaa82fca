"""What befalls a mount from the server's side and from this machine's, what programs see, and that all goes on after.

A server that stops answering is in test_stuck.py, one that goes and comes back in test_reconnect.py.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mount.posix import fails, pattern
from tests.samba.smbd import Share, Smbd, User
from tests.support.mount import PROGRAM, Mount, is_mounted, join_options, umount_command
from tests.support.processes import eventually, send, wait_gone
from tests.support.relay import Relay

LIMIT = 30.0
MIB = 1 << 20
KINDS = {"unix": {}, "nounix": {"nounix": True}}
LOSSES = "connecting again$|connected again after|not connected again"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")


@pytest.fixture(params=KINDS)
def options(request: pytest.FixtureRequest) -> dict[str, object]:
    """With and without UNIX extensions."""
    return dict(KINDS[request.param])


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


@pytest.fixture
def server(make_smbd: Callable[..., Smbd], share: Path) -> Smbd:
    return make_smbd([Share(name="share", path=share), Share(name="other", path=share)])


def gone(server: Smbd, mounted: Mount) -> None:
    """Take its connection away, and return when it has noticed."""
    before = mounted.log().count("connecting again")
    server.drop_clients()
    eventually(lambda: mounted.log().count("connecting again") > before, LIMIT, "the loss is noticed")


@contextmanager
def configured(server: Smbd, old: str, new: str) -> Iterator[None]:
    """The server with another text in its configuration, started again with it and then without."""
    text = server.configuration.read_text()
    assert old in text
    server.configuration.write_text(text.replace(old, new))
    try:
        server.restart()
        yield
    finally:
        server.configuration.write_text(text)
        server.restart()


# --- the disk


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", str(path)], check=True, timeout=LIMIT)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True, timeout=LIMIT)


@needs_root
def test_a_copy_to_a_full_disk_fails(
    small: Path, make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path, options: dict[str, object]
) -> None:
    """Writes that waited are refused when their program has gone on: the copy has to hear of it all the same."""
    mounted = mount(make_smbd([Share(name="share", path=small)]), **options)
    (mounted.path / "kept").write_bytes(pattern(MIB))
    (tmp_path / "source").write_bytes(pattern(6 * MIB))
    done = subprocess.run(
        ["cp", str(tmp_path / "source"), str(mounted.path / "copy")], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 1
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert (small / "kept").read_bytes() == pattern(MIB)
    (mounted.path / "copy").unlink()
    (mounted.path / "again").write_bytes(pattern(2 * MIB))
    assert (small / "again").read_bytes() == pattern(2 * MIB)


# --- the share


def test_the_share_is_taken_away_and_given_back(
    server: Smbd, share: Path, mount: Callable[..., Mount], options: dict[str, object]
) -> None:
    mounted = mount(server, reconnect_timeout=2, **options)
    mounted.guard.expect(LOSSES)
    (mounted.path / "file").write_bytes(b"content")
    with configured(server, "[share]", "[elsewhere]"):
        with fails(errno.ENOENT, errno.EHOSTDOWN, errno.EACCES, errno.ENODEV, errno.ENXIO):
            (mounted.path / "file").read_bytes()
        with fails(errno.ENOENT, errno.EHOSTDOWN, errno.EACCES, errno.ENODEV, errno.ENXIO):
            (mounted.path / "new").write_bytes(b"")
    eventually(lambda: _reads(mounted.path / "file", b"content"), LIMIT, "the share is there again")


def _reads(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def test_the_shares_directory_is_removed_and_made_again(
    server: Smbd, share: Path, mount: Callable[..., Mount], options: dict[str, object]
) -> None:
    """smbd 4.17 takes the session away with the directory, and lets nobody connect to the share without it."""
    mounted = mount(server, actimeo=0, reconnect_timeout=2, **options)
    mounted.guard.expect(LOSSES)
    (mounted.path / "file").write_bytes(b"content")
    shutil.rmtree(share)
    with fails(errno.ENOENT, errno.ESTALE, errno.EIO, errno.EHOSTDOWN):
        (mounted.path / "file").read_bytes()
    with fails(errno.ENOENT, errno.ESTALE, errno.EIO, errno.EHOSTDOWN):
        (mounted.path / "new").write_bytes(b"")
    share.mkdir()
    (share / "file").write_bytes(b"another")
    eventually(lambda: _reads(mounted.path / "file", b"another"), LIMIT, "the share is there again")
    (mounted.path / "new").write_bytes(b"x")
    assert (share / "new").read_bytes() == b"x"


def test_the_share_may_only_be_read_from_now_on(
    server: Smbd, share: Path, mount: Callable[..., Mount], options: dict[str, object]
) -> None:
    mounted = mount(server, **options)
    mounted.guard.expect(LOSSES)
    (mounted.path / "file").write_bytes(b"content")
    with configured(server, "read only = no", "read only = yes"):
        with fails(errno.EACCES, errno.EROFS, errno.EPERM):
            (mounted.path / "new").write_bytes(b"x")
        with fails(errno.EACCES, errno.EROFS, errno.EPERM):
            (mounted.path / "file").write_bytes(b"x")
        assert (mounted.path / "file").read_bytes() == b"content"
    (mounted.path / "file").write_bytes(b"changed")
    assert (share / "file").read_bytes() == b"changed"


# --- the user


def test_the_password_is_changed(server: Smbd, mount: Callable[..., Mount], options: dict[str, object]) -> None:
    """The session goes on; the next one is refused, and says so."""
    mounted = mount(server, **options)
    mounted.guard.expect(f"{LOSSES}: SESSION_SETUP_ANDX: STATUS_LOGON_FAILURE")
    user = server.users[0]
    (mounted.path / "file").write_bytes(b"content")
    server.set_password(User(name=user.name, password="another one 2", account=user.account))
    (mounted.path / "file").write_bytes(b"changed")
    gone(server, mounted)
    with fails(errno.EACCES):
        (mounted.path / "file").read_bytes()
    assert mounted.log().count("STATUS_LOGON_FAILURE") == 1
    assert "another one" not in mounted.log()
    assert user.password not in mounted.log()


@needs_root
def test_permissions_are_revoked(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], options: dict[str, object]
) -> None:
    account = pwd.getpwnam("daemon")
    with tempfile.TemporaryDirectory(prefix="smbfuse-faults-") as name:
        share = Path(name)
        os.chown(share, account.pw_uid, account.pw_gid)
        server = make_smbd([Share(name="share", path=share)], users=[User(account="daemon")])
        mounted = mount(server, actimeo=0, **options)
        (mounted.path / "d").mkdir()
        (mounted.path / "d" / "file").write_bytes(b"content")
        with (mounted.path / "d" / "file").open("r+b", buffering=0) as file:
            (share / "d").chmod(0)
            with fails(errno.EACCES, errno.EPERM):
                os.listdir(mounted.path / "d")
            with fails(errno.EACCES, errno.EPERM):
                (mounted.path / "d" / "new").write_bytes(b"")
            file.write(b"CONTENT")  # who has it open may go on
            os.fsync(file.fileno())
            (share / "d").chmod(0o700)
        assert (mounted.path / "d" / "file").read_bytes() == b"CONTENT"


# --- this machine


def start(server: Smbd, mountpoint: Path) -> subprocess.CompletedProcess[str]:
    """The command, in the background."""
    login = join_options({"port": server.port, "credentials": server.credentials()})
    command = [str(PROGRAM), server.unc("share"), str(mountpoint), "-o", login]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT)


@pytest.mark.fuse
@pytest.mark.parametrize("dead", [1, 2])
def test_a_new_mount_takes_the_place_of_dead_ones(
    server: Smbd, share: Path, tmp_path: Path, mount: Callable[..., Mount], dead: int
) -> None:
    """A killed process leaves a mountpoint on which everything fails, and nobody has to clear it away by hand."""
    (share / "file").write_bytes(b"content")
    mounts = [Mount.of(server, "share", tmp_path / "mnt", foreground=False) for _ in range(dead + 1)]
    (tmp_path / "mnt").mkdir()
    try:
        for one in mounts[:dead]:
            one.start()
            assert (one.path / "file").read_bytes() == b"content"
            send(one.pid, signal.SIGKILL)
            assert wait_gone([one.pid], LIMIT) == set()
            with fails(errno.ENOTCONN, errno.ECONNABORTED):
                os.listdir(one.path)
        mounts[dead].start()
        assert (tmp_path / "mnt" / "file").read_bytes() == b"content"
        done = start(server, tmp_path / "mnt")
        assert done.returncode != 0
        assert "is busy" in done.stderr
        mounts[dead].umount()
        assert not is_mounted(tmp_path / "mnt")
    finally:
        for one in mounts:
            one.kill()


@pytest.mark.fuse
def test_a_signal_in_the_moment_of_the_mount_leaves_no_dead_one(server: Smbd, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    login = join_options({"port": server.port, "credentials": server.credentials()})
    for _ in range(6):
        with subprocess.Popen(
            [str(PROGRAM), server.unc("share"), str(tmp_path / "mnt"), "-o", login, "-f"], stdin=subprocess.DEVNULL
        ) as child:
            try:
                deadline = time.monotonic() + LIMIT
                while not is_mounted(tmp_path / "mnt") and time.monotonic() < deadline:
                    os.sched_yield()  # a pause would be longer than the moment
                child.send_signal(signal.SIGTERM)
                assert child.wait(LIMIT) == 0
                assert not is_mounted(tmp_path / "mnt")
            finally:
                child.kill()
                subprocess.run(umount_command(tmp_path / "mnt", lazy=True), check=False, capture_output=True)


def test_what_waits_is_written_when_a_signal_ends_it(server: Smbd, share: Path, mount: Callable[..., Mount]) -> None:
    mounted = mount(server)
    content = pattern(MIB)
    handle = os.open(mounted.path / "file", os.O_RDWR | os.O_CREAT)
    try:
        for offset in range(0, MIB, 1000):
            os.pwrite(handle, content[offset : offset + 1000], offset)
        os.kill(mounted.pid, signal.SIGTERM)
        assert wait_gone([mounted.pid], LIMIT) == set()
        assert (share / "file").read_bytes() == content
    finally:
        with fails(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
            os.close(handle)
    assert not is_mounted(mounted.path)


def test_what_waits_is_written_when_the_mount_is_detached(
    server: Smbd, share: Path, mount: Callable[..., Mount]
) -> None:
    """`umount -l`: who has a file open goes on, and the process ends after the last one."""
    mounted = mount(server)
    content = pattern(MIB)
    pid = mounted.pid
    with (mounted.path / "file").open("w+b", buffering=0) as file:
        file.write(content[: MIB // 2])
        subprocess.run(umount_command(mounted.path, lazy=True), check=True, timeout=LIMIT)
        assert not is_mounted(mounted.path)
        file.write(content[MIB // 2 :])
        file.seek(0)
        assert file.read() == content
    assert (share / "file").read_bytes() == content
    assert wait_gone([pid], LIMIT) == set()


def test_what_cannot_be_written_any_more_is_told(server: Smbd, share: Path, mount: Callable[..., Mount]) -> None:
    """A signal while the server is away: it ends soon, and the log says whose data are lost."""
    with Relay(server.port) as relay:
        mounted = mount(server, port=relay.port)
        mounted.guard.expect("file: [0-9]+ bytes written here are lost: the server did not take them")
        handle = os.open(mounted.path / "file", os.O_RDWR | os.O_CREAT)
        try:
            os.pwrite(handle, b"first", 0)
            os.fsync(handle)
            relay.black_hole()
            os.pwrite(handle, b"second", 0)
            os.kill(mounted.pid, signal.SIGTERM)
            assert wait_gone([mounted.pid], LIMIT) == set()
            assert not is_mounted(mounted.path)
        finally:
            with fails(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
                os.close(handle)
        server.drop_clients()  # else its lease on the file would keep us waiting
        assert (share / "file").read_bytes() == b"first"
        assert "file: 6 bytes written here are lost" in mounted.log()
