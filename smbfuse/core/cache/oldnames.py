"""Names that others took from a file, in which the kernel believes still.

The kernel opens by the number that it took for a name. If others have renamed the file since, and we know, that opens
it under its new name: whatever is written then goes into the wrong file. So such an open is answered by ESTALE, upon
which the kernel looks the path up anew, and tries once more. It does that once only: so not before it has forgotten
the old name. And an open may have been on its way when it forgot, from a program that found the old name just before.
It says no more than any other, but that the kernel has not looked the file up since: whoever has the new name from a
listing is sent to look, too.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.core.server.names import to_kernel
from smbfuse.core.underway import UnderWay

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode

DOUBT: Final = 1.0
"""Seconds to wait for the kernel to forget a name, before an open by it is refused all the same; and seconds for which
an open may have been on its way."""


class OldNames:
    """Of one mount. `forget` has the kernel forget a name, and us what we got by it; `soon` works in the background."""

    def __init__(
        self,
        forget: Callable[[Inode, tuple[int, bytes]], Awaitable[None]],
        soon: Callable[[Callable[[], Awaitable[object]]], None],
        clock: Callable[[], float],
    ) -> None:
        self._forget = forget
        self._soon = soon
        self._clock = clock
        self._believed = UnderWay()
        """Inodes of which the kernel may believe in an old name."""
        self._forgotten: dict[Inode, float] = {}
        """Inodes of which it forgot one, and until when that was a moment ago."""

    def taken(self, inode: Inode, parent: Inode, name: str) -> None:
        """Others have given the file another name than this."""
        believed = ExitStack()
        believed.enter_context(self._believed.of(inode))
        self._soon(partial(self._end, believed, inode, parent.number, name))

    async def _end(self, believed: ExitStack, inode: Inode, parent: int, name: str) -> None:
        with believed:
            try:
                await self._forget(inode, (parent, to_kernel(name)))
            finally:
                now = self._clock()
                self._forgotten = {other: until for other, until in self._forgotten.items() if until > now}
                self._forgotten[inode] = now + DOUBT

    def looked_up(self, inode: Inode) -> None:
        """The kernel is told of the file by a name of now."""
        if self._forgotten:
            self._forgotten.pop(inode, None)

    async def check(self, inode: Inode) -> None:
        """OSError(ESTALE) if the kernel may mean another file, whose name it believed in a moment ago."""
        if inode in self._believed:
            with trio.move_on_after(DOUBT):
                await self._believed.ended(inode)
        elif self._forgotten.get(inode, 0.0) <= self._clock():
            return
        raise OSError(errno.ESTALE, "others have given the file another name")
