"""Sessions with a real smbd whose answers are damaged on their way: the whole program, but for the kernel.

Each session connects, logs on, and does what programs do, by pyfuse3's operations; lost connections are made anew as on
a mount. What may come of it are errno, refused logons and lines in the log. Not a traceback, no task that stays, no
operation without an end.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final

import trio
from pyfuse3 import FUSEError

from smbfuse.client.reconnect import Keeper
from smbfuse.client.session import open_session
from smbfuse.client.shares import connect_tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.calls.vfs import Entry
from smbfuse.core.server.backend import Change
from smbfuse.errors import SmbfuseError
from smbfuse.fuse.interrupts import Interrupts
from smbfuse.fuse.operations import Operations, attributes
from smbfuse.fuse.session import _file_system
from smbfuse.settings import Credentials, MountSettings, Secret, ServerSettings
from tests.fuzz.damage import DamagingRelay
from tests.fuzz.figures import Figures
from tests.samba.smbd import Share, Smbd

OPERATIONS: Final = 20
"""Operations of a session."""
AT_ONCE: Final = 16
"""Sessions at the same time: many wait for answers that were lost."""
RATE: Final = 0.03
"""Share of the answers that is damaged; a session has some sixty."""
REQUEST: Final = 2.0
RECONNECT: Final = 3.0
BOUND: Final = 90.0
"""Seconds after which an operation counts as hung: far above what its deadlines add up to, also on a busy machine."""
NAMES: Final = (b"hello.txt", b"large", b"sub", b"a", b"b", b"gone", "Grüße.txt".encode(), b"link")


CONTENTS: Final = {"hello.txt": b"Hello, world.\n", "Grüße.txt": b"x" * 1067, "large": bytes(range(256)) * 1024}


class HangError(AssertionError):
    """An operation did not end."""


class _Bugs(logging.Handler):
    """Tracebacks in the log, and the lines of the two guards."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        if record.exc_info or "bug in smbfuse" in record.getMessage():
            self.found.append(self.format(record))


@contextmanager
def watched_log() -> Iterator[_Bugs]:
    """What smbfuse logs meanwhile is looked at, and not shown."""
    logger, bugs = logging.getLogger("smbfuse"), _Bugs()
    before = logger.propagate
    logger.propagate = False
    logger.addHandler(bugs)
    try:
        yield bugs
    finally:
        logger.removeHandler(bugs)
        logger.propagate = before


class Worker:
    """Somebody who uses a mount."""

    def __init__(self, operations: Operations, random: Random) -> None:
        self._do = operations
        self._random = random
        self._context: Any = SimpleNamespace(uid=os.getuid(), gid=os.getgid())

    def _name(self) -> bytes:
        return self._random.choice(NAMES)

    async def _number(self) -> int:
        return int((await self._do.lookup(ROOT, self._name(), self._context)).st_ino)

    async def stat(self) -> None:
        await self._do.getattr(await self._number(), self._context)

    async def ls(self) -> None:
        number = self._random.choice((ROOT, ROOT, await self._number()))
        handle = await self._do.opendir(number, self._context)

        def emit(name: bytes, entry: Entry, _: int) -> bool:
            assert name
            attributes(entry)
            return True

        try:
            await self._do.files.readdir(handle, 0, emit)
        finally:
            await self._do.releasedir(handle)

    async def read(self) -> None:
        opened = await self._do.open(await self._number(), os.O_RDONLY, self._context)
        try:
            for offset in range(0, 300_000, 131_072):
                await self._do.read(opened.fh, offset, 131_072)
        finally:
            await self._do.release(opened.fh)

    async def write(self) -> None:
        opened = await self._do.open(await self._number(), os.O_RDWR, self._context)
        try:
            await self._do.write(opened.fh, self._random.randrange(100_000), bytes(self._random.randrange(1, 90_000)))
            await self._do.fsync(opened.fh, False)
            await self._do.flush(opened.fh)
        finally:
            await self._do.release(opened.fh)

    async def create(self) -> None:
        opened, _ = await self._do.create(ROOT, self._name(), 0o644, os.O_RDWR | os.O_CREAT, self._context)
        try:
            await self._do.write(opened.fh, 0, b"some data")
            await self._do.flush(opened.fh)
        finally:
            await self._do.release(opened.fh)

    async def names(self) -> None:
        what = self._random.randrange(5)
        if what == 0:
            await self._do.mkdir(ROOT, self._name(), 0o755, self._context)
        elif what == 1:
            await self._do.rmdir(ROOT, self._name(), self._context)
        elif what == 2:
            await self._do.unlink(ROOT, self._name(), self._context)
        elif what == 3:
            await self._do.rename(ROOT, self._name(), ROOT, self._name(), 0, self._context)
        else:
            await self._do.symlink(ROOT, self._name(), b"hello.txt", self._context)

    async def change(self) -> None:
        wanted = Change(size=self._random.randrange(1000), mtime_ns=10**18)
        await self._do.files.setattr(await self._number(), wanted)

    async def links(self) -> None:
        await self._do.readlink(await self._number(), self._context)

    async def attributes(self) -> None:
        number = await self._number()
        for name in await self._do.listxattr(number, self._context):
            await self._do.getxattr(number, name, self._context)
        for name in (b"system.cifs_acl", b"user.x", b"smb.snapshots", b"system.posix_acl_access"):
            await self._do.getxattr(number, name, self._context)

    async def space(self) -> None:
        await self._do.statfs(self._context)

    def jobs(self) -> list[Callable[[], Awaitable[None]]]:
        usual = [self.stat, self.ls, self.read, self.write, self.create, self.names, self.names]
        return [*usual, self.change, self.links, self.attributes, self.space]

    async def work(self, figures: Figures) -> None:
        """OPERATIONS of them, each of which may fail and must end."""
        for job in self._random.choices(self.jobs(), k=OPERATIONS):
            with trio.move_on_after(BOUND) as scope:
                try:
                    await job()
                    figures.outcomes["operations done"] += 1
                except (FUSEError, OSError):
                    figures.outcomes["errors"] += 1
            if scope.cancelled_caught:
                raise HangError(f"{job.__name__} took more than {BOUND:g} s")


