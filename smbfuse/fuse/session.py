"""One mount from connect to unmount.

The order matters: first the server (most of what can go wrong is there), then the mount, and `ready` when the kernel
has spoken; at the end the other way round, so that nothing is mounted that nobody serves.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyfuse3
import trio

from smbfuse.client.reconnect import Keeper
from smbfuse.client.session import open_session
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import Tree
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.server.symlinks import with_mfsymlinks
from smbfuse.core.server.unix import choose_backend
from smbfuse.core.settle import Settler
from smbfuse.errors import MountError, SmbfuseError
from smbfuse.fuse import extra, native
from smbfuse.fuse.interrupts import Interrupts
from smbfuse.fuse.notify import KernelNotices
from smbfuse.fuse.operations import Operations
from smbfuse.fuse.passed import PassedOperations

if TYPE_CHECKING:
    from smbfuse.settings import MountSettings, ServerSettings

log: Final = logging.getLogger(__name__)

START_TIMEOUT: Final = 10.0
"""Seconds that the kernel may take to greet a new mount."""
GOODBYE_TIMEOUT: Final = 5.0
"""Seconds for closing files and logging off at the end; and for the server to take any of what waits to be written."""
LONGEST_GOODBYE: Final = 60.0
"""Seconds for writing what waits, as long as the server takes it: whoever ends services does not wait much longer."""
LAST_REQUESTS_TIMEOUT: Final = 2.0
"""Seconds that requests under way still have when a signal ends us; one may wait for a server that says nothing."""
READ_AHEAD_KB: Final = 1024
MIN_TASKS: Final = 10
MAX_TASKS: Final = 200
"""Requests of the kernel's that may wait for the server at once."""


async def serve(server: ServerSettings, mount: MountSettings, ready: Callable[[], None]) -> None:
    """Connect, mount, call `ready` when the mount is live, serve until it is unmounted or SIGTERM or SIGINT comes.

    Raises SmbfuseError with a line for the user if it cannot be mounted; then nothing is left behind.
    """
    interrupts = Interrupts()
    native.mend(interrupts.interrupt)
    failure: SmbfuseError | None = None
    async with trio.open_nursery() as nursery:
        try:
            tree = await connect_tree(await open_session(server, nursery), server.share)
            mount = replace(mount, read_only=mount.read_only or tree.read_only)
            files = await _file_system(tree, mount, nursery)
            keeper = Keeper(tree, nursery)  # until here it is the caller who is told of a loss, by an exception
            nursery.start_soon(keeper.run)
            await _mounted(Operations(files, interrupts), mount, ready)
            await _say_goodbye(files, tree, keeper)
        except SmbfuseError as exc:
            failure = exc
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _file_system(tree: Tree, mount: MountSettings, nursery: trio.Nursery) -> FileSystem:
    backend = await choose_backend(tree)
    if mount.mfsymlinks:
        backend = with_mfsymlinks(backend)
    if backend.style.reserved != "plain":
        backend.style = replace(backend.style, reserved=mount.reserved)
    files = FileSystem(
        backend,
        mount,
        Settler(nursery, lambda: not tree.at.lost),
        trio.current_time,
        unique_file_names=tree.unique_file_names,
    )
    await files.check_root()
    await files.find_acls()
    files.watch.start()
    return files


async def _mounted(operations: Operations, mount: MountSettings, ready: Callable[[], None]) -> None:
    """Mount and answer the kernel until the end. Raises MountError."""
    mountpoint = _resolved(mount.mountpoint)
    extra.prepare(extra.ALL if mount.brl else extra.EXTENTS)
    operations.files.kernel = KernelNotices()
    operations.enable_acl = operations.files.acls is not None and mount.default_permissions
    # From before the mount is seen until it is gone: a signal in between would leave a dead one.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        try:
            pyfuse3.init(operations, mountpoint, _options(mount))
        except RuntimeError as exc:
            trouble = f"cannot mount on {mountpoint}: {exc}; is it a directory of yours, is FUSE there?"
            raise MountError(trouble) from None
        try:
            trouble = await _served(operations, mount, mountpoint, ready, signals)
        finally:
            pyfuse3.close(unmount=True)
    if trouble:
        raise MountError(trouble)


