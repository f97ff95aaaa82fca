"""What we hold of a file's locks at the server: always the union of what our processes hold, by one FID.

Two kinds of server. With the UNIX extensions locks are POSIX's own (`PosixLocks`). Without, LOCKING_ANDX has them
(`MandatoryLocks`): they keep other FIDs from reading and writing, do not merge, and are given back as they were taken.
To the server both belong to our one FID and PID, so our own reads and writes pass.

What may live here: how to get from what is held to what is wanted. Who wants what is for `locks.py`, which also sees to
it that one task at a time is in here for a file.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.client.openfile import LockChange, PosixLockChange, Wait
from smbfuse.core.locktable import Mode, Ranges, Span, differences
from smbfuse.errors import SmbfuseError, StatusError
from smbfuse.ntstatus import STATUS_FILE_LOCK_CONFLICT, STATUS_LOCK_NOT_GRANTED, STATUS_RANGE_NOT_LOCKED
from smbfuse.wire.const import POSIX_LOCK_TYPE_READ, POSIX_LOCK_TYPE_UNLOCK, POSIX_LOCK_TYPE_WRITE

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile

log: Final = logging.getLogger(__name__)

CONFLICT: Final = frozenset({STATUS_FILE_LOCK_CONFLICT, STATUS_LOCK_NOT_GRANTED})
"""How a server says that somebody else holds a lock."""
PATIENCE: Final = 2.0
"""Seconds to wait for a lock that we had and had to let go for a moment."""
PER_MESSAGE: Final = 64
"""Ranges in one LOCKING_ANDX at most: 20 bytes each, so that any server's buffer holds them."""

_POSIX_TYPES: Final = {
    Mode.NONE: POSIX_LOCK_TYPE_UNLOCK,
    Mode.SHARED: POSIX_LOCK_TYPE_READ,
    Mode.EXCLUSIVE: POSIX_LOCK_TYPE_WRITE,
}


class ServerLocks(abc.ABC):
    """The locks of one file at the server. `on_late` is called when one was granted after its request's deadline."""

    def __init__(self, file: OpenFile, on_late: Callable[[], None]) -> None:
        self.file = file
        self._on_late = on_late

    @property
    @abc.abstractmethod
    def held(self) -> Ranges:
        """What the server has given us."""

    @abc.abstractmethod
    async def _reach(self, wanted: Ranges, wait: Wait | None) -> bool:
        """Hold `wanted` and nothing else; False: another has a lock there, and we hold what came out of it."""

    @abc.abstractmethod
    def _forget(self) -> None:
        """Nothing is held any more."""

    @abc.abstractmethod
    async def _carry_over(self, old: OpenFile, new: OpenFile) -> None:
        """Take what is held by `old` again by `new`."""

    async def change(self, wanted: Ranges, otherwise: Ranges, wait: Wait | None = None) -> bool:
        """Hold `wanted`; where another's lock is in the way hold `otherwise` (what was held before), and return False.

        `wait` lets the server wait for the other where that can be done without giving up what is held meanwhile.
        Raises StatusError if the server cannot lock, ConnectionLost, RequestTimeout.
        """
        try:
            if await self._reach(wanted, wait):
                return True
        except StatusError:
            await self._reach(otherwise, None)
            raise
        restored = await self._reach(otherwise, Wait(PATIENCE))
        if not restored:
            self._tell_lost()
        return restored and wanted == otherwise

    def _tell_lost(self) -> None:
        log.warning("%s: another machine has taken a lock while ours was being changed", self.file.path)

    async def move(self, new: OpenFile) -> None:
        """Let another FID of the file hold the locks. Never raises: what is lost is logged."""
        before, old, self.file = self.held.copy(), self.file, new
        try:
            await self._carry_over(old, new)
        except SmbfuseError as exc:
            log.debug("moving locks: %s", exc)
        if self.held != before:
            self._tell_lost()

    async def retake(self, new: OpenFile) -> None:
        """Hold the same by `new`: the FID that held it is gone, and the locks with it. StatusError if it cannot be."""
        wanted, self.file = self.held.copy(), new
        self._forget()
        if not await self._reach(wanted, Wait(PATIENCE)):
            self._tell_lost()
            raise StatusError(STATUS_FILE_LOCK_CONFLICT, "LOCKING_ANDX", new.path)


