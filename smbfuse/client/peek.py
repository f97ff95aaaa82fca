"""Looks at the start of files in passing: opened, read and closed in one message that nobody waits for.

For opens that take no READ_ANDX behind them (the UNIX extensions' is a TRANSACTION2): sent before such an open it is
done before, and its answer is there when the open's is. Whether what it tells is still so then, the asker decides: by
the times of both answers.

They have a tree connect of their own. Where the read in such a chain fails (another client's lock is enough) smbd 4.17
closes nothing, and lets go of the answer that had the FID in it; that file then stays open until the tree connect ends.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from smbfuse.client.shares import tree_connect
from smbfuse.client.tree import LAST_OPENED, SHARE_ALL
from smbfuse.ntstatus import is_error
from smbfuse.wire.const import FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_READ_ATTRIBUTES, FILE_READ_DATA
from smbfuse.wire.files import (
    CloseRequest,
    NtCreateAndXExtendedResponse,
    NtCreateAndXRequest,
    NtCreateAndXResponse,
    ReadAndXRequest,
    ReadAndXResponse,
)
from smbfuse.wire.setup import TreeDisconnectRequest
from smbfuse.wire.text import UNICODE

if TYPE_CHECKING:
    from smbfuse.client.session import Session
    from smbfuse.client.tree import ServerPath, Tree
    from smbfuse.proto.events import Response
    from smbfuse.wire.codec import Body, Buffer

_ACCESS: Final = FILE_READ_DATA | FILE_READ_ATTRIBUTES
_REQUESTS: Final = 3
"""In a chain."""
_OPENED: Final = (NtCreateAndXResponse, NtCreateAndXExtendedResponse)


class Peek:
    """What has come of a look so far: `found` and `data` are both None, or both there."""

    __slots__ = ("data", "found")

    def __init__(self) -> None:
        self.found: NtCreateAndXResponse | NtCreateAndXExtendedResponse | None = None
        """The file as it was opened, just before `data` were read."""
        self.data: Buffer | None = None


class Peeks:
    """The looks at one share."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._session: Session | None = None
        """On which there is, or will be, a tree connect for them,"""
        self._tid: int | None = None
        """and which that is."""

    def look(self, path: ServerPath, size: int) -> Peek | None:
        """Have the first `size` bytes of a file read before whatever is asked next. None: not now.

        Without an oplock: the open that follows would break it. Never waits. WireError as any request.
        """
        session = self._tree.session
        if not self._tree.chains:
            return None
        if self._session is not session:
            self._session, self._tid = session, None
            session.connection.spawn(self._connect, session)
        if self._tid is None:
            return None
        peek = Peek()
        asked = session.connection.ask_in_passing(
            *_chain(path, size),
            tid=self._tid,
            uid=session.uid,
            flags2=path.flags2,
            on_answer=partial(self._answered, peek, session, self._tid),
            on_spoiled=partial(self._spoiled, session),
        )
        return peek if asked else None

    async def _connect(self, session: Session) -> None:
        response = await tree_connect(session, session.settings.share)
        if self._session is session:
            self._tid = response.header.tid

    def _answered(self, peek: Peek, session: Session, tid: int, response: Response) -> None:
        """Whatever became of it, nothing stays open."""
        answers = [body for _command, body in response.members]
        opened = answers[0]
        if not isinstance(opened, _OPENED):
            return  # the open that follows may well fail, too, and tell why
        if len(answers) > 1 and isinstance(answers[1], ReadAndXResponse):
            peek.found, peek.data = opened, answers[1].data
        if len(answers) < _REQUESTS or is_error(response.status):  # in a chain it is that of the last one done
            close = CloseRequest(fid=opened.fid)
            session.connection.spawn(partial(session.connection.request, close, tid=tid, uid=session.uid))

    def _spoiled(self, session: Session) -> None:
        """A file may have stayed open: to end its tree connect is the one way to close it."""
        self._tree.no_chains()
        tid, self._tid = self._tid, None
        if tid is not None and self._session is session:
            end = partial(session.connection.request, TreeDisconnectRequest(), tid=tid, uid=session.uid)
            session.connection.spawn(end)


def _chain(path: ServerPath, size: int) -> tuple[Body, Body, Body]:
    opens = NtCreateAndXRequest(
        name_length=len(UNICODE.encode(path.text)),
        desired_access=_ACCESS,
        share_access=SHARE_ALL,
        create_disposition=FILE_OPEN,
        create_options=FILE_NON_DIRECTORY_FILE,
        file_name=path.text,
    )
    reads = ReadAndXRequest(fid=LAST_OPENED, offset_low=0, max_count_low=size)
    return opens, reads, CloseRequest(fid=LAST_OPENED)