async def _served(
    operations: Operations,
    mount: MountSettings,
    mountpoint: str,
    ready: Callable[[], None],
    signals: AsyncIterator[int],
) -> str:
    """Answer the kernel until the end; returns what prevented that."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signals, signals, nursery.cancel_scope)
        nursery.start_soon(operations.interrupts.watch)
        await nursery.start(partial(extra.serve, PassedOperations(operations.files), operations.interrupts))
        nursery.start_soon(_answer_kernel, nursery.cancel_scope)
        with trio.move_on_after(START_TIMEOUT) as patience:
            await operations.started.wait()
        if patience.cancelled_caught:
            nursery.cancel_scope.cancel()
            return f"the kernel does not begin to use {mountpoint}"
        _tune(mountpoint)
        _tell_local_locks(mount)
        ready()
    return ""


def _tell_local_locks(mount: MountSettings) -> None:
    if mount.brl and not extra.passed() >= extra.LOCKS:
        log.warning("byte-range locks hold on this machine only: %s", native.REASON or "the kernel passes none")


async def _answer_kernel(scope: trio.CancelScope) -> None:
    """Serve requests until the mount is gone."""
    try:
        await pyfuse3.main(MIN_TASKS, MAX_TASKS)
    except* OSError as group:
        log.error("the FUSE device cannot be read any more: %s", group.exceptions[0])
    scope.cancel()


async def _end_on_signals(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        log.info("signal %d: unmounting", number)
        scope.deadline = min(scope.deadline, trio.current_time() + LAST_REQUESTS_TIMEOUT)
        pyfuse3.terminate()


async def _say_goodbye(files: FileSystem, tree: Tree, keeper: Keeper) -> None:
    """Write, close, disconnect, log off; a server that does not answer any more is not waited for.

    One that is away may still come back for what was not written yet, within the time.
    """
    await _write_all(files)
    with trio.move_on_after(GOODBYE_TIMEOUT):
        try:
            await files.close_all()
            keeper.end()
            await tree.disconnect()
            await tree.session.log_off()
        except SmbfuseError as exc:
            log.debug("goodbye: %s", exc)
    keeper.end()


async def _write_all(files: FileSystem) -> None:
    """What waits to be written, and a line in the log for what is lost."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_while_it_goes_on, files, nursery.cancel_scope)
        await files.write_all()
        nursery.cancel_scope.cancel()
    files.tell_losses()


async def _while_it_goes_on(files: FileSystem, scope: trio.CancelScope) -> None:
    end = trio.current_time() + LONGEST_GOODBYE
    written = -1
    while files.writes.written != written and trio.current_time() < end:
        written = files.writes.written
        await trio.sleep(GOODBYE_TIMEOUT)
    scope.cancel()


class _Encoded(str):
    """An option that may hold any characters: pyfuse3 3.5 encodes options as ASCII, come what may."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("utf-8", "surrogateescape")


def _options(mount: MountSettings) -> set[str]:
    """Options of libfuse and mount(2)."""
    source = mount.source.replace("\\", "\\\\").replace(",", "\\,")
    options = {f"fsname={source}", "subtype=smbfuse", *mount.fuse_options}
    flags = {
        "ro": mount.read_only,
        "allow_other": mount.allow_other,
        "default_permissions": mount.default_permissions,
    }
    return {_Encoded(option) for option in options | {name for name, wanted in flags.items() if wanted}}


def _resolved(mountpoint: str) -> str:
    """The path without symbolic links, as the kernel will show it. Not once mounted: looking would ask us."""
    return os.path.realpath(mountpoint)


def _tune(mountpoint: str) -> None:
    """Let the kernel read further ahead than 128 KiB. Only root may; it works without, at a lower speed."""
    device = _device_of(mountpoint)
    if device is None:
        return
    try:
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(f"{READ_AHEAD_KB}\n", "ascii")
    except OSError as exc:
        log.debug("read-ahead stays as it is: %s", exc)


def _device_of(mountpoint: str) -> str | None:
    """`major:minor` of a mount, from /proc/self/mountinfo: asking the mount itself would wait for ourselves."""
    found = None
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        if os.fsencode(mountpoint) == _unescaped(fields[4]):
            found = fields[2].decode("ascii")
    return found


def _unescaped(field: bytes) -> bytes:
    """mountinfo writes blank, tab, newline and backslash as octal numbers."""
    return field.replace(b"\\040", b" ").replace(b"\\011", b"\t").replace(b"\\012", b"\n").replace(b"\\134", b"\\")
