r"""What others change in a directory, and below it: NT_TRANSACT_NOTIFY_CHANGE. [MS-CIFS] 2.2.7.4, 3.3.5.59.4.

A request is answered when something happens. From the first one on the server keeps what happens between an answer and
the next request, as far as that has room in the answer that the first one allowed: nothing is missed in between.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from smbfuse.client.nttransact import exchange
from smbfuse.errors import SmbfuseError
from smbfuse.wire.chains import iter_entries
from smbfuse.wire.const import (
    FILE_DIRECTORY_FILE,
    FILE_LIST_DIRECTORY,
    FILE_NOTIFY_CHANGE_ATTRIBUTES,
    FILE_NOTIFY_CHANGE_CREATION,
    FILE_NOTIFY_CHANGE_DIR_NAME,
    FILE_NOTIFY_CHANGE_EA,
    FILE_NOTIFY_CHANGE_FILE_NAME,
    FILE_NOTIFY_CHANGE_LAST_WRITE,
    FILE_NOTIFY_CHANGE_SECURITY,
    FILE_NOTIFY_CHANGE_SIZE,
    FILE_OPEN,
)
from smbfuse.wire.filelevels import FileNotify
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans2 import NotifyChangeSetup

if TYPE_CHECKING:
    from collections.abc import Callable

    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.tree import ServerPath, Tree

FILTER: Final = (
    FILE_NOTIFY_CHANGE_FILE_NAME
    | FILE_NOTIFY_CHANGE_DIR_NAME
    | FILE_NOTIFY_CHANGE_ATTRIBUTES
    | FILE_NOTIFY_CHANGE_SIZE
    | FILE_NOTIFY_CHANGE_LAST_WRITE
    | FILE_NOTIFY_CHANGE_CREATION
    | FILE_NOTIFY_CHANGE_EA
    | FILE_NOTIFY_CHANGE_SECURITY
)
"""All that stat(2), listxattr(2) and readdir(3) show, but for the time of the last access."""
_ROOM: Final = 0xFFFC
"""Bytes of events in one answer."""
_LAST_ANSWER: Final = 1.0
"""Seconds that the server has for ending a watch."""


class Event(NamedTuple):
    """Something happened: a FILE_ACTION, and the name relative to the directory, as the server spells and joins it."""

    action: int
    name: str


class DirectoryWatch:
    """A directory that the server watches for us, all below it too if it is a `subtree`.

    It takes one place for requests as long as somebody waits for events.
    """

    def __init__(self, file: OpenFile, *, subtree: bool) -> None:
        self._file = file
        self._setup = NotifyChangeSetup(completion_filter=FILTER, fid=file.fid, watch_tree=subtree)
        self._cancel: Callable[[], None] | None = None
        self._answered = trio.Event()
        self._answered.set()
        self.ending = False
        self.begun = False
        """Whether the first request was sent: what the server is asked from then on it answers watching."""
        self.on_begun: Callable[[], None] = lambda: None
        """Called in that moment."""

    @classmethod
    async def open(cls, tree: Tree, path: ServerPath, *, subtree: bool) -> DirectoryWatch:
        """Open the directory; it is watched from the first `events` on. StatusError."""
        file, _ = await tree.create(
            path, access=FILE_LIST_DIRECTORY, disposition=FILE_OPEN, options=FILE_DIRECTORY_FILE
        )
        return cls(file, subtree=subtree)

    @property
    def asking(self) -> bool:
        """Whether the server has a request of it."""
        return not self._answered.is_set()

    async def events(self) -> list[Event]:
        """Wait, for ever, for what happens next. An empty list: more than the server could keep, so look at all anew.

        StatusError when the server does not watch (any more): STATUS_CANCELLED after `end`. WireError.
        """
        self._answered = trio.Event()
        try:
            answer = await exchange(
                self._file,
                NotifyChangeSetup.SUBCOMMAND,
                setup=self._setup.pack(),
                max_parameters=_ROOM,
                timeout=math.inf,
                on_sent=self._sent,
            )
        finally:
            self._cancel = None
            self._answered.set()
        if answer.transaction is None:  # Windows says STATUS_NOTIFY_ENUM_DIR by that
            return []
        told = iter_entries(FileNotify, answer.transaction.parameters, UNICODE)
        # Samba 3.0 names what is in the directory itself as `.\name`.
        return [Event(entry.action, entry.file_name.removeprefix(".\\")) for entry in told]

    def _sent(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        if not self.begun:
            self.begun = True
            self.on_begun()
        if self.ending:
            cancel()

    async def end(self) -> None:
        """Watch no longer. Whoever waits for events is told by the server that the request was cancelled."""
        self.ending = True
        if self._cancel is not None:
            self._cancel()
        with trio.move_on_after(_LAST_ANSWER):
            await self._answered.wait()
        try:
            await self._file.close(quiet=True)
        except SmbfuseError:
            return  # with the connection or the directory the watch is gone, too
