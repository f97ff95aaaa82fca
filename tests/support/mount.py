"""A real mount: the real command line in a process of its own, watched from start to end.

Used by tests, bench and demo. Nothing here touches the mounted file system: that could block for as long as
the program under test is broken. Whether it is mounted is read from /proc/self/mountinfo.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from tests.samba.smbd import Smbd
from tests.support.logguard import LogGuard
from tests.support.processes import eventually, processes, send, wait_gone

PROGRAM = Path(sys.executable).with_name("smbfuse")
START_TIMEOUT = 30.0
END_TIMEOUT = 10.0
BUSY_TIMEOUT = 5.0


class Mount:
    """One mount of `source` on `mountpoint`; also a context manager.

    In the foreground (-f) the daemon is our child and its standard error is kept as the log. In the
    background the command must have returned with the mount live; what it printed until then is the log.
    """

    def __init__(
        self,
        source: str,
        mountpoint: Path,
        options: Mapping[str, object],
        *,
        foreground: bool = True,
        arguments: tuple[str, ...] = (),
        guard: LogGuard | None = None,
    ) -> None:
        self.path = mountpoint
        self.foreground = foreground
        self.guard = guard or LogGuard()
        self.argv = [str(PROGRAM), source, str(mountpoint), "-o", join_options(options), *arguments]
        if foreground:
            self.argv.append("-f")
        self._output: IO[bytes] | None = None  # while it runs
        self._kept = ""  # what was in it at the end
        self._daemon: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(
        cls,
        server: Smbd,
        share: str | None,
        mountpoint: Path,
        options: Mapping[str, object] | None = None,
        *,
        foreground: bool = True,
        guard: LogGuard | None = None,
    ) -> Self:
        """Mount `share` of a running server as its first user; `options` add to that, None takes one away."""
        login = {"port": server.port, "credentials": server.credentials()}
        return cls(server.unc(share), mountpoint, {**login, **(options or {})}, foreground=foreground, guard=guard)

    # -- start ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Mount, and return when the mount is live. Raises AssertionError with the log where that fails."""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _last_resort, which ends every life
        try:
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
            )
            if self.foreground:
                self._await_foreground(self._child)
            else:
                self._await_background(self._child)
        except BaseException:
            self._last_resort()
            raise

    def _await_foreground(self, child: subprocess.Popen[bytes]) -> None:
        self._daemon = child.pid
        eventually(lambda: self.is_mounted() or child.poll() is not None, START_TIMEOUT, self._description)
        assert child.poll() is None, f"{self._description} ended with {child.returncode}:\n{self.log()}"

    def _await_background(self, child: subprocess.Popen[bytes]) -> None:
        status = child.wait(START_TIMEOUT)
        assert status == 0, f"{self._description} ended with {status}:\n{self.log()}"
        assert self.is_mounted(), f"{self._description} went to the background without a mount:\n{self.log()}"
        (self._daemon,) = self._daemons()

    def _daemons(self) -> list[int]:
        """The processes that run our command line for this mountpoint."""
        return [
            process.pid
            for process in processes()
            if str(self.path) in (argv := process.argv()) and str(PROGRAM) in argv
        ]

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process that serves the mount."""
        assert self._daemon is not None, "not started"
        return self._daemon

    @property
    def _description(self) -> str:
        return shlex.join(self.argv)

    def is_mounted(self) -> bool:
        return is_mounted(self.path)

    def log(self) -> str:
        """What the command and (in the foreground) the daemon wrote so far."""
        if self._output is None:
            return self._kept
        # Not by seek and read: the position belongs to the writers too.
        handle = self._output.fileno()
        return os.pread(handle, os.fstat(handle).st_size, 0).decode(errors="replace")

    def report(self) -> str:
        """Command line and log, for the output of a failed test."""
        return f"$ {self._description}\n{self.log()}"

    # -- end -----------------------------------------------------------------------------------------------------------

    def umount(self) -> None:
        """Unmount as a user would, if nobody has. The daemon must end by itself, a child of ours with status 0."""
        if self._daemon is None:
            return
        try:
            if self.is_mounted():
                self._umount()
            left = wait_gone([self._daemon], END_TIMEOUT)
            assert not left, f"still running {END_TIMEOUT:g} s after umount: {self.report()}"
            if self._child is not None:
                status = self._child.wait(END_TIMEOUT)
                assert status == 0, f"status {status} after umount: {self.report()}"
        finally:
            self._last_resort()

    def _umount(self) -> None:
        command = umount_command(self.path)
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            done = subprocess.run(command, capture_output=True, text=True, timeout=END_TIMEOUT)
            if done.returncode == 0:
                return
            # The kernel drops its last references (of a process just killed, of an mmap) a moment later.
            busy = "busy" in done.stderr and time.monotonic() < deadline
            assert busy, f"{done.stderr}used by {holders(self.path)}\n{self.report()}"
            time.sleep(0.05)

    def finish(self) -> None:
        """`umount`, then the log guard: raises AssertionError for a warning or traceback that nobody announced."""
        self.umount()
        unexpected = self.guard.unexpected_lines(self.log())
        assert not unexpected, "unannounced in the log:\n" + "\n".join(unexpected)

    def kill(self) -> None:
        """SIGKILL to the daemon and a clean-up after it: for tests of just that."""
        self._last_resort()

    def _last_resort(self) -> None:
        """Whatever happened: no mount, no process. Kills first, which aborts requests that would block the umount."""
        # Looked up anew: the number of a daemon that has ended may be somebody else's by now.
        pids = self._daemons()
        for pid in pids:
            send(pid, signal.SIGKILL)
        wait_gone(pids, END_TIMEOUT)
        if self.is_mounted():
            subprocess.run(umount_command(self.path, lazy=True), check=False, timeout=END_TIMEOUT)
        if self._child is not None:
            self._child.kill()
            self._child.wait(END_TIMEOUT)
        if self._output is not None:
            self._kept = self.log()
            self._output.close()
        self._output = self._child = self._daemon = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self._last_resort()


def join_options(options: Mapping[str, object]) -> str:
    """`-o` value of a mapping: True gives the bare name, None and False leave it out."""
    return ",".join(
        name if value is True else f"{name}={value}"
        for name, value in options.items()
        if value is not None and value is not False
    )


def umount_command(path: Path, *, lazy: bool = False) -> list[str]:
    """What unmounts a FUSE file system: umount as root, else fusermount3."""
    if os.geteuid() == 0:
        return ["umount", *(["-l"] if lazy else []), str(path)]
    return ["fusermount3", "-u", *(["-z"] if lazy else []), str(path)]


def holders(path: Path) -> list[str]:
    """Which processes have what of this mount open, mapped, or as a directory they are in; asks only /proc."""
    found = []
    for process in processes():
        there = Path(f"/proc/{process.pid}")
        with suppress(OSError):  # it may end meanwhile
            links = [there / "cwd", there / "root", there / "exe", *(there / "fd").iterdir()]
            targets = [os.readlink(link) for link in links if link.is_symlink()]
            targets += [line.split(maxsplit=5)[-1] for line in (there / "maps").read_text().splitlines()]
            found += [f"{process.name} {process.pid}: {one}" for one in targets if one.startswith(str(path))]
    return found


def is_mounted(path: Path) -> bool:
    """Is something mounted on exactly this directory? Never blocks on a dead file system."""
    wanted = os.fsencode(path)
    with open("/proc/self/mountinfo", "rb") as lines:
        return any(_unescape(line.split(b" ", 5)[4]) == wanted for line in lines)


def _unescape(field: bytes) -> bytes:
    """mountinfo writes space, tab, newline and backslash as \\ooo."""
    return field if b"\\" not in field else field.decode("unicode_escape").encode("latin-1")
