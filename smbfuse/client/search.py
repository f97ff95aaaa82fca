"""A directory search in pages. [MS-CIFS] 3.2.4.27 (FIND_FIRST2), 3.2.4.28 (FIND_NEXT2).

The document's Sid, the search handle, is `search_id` here: a security identifier it is not.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from smbfuse.client.ahead import Ahead
from smbfuse.client.treeconnect import Tries
from smbfuse.errors import ConnectionLost, RemoteProtocolError
from smbfuse.ntstatus import (
    STATUS_NO_MORE_FILES,
    STATUS_NO_SUCH_FILE,
)
from smbfuse.wire import trans2
from smbfuse.wire.chains import iter_entries, last_entry
from smbfuse.wire.const import (
    SMB_FIND_CLOSE_AFTER_REQUEST,
    SMB_FIND_CLOSE_AT_EOS,
    SMB_FIND_CONTINUE_FROM_LAST,
    SMB_FIND_RETURN_RESUME_KEYS,
)
from smbfuse.wire.files import FindClose2Request
from smbfuse.wire.text import UNICODE

if TYPE_CHECKING:
    from smbfuse.client.tree import ServerPath, Tree
    from smbfuse.client.treeconnect import TreeConnect
    from smbfuse.proto.events import Response
    from smbfuse.wire.codec import WireStruct

E = TypeVar("E", bound="WireStruct")

MAX_DATA: Final = 0xFF00
MAX_NAMES: Final = 1_000_000
"""Names of one directory at most. A listing is held in memory, and a server that lies has no end of names."""
_FIRST_FLAGS: Final = SMB_FIND_CLOSE_AT_EOS | SMB_FIND_RETURN_RESUME_KEYS
_END: Final = frozenset({STATUS_NO_MORE_FILES, STATUS_NO_SUCH_FILE})


class Search(Generic[E]):
    """One search. Call `next_page` until it gives an empty page, or `close` before that.

    Who has asked for a second page will want all: from then on each is asked for when the one before has come, so that
    it is under way while that is taken apart.

    The server forgets it with the connection. Then it begins anew: names that were given come once more.
    """

    def __init__(self, tree: Tree, pattern: ServerPath, level: type[E], single: bool) -> None:
        self._tree = tree
        self._pattern = pattern
        self._level = level
        self._number: int = level.LEVEL  # type: ignore[attr-defined] # every information level has it
        self._single = single
        self._count = 1 if single else 0xFFFF
        self._search_id: int | None = None
        self._at: TreeConnect | None = None
        """Where the search handle is known."""
        self._tries = Tries()
        self._last = ""
        self._given = 0
        self._ended = False
        self._ahead: Ahead[Response] | None = None

    async def next_page(self) -> list[E]:
        """The next entries, `.` and `..` among them; none at the end. Raises StatusError."""
        while not self._ended:
            try:
                return await self._next_page()
            except ConnectionLost as exc:
                if self._search_id is None:
                    raise  # that is waited for long enough
                self._search_id, self._at, self._last, self._given, self._ahead = None, None, "", 0, None
                await self._tree.try_again(exc, self._tries)
        return []

    async def _next_page(self) -> list[E]:
        before = self._last
        found = await (self._first() if self._search_id is None else self._next())
        repeated = not found or found[-1].file_name == before  # type: ignore[attr-defined] # as in _entries
        if repeated and not self._ended:
            await self.close()
            raise RemoteProtocolError("a search goes on for ever without giving new names")
        self._given += len(found)
        if self._given > MAX_NAMES:
            await self.close()
            raise RemoteProtocolError(f"a directory of more than {MAX_NAMES:,} names")
        return found

    async def _first(self) -> list[E]:
        parameters = trans2.FindFirst2Parameters(
            search_count=self._count,
            flags=SMB_FIND_CLOSE_AFTER_REQUEST if self._single else _FIRST_FLAGS,
            information_level=self._number,
            file_name=self._pattern.text,
        )
        response = await self._tree.trans2(
            parameters, max_data=MAX_DATA, flags2=self._pattern.flags2, on_late=self._close_late
        )
        if self._at_end(response):
            return []
        answer = trans2.FindFirst2ResponseParameters.unpack(_parameters(response))
        self._search_id, self._at = answer.sid, response.owner
        return self._entries(response, answer.search_count, answer.end_of_search)

    async def _next(self) -> list[E]:
        ahead, self._ahead = self._ahead, None
        response = await (self._ask_next(self._last) if ahead is None else ahead.answer())
        if self._at_end(response):
            return []
        answer = trans2.FindNext2ResponseParameters.unpack(_parameters(response))
        if not answer.end_of_search:
            await self._ask_ahead(response)
        return self._entries(response, answer.search_count, answer.end_of_search)

    async def _ask_next(self, last: str) -> Response:
        assert self._search_id is not None  # noqa: S101 - next_page asked
        parameters = trans2.FindNext2Parameters(
            sid=self._search_id,
            search_count=self._count,
            information_level=self._number,
            flags=_FIRST_FLAGS | SMB_FIND_CONTINUE_FROM_LAST,
            file_name=last,
        )
        return await self._tree.trans2(parameters, max_data=MAX_DATA, flags2=self._pattern.flags2, at=self._at)

    async def _ask_ahead(self, response: Response) -> None:
        """Have the page behind this one on the wire when this returns."""
        assert self._at is not None  # noqa: S101 - it was answered there
        assert response.transaction is not None  # noqa: S101 - trans2 said so
        last = last_entry(self._level, response.transaction.data, UNICODE)
        if last is None or last.file_name == self._last:  # type: ignore[attr-defined] # every FIND level has a name
            return
        name: str = last.file_name  # type: ignore[attr-defined] # likewise
        ahead = Ahead(partial(self._ask_next, name))
        if ahead.begin(self._at.session.connection):
            self._ahead = ahead
            await ahead.begun.wait()

    def _at_end(self, response: Response) -> bool:
        self._ended = response.status in _END
        if not self._ended:
            response.check(self._pattern.text)
        return self._ended

    def _entries(self, response: Response, count: int, end: int) -> list[E]:
        assert response.transaction is not None  # noqa: S101 - trans2 said so
        found = list(iter_entries(self._level, response.transaction.data, UNICODE))
        if len(found) != count:
            raise RemoteProtocolError(f"a search answers {count} names and sends {len(found)}")
        if end or self._single:
            self._ended = True
        if found:
            self._last = found[-1].file_name  # type: ignore[attr-defined] # every FIND level has a name
        return found

    def _close_late(self, response: Response) -> None:
        if response.transaction is not None and len(response.transaction.parameters) >= 6:
            answer = trans2.FindFirst2ResponseParameters.unpack(response.transaction.parameters)
            if not answer.end_of_search and not self._single:
                self._search_id, self._at = answer.sid, response.owner
                self._at.session.connection.spawn(self.close)

    async def close(self) -> None:
        """End the search at the server, if it has not ended by itself. [MS-CIFS] 2.2.4.48."""
        if self._search_id is not None and not self._ended:
            self._ended = True
            with suppress(ConnectionLost):
                await self._tree.request(FindClose2Request(sid=self._search_id), urgent=True, surely=True, at=self._at)


def _parameters(response: Response) -> bytes:
    return response.transaction.parameters if response.transaction is not None else b""
