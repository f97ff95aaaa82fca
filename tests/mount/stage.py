"""The settings in which the POSIX suite is run: the local disk, and kinds of mounts of kinds of servers."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from tests.mount.posix import CROWD, MFSYMLINKS, SMALL, Check
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount

SERVERS: dict[str, Mapping[str, str]] = {
    "unsigned": {"server signing": "disabled"},
    "signed": {"server signing": "mandatory"},
    "plain": {"unix extensions": "no"},
}
"""Each with options of smbd."""
AS_ROOT = os.geteuid() == 0


@dataclass(frozen=True)
class Kind:
    """A mount's options and its server. `server` None: no mount at all, but the local disk."""

    server: str | None
    unix: bool = True
    options: Mapping[str, object] = field(default_factory=dict)
    chapters: frozenset[str] | None = None
    """Modules of checks that are run there; None: all."""

    def runs(self, check: Check) -> bool:
        """Whether a check is asked here."""
        if check.root and not AS_ROOT:
            return False
        if self.server is None:
            return not check.share
        return self.chapters is None or check.chapter in self.chapters

    def expects(self, check: Check) -> str:
        """What a program is to get here in place of what the check says; empty: the check holds."""
        if self.server is None:
            return ""
        instead = check.instead(unix=self.unix)
        with_links = instead.partition(MFSYMLINKS)[2] if "mfsymlinks" in self.options else ""
        return "" if with_links == "yes" else with_links or instead


NOUNIX = {"nounix": True}
SOON = {"actimeo": 0.3}
"""For kinds beside those with the default, so that checks of what others change need not wait for a second."""
NAMES = frozenset({"directories", "renames", "unlinked", "metadata", "others"})
"""Chapters in which it matters what is cached, or how the server came to be one without extensions."""
SETTINGS = {
    "unix": Kind("unsigned"),
    "unix-signed": Kind("signed", options={"sign": True, **SOON}),
    "nounix": Kind("unsigned", unix=False, options=NOUNIX),
    "nounix-signed": Kind("signed", unix=False, options={"sign": True, **NOUNIX, **SOON}),
}
"""The four of the table: UNIX extensions and signing, each on and off."""
KINDS = {
    "local": Kind(None),
    **SETTINGS,
    "uncached": Kind("unsigned", options={"actimeo": 0}, chapters=NAMES),
    "uncached-nounix": Kind("unsigned", unix=False, options={"actimeo": 0, **NOUNIX}, chapters=NAMES),
    "plain-server": Kind("plain", unix=False, options=SOON, chapters=NAMES),
    "mfsymlinks": Kind("plain", unix=False, options={"mfsymlinks": True}, chapters=frozenset({"links"})),
}


