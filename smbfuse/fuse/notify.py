"""What the kernel is told to forget. In threads: it waits for requests of its own, which are ours to answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

import pyfuse3
import trio

from smbfuse.core.kernel import Kernel


class KernelNotices(Kernel):
    """By pyfuse3, for the one mount that there is in a process."""

    async def forget_data(self, number: int) -> None:
        await _told(partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(number), attr_only=False))

    async def forget_attributes(self, number: int) -> None:
        await _told(partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(number), attr_only=True))

    async def forget_name(self, directory: int, name: bytes) -> None:
        await _told(partial(pyfuse3.invalidate_entry, pyfuse3.InodeT(directory), pyfuse3.FileNameT(name)))


async def _told(notice: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):  # the kernel does not know it (any more)
        await trio.to_thread.run_sync(notice, abandon_on_cancel=True)
