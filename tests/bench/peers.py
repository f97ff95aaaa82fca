"""Who is measured: file systems that can be mounted, behind one small interface, and smbclient, which only transfers.

Each peer works with the same share and user. The program that a peer needs on this machine it names in `PROGRAM`.
"""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tests.bench.circumstances import Setting
from tests.bench.stage import SHARE, Endpoint, Stage
from tests.samba.smbd import SmbclientError
from tests.support.mount import Mount
from tests.support.processes import cpu_seconds


class Peer(ABC):
    """A client of the share at `endpoint`, set as `setting` says where it can be set."""

    name: ClassVar[str]
    PROGRAM: ClassVar[str | None] = None
    """What it cannot run without; the Debian package has the same name."""

    def __init__(self, stage: Stage, endpoint: Endpoint, setting: Setting) -> None:
        self.stage = stage
        self.endpoint = endpoint
        self.setting = setting

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot run here, if so."""
        if cls.PROGRAM is None or shutil.which(cls.PROGRAM):
            return None
        return f"not installed (Debian: apt-get install {cls.PROGRAM})"


class FileSystem(Peer):
    """A peer that shows the share as a directory. `mounted` gives a fresh mount, with nothing in any cache of it."""

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

    def cpu(self) -> float:
        """Seconds of processors' time that its processes have used so far."""
        return sum(map(cpu_seconds, self.pids()))


class Smbfuse(FileSystem):
    """We ourselves: the real command line with its defaults, in the background as users have it."""

    name = "smbfuse"

    def __init__(self, stage: Stage, endpoint: Endpoint, setting: Setting) -> None:
        super().__init__(stage, endpoint, setting)
        options = {"port": endpoint.port, **({} if setting.unix else {"nounix": True})}
        self._mount = Mount.of(endpoint.server, SHARE, stage.mountpoint(self.name), options, foreground=False)

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


class Smbclient(Peer):
    """smbclient -m NT1: plain transfers, timed by smbclient itself, without connecting and logging on."""

    name = "smbclient"
    PROGRAM = "smbclient"
    _RATE = re.compile(r"\(([\d.]+) (?:KiloBytes/sec|kb/s)\)")

    def get(self, name: str, size: int) -> float:
        """Seconds for reading a file of `size` bytes into nowhere."""
        return self._seconds(f"get {name} {os.devnull}", size)

    def put(self, source: Path, name: str, size: int) -> float:
        """Seconds for writing a local file of `size` bytes. smbclient asks for no flush."""
        return self._seconds(f"put {source} {name}", size)

    def _seconds(self, command: str, size: int) -> float:
        output = self.endpoint.server.smbclient(command, port=self.endpoint.port)
        rate = self._RATE.search(output)
        if rate is None or not float(rate[1]):
            raise SmbclientError(f"{command}: no rate in {output!r}")
        return size / (float(rate[1]) * 1024)
