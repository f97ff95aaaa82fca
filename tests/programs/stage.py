"""The settings, and for each of them a server, a mount, and room on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.programs.catalogue import Program
from tests.programs.outcome import Outcome
from tests.programs.place import Place, Scale
from tests.samba.smbd import Share, Smbd
from tests.support.child import WorkError, call
from tests.support.mount import Mount


@dataclass(frozen=True, slots=True)
class Setting:
    """A kind of server with a kind of mount; `server` None: no server, the disk itself."""

    name: str
    unix: bool = True
    server: Mapping[str, str] | None = None
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def symlinks(self) -> bool:
        """Whether there are symbolic links."""
        return self.unix or "mfsymlinks" in self.options

    @property
    def modes(self) -> bool:
        """Whether permissions are kept, if only by the mount."""
        return self.unix or "dynperm" in self.options


def _server(*, unix: bool, signed: bool) -> dict[str, str]:
    return {"unix extensions": "yes" if unix else "no", "server signing": "mandatory" if signed else "disabled"}


DISK = Setting("disk")
"""What the others are compared with."""
SETTINGS = (
    DISK,
    Setting("unix", server=_server(unix=True, signed=False)),
    Setting("unix-signed", server=_server(unix=True, signed=True)),
    Setting("nt", unix=False, server=_server(unix=False, signed=False)),
    Setting("nt-signed", unix=False, server=_server(unix=False, signed=True)),
    # Lets CPython's tests find symbolic links, of which they leave many out without.
    Setting("nt-mfsymlinks", unix=False, server=_server(unix=False, signed=False), options={"mfsymlinks": True}),
)


class Stage:
    """One setting, ready for programs. The share lies on the disk that the setting DISK is."""

    def __init__(self, setting: Setting, root: Path) -> None:
        self.setting = setting
        self.path = root / "on"
        """Root of the file system that is tried."""
        self.local = root / "local"
        self.share = root / "share"
        # Programs may run as somebody else, and so may the server.
        for path in (root, self.path, self.local, self.share):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        self.mount: Mount | None = None
        self._seen = 0
        """Lines of the mount's log that earlier programs have answered for."""

    @classmethod
    @contextmanager
    def of(cls, setting: Setting) -> Iterator[Stage]:
        """Nothing of it is left at the end. AssertionError where the mount does not end well."""
        with ExitStack() as stack:
            root = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="smbfuse-programs-", ignore_cleanup_errors=True)
            )
            stage = cls(setting, Path(root))
            if setting.server is not None:
                server = stack.enter_context(Smbd([Share(name="programs", path=stage.share)], options=setting.server))
                stage.mount = Mount.of(server, None, stage.path, setting.options)
                stage.mount.start()
                stack.callback(stage.mount.umount)
            yield stage

    def attempt(self, program: Program, scale: Scale) -> Outcome:
        """Run a program in directories of its own. Never raises for what the file system does to it."""
        with self._place(program.name, scale) as place:
            start = time.monotonic()
            try:
                outcome = call(lambda: program.run(place), program.deadline)
            except WorkError as error:
                outcome = Outcome.lost(str(error))
            outcome.seconds = time.monotonic() - start
        self._watch(outcome)
        return outcome

    @contextmanager
    def _place(self, name: str, scale: Scale) -> Iterator[Place]:
        paths = self.path / name, self.local / name
        try:
            for path in paths:
                path.mkdir()
            yield Place(*paths, self.setting.unix, self.setting.symlinks, scale)
        finally:
            for path in paths:
                # stress-ng that is ended in the middle leaves files that not even root may remove.
                subprocess.run(["chattr", "-R", "-ia", path], check=False, capture_output=True, timeout=60)
                shutil.rmtree(path, ignore_errors=True)

    def _watch(self, outcome: Outcome) -> None:
        """A warning in the mount's log is a failure too, and so is what cannot be removed or does not go away."""
        if self.mount is not None:
            trouble = self.mount.guard.unexpected_lines(self.mount.log())
            if len(trouble) > self._seen:
                outcome.failures["the mount's log"] = "\n".join(trouble[self._seen :])
            self._seen = len(trouble)
        for directory in (self.share, self.path):
            if left := os.listdir(directory):
                outcome.failures["left behind"] = ", ".join(left)
                for name in left:
                    shutil.rmtree(self.share / name, ignore_errors=True)
