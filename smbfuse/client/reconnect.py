"""Keeps a share connected: a connection that is lost is replaced by another, and who needs it waits meanwhile.

    state   what is so                                     who asks for something
    up      the tree connect of now may be used            goes on at once
    idle    lost, with nothing open: nobody missed it yet  makes it down, and waits
    down    lost, and tried for until it is back           waits: `hard` for ever, else until `reconnect_timeout` is
                                                           over since the loss; from then on it fails at once

The next connection is made as the first one was: the host's name is resolved anew, the user logs on, the share is
connected to, and what was settled with the server since is settled again (`Tree.preparations`). It must be secured no
worse than the one before. What was open is not the business of this floor: see `Tree.on_lost`, `Tree.on_revived`.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, Final

import trio

from smbfuse import ntstatus as nt
from smbfuse.client.session import open_session
from smbfuse.client.shares import connect_tree
from smbfuse.errors import (
    AuthenticationError,
    ConnectionLost,
    ConnectionRefused,
    NotConnected,
    NotSupported,
    SmbfuseError,
    StatusError,
)

if TYPE_CHECKING:
    from smbfuse.client.tree import Tree
    from smbfuse.client.treeconnect import TreeConnect, Tries

log: Final = logging.getLogger(__name__)

SHORT_LIFE: Final = 1.0
"""Seconds; a connection that lived no longer counts as an attempt that failed, so that the pauses grow."""
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts: the first is made at once, then the pauses double. Each is cut by chance to a half at
most, so that the clients of a server that comes back do not all come at once."""
REFUSED_PAUSE: Final = 60.0
"""The same after the server has refused the user: servers lock accounts out after a few wrong passwords."""

_REFUSALS: Final = frozenset(
    {
        nt.STATUS_LOGON_FAILURE,
        nt.STATUS_WRONG_PASSWORD,
        nt.STATUS_NO_SUCH_USER,
        nt.STATUS_ACCOUNT_DISABLED,
        nt.STATUS_ACCOUNT_EXPIRED,
        nt.STATUS_ACCOUNT_LOCKED_OUT,
        nt.STATUS_ACCOUNT_RESTRICTION,
        nt.STATUS_PASSWORD_EXPIRED,
        nt.STATUS_PASSWORD_MUST_CHANGE,
        nt.STATUS_LOGON_TYPE_NOT_GRANTED,
    }
)
"""How a server refuses the user: to wait does not help."""


