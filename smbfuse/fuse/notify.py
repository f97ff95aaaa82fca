"""What the kernel is told to forget. In threads: it waits for requests of its own, which are ours to answer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import pyfuse3
import trio

from smbfuse.core.calls.kernel import Kernel

MAX_THREADS: Final = 40


class KernelNotices(Kernel):
    """By pyfuse3, for the one mount that there is in a process."""

    async def forget_data(self, number: int) -> None:
        await _told(partial(_inode, number, attr_only=False))

    async def forget_attributes(self, number: int) -> None:
        await _told(partial(_inode, number, attr_only=True), by=_one_thread())

    async def forget_names(self, names: Sequence[tuple[int, bytes]]) -> None:
        await _told(*(partial(_name, directory, name) for directory, name in names))

    async def forget_attributes_of(self, numbers: Sequence[int]) -> None:
        await _told(*(partial(_inode, number, attr_only=True) for number in numbers), by=_one_thread())


def _inode(number: int, *, attr_only: bool) -> None:
    with contextlib.suppress(OSError):  # the kernel does not know it (any more)
        pyfuse3.invalidate_inode(pyfuse3.InodeT(number), attr_only=attr_only)


def _name(directory: int, name: bytes) -> None:
    with contextlib.suppress(OSError):
        pyfuse3.invalidate_entry(pyfuse3.InodeT(directory), pyfuse3.FileNameT(name))


@functools.cache
def _threads() -> trio.CapacityLimiter:
    """Of their own: threads that wait for requests which wait for a lost connection must not keep it from coming back,
    since a thread looks up the server's name."""
    return trio.CapacityLimiter(MAX_THREADS)


@functools.cache
def _one_thread() -> trio.CapacityLimiter:
    """For what the kernel never waits with: who comes later is done later."""
    return trio.CapacityLimiter(1)


async def _told(*notices: Callable[[], None], by: trio.CapacityLimiter | None = None) -> None:
    """In one thread, one after the other."""
    if notices:
        await trio.to_thread.run_sync(partial(_one_by_one, notices), abandon_on_cancel=True, limiter=by or _threads())


def _one_by_one(notices: Iterable[Callable[[], None]]) -> None:
    for notice in notices:
        notice()
