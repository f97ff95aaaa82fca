"""A server that goes and comes back under a real mount: nothing that was confirmed is lost, and nobody hangs."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.posix import pattern
from tests.samba.smbd import Share, Smbd
from tests.soak.load import run
from tests.support.mount import Mount
from tests.support.processes import eventually, wait_gone
from tests.support.told import await_watch

LIMIT = 30.0
MIB = 1 << 20
KINDS = {"unix": {}, "nounix": {"nounix": True}}
LOAD_SECONDS = 12.0
"""`python -m tests.soak` does the same for ten minutes."""


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
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def place(
    kind: str,
    make_smbd: Callable[..., Smbd],
    mount: Callable[..., Mount],
    tmp_path: Path,
) -> Place:
    return make_place(make_smbd, mount, tmp_path, **KINDS[kind])


def make_place(make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path, **options: object) -> Place:
    share = tmp_path / "share"
    share.mkdir(exist_ok=True)
    server = make_smbd([Share(name="share", path=share)])
    mounted = mount(server, **options)
    mounted.guard.expect("connecting again$|connected again after")
    return Place(server, share, mounted)


@pytest.fixture
def stopped(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> Iterator[Callable[..., Stopped]]:
    made: list[Stopped] = []

    def make(**options: object) -> Stopped:
        share = tmp_path / "share"
        for name in ("known", "unknown"):
            (share / name).mkdir(parents=True)
        (share / "unknown" / "inner").touch()
        (share / "known" / "large").write_bytes(pattern(MIB))
        (share / "file").write_bytes(b"old")
        made.append(Stopped(make_place(make_smbd, mount, tmp_path, **options)))
        return made[-1]

    yield make
    for one in made:
        one.end()


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


# --- faults under load


def test_faults_under_load(kind: str, tmp_path: Path) -> None:
    verdict, mounted = run(tmp_path / "base", LOAD_SECONDS, pause=1.0, seed=7, options=dict(KINDS[kind]))
    print(verdict, mounted.report(), sep="\n")
    assert verdict.lost == []
    assert verdict.complaints == []
    assert (verdict.hung, verdict.pending, verdict.left_open) == (0, 0, 0)
    assert len(verdict.reports) == 8
    assert all(report.rounds for report in verdict.reports)
    assert verdict.connections >= 3


# --- while it is away


class Stopped:
    """A mount whose server stands still, and children that wait for it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str | Path, stdin: int | None = None) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [str(word) for word in words], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._children.append(child)
        return child

    def end(self) -> None:
        self.place.server.sigcont()
        for child in self._children:
            child.kill()
            child.communicate(timeout=LIMIT)


WRITE_WHEN_TOLD = """
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY)
print("open", flush=True)
sys.stdin.readline()
if sys.argv[2] == "write":
    os.write(file, b"x" * (16 << 20))
else:
    os.write(file, b"x")
    os.fsync(file)
"""


def test_soft_fails_within_the_bound(stopped: Callable[..., Stopped]) -> None:
    """Silence for 2 s, then 2 s for reconnecting; what is known still answers, and all goes on afterwards."""
    s = stopped(reconnect_timeout=2, echo_interval=1, actimeo=60)
    path = s.place.path
    names = sorted(os.listdir(path / "known"))
    sizes = [(path / "known" / name).stat().st_size for name in names]
    writer = s.start(sys.executable, "-c", WRITE_WHEN_TOLD, path / "file", "fsync", stdin=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"open\n"
    s.place.server.sigstop()
    writer.communicate(b"go\n", timeout=LIMIT)
    assert writer.returncode == 1
    listing = s.start("ls", path / "unknown")
    _, said = listing.communicate(timeout=LIMIT)
    assert listing.returncode == 2
    assert os.strerror(errno.EHOSTDOWN).encode() in said
    assert sorted(os.listdir(path / "known")) == names
    assert [(path / "known" / name).stat().st_size for name in names] == sizes
    s.place.server.sigcont()
    s.place.back()
    assert os.listdir(path / "unknown") == ["inner"]
    (path / "file").write_bytes(b"again")
    assert (s.place.share / "file").read_bytes() == b"again"


@pytest.mark.parametrize("what", ["ls", "write", "fsync"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_hard_waits_and_can_be_ended(
    stopped: Callable[..., Stopped], what: str, number: signal.Signals, record_property: Callable[[str, object], None]
) -> None:
    s = stopped(hard=True, echo_interval=1)
    path = s.place.path
    if what == "ls":
        s.place.server.sigstop()
        child = s.start("ls", path / "unknown")
    else:
        code = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n{WRITE_WHEN_TOLD}"
        child = s.start(sys.executable, "-c", code, path / "file", what, stdin=subprocess.PIPE)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        s.place.server.sigstop()
        child.stdin.write(b"go\n")
        child.stdin.flush()
    eventually(lambda: "connecting again" in s.place.mount.log(), LIMIT, "the server counts as lost")
    assert wait_gone([child.pid], 1.0) == {child.pid}, "it waits"
    begun = time.monotonic()
    child.send_signal(number)
    assert wait_gone([child.pid], LIMIT) == set()
    record_property("seconds", time.monotonic() - begun)
    print(f"{what} ended {time.monotonic() - begun:.3f} s after the signal")
    assert child.wait(LIMIT) == -number
    s.place.server.sigcont()
    s.place.back()
    assert os.listdir(path / "unknown") == ["inner"]


def test_hard_goes_on_where_it_was(stopped: Callable[..., Stopped]) -> None:
    s = stopped(hard=True, echo_interval=1, reconnect_timeout=1)
    s.place.server.sigstop()
    child = s.start("cp", s.place.path / "known" / "large", s.place.path / "copy")
    eventually(lambda: "connecting again" in s.place.mount.log(), LIMIT, "the server counts as lost")
    assert wait_gone([child.pid], 3.0) == {child.pid}, "it waits for longer than soft would"
    s.place.server.sigcont()
    assert child.communicate(timeout=LIMIT) == (b"", b"")
    assert (s.place.share / "copy").read_bytes() == pattern(MIB)


def test_unmounted_while_it_is_away(place: Place) -> None:
    await_watch(place.path)  # else nothing is lost that anybody would miss
    place.server.kill()
    eventually(lambda: "connecting again" in place.mount.log(), LIMIT, "the loss is noticed")
    place.mount.finish()
