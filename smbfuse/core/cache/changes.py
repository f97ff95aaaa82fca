"""What files are like since our last change of them, without asking the server for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.server.attrs import Attributes

MEMORY: Final = 64
"""Files whose last change is remembered."""


class _Known(NamedTuple):
    attrs: Attributes
    version: int
    until: float


class LastChanges:
    """What files are like since a change of ours, which the server has not told of: for the next change, no more.

    cp and tar set times, owner and mode of a file one after the other, and what is to be set may depend on the rest.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[Inode, _Known] = OrderedDict()

    def note(self, inode: Inode, attrs: Attributes, version: int, until: float) -> None:
        """It was changed so, in this version; what was known before might be served until then."""
        self._known.pop(inode, None)
        self._known[inode] = _Known(attrs, version, until)
        if len(self._known) > MEMORY:
            self._known.popitem(last=False)

    def of(self, inode: Inode) -> tuple[Attributes | None, float]:
        """Its attributes, if nothing else has happened to it, and until when they may be used."""
        known = self._known.get(inode)
        if known is None or known.version != inode.version or self._clock() >= known.until:
            return None, 0.0
        return known.attrs, known.until
