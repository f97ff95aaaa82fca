"""A server that goes and comes back under a real mount: nothing that was confirmed is lost, and nobody hangs."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.posix import pattern
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually

LIMIT = 30.0
MIB = 1 << 20
KINDS = {"unix": {}, "nounix": {"nounix": True}}


class Place:
    """A server of one's own, and a mount of its share."""

    def __init__(self, server: Smbd, share: Path, mounted: Mount) -> None:
        self.server = server
        self.share = share
        self.mount = mounted
        self.path = mounted.path

    def lost(self, restart: Callable[[], None] | None = None) -> None:
        """Take the connection away, and return when the mount has noticed."""
        before = self.mount.log().count("connecting again")
        (restart or self.server.drop_clients)()
        eventually(lambda: self.mount.log().count("connecting again") > before, LIMIT, "the loss is noticed")

    def back(self) -> None:
        """Return when the mount is connected."""
        log = self.mount.log()
        eventually(
            lambda: (log := self.mount.log()).count("connecting again") == log.count("connected again after"),
            LIMIT,
            f"connected again: {log}",
        )


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest,
    make_smbd: Callable[..., Smbd],
    mount: Callable[..., Mount],
    tmp_path: Path,
) -> Place:
    return make_place(make_smbd, mount, tmp_path, **KINDS[request.param])


def make_place(make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path, **options: object) -> Place:
    share = tmp_path / "share"
    share.mkdir(exist_ok=True)
    server = make_smbd([Share(name="share", path=share)])
    mounted = mount(server, **options)
    mounted.guard.expect("connecting again$|connected again after")
    return Place(server, share, mounted)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what comes back


def test_server_restarted_during_a_copy(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(128):
            file.write(os.urandom(MIB))
    with subprocess.Popen(["cp", str(source), str(place.path / "copy")], stderr=subprocess.PIPE) as child:
        copy = place.share / "copy"
        eventually(lambda: copy.exists() and copy.stat().st_size > 8 * MIB, LIMIT, "the copy has begun")
        assert child.poll() is None
        place.server.restart()
        _, said = child.communicate(timeout=60)
    assert (child.returncode, said) == (0, b"")
    place.back()
    assert digest(place.share / "copy") == digest(source)
    assert digest(place.path / "copy") == digest(source)


def test_open_files_go_on(place: Place) -> None:
    content = pattern(MIB)
    (place.share / "old").write_bytes(content)
    with (place.path / "old").open("rb") as reading, (place.path / "new").open("wb", 0) as writing:
        assert reading.read(1000) == content[:1000]
        writing.write(b"one")
        place.lost()
        assert reading.read() == content[1000:]
        writing.write(b"two")
        os.fsync(writing.fileno())
        assert (place.share / "new").read_bytes() == b"onetwo"
        place.lost(place.server.restart)
        writing.write(b"three")
    assert (place.share / "new").read_bytes() == b"onetwothree"


def test_what_waits_is_written(place: Place) -> None:
    with (place.path / "file").open("wb", 0) as file:
        for number in range(50):
            file.write(b"%04d" % number)
            if number == 25:
                place.server.drop_clients()
    assert (place.share / "file").read_bytes() == b"".join(b"%04d" % number for number in range(50))


def test_what_others_wrote_meanwhile_is_seen(place: Place) -> None:
    """Also what the kernel has of it, since the oplock went with the connection."""
    (place.share / "file").write_bytes(b"old")
    with (place.path / "file").open("rb", 0) as file:
        assert file.read() == b"old"
        place.lost()
        (place.share / "file").write_bytes(b"new")
        place.back()
        eventually(lambda: os.pread(file.fileno(), 10, 0) == b"new", LIMIT, "the new content shows")


def test_locks_are_taken_again(place: Place, mount: Callable[..., Mount]) -> None:
    other = mount(place.server, nounix="nounix" in place.mount.argv[4])
    other.guard.expect("connecting again$|connected again after")
    (place.share / "file").write_bytes(bytes(100))
    with (place.path / "file").open("r+b", 0) as mine, (other.path / "file").open("r+b", 0) as theirs:
        fcntl.lockf(mine, fcntl.LOCK_EX, 10, 20)
        for restart in (place.server.drop_clients, place.server.restart):
            place.lost(restart)
            place.back()
            os.pread(mine.fileno(), 1, 20)
            with pytest.raises(BlockingIOError):
                fcntl.lockf(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 25)
            fcntl.lockf(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 50)
            fcntl.lockf(theirs, fcntl.LOCK_UN)
        fcntl.lockf(mine, fcntl.LOCK_UN)
        fcntl.lockf(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 25)


def test_another_file_under_the_name_is_not_taken_for_it(place: Place) -> None:
    place.mount.guard.expect("file is lost to those who have it open: .*another file has taken the name")
    (place.share / "file").write_bytes(b"this")
    with (place.path / "file").open("r+b", 0) as file:
        assert file.read(4) == b"this"
        place.server.kill()
        shutil.move(place.share / "file", place.share / "elsewhere")
        (place.share / "file").write_bytes(b"that")
        place.server.restart()
        place.back()
        with pytest.raises(OSError, match="Stale") as caught:
            os.pwrite(file.fileno(), b"x", 0)
        assert caught.value.errno == errno.ESTALE
    assert (place.share / "file").read_bytes() == b"that"
    assert (place.share / "elsewhere").read_bytes() == b"this"
    assert (place.path / "file").read_bytes() == b"that"


def test_removed_meanwhile(place: Place) -> None:
    place.mount.guard.expect("file is lost to those who have it open: .*the name is gone")
    (place.share / "file").write_bytes(b"this")
    with (place.path / "file").open("r+b", 0) as file:
        place.server.kill()
        (place.share / "file").unlink()
        place.server.restart()
        place.back()
        with pytest.raises(OSError, match="Stale"):
            os.pwrite(file.fileno(), b"x", 0)
    assert not (place.path / "file").exists()


def test_listing_goes_on(place: Place) -> None:
    for number in range(3000):
        (place.share / f"{number:04}").touch()
    listed = set()
    with os.scandir(place.path) as entries:
        for index, entry in enumerate(entries):
            listed.add(entry.name)
            if index in (10, 1500):
                place.server.drop_clients()
    assert listed == {f"{number:04}" for number in range(3000)}