class Keeper:
    """Keeps one tree connected. `run` must run as a task as long as the tree is used."""

    def __init__(self, tree: Tree, nursery: trio.Nursery) -> None:
        """The connections' tasks run in `nursery`."""
        self._tree = tree
        self._nursery = nursery
        self._settings = tree.session.settings
        self._strength = tree.session.strength
        self._scope = trio.CancelScope()
        self._ended = False
        self._back = trio.Event()
        self._wanted = trio.Event()
        self._until = math.inf
        """trio time until which to wait; known when somebody wants something."""
        self._lost_at = self._connected_at = trio.current_time()
        self._why = ConnectionLost("")
        self._trouble: SmbfuseError | None = None
        """What the last attempt ended with."""
        self._failures = 0
        """Attempts since the last connection that held."""
        tree.keeper = self
        self._watch(tree.at)

    @property
    def name(self) -> str:
        """The share, for messages."""
        return f"//{self._settings.host}/{self._settings.share}"

    # --- who waits

    async def up(self) -> TreeConnect:
        """The tree connect of now. NotConnected if there is none within the time."""
        while self._tree.at.lost:
            if self._ended:
                raise NotConnected("the share is being unmounted")
            self._want()
            with trio.move_on_at(self._until):
                await self._back.wait()
                continue
            raise self._failure()
        return self._tree.at

    async def try_again(self, lost: ConnectionLost, tries: Tries) -> None:
        """Return when what was lost with its connection may be sent once more; raise `lost` if it may not.

        It may be what kills the server, so there is a pause that grows, and with `soft` a limit. That one is for both,
        number and time: where connections keep being cut, an open that waits 35 s for the oplock of one that the server
        still believes in is cut many times.
        """
        tries.count += 1
        too_often = tries.count > self._settings.retrans
        enough = max(self._settings.reconnect_timeout, self._settings.request_timeout)
        too_long = trio.current_time() - tries.begun > enough
        if isinstance(lost, NotConnected) or (not self._settings.hard and too_often and too_long):
            raise lost
        if tries.count > 1:
            await trio.sleep(_pause(tries.count - 1))

    def _failure(self) -> NotConnected:
        """Why there is no connection, to be raised: one's own for each task."""
        away = trio.current_time() - self._lost_at
        kind = ConnectionRefused if _is_refusal(self._trouble) else NotConnected
        return kind(f"{self.name} has been away for {away:.0f} s: {self._trouble or self._why}")

    # --- the loss

    def _watch(self, at: TreeConnect) -> None:
        connection = at.session.connection
        connection.on_lost = self._lost
        if connection.lost is not None:  # in the moment before
            self._lost(connection.lost)

    def _lost(self, why: ConnectionLost) -> None:
        """Called where the connection fails: not to wait and not to raise."""
        self._why, self._trouble = why, None
        self._lost_at = trio.current_time()
        self._failures = self._failures + 1 if self._lost_at - self._connected_at < SHORT_LIFE else 0
        self._back, self._until = trio.Event(), math.inf
        self._tree.losses += 1
        missed = bool(self._tree.opens)
        for tell in self._tree.on_lost:
            tell()
        if missed:
            self._want()

    def _want(self) -> None:
        """Somebody misses the connection: from now on it is tried for."""
        if not self._wanted.is_set():
            self._wanted.set()
            if not self._settings.hard:
                self._until = trio.current_time() + self._settings.reconnect_timeout

    # --- the return

    async def run(self) -> None:
        """Bring back what is lost, until `end`."""
        with self._scope:
            while True:
                await self._wanted.wait()
                log.warning("%s: %s; connecting again", self.name, self._why)
                await self._bring_back()

    async def _bring_back(self) -> None:
        while True:
            if self._failures:
                await trio.sleep(REFUSED_PAUSE if _is_refusal(self._trouble) else _pause(self._failures))
            try:
                at = await self._connect()
            except SmbfuseError as exc:
                self._failed(exc)
            else:
                self._attach(at)
                return

    def _failed(self, trouble: SmbfuseError) -> None:
        self._failures += 1
        refused = _is_refusal(trouble)
        if refused and str(trouble) != str(self._trouble):
            log.warning("%s: not connected again: %s", self.name, trouble)
        else:
            log.debug("%s: not connected again: %s", self.name, trouble)
        self._trouble = trouble
        if refused and not self._settings.hard:
            self._until = min(self._until, trio.current_time())
            back, self._back = self._back, trio.Event()
            back.set()  # who waits looks again, and sees that it is of no use

    async def _connect(self) -> TreeConnect:
        """A new session and tree connect, as good as the first. SmbfuseError; then nothing is left of it."""
        session = await open_session(self._settings, self._nursery, self._strength)
        done = False
        try:
            fresh = await connect_tree(session, self._settings.share)
            for prepare in self._tree.preparations:
                await prepare(fresh)
            done = True
        finally:
            if not done:
                session.connection.fail(ConnectionLost("it was not completed"))
        return fresh.at

    def _attach(self, at: TreeConnect) -> None:
        self._tree.at = at
        self._strength = at.session.strength
        self._connected_at = trio.current_time()
        log.warning("%s: connected again after %.1f s", self.name, self._connected_at - self._lost_at)
        back, self._wanted = self._back, trio.Event()
        self._watch(at)
        if not at.lost:
            for tell in self._tree.on_revived:
                tell()
        back.set()

    # --- the end

    def end(self) -> None:
        """Connect no more; who waits fails. The connection of now, if there is one, stays."""
        self._ended = True
        self._tree.session.connection.on_lost = None
        self._scope.cancel()
        self._back.set()


def _pause(failures: int) -> float:
    """Seconds to wait after so many failures, at least one."""
    whole = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
    return whole * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _is_refusal(trouble: SmbfuseError | None) -> bool:
    if isinstance(trouble, StatusError):
        return trouble.status in _REFUSALS
    return isinstance(trouble, (AuthenticationError, NotSupported))