async def _granted(request: Callable[[], Awaitable[None]]) -> bool:
    """Whether the locks were had; False where another has them. Raises other errors."""
    try:
        await request()
    except StatusError as exc:
        if exc.status not in CONFLICT:
            raise
        return False
    return True


# --- locks of LOCKING_ANDX


@dataclass(frozen=True, slots=True)
class Plan:
    """How to get from some locks to others by LOCKING_ANDX."""

    shared: tuple[Span, ...]
    """To be taken first: shared locks stand beside our own of either kind (but not beside another FID's exclusive)."""
    unlocks: tuple[Span, ...]
    exclusive: tuple[Span, ...]
    """To be taken with the unlocks in one message: they cannot stand on what is unlocked."""


def plan(entries: Iterable[Span], wanted: Ranges) -> Plan:
    """What has to be changed where `entries` are held, each as it was taken, so that `wanted` is."""
    kept: list[Span] = []
    unlocks: list[Span] = []
    for entry in entries:
        useful = wanted.overlapping(entry) == [entry] and not any(entry.overlaps(other) for other in kept)
        (kept if useful else unlocks).append(entry)
    covered = Ranges()
    for entry in kept:
        covered.set(entry)
    missing = differences(covered, wanted)
    return Plan(
        shared=tuple(span for span in missing if span.mode == Mode.SHARED),
        unlocks=tuple(unlocks),
        exclusive=tuple(span for span in missing if span.mode == Mode.EXCLUSIVE),
    )


class MandatoryLocks(ServerLocks):
    """Locks of LOCKING_ANDX. [MS-CIFS] 2.2.4.32.

    Making an exclusive lock shared leaves no gap. Making a shared one exclusive, and unlocking a part of an exclusive
    one, does for the time that the server takes between two ranges of one message. So a wait for an upgrade is no wait
    at the server (we would hold nothing all the while) but a try now and then, by whoever calls.
    """

    def __init__(self, file: OpenFile, on_late: Callable[[], None]) -> None:
        super().__init__(file, on_late)
        self._entries: list[Span] = []

    @property
    def held(self) -> Ranges:
        found = Ranges()
        for entry in sorted(self._entries, key=lambda span: span.mode):  # exclusive ones over shared ones
            found.set(entry)
        return found

    def _forget(self) -> None:
        self._entries = []

    async def change(self, wanted: Ranges, otherwise: Ranges, wait: Wait | None = None) -> bool:
        gives_up = bool(plan(self._entries, wanted).unlocks)
        return await super().change(wanted, otherwise, None if gives_up else wait)

    async def _reach(self, wanted: Ranges, wait: Wait | None) -> bool:
        todo = plan(self._entries, wanted)
        if todo.shared and not await self._take(self.file, todo.shared, wait):
            return False
        if todo.unlocks and len(todo.unlocks) + len(todo.exclusive) > PER_MESSAGE:
            await self._give_back(self.file, todo.unlocks)
        elif todo.unlocks:
            return await self._swap(todo.unlocks, todo.exclusive, wait)
        return not todo.exclusive or await self._take(self.file, todo.exclusive, wait)

    async def _take(self, file: OpenFile, spans: tuple[Span, ...], wait: Wait | None) -> bool:
        """Take locks of one mode."""
        for batch in _batches(spans):
            if not await self._send(file, (), batch, wait):
                return False
        return True

    async def _swap(self, unlocks: tuple[Span, ...], locks: tuple[Span, ...], wait: Wait | None) -> bool:
        try:
            return await self._send(self.file, unlocks, locks, wait)
        except StatusError as exc:
            if exc.status != STATUS_RANGE_NOT_LOCKED:
                raise
        await self._give_back(self.file, unlocks)
        return not locks or await self._take(self.file, locks, wait)

    async def _give_back(self, file: OpenFile, unlocks: Iterable[Span]) -> None:
        """One by one: what the server does not know of is no reason to keep the rest."""
        for span in unlocks:
            try:
                await self._send(file, (span,), (), None)
            except StatusError as exc:
                if exc.status != STATUS_RANGE_NOT_LOCKED:
                    raise
                if span in self._entries:
                    self._entries.remove(span)

    async def _send(
        self, file: OpenFile, unlocks: tuple[Span, ...], locks: tuple[Span, ...], wait: Wait | None
    ) -> bool:
        """One message, accounted for; `locks` are of one mode."""

        def late() -> None:
            self._entries += locks
            self._on_late()

        change = LockChange(
            unlocks=tuple((span.start, span.end) for span in unlocks),
            locks=tuple((span.start, span.end) for span in locks),
            shared=bool(locks) and locks[0].mode == Mode.SHARED,
            on_late=late,
        )
        granted = await _granted(partial(file.lock, change, wait))
        for span in unlocks:  # they are done even where the locks are refused
            self._entries.remove(span)
        if granted:
            self._entries += locks
        return granted

    @asynccontextmanager
    async def aside(self, span: Span) -> AsyncIterator[None]:
        """Be without our shared locks on these bytes for a moment: they keep us from writing, too."""
        held = self.held
        await self._give_back(self.file, [entry for entry in self._entries if entry.overlaps(span)])
        try:
            yield
        finally:
            if not await self._reach(held, Wait(PATIENCE)):
                self._tell_lost()

    async def _carry_over(self, old: OpenFile, new: OpenFile) -> None:
        """Shared locks overlap; for exclusive ones the new FID waits in line when the old one lets go."""
        shared = tuple(span for span in self._entries if span.mode == Mode.SHARED)
        exclusive = tuple(span for span in self._entries if span.mode == Mode.EXCLUSIVE)
        self._entries = []
        if shared:
            await self._take(new, shared, None)
        for batch in _batches(exclusive):
            let_go = LockChange(unlocks=tuple((span.start, span.end) for span in batch))
            await _in_line(partial(self._send, new, (), batch), partial(old.lock, let_go))