@asynccontextmanager
async def mounted(settings: ServerSettings, mount: MountSettings) -> AsyncIterator[FileSystem]:
    """As smbfuse.fuse.session.serve, without the kernel."""
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await open_session(settings, nursery), settings.share)
        files = await _file_system(tree, mount, nursery)
        keeper = Keeper(tree, nursery)
        nursery.start_soon(keeper.run)
        yield files
        with trio.move_on_after(5):
            with suppress(SmbfuseError):
                await files.close_all()
        keeper.end()
        nursery.cancel_scope.cancel()


def first(group: BaseException) -> BaseException:
    """The one error in a nursery's group."""
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group


class Sessions:
    """A server, a relay that damages its answers, and sessions through that."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._seed = seed

    def _settings(self, server: Smbd, port: int) -> tuple[ServerSettings, MountSettings]:
        user = server.users[0]
        settings = ServerSettings(
            host=server.address,
            share=self._random.choice(("share", "share", "signed")),
            port=port,
            credentials=Credentials(username=user.name, password=Secret(user.password)),
            unix_extensions=self._random.choice((False, None)),
            connect_timeout=REQUEST,
            request_timeout=REQUEST,
            echo_interval=1.0,
            reconnect_timeout=RECONNECT,
            retrans=2,
        )
        mount = MountSettings(
            source=server.unc(),
            mountpoint="/mnt",
            cache=self._random.choice(("strict", "strict", "none", "loose")),
            mfsymlinks=self._random.random() < 0.2,
        )
        return settings, mount

    async def _one(self, server: Smbd, relay: DamagingRelay, figures: Figures) -> None:
        settings, mount = self._settings(server, relay.port)
        try:
            async with mounted(settings, mount) as files:
                await Worker(Operations(files, Interrupts()), Random(self._random.random())).work(figures)
        except SmbfuseError:
            figures.outcomes["refused"] += 1
        except BaseExceptionGroup as group:
            if not isinstance(first(group), SmbfuseError):
                raise
            figures.outcomes["refused"] += 1

    async def _all(self, server: Smbd, relay: DamagingRelay, count: int, figures: Figures) -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        steps = figures.counted(count)

        async def one_after_the_other() -> None:
            for number in steps:
                if number % 100 == 0:
                    refill(server.shares["share"].path)
                await self._one(server, relay, figures)

        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, count)):
                nursery.start_soon(one_after_the_other)
        left = trio.lowlevel.current_statistics().tasks_living - tasks
        assert left == 0, f"{left} tasks are left"

    def run(self, count: int, figures: Figures) -> None:
        """So many sessions. Raises AssertionError with what was found."""
        with (
            tempfile.TemporaryDirectory(prefix="smbfuse-fuzz-") as name,
            watched_log() as bugs,
            smbd(Path(name)) as server,
            DamagingRelay((server.address, server.port), self._seed, RATE) as relay,
        ):
            trio.run(self._all, server, relay, count, figures)
            figures.outcomes.update(relay.damaged)
            figures.outcomes["lines logged"] = bugs.lines
            assert not bugs.found, f"{len(bugs.found)} tracebacks:\n" + "\n".join(bugs.found[:3])


def refill(share: Path) -> None:
    """What sessions are to find. They change it, also while this runs."""
    for name in NAMES:
        path = share / os.fsdecode(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        (share / "sub").mkdir()
        for index in range(300):
            (share / "sub" / f"file {index}").touch()
    for file, content in CONTENTS.items():
        with suppress(OSError):
            (share / file).write_bytes(content)
    with suppress(OSError):
        (share / "link").symlink_to("hello.txt")


def smbd(directory: Path) -> Smbd:
    """A server that signs only what it must: damage to what is signed ends a connection before anything is read."""
    directory.chmod(0o755)
    share = directory / "share"
    share.mkdir()
    refill(share)
    return Smbd(
        [Share(name="share", path=share), Share(name="signed", path=share)],
        options={"server signing": "disabled", "kernel oplocks": "no"},
    )
