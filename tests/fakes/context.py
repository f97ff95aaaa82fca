"""What a handler of the fake server works with: the request, the connection's state, the share that is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smbfuse import ntstatus as nt
from smbfuse.wire.codec import Body
from smbfuse.wire.const import SMB_FLAGS2_REPARSE_PATH
from tests.fakes.exchange import Exchange, Reply
from tests.fakes.volume import Node, Refusal, Volume

if TYPE_CHECKING:
    from tests.fakes.connection import FakeConnection
    from tests.fakes.server import Share


@dataclass(eq=False)
class Open:
    """A FID."""

    node: Node
    volume: Volume
    access: int
    delete_on_close: bool = False
    oplock: int = 0


@dataclass(eq=False)
class SearchState:
    """A search that has not ended: entries still to be sent."""

    left: list[tuple[str, Node]]


@dataclass(eq=False)
class Context:
    """One request being done."""

    connection: FakeConnection
    exchange: Exchange
    reply: Reply
    """What is already there of the answer: members of the chain before this one."""
    fid: int | None = None
    """The file that an earlier member of the chain opened."""

    @property
    def share(self) -> Share:
        """The share of the request's TID."""
        try:
            return self.connection.trees[self.exchange.message.header.tid]
        except KeyError:
            raise Refusal(nt.STATUS_SMB_BAD_TID) from None

    @property
    def volume(self) -> Volume:
        return self.share.volume

    @property
    def reparse(self) -> bool:
        """Whether @GMT tokens in paths mean snapshots."""
        return bool(self.exchange.message.header.flags2 & SMB_FLAGS2_REPARSE_PATH)

    def find(self, path: str) -> Node:
        return self.volume.find(path, self.reparse)

    def open_of(self, fid: int) -> Open:
        """What a FID stands for; in a chain behind an open, the file that it opened."""
        found = self.connection.opens.get(fid if self.fid is None else self.fid)
        if found is None:
            raise Refusal(nt.STATUS_INVALID_HANDLE)
        return found


Handler = Callable[[Context, Any], Body]
"""Gives the body of the answer to the body of a request. Raises Refusal."""