def _within(inner: Ranges, outer: Ranges) -> bool:
    """Whether `inner` asks for nothing that `outer` has not."""
    return all(
        sum(part.end - part.start for part in outer.overlapping(span) if part.mode >= span.mode)
        == span.end - span.start
        for span in inner
    )


def _batches(spans: tuple[Span, ...]) -> Iterable[tuple[Span, ...]]:
    return (spans[start : start + PER_MESSAGE] for start in range(0, len(spans), PER_MESSAGE))


async def _in_line(take: Callable[[Wait], Awaitable[object]], let_go: Callable[[], Awaitable[object]]) -> None:
    """Send the request that waits, then the one that ends the wait; errors after both have ended."""
    errors: list[SmbfuseError] = []
    wait = Wait(PATIENCE)

    async def guarded(request: Callable[[], Awaitable[object]]) -> None:
        try:
            await request()
        except SmbfuseError as exc:
            errors.append(exc)
        finally:
            wait.under_way.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guarded, partial(take, wait))
        await wait.under_way.wait()
        nursery.start_soon(guarded, let_go)
    if errors:
        raise errors[0]


# --- locks of the UNIX extensions


class PosixLocks(ServerLocks):
    """Locks of the UNIX extensions: the server merges and splits, an upgrade loses nothing."""

    def __init__(self, file: OpenFile, on_late: Callable[[], None]) -> None:
        super().__init__(file, on_late)
        self._held = Ranges()

    @property
    def held(self) -> Ranges:
        return self._held

    def _forget(self) -> None:
        self._held = Ranges()

    async def _reach(self, wanted: Ranges, wait: Wait | None) -> bool:
        """What can be refused comes first."""
        steps = differences(self._held, wanted)
        for step in sorted(steps, key=self._weakens):
            if not await self._set(self.file, step, None if self._weakens(step) else wait):
                return False
        return True

    def _weakens(self, step: Span) -> bool:
        return _within(Ranges([step] if step.mode else []), self._held)

    async def _set(self, file: OpenFile, step: Span, wait: Wait | None) -> bool:
        def late() -> None:
            self._held.set(step)
            self._on_late()

        change = PosixLockChange(span=(step.start, step.end), lock_type=_POSIX_TYPES[step.mode], on_late=late)
        granted = await _granted(partial(file.posix_lock, change, wait))
        if granted:
            self._held.set(step)
        return granted

    async def _carry_over(self, old: OpenFile, new: OpenFile) -> None:
        """For smbd the FID is a part of who holds a lock: as with LOCKING_ANDX."""
        before, self._held = self._held, Ranges()
        for span in before:
            if span.mode == Mode.SHARED:
                await self._set(new, span, None)
                continue
            unlock = PosixLockChange(span=(span.start, span.end), lock_type=POSIX_LOCK_TYPE_UNLOCK)
            await _in_line(partial(self._set, new, span), partial(old.posix_lock, unlock))
