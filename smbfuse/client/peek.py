"""A look at the start of a file in passing: opened, read and closed in one message that nobody waits for.

For opens that take no READ_ANDX behind them (the UNIX extensions' is a TRANSACTION2): sent before such an open it is
done before, and its answer is there when the open's is. Whether what it tells is still so then, the asker decides: by
the times of both answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smbfuse.client.openfile import OpenFile
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
from smbfuse.wire.text import UNICODE

if TYPE_CHECKING:
    from smbfuse.client.tree import ServerPath, Tree
    from smbfuse.client.treeconnect import TreeConnect
    from smbfuse.proto.events import Response
    from smbfuse.wire.codec import Buffer

_ACCESS: Final = FILE_READ_DATA | FILE_READ_ATTRIBUTES
_REQUESTS: Final = 3
_OPENED: Final = (NtCreateAndXResponse, NtCreateAndXExtendedResponse)


class Peek:
    """What has come of a look so far: `found` and `data` are both None, or both there."""

    def __init__(self, tree: Tree, at: TreeConnect) -> None:
        self.found: NtCreateAndXResponse | NtCreateAndXExtendedResponse | None = None
        """The file as it was opened, just before `data` were read."""
        self.data: Buffer | None = None
        self._tree = tree
        self._at = at

    def answered(self, response: Response) -> None:
        """Take the answer. Whatever became of it, nothing stays open."""
        answers = [body for _command, body in response.members]
        opened = answers[0]
        if not isinstance(opened, _OPENED):
            return  # the open that follows may well fail, too, and tell why
        if len(answers) > 1 and isinstance(answers[1], ReadAndXResponse):
            self.found, self.data = opened, answers[1].data
        if len(answers) < _REQUESTS or is_error(response.status):  # in a chain it is that of the last one done
            OpenFile(self._tree, self._at, opened.fid, "").close_soon()


def look(tree: Tree, path: ServerPath, size: int) -> Peek | None:
    """Have the first `size` bytes of a file read in passing, before whatever is asked next. None: not now.

    Without an oplock: the open that follows would break it. Never waits. WireError as any request.
    """
    if not tree.chains:
        return None
    peek = Peek(tree, tree.at)
    opens = NtCreateAndXRequest(
        name_length=len(UNICODE.encode(path.text)),
        desired_access=_ACCESS,
        share_access=SHARE_ALL,
        create_disposition=FILE_OPEN,
        create_options=FILE_NON_DIRECTORY_FILE,
        file_name=path.text,
    )
    reads = ReadAndXRequest(fid=LAST_OPENED, offset_low=0, max_count_low=size)
    closes = CloseRequest(fid=LAST_OPENED)
    if not tree.at.ask_in_passing(
        opens, reads, closes, flags2=path.flags2, on_answer=peek.answered, on_spoiled=tree.no_chains
    ):
        return None
    return peek