class Crowd:
    """A directory of CROWD files, made when it is first wanted and the same for all servers: it takes seconds."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        path.chmod(0o755)
        self.path = path

    def filled(self) -> Path:
        if not any(self.path.iterdir()):
            for number in range(CROWD):
                os.mknod(self.path / f"{number:06}")
        return self.path


class Ground:
    """The directories of one server: `share` for the checks, and those that Place.elsewhere offers."""

    def __init__(self, server: str | None, crowd: Crowd) -> None:
        self.crowd = crowd
        self._options = None if server is None else SERVERS[server]
        self._stack = ExitStack()
        self._numbers = itertools.count()
        # Not pytest's directories: those let nobody else in, and checks look as other users.
        self.base = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-posix-")))
        self.base.chmod(0o755)
        for name in ("share", "small", "still", "still/d"):
            self.directory(name)
        (self.base / "still" / "f").write_bytes(b"content")
        if AS_ROOT:
            self._mount("tmpfs", "small", f"size={SMALL},mode=0755", "-t", "tmpfs")

    def directory(self, name: str) -> Path:
        made = self.base / name
        made.mkdir(parents=True)
        made.chmod(0o755)
        return made

    def mountpoint(self) -> Path:
        """An empty directory, another one each time."""
        return self.directory(f"mnt{next(self._numbers)}")

    def _mount(self, what: str | Path, name: str, options: str, *more: str) -> None:
        """Mount something of the kernel's on the directory `name`. Takes root."""
        subprocess.run(["mount", *more, "-o", options, str(what), str(self.base / name)], check=True, timeout=30)
        # Lazily: somebody else may be looking at all that is mounted (df, sync, stress-ng).
        self._stack.callback(subprocess.run, ["umount", "-l", str(self.base / name)], check=True, timeout=30)

    def bind_read_only(self) -> Path:
        """The directory `still`, where nothing can be changed."""
        bound = self.directory("bound")
        self._mount(self.base / "still", "bound", "bind")
        subprocess.run(["mount", "-o", "remount,bind,ro", str(bound)], check=True, timeout=30)
        return bound

    @cached_property
    def smbd(self) -> Smbd:
        """The server of these directories."""
        assert self._options is not None
        shares = [
            Share(name="share", path=self.base / "share"),
            Share(name="small", path=self.base / "small"),
            Share(name="still", path=self.base / "still"),
            Share(name="readonly", path=self.base / "still", read_only=True),
            Share(name="crowd", path=self.crowd.path),
        ]
        return self._stack.enter_context(Smbd(shares, options=self._options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Stage:
    """One kind, ready for checks: `path` is the directory that `behind` is on the server's disk."""

    def __init__(self, kind: Kind, ground: Ground) -> None:
        self.kind = kind
        self.behind = ground.base / "share"
        self._ground = ground
        self._mounts: list[Mount] = []
        self._elsewhere: dict[str, list[Path]] = {}
        self._stack = ExitStack()
        self._seen: dict[Mount, int] = {}
        self.path = self.behind if kind.server is None else self._mount("share")

    @property
    def lifetime(self) -> float:
        return 0.0 if self.kind.server is None else float(str(self.kind.options.get("actimeo", 1)))

    def _mount(self, share: str, **options: object) -> Path:
        point = self._ground.mountpoint()
        mount = Mount.of(self._ground.smbd, share, point, {**self.kind.options, **options})
        mount.start()
        self._mounts.append(mount)
        self._stack.callback(mount.umount)
        return point

    def elsewhere(self, kind: str) -> list[Path]:
        """As Place.elsewhere; what it gave once it gives again."""
        if kind not in self._elsewhere:
            find = {"small": self._small, "read-only": self._read_only, "crowded": self._crowded}[kind]
            self._elsewhere[kind] = find()
        return self._elsewhere[kind]

    def _small(self) -> list[Path]:
        behind = self._ground.base / "small"
        return [behind if self.kind.server is None else self._mount("small"), behind]

    def _read_only(self) -> list[Path]:
        if self.kind.server is None:
            return [self._ground.bind_read_only()]
        return [self._mount("still", ro=True), self._mount("readonly")]

    def _crowded(self) -> list[Path]:
        behind = self._ground.crowd.filled()
        return [behind if self.kind.server is None else self._mount("crowd"), behind]

    def trouble(self) -> str:
        """Warnings in the logs of the mounts that nobody has asked about yet, with these logs; empty: none."""
        found = []
        for mount in self._mounts:
            lines = mount.guard.unexpected_lines(mount.log())
            if lines[self._seen.get(mount, 0) :]:
                found.append(mount.log()[-20_000:])
            self._seen[mount] = len(lines)
        return "\n".join(found)

    def left_behind(self) -> list[Path]:
        """Files of ours on the server that stand for files that were open when they lost their name."""
        return list(self.behind.rglob(".smbfuse*"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        assert self.left_behind() == []


class Theatre:
    """One stage at a time, on grounds that stay for as long as the `with` block runs."""

    def __init__(self) -> None:
        self._grounds: dict[str | None, Ground] = {}
        self._stack = ExitStack()
        base = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-crowd-")))
        base.chmod(0o755)
        self._crowd = Crowd(base / "crowd")
        self._current = ExitStack()
        self._stage: Stage | None = None

    def stage(self, name: str) -> Stage:
        """That of one of KINDS. The one before it ends, if it is another."""
        kind = KINDS[name]
        if self._stage is None or self._stage.kind is not kind:
            self._stage = None
            self._current.close()
            self._stage = self._current.enter_context(Stage(kind, self._ground(kind.server)))
        return self._stage

    def _ground(self, server: str | None) -> Ground:
        if server not in self._grounds:
            self._grounds[server] = self._stack.enter_context(Ground(server, self._crowd))
        return self._grounds[server]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._current.close()
