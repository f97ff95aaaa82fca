"""Who is measured: file systems that can be mounted, behind one small interface, and smbclient, which only transfers.

Each peer works with the same server, share and user. What a peer lacks to run on this machine it says in `missing`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tests.bench.stage import SHARE, Stage
from tests.samba.smbd import SmbclientError
from tests.support.mount import Mount, is_mounted, umount_command
from tests.support.processes import end, eventually, processes, wait_gone

START_TIMEOUT = 30.0
END_TIMEOUT = 10.0

_SMBNETFS_SMB_CONF = """[global]
client min protocol = NT1
client max protocol = NT1
client use kerberos = off
name resolve order = host
private dir = {state}
lock directory = {state}
state directory = {state}
cache directory = {state}
"""


class Peer(Protocol):
    """Something with a name that may be there or not."""

    name: str

    def missing(self) -> str | None:
        """What has to be installed, if it cannot run."""


class FileSystem(ABC):
    """A peer that shows the share as a directory. `mounted` gives a fresh mount, with nothing in any cache of it."""

    name: str

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def missing(self) -> str | None:
        return None

    @property
    @abstractmethod
    def path(self) -> Path:
        """The share's root."""

    @abstractmethod
    def mount(self) -> None:
        """Return when the share can be used."""

    @abstractmethod
    def umount(self) -> None:
        """Leave nothing behind, whatever state it is in; also where `mount` failed or was not called."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Processes of the mount, the one that the kernel talks to first."""

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        try:
            self.mount()
            yield self.path
        finally:
            self.umount()


class Smbfuse(FileSystem):
    """We ourselves: the real command line, in the background as users have it."""

    name = "smbfuse"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._mount = Mount.of(stage.server, SHARE, stage.mountpoint(self.name), foreground=False)

    @property
    def path(self) -> Path:
        return self._mount.path

    def mount(self) -> None:
        self._mount.start()

    def umount(self) -> None:
        self._mount.umount()

    def pids(self) -> list[int]:
        return [self._mount.pid]


class Local(FileSystem):
    """The served directory itself, without any network: what the machine can do at all."""

    name = "local"

    @property
    def path(self) -> Path:
        return self.stage.served

    def mount(self) -> None:
        pass

    def umount(self) -> None:
        pass

    def pids(self) -> list[int]:
        return []


class Smbnetfs(FileSystem):
    """smbnetfs: FUSE over libsmbclient. It shows MOUNT/HOST/SHARE, and takes HOST:PORT for the host.

    Its own settings are left as they are, but for browsing the network, which would only add traffic.
    """

    name = "smbnetfs"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._mountpoint = stage.mountpoint(self.name)
        self._home = stage.mountpoint("smbnetfs-home")
        self._process: subprocess.Popen[bytes] | None = None

    def missing(self) -> str | None:
        return None if shutil.which("smbnetfs") else "not installed (Debian: apt-get install smbnetfs)"

    @property
    def path(self) -> Path:
        server = self.stage.server
        return self._mountpoint / f"{server.address}:{server.port}" / SHARE

    def mount(self) -> None:
        self._configure()
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["smbnetfs", str(self._mountpoint), "-f"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # libsmbclient and smbnetfs both look for their configuration in ~/.smb first.
                env={**os.environ, "HOME": str(self._home), "SMB_CONF_PATH": str(self._directory / "smb.conf")},
                # Ctrl-C is ours to deal with.
                start_new_session=True,
            )
        eventually(self._usable, START_TIMEOUT, "smbnetfs shows the share")

    def _usable(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"smbnetfs ended with status {self._process.returncode}: {self._log()}")
        return is_mounted(self._mountpoint) and os.access(self.path, os.R_OK)

    def _log(self) -> str:
        return (self._home / "log").read_text(errors="replace").strip()

    @property
    def _directory(self) -> Path:
        return self._home / ".smb"

    def _configure(self) -> None:
        server = self.stage.server
        user = server.users[0]
        self._directory.mkdir(exist_ok=True)
        files = {
            "smb.conf": _SMBNETFS_SMB_CONF.format(state=self._directory),
            "smbnetfs.conf": 'include "smbnetfs.auth"\nsmb_query_browsers "false"\nuse_libsecret "false"\n',
            "smbnetfs.auth": f'auth "{user.name}" "{user.password}"\n',
        }
        for name, text in files.items():
            path = self._directory / name
            path.touch(mode=0o600)  # it takes no others
            path.write_text(text)

    def umount(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        pids = self._family(process.pid)
        if is_mounted(self._mountpoint) and not self._unmounted():
            subprocess.run(umount_command(self._mountpoint, lazy=True), check=False, timeout=END_TIMEOUT)
        wait_gone(pids, END_TIMEOUT)
        end(lambda: self._family(process.pid))
        process.wait(END_TIMEOUT)

    def _unmounted(self) -> bool:
        """Try for a while: the kernel drops its last references to a killed process's files a moment later."""
        with suppress(TimeoutError, subprocess.TimeoutExpired):
            eventually(self._umount_once, END_TIMEOUT, "smbnetfs can be unmounted")
            return True
        return False

    def _umount_once(self) -> bool:
        command = umount_command(self._mountpoint)
        return subprocess.run(command, capture_output=True, check=False, timeout=END_TIMEOUT).returncode == 0

    def pids(self) -> list[int]:
        return self._family(self._process.pid) if self._process else []

    @staticmethod
    def _family(pid: int) -> list[int]:
        """It forks a child for each connection; all are in the session that it was started in."""
        return sorted(process.pid for process in processes() if process.session == pid)


class Smbclient:
    """smbclient -m NT1: plain transfers, timed by smbclient itself, without connecting and logging on."""

    name = "smbclient"
    _RATE = re.compile(r"\(([\d.]+) (?:KiloBytes/sec|kb/s)\)")

    def __init__(self, stage: Stage) -> None:
        self._server = stage.server

    def missing(self) -> str | None:
        return None if shutil.which("smbclient") else "not installed (Debian: apt-get install smbclient)"

    def get(self, name: str, size: int) -> float:
        """Seconds for reading a file of `size` bytes into nowhere."""
        return self._seconds(f"get {name} {os.devnull}", size)

    def put(self, source: Path, name: str, size: int) -> float:
        """Seconds for writing a local file of `size` bytes. smbclient asks for no flush."""
        return self._seconds(f"put {source} {name}", size)

    def _seconds(self, command: str, size: int) -> float:
        output = self._server.smbclient(command)
        rate = self._RATE.search(output)
        if rate is None or not float(rate[1]):
            raise SmbclientError(f"{command}: no rate in {output!r}")
        return size / (float(rate[1]) * 1024)
