"""The command as a process: lines and statuses, the way into the background, and secrets that nobody sees."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.cli.exitcode import ExitCode
from smbfuse.cli.hiding import hidden, take_secrets
from tests.support.processes import wait_gone

ROOT = Path(__file__).parents[2]
LIMIT = 30.0
SECRET = "s3cr3t=ü"

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="/dev/fuse is missing (modprobe fuse)")


class Program:
    """`python -m tests.cli.program` with an environment of its own, and the mounting processes it left behind."""

    def __init__(self, directory: Path) -> None:
        self.mountpoint = directory / "mnt"
        self.mountpoint.mkdir()
        self.report_file = directory / "report"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "VIRTUAL_ENV") if name in os.environ}
        self.environ = {**kept, "USER": "joe", "SMBFUSE_TEST_REPORT": str(self.report_file)}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.cli.program", *arguments]

    def run(self, behaviour: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Mount with these options; returns when the command does, and when nobody holds its output any more."""
        return subprocess.run(
            self.command("//nas/data/sub", str(self.mountpoint), *options),
            cwd=ROOT,
            env={**self.environ, "SMBFUSE_TEST_SERVE": behaviour, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def report(self) -> dict[str, Any]:
        """What the mounting process said about itself; waits for it, as it comes after the command's end."""
        with contextlib.closing(Inotify(self.report_file.parent)) as changes:
            while not self.report_file.exists():
                changes.wait(LIMIT)
        facts: dict[str, Any] = json.loads(self.report_file.read_text())
        return facts

    def end(self) -> None:
        """SIGTERM the mounting process that reported, and see it go."""
        if self.report_file.exists():
            pid = self.report()["pid"]
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            assert wait_gone([pid], LIMIT) == set()


class Inotify:
    """Changes in a directory, as the kernel tells them."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_CLOEXEC)
        assert libc.inotify_add_watch(self.descriptor, os.fsencode(directory), 0x80) >= 0  # IN_MOVED_TO

    def wait(self, timeout: float) -> None:
        assert select.select([self.descriptor], [], [], timeout)[0], "nothing happened"
        os.read(self.descriptor, 4096)

    def close(self) -> None:
        os.close(self.descriptor)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.end()


def smbfuse(*arguments: str, name: str = "") -> subprocess.CompletedProcess[str]:
    """The real program, by module or (as a helper) by another name."""
    start = ["-m", "smbfuse"]
    if name:
        start = ["-c", f"import sys; sys.argv[0] = '/sbin/{name}'; from smbfuse.cli.main import main; sys.exit(main())"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "USER": "joe"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def assert_one_line(result: subprocess.CompletedProcess[str], status: int, text: str) -> None:
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert result.returncode == status


USAGE = [
    ([], ExitCode.USAGE, "smbfuse: which share, and where?"),
    (["//nas/data"], ExitCode.USAGE, "where to?"),
    (["//nas/data", "M", "x"], ExitCode.USAGE, "one share and one mountpoint"),
    (["//nas/data", ""], ExitCode.USAGE, "the mountpoint is empty"),
    (["--frobnicate"], ExitCode.USAGE, "option --frobnicate not recognized"),
    (["//nas/data", "M", "-o"], ExitCode.USAGE, "option -o requires argument"),
    (["//nas", "M"], ExitCode.USAGE, "no share"),
    (["//nas/data", "M", "-o", "vers=2.0"], ExitCode.USAGE, "is not SMB1"),
    (["//nas/data", "M", "-o", "user=x,actmeo=3"], ExitCode.USAGE, "did you mean 'actimeo'?"),
    (["//nas/data", "M", "-ouser=x"], ExitCode.USAGE, "no terminal to ask on"),
    (["//nas/data", "M", "-o", "credentials=/nonexistent/c"], ExitCode.USAGE, "create it"),
    (["//nas/data", "M/none", "-o", "guest"], ExitCode.MOUNT, "does not exist: type mkdir -p"),
    (["//nas/data", "M", "-o", "password=geheim,rest"], ExitCode.USAGE, "holds a comma"),
    (["//nas/data", "M", "-o", "remount"], ExitCode.USAGE, "unmount, then mount"),
]


@pytest.mark.parametrize(("arguments", "status", "text"), USAGE)
def test_usage_error_is_one_line(tmp_path: Path, arguments: list[str], status: int, text: str) -> None:
    result = smbfuse(*(word.replace("M", str(tmp_path)) if word[:1] == "M" else word for word in arguments))
    assert_one_line(result, status, text)


def test_help_and_version() -> None:
    assert smbfuse("-h").stdout == smbfuse("--help", "x").stdout
    assert "actimeo=SECONDS" in smbfuse("-h").stdout
    assert smbfuse("-V").stdout.startswith("smbfuse 0")
    assert smbfuse("//only", "-V", name="mount.smbfuse").returncode == ExitCode.OK


FSTAB = "ro,noexec,nosuid,nodev,username=joe,password=x,_netdev,nofail,user"

HELPER = [
    (["-f", "-o", FSTAB], ExitCode.OK, ""),
    (["-s", "-n", "-v", "-f", "-o", FSTAB], ExitCode.OK, ""),
    (["-sfnv", "-t", "fuse.smbfuse"], ExitCode.OK, ""),
    (["-f", "-o", "vers=3.0"], ExitCode.USAGE, "mount.smbfuse: option 'vers=3.0'"),
    (["-sf", "-o", "whatever"], ExitCode.OK, ""),
    (["-f", "-t", "cifs"], ExitCode.USAGE, "the type is smbfuse"),
    (["-f", "-N", "/proc/1/ns/mnt"], ExitCode.USAGE, "nsenter"),
    (["-d"], ExitCode.USAGE, "option -d not recognized"),
]


@pytest.mark.parametrize(("arguments", "status", "text"), HELPER)
def test_mount_helper_fakes(tmp_path: Path, arguments: list[str], status: int, text: str) -> None:
    result = smbfuse("//nas/data", str(tmp_path), *arguments, name="mount.smbfuse")
    assert text in result.stderr
    assert result.stderr.count("\n") == (status != ExitCode.OK)
    assert result.returncode == status


def test_fake_finds_a_missing_mountpoint(tmp_path: Path) -> None:
    result = smbfuse("//nas/data", str(tmp_path / "none"), "-f", name="mount.fuse.smbfuse")
    assert_one_line(result, ExitCode.MOUNT, "mount.fuse.smbfuse: mountpoint")


def test_background_holds_nothing_of_the_caller(program: Program) -> None:
    with open(program.report_file.parent / "lock", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        # run() waits for the end of both pipes: it would hang if the mounting process held one
        result = subprocess.run(
            program.command("//nas/data/sub", str(program.mountpoint), "-o", "guest,dev,suid"),
            cwd=ROOT,
            env={**program.environ, "SMBFUSE_TEST_SERVE": "mounted"},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            close_fds=False,
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    facts = program.report()
    assert facts["session"] == facts["pid"]
    assert facts["directory"] == "/"
    assert {facts["descriptors"][number] for number in "012"} == {"/dev/null"}
    assert not [name for name in facts["descriptors"].values() if name.endswith("/lock")]
    assert (facts["source"], facts["prefix"]) == ("//nas/data/sub", "sub")
    assert facts["mountpoint"] == str(program.mountpoint)


FAILURES = [
    ("unreachable", "guest", ExitCode.MOUNT, "smbfuse: //nas/data: nas refuses connections to port 445"),
    ("unreachable", "guest,nofail", ExitCode.OK, "(nofail: going on without)"),
    ("refused", "user=joe,pass=x", ExitCode.MOUNT, "refuses user joe: wrong name or password"),
    ("refused", "user=joe,pass=x,nofail", ExitCode.MOUNT, "wrong name or password"),
    ("killed", "guest", ExitCode.MOUNT, "ended without a word (signal 9)"),
    ("broken", "guest", ExitCode.SYSTEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize(("behaviour", "options", "status", "text"), FAILURES)
def test_failed_mount_is_one_line(program: Program, behaviour: str, options: str, status: int, text: str) -> None:
    assert_one_line(program.run(behaviour, "-o", options), status, text)


def test_foreground_ends_by_signal_with_status_0(program: Program) -> None:
    process = subprocess.Popen(
        program.command("//nas/data", str(program.mountpoint), "-f", "-o", "guest"),
        cwd=ROOT,
        env={**program.environ, "SMBFUSE_TEST_SERVE": "mounted"},
    )
    assert program.report()["pid"] == process.pid
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_mount_without_the_one_who_asked_for_it(program: Program, number: signal.Signals) -> None:
    process = subprocess.Popen(
        program.command("//nas/data", str(program.mountpoint), "-o", "guest"),
        cwd=ROOT,
        env={**program.environ, "SMBFUSE_TEST_SERVE": "slow"},
        stderr=subprocess.PIPE,
        text=True,
    )
    child = program.report()["pid"]
    assert child != process.pid
    process.send_signal(number)
    _, said = process.communicate(timeout=LIMIT)
    assert wait_gone([child], LIMIT) == set()
    if number == signal.SIGINT:
        assert (process.returncode, said) == (ExitCode.INTERRUPTED, "smbfuse: interrupted, nothing is mounted\n")


STUCK = """
import os, signal, sys
from smbfuse.cli.daemon import Outcome, in_background

def job(ready):
    os.write(1, f"{os.getpid()} ".encode())
    signal.pause()

outcome = in_background(job, deadline=0.1)
print(outcome.status, outcome.line)
"""


def test_a_child_that_says_nothing_is_ended() -> None:
    result = subprocess.run([sys.executable, "-c", STUCK], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    child, status, line = result.stdout.split(" ", 2)
    assert result.stderr == ""
    assert (int(status), line) == (ExitCode.MOUNT, "there was no mount after 0.1 s: try again with -d to see why\n")
    assert wait_gone([int(child)], LIMIT) == set()


LONG = """
import sys
from smbfuse.cli.daemon import Outcome, in_background
outcome = in_background(lambda ready: Outcome(32, "é" * 3000 + "x"))
print(outcome.status, outcome.line[:5], len(outcome.line))
"""


def test_a_line_too_long_for_the_pipe_is_cut() -> None:
    result = subprocess.run([sys.executable, "-c", LONG], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert (result.stdout, result.stderr) == ("32 ééééé 2000\n", "")


def passwords(tmp_path: Path) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    file = tmp_path / "credentials"
    file.write_text(f"password={SECRET}\n")
    file.chmod(0o600)
    yield "option", ["-o", f"ro,password={SECRET},user=joe"], {}
    yield "two options", ["-o", "pass=other", "-v", f"-oro,pass={SECRET}"], {}
    yield "user", ["-o", f"user=joe%{SECRET}"], {}
    yield "PASSWD", ["-o", "ro"], {"PASSWD": SECRET}
    yield "both", ["-o", f"password={SECRET}"], {"PASSWD": "other"}
    yield "PASSWD_FILE", [], {"PASSWD_FILE": str(tmp_path / "only")}
    yield "credentials", ["-o", f"credentials={file}"], {}


WAYS = ["option", "two options", "user", "PASSWD", "both", "PASSWD_FILE", "credentials"]


@pytest.mark.parametrize("way", WAYS)
def test_password_arrives_and_is_nowhere_to_be_seen(program: Program, tmp_path: Path, way: str) -> None:
    (tmp_path / "only").write_text(SECRET + "\n")
    options, environ = {name: (options, environ) for name, options, environ in passwords(tmp_path)}[way]
    result = program.run("mounted", *options, **environ)
    assert (result.returncode, result.stderr) == (0, "")
    facts = program.report()
    assert facts["user"] == "joe"
    assert facts["password"] == hashlib.sha256(SECRET.encode()).hexdigest()
    assert "PASSWD" not in facts["environment"]
    for name in ("cmdline", "environ"):
        shown = Path(f"/proc/{facts['pid']}/{name}").read_bytes()
        assert b"nas" in shown or name == "environ"
        assert SECRET.encode() not in shown
        assert b"other" not in shown


def test_memory_is_not_dumped_nor_shown_to_the_users_other_programs(program: Program) -> None:
    assert program.run("mounted", "-o", "guest").returncode == 0
    facts = program.report()
    assert (facts["core"], facts["dumpable"]) == (0, 0)


def test_password_is_asked_for_on_a_terminal(program: Program) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        arguments = program.command("//nas/data", str(program.mountpoint), "-o", "user=joe")
        os.execve(sys.executable, arguments, {**program.environ, "SMBFUSE_TEST_SERVE": "mounted"})
    try:
        shown = b""
        while b"Password for joe on nas: " not in shown:
            assert select.select([terminal], [], [], LIMIT)[0], shown
            shown += os.read(terminal, 1024)
        os.write(terminal, SECRET.encode() + b"\n")
        facts = program.report()
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert facts["password"] == hashlib.sha256(SECRET.encode()).hexdigest()


@given(
    st.lists(st.sampled_from(["password=x", "pass=y", "user=a%b", "user=a", "ro", "password_fd=7", "pass", "uid=1"]))
)
def test_hiding_leaves_one_place_and_nothing_more_to_hide(tokens: list[str]) -> None:
    cleaned, secret = take_secrets([",".join(tokens)])
    assert (secret is not None) == (cleaned.count("password_fd={}") == 1)
    assert take_secrets([",".join(cleaned)]) == (cleaned, None)
    assert not {"x", "y", "b"}.intersection("=".join(cleaned).replace("%", "=").split("="))


def test_nothing_to_hide() -> None:
    assert hidden(["ro,user=joe"], {"PASSWD_FD": "3"}) is None


def test_order_of_descriptor_and_password_survives() -> None:
    assert take_secrets(["pass=x,password_fd=7"])[0] == ["password_fd={}", "password_fd=7"]
    assert take_secrets(["password_fd=7,pass=x"])[0] == ["password_fd=7", "password_fd={}"]
