"""smbnetfs, the peer that Debian has: FUSE over libsmbclient."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.bench.circumstances import Setting
from tests.bench.peers import FileSystem
from tests.bench.stage import SHARE, Endpoint, Stage
from tests.support.mount import is_mounted, umount_command
from tests.support.processes import end, eventually, processes, wait_gone

START_TIMEOUT: Final = 30.0
END_TIMEOUT: Final = 10.0

_SMB_CONF: Final = """[global]
client min protocol = NT1
client max protocol = NT1
client use kerberos = off
name resolve order = host
private dir = {state}
lock directory = {state}
state directory = {state}
cache directory = {state}
"""


class Smbnetfs(FileSystem):
    """smbnetfs: FUSE over libsmbclient. It shows MOUNT/HOST/SHARE, and takes HOST:PORT for the host.

    Its own settings are left as they are, but for browsing the network, which would only add traffic.
    """

    name = "smbnetfs"
    PROGRAM = "smbnetfs"

    def __init__(self, stage: Stage, endpoint: Endpoint, setting: Setting) -> None:
        super().__init__(stage, endpoint, setting)
        self._mountpoint = stage.mountpoint(self.name)
        self._home = stage.mountpoint("smbnetfs-home")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> Path:
        return self._mountpoint / f"{self.endpoint.server.address}:{self.endpoint.port}" / SHARE

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
        user = self.endpoint.server.users[0]
        self._directory.mkdir(exist_ok=True)
        files = {
            "smb.conf": _SMB_CONF.format(state=self._directory),
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
