"""What lives and dies with one connection to a share: session, TID, FIDs. [MS-CIFS] 3.2.1.4, 3.2.1.5.

A FID means nothing on the next connection, and may be another file's there. So it is used on the tree connect that it
came from and nowhere else, and who holds one can see by that whether it still stands for anything.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.client.sizes import LARGE_READ, TransferSizes
from smbfuse.errors import ConnectionLost
from smbfuse.wire.const import BREAK_TO_LEVEL_II, OPLOCK_LEVEL_II, OPLOCK_NONE

if TYPE_CHECKING:
    from typing import Unpack

    from smbfuse.client.connection import How
    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.session import Session
    from smbfuse.proto.events import OplockBreak, Response
    from smbfuse.wire.codec import Body


log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Tries:
    """How often something was begun whose connection was lost, and since when."""

    count: int = 0
    begun: float = field(default_factory=trio.current_time)


class TreeConnect:
    """A share that a session is connected to."""

    def __init__(self, session: Session, tid: int) -> None:
        self.session = session
        self.tid = tid
        self.unix_capabilities = 0
        """What the share offers of the UNIX extensions (CIFS_UNIX_..._CAP), used or not."""
        self.sizes = TransferSizes.of(session.limits, session.settings)
        self.reads_large = False
        """Whether an answer has shown that the server understands reads of more than 16 bits."""
        self.opens: dict[int, OpenFile] = {}
        self._early_breaks: dict[int, int] = {}
        """Of FIDs that are not known yet: their opens are about to be answered. The oldest comes first."""
        self._closing: set[int] = set()
        """FIDs whose CLOSE is not answered yet."""
        session.connection.on_oplock_break = self._broken

    def offers(self, unix_capabilities: int) -> None:
        """The share does so."""
        self.unix_capabilities = unix_capabilities
        self.sizes = TransferSizes.of(self.session.limits, self.session.settings, unix_capabilities)

    def read_less(self) -> None:
        """It does not understand such reads: no more of them."""
        log.info("the server does not understand reads of more than 64 KiB; they are smaller from now on")
        self.sizes = replace(self.sizes, read=min(self.sizes.read, LARGE_READ))

    @property
    def lost(self) -> bool:
        """Whether it is gone, and all FIDs with it."""
        return self.session.connection.lost is not None

    def lose(self, why: str) -> None:
        """Give the connection up."""
        self.session.connection.fail(ConnectionLost(why))

    async def request(self, *bodies: Body, rest: tuple[Body, ...] = (), **how: Unpack[How]) -> Response:
        """A request on this tree connect, whose answer has it for its owner; see Connection.request."""
        on_late = how.get("on_late")

        def late(response: Response) -> None:
            response.owner = self
            if on_late is not None:
                on_late(response)

        how["on_late"] = late
        response = await self.session.connection.request(*bodies, tid=self.tid, uid=self.session.uid, rest=rest, **how)
        response.owner = self
        return response

    # --- FIDs

    def opened(self, file: OpenFile) -> None:
        """Keep account of a FID that the server has just given out."""
        self.opens[file.fid] = file
        self._closing.discard(file.fid)
        level = self._early_breaks.pop(file.fid, None)
        if level is not None:
            file.broken(level)

    def closed(self, file: OpenFile) -> None:
        """Its FID is closed, or about to be."""
        self.opens.pop(file.fid, None)
        self._early_breaks.pop(file.fid, None)
        self._closing.add(file.fid)

    def close_answered(self, fid: int) -> None:
        """From now on the number may stand for another file. To be called by the reader: what is next on the wire may
        be about that one."""
        self._closing.discard(fid)

    def _broken(self, event: OplockBreak) -> None:
        """The server takes an oplock back, perhaps before the answer to the open that got the oplock is here.

        Of a FID that we have just closed the break crosses with the close, which answers it.
        """
        if event.tid != self.tid or event.fid in self._closing:
            return
        level = OPLOCK_LEVEL_II if event.level == BREAK_TO_LEVEL_II else OPLOCK_NONE
        file = self.opens.get(event.fid)
        if file is not None:
            file.broken(level)
        else:
            self._early_breaks[event.fid] = level
            if len(self._early_breaks) > self.session.limits.max_mpx_count:  # not of so many opens under way
                self._early_breaks.pop(next(iter(self._early_breaks)))
