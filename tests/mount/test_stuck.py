"""A server that stops answering: nobody hangs, everybody can leave, and what can go on does."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.posix import pattern
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount, is_mounted
from tests.support.processes import eventually, wait_gone
from tests.support.tap import NOTIFY, Tap

LIMIT = 20.0
AT_ONCE = 0.1
"""Seconds from a signal to the end of who got it."""
CONTENT = pattern(3 << 20)


class Frozen:
    """A mount of its own server, reached through a tap that can be frozen."""

    def __init__(self, mounted: Mount, tap: Tap, share: Path) -> None:
        self.mount = mounted
        self.tap = tap
        self.share = share
        self._children: list[subprocess.Popen[bytes]] = []

    def start(
        self, *command: str | Path, stdin: int | None = None, stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """A child that `end` kills."""
        words = [str(word) for word in command]
        child = subprocess.Popen(words, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        self._children.append(child)
        return child

    def start_stuck(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """A child that waits for an answer: its request has arrived at the frozen tap."""
        before = self._asked()
        child = self.start(*command)
        eventually(lambda: self._asked() > before, LIMIT, "a request is on its way")
        return child

    def _asked(self) -> int:
        """Requests so far, without those that no program makes."""
        return sum(count for name, count in self.tap.requests.items() if name not in (NOTIFY, "ECHO"))

    def ask(self, *command: str | Path) -> str:
        """What a command says that must not need the server."""
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=5)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self) -> None:
        self.tap.thaw()
        for child in self._children:
            child.kill()
            child.wait(LIMIT)
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def tap(samba: Smbd) -> Iterator[Tap]:
    """To be asked for before `mount`, so that it outlives the mount."""
    with Tap((samba.address, samba.port)) as made:
        yield made


@pytest.fixture
def frozen(samba: Smbd, tap: Tap, mount: Callable[..., Mount]) -> Iterator[Callable[..., Frozen]]:
    """Mount with options; the server still answers."""
    share = samba.shares["share"].path
    (share / "large").write_bytes(CONTENT)
    made: list[Frozen] = []

    def make(**options: object) -> Frozen:
        made.append(Frozen(mount(samba, port=tap.port, **options), tap, share))
        return made[-1]

    yield make
    for one in made:
        one.end()
    (share / "large").unlink()


def seconds_to_end(child: subprocess.Popen[bytes], number: signal.Signals) -> float:
    """Send a signal, and see how long the child takes to go."""
    begin = time.monotonic()
    child.send_signal(number)
    assert wait_gone([child.pid], LIMIT) == set()
    took = time.monotonic() - begin
    assert child.wait(LIMIT) == -number
    return took


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_who_opens_is_gone_at_once(frozen: Callable[..., Frozen], number: signal.Signals) -> None:
    stuck = frozen()
    stuck.tap.freeze()
    took = [seconds_to_end(stuck.start_stuck("cat", stuck.mount.path / name), number) for name in ("a", "b", "large")]
    assert min(took) < AT_ONCE, took
    stuck.tap.thaw()
    assert stuck.ask("cat", stuck.mount.path / "hello.txt")


READ_WHEN_TOLD = """
import sys
with open(sys.argv[1], "rb", 0) as file:
    print("open", end="", flush=True)
    sys.stdin.readline()
    file.read()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_reads_is_gone_at_once(frozen: Callable[..., Frozen], number: signal.Signals) -> None:
    stuck = frozen(cache="none")
    took = []
    for _ in range(3):
        stuck.tap.thaw()
        child = stuck.start(
            sys.executable,
            "-c",
            READ_WHEN_TOLD,
            stuck.mount.path / "large",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.read(4) == b"open"
        stuck.tap.freeze()
        before = stuck.tap.requests["READ_ANDX"]
        child.stdin.write(b"go\n")
        child.stdin.flush()
        eventually(lambda before=before: stuck.tap.requests["READ_ANDX"] > before, LIMIT, "a read is on its way")  # type: ignore[misc]
        took.append(seconds_to_end(child, number))
    assert min(took) < AT_ONCE, took


def test_what_is_cached_is_answered(frozen: Callable[..., Frozen]) -> None:
    stuck = frozen(actimeo=60)
    path = stuck.mount.path
    listed = stuck.ask("ls", "-l", path)
    stuck.tap.freeze()
    waiting = [stuck.start_stuck("cat", path / name) for name in ("large", "numbers.bin", "Grüße.txt")]
    assert stuck.ask("stat", "-c", "%s", path / "hello.txt").strip() == "27"
    assert stuck.ask("ls", "-l", path) == listed
    assert all(child.poll() is None for child in waiting)
    stuck.tap.thaw()
    assert [child.wait(LIMIT) for child in waiting] == [0, 0, 0]


def test_all_goes_on_when_the_server_does(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "large").write_bytes(CONTENT)
    server = make_smbd([Share(name="share", path=tmp_path / "share")])
    path = mount(server).path
    server.sigstop()
    try:
        with subprocess.Popen(["cat", str(path / "large")], stdout=subprocess.PIPE) as child:
            eventually(lambda: b"large" in Path(f"/proc/{child.pid}/cmdline").read_bytes(), LIMIT, "cat runs")
            server.sigcont()
            assert child.communicate(timeout=LIMIT)[0] == CONTENT
    finally:
        server.sigcont()
    (path / "after").write_bytes(b"x")
    assert (tmp_path / "share" / "after").read_bytes() == b"x"


@pytest.mark.parametrize(
    "options", [{"echo_interval": 1}, {"request_timeout": 5, "echo_interval": 600}], ids=["echo", "timeout"]
)
def test_requests_end_with_an_error(frozen: Callable[..., Frozen], options: dict[str, object]) -> None:
    stuck = frozen(reconnect_timeout=2, **options)
    stuck.mount.guard.expect("silent for .*; connecting again|connected again after")
    stuck.tap.freeze()
    child = stuck.start_stuck("cat", stuck.mount.path / "large")
    assert child.wait(LIMIT) == 1
    assert child.stderr is not None
    said = child.stderr.read().decode()
    assert any(
        os.strerror(number) in said for number in (errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)
    ), said


def test_unmounted_lazily_while_somebody_waits(frozen: Callable[..., Frozen]) -> None:
    stuck = frozen()
    stuck.tap.freeze()
    child = stuck.start_stuck("cat", stuck.mount.path / "large")
    pid = stuck.mount.pid
    subprocess.run(["umount", "-l", str(stuck.mount.path)], check=True, timeout=LIMIT)
    assert not is_mounted(stuck.mount.path)
    assert seconds_to_end(child, signal.SIGTERM) < 1
    assert wait_gone([pid], LIMIT) == set()


def test_unmounted_while_the_server_is_away(frozen: Callable[..., Frozen]) -> None:
    """umount(8) looks at the mountpoint first, which with names gone cold ends when the server counts as dead."""
    stuck = frozen(echo_interval=1, reconnect_timeout=1)
    stuck.mount.guard.expect("silent for .*; connecting again")
    stuck.tap.freeze()
    seconds_to_end(stuck.start_stuck("cat", stuck.mount.path / "large"), signal.SIGTERM)
    stuck.mount.finish()


def test_terminated_while_somebody_waits(frozen: Callable[..., Frozen]) -> None:
    stuck = frozen()
    stuck.tap.freeze()
    child = stuck.start_stuck("cat", stuck.mount.path / "large")
    os.kill(stuck.mount.pid, signal.SIGTERM)
    assert wait_gone([stuck.mount.pid], LIMIT) == set()
    assert not is_mounted(stuck.mount.path)
    assert child.wait(LIMIT) == 1


def test_a_killed_process_leaves_a_mount_that_can_be_taken_away(frozen: Callable[..., Frozen]) -> None:
    stuck = frozen()
    stuck.tap.freeze()
    child = stuck.start_stuck("cat", stuck.mount.path / "large")
    os.kill(stuck.mount.pid, signal.SIGKILL)
    assert child.wait(LIMIT) == 1
    stuck.mount.kill()
    assert not is_mounted(stuck.mount.path)


READER = """
import os, random, select, sys
content = open(sys.argv[2], "rb").read()
numbers, rounds = random.Random(3), 0
while not select.select([sys.stdin], [], [], 0)[0] or rounds < 50:
    handle = os.open(sys.argv[1], os.O_RDONLY)
    for _ in range(20):
        at = numbers.randrange(len(content))
        size = numbers.choice((1, 5000, 200_000))
        assert os.pread(handle, size, at) == content[at : at + size]
    os.close(handle)
    rounds += 1
print(rounds)
"""

VICTIMS = (
    ("cat", "large"),
    ("cp", "large", "copy{}"),
    ("ls", "-lR", "."),
    ("sh", "-c", "while :; do echo x > v{}; mv v{} w{}; rm w{}; done"),
    ("dd", "if=/dev/zero", "of=zeros{}", "bs=64k", "count=2000", "status=none"),
)


def test_callers_are_killed_while_another_reads(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "large").write_bytes(CONTENT)
    server = make_smbd([Share(name="share", path=tmp_path / "share")])
    path = mount(server).path
    numbers = random.Random(4)
    command = [sys.executable, "-c", READER, str(path / "large"), str(tmp_path / "share" / "large")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        for number in range(40):
            words = [word.format(number, number, number, number) for word in VICTIMS[number % len(VICTIMS)]]
            with subprocess.Popen(words, cwd=path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as victim:
                wait_gone([victim.pid], numbers.uniform(0, 0.1))  # somewhere on its way
                victim.send_signal(numbers.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)))
                assert wait_gone([victim.pid], LIMIT) == set()
        out, said = reader.communicate(b"enough\n", timeout=60)
    assert (reader.returncode, said) == (0, b"")
    assert int(out) >= 50
    assert (path / "large").read_bytes() == CONTENT
    # What was open for them is closed again: nothing is left but what smbd keeps for a directory that is listed.
    eventually(lambda: _open_files(server) == 0, LIMIT, "the server has no open files")


def _open_files(server: Smbd) -> int:
    """Files of the share that the server's processes hold open."""
    share = str(server.shares["share"].path) + "/"
    count = 0
    for pid in server.pids():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                count += os.readlink(link).startswith(share)
            except FileNotFoundError:
                continue
    return count


def test_a_killed_daemon_leaves_nobody_in_the_kernel(frozen: Callable[..., Frozen]) -> None:
    """A thread that tells the kernel to drop pages waits for those that are being read, and cannot be killed then.

    Nobody would answer for the pages after the end of the daemon, and with such a thread it would never end.
    """
    stuck = frozen(actimeo=30)
    stuck.mount.path.stat()
    descriptor = os.open(stuck.mount.path / "large", os.O_RDWR)
    try:
        stuck.tap.freeze()
        reader = stuck.start_stuck("dd", f"if=/proc/{os.getpid()}/fd/{descriptor}", "of=/dev/null", "bs=4k", "count=1")
        seeker = stuck.start(sys.executable, "-c", SEEK, str(os.getpid()), str(descriptor))
        assert seeker.stderr is not None
        assert seeker.stderr.readline() == b"seeking\n"
        eventually(lambda: asleep(seeker.pid), LIMIT, "it waits for the kernel")
        stuck.ask(sys.executable, "-c", TOLD, stuck.mount.path)  # answered after what came before was begun
        stuck.mount.kill()
        assert wait_gone([reader.pid, seeker.pid], LIMIT) == set()
        subprocess.run(["sync"], check=True, timeout=LIMIT)
    finally:
        with contextlib.suppress(OSError):  # there is nobody to close it
            os.close(descriptor)


def asleep(pid: int) -> bool:
    """Whether a process waits for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "SD"


TOLD = "import os, sys; os.getxattr(sys.argv[1], 'smb.cache')"
SEEK = """
import os, sys
descriptor = os.open(f"/proc/{sys.argv[1]}/fd/{sys.argv[2]}", os.O_RDWR)
print("seeking", file=sys.stderr, flush=True)
os.lseek(descriptor, 0, os.SEEK_DATA)
"""
