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
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import trio

from smbfuse.client.openfile import LockChange, LockRange, PosixLockChange, Wait
from smbfuse.core.locktable import END, Mode, Ranges, Span, differences
from smbfuse.errors import SmbfuseError, StatusError
from smbfuse.ntstatus import STATUS_FILE_LOCK_CONFLICT, STATUS_LOCK_NOT_GRANTED, STATUS_RANGE_NOT_LOCKED
from smbfuse.wire.const import POSIX_LOCK_TYPE_READ, POSIX_LOCK_TYPE_UNLOCK, POSIX_LOCK_TYPE_WRITE

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile

log: Final = logging.getLogger(__name__)

T = TypeVar("T")

CONFLICT: Final = frozenset({STATUS_FILE_LOCK_CONFLICT, STATUS_LOCK_NOT_GRANTED})
"""How a server says that somebody else holds a lock."""
PATIENCE: Final = 2.0
"""Seconds to wait for a lock that we had and had to let go for a moment."""
TURN_PATIENCE: Final = 0.5
"""Seconds to wait for other machines of ours that just make a shared lock exclusive: a round trip each."""
PER_MESSAGE: Final = 64
"""Ranges in one LOCKING_ANDX at most: 20 bytes each, so that any server's buffer holds them."""

_POSIX_TYPES: Final = {
    Mode.NONE: POSIX_LOCK_TYPE_UNLOCK,
    Mode.SHARED: POSIX_LOCK_TYPE_READ,
    Mode.EXCLUSIVE: POSIX_LOCK_TYPE_WRITE,
}


class ServerLocks(abc.ABC):
    """The locks of one file at the server, that can be on bytes up to `end`.

    `on_late` is called when one was granted after its request's deadline.
    """

    def __init__(self, file: OpenFile, end: int, on_late: Callable[[], None]) -> None:
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

    @abc.abstractmethod
    async def in_the_way(self, wanted: Span) -> Span | None:
        """What another has that keeps us from locking so, as far as that can be known. It may be less than all."""

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


class Entry(NamedTuple):
    """A lock as it was taken; `spare`: by the second PID (`LockRange`)."""

    span: Span
    spare: bool = False

    @property
    def range(self) -> LockRange:
        return LockRange(self.span.start, self.span.end, self.spare)


@dataclass(frozen=True, slots=True)
class Plan:
    """How to get from some locks to others by LOCKING_ANDX."""

    shared: tuple[Span, ...]
    """To be taken first: shared locks stand beside our own of either kind (but not beside another FID's exclusive)."""
    unlocks: tuple[Entry, ...]
    exclusive: tuple[Span, ...]
    """To be taken with the unlocks in one message: they cannot stand on what is unlocked."""


def plan(entries: Iterable[Entry], wanted: Ranges) -> Plan:
    """What has to be changed where `entries` are held so that `wanted` is.

    A shared lock below an exclusive one of the same bytes stays as long as that: an unlock could not tell them apart.
    """
    entries = list(entries)
    kept = [one for one in entries if one.span.mode == Mode.EXCLUSIVE and wanted.overlapping(one.span) == [one.span]]
    exclusive = [span for span in differences(_covered(kept), wanted) if span.mode == Mode.EXCLUSIVE]
    for one in entries:
        room = not any(one.span.overlaps(span) for span in exclusive)
        if one.span.mode == Mode.SHARED and room and wanted.covers([one.span]):
            kept.append(one)
    return Plan(
        shared=tuple(span for span in differences(_covered(kept), wanted) if span.mode == Mode.SHARED),
        unlocks=tuple(one for one in entries if one not in kept),
        exclusive=tuple(exclusive),
    )


def _covered(entries: Iterable[Entry]) -> Ranges:
    """What locks that overlap hold together: exclusive ones stand over shared ones."""
    found = Ranges()
    for entry in sorted(entries, key=lambda one: one.span.mode):
        found.set(entry.span)
    return found


class MandatoryLocks(ServerLocks):
    """Locks of LOCKING_ANDX. [MS-CIFS] 2.2.4.32.

    Making an exclusive lock shared leaves no gap. Unlocking a part of an exclusive one does, for the time that the
    server takes between two ranges of one message. So does making a shared one exclusive: smbd and Windows refuse an
    exclusive lock over a shared one of the same FID, and the shared one is gone even where the exclusive one is not
    had. It is asked for again right behind that, by the second PID, which does not get it where the first now has it
    exclusively (a shared lock below would keep ourselves from writing). A wait for an upgrade is no wait at the server
    (we would hold nothing all the while) but a try now and then, by whoever calls.

    Machines that share this code do not use the gap. Who makes a shared lock exclusive has its `turn`, an exclusive
    lock of a byte for that, until the one or the other is held; who was given an exclusive lock after a wait returns it
    where somebody has the turn.

    Of two locks of the same bytes an unlock ends the exclusive one first ([MS-FSA] 2.1.5.9; smbd 4.17: the older).
    """

    def __init__(self, file: OpenFile, end: int, on_late: Callable[[], None]) -> None:
        super().__init__(file, end, on_late)
        self._entries: list[Entry] = []
        self._turn = Span(end - 1, end, Mode.EXCLUSIVE)

    @property
    def held(self) -> Ranges:
        return _covered(self._entries)

    def _forget(self) -> None:
        self._entries = []

    async def change(self, wanted: Ranges, otherwise: Ranges, wait: Wait | None = None) -> bool:
        """As in the base class. A lock that was waited for may be had in vain: then False, too."""
        todo = plan(self._entries, wanted)
        if todo.unlocks or wait is None:
            return await super().change(wanted, otherwise)
        if not await super().change(wanted, otherwise, wait):
            return False
        if not todo.exclusive or await self._nobody_has_the_turn():
            return True
        await self._reach(otherwise, None)
        return False

    async def _nobody_has_the_turn(self) -> bool:
        look = self._turn._replace(mode=Mode.SHARED)
        if not await self._send(self.file, (), (look,), _at_once()):
            return False
        await self._give_back([Entry(look)])
        return True

    async def _reach(self, wanted: Ranges, wait: Wait | None) -> bool:
        todo = plan(self._entries, wanted)
        if todo.shared and not await self._take(self.file, todo.shared, wait):
            return False
        below = self._shared_below(todo.exclusive)
        if below and not await self._send(self.file, (), (self._turn,), Wait(TURN_PATIENCE)):
            return False
        if todo.unlocks and len(todo.unlocks) + len(todo.exclusive) <= PER_MESSAGE:
            return await self._swap(todo, below, wait)
        await self._give_back(todo.unlocks)
        if todo.exclusive and not await self._take(self.file, todo.exclusive, wait):
            return False
        await self._give_back([Entry(self._turn)] if below else [])
        return True

    def _shared_below(self, exclusive: tuple[Span, ...]) -> tuple[Span, ...]:
        """What is held shared of bytes that are to be locked exclusively."""
        held = self.held
        return tuple(part for span in exclusive for part in held.overlapping(span) if part.mode == Mode.SHARED)

    async def _take(self, file: OpenFile, spans: tuple[Span, ...], wait: Wait | None) -> bool:
        """Take locks of one mode."""
        for batch in _batches(spans):
            if not await self._send(file, (), batch, wait):
                return False
        return True

    async def _swap(self, todo: Plan, below: tuple[Span, ...], wait: Wait | None) -> bool:
        """Unlock and lock exclusively in one message, and have `below` again by the next; with it we have the turn.

        NT_CANCEL goes out behind either: smbd 4.17 would let a second try lie, and all that comes after it.
        """
        swap = partial(self._send, self.file, todo.unlocks, todo.exclusive)
        try:
            if not below:
                return await swap(wait)
            again = partial(self._send, self.file, (), below, _at_once(), spare=True)
            if await _in_line(swap, again, _at_once()):
                await self._give_back([Entry(self._turn)])
                return True
            return False  # what was held before is, if it is had again, and then the turn goes
        except StatusError as exc:
            if exc.status != STATUS_RANGE_NOT_LOCKED:
                raise
        await self._give_back((*todo.unlocks, *(Entry(span, spare=True) for span in below), Entry(self._turn)))
        return not todo.exclusive or await self._take(self.file, todo.exclusive, wait)

    async def _give_back(self, unlocks: Iterable[Entry]) -> None:
        """One by one: what the server does not know of is no reason to keep the rest."""
        for entry in unlocks:
            try:
                await self._send(self.file, (entry,), (), None)
            except StatusError as exc:
                if exc.status != STATUS_RANGE_NOT_LOCKED:
                    raise
                self._strike((entry,))

    async def _send(
        self,
        file: OpenFile,
        unlocks: tuple[Entry, ...],
        locks: tuple[Span, ...],
        wait: Wait | None,
        *,
        spare: bool = False,
    ) -> bool:
        """One message, accounted for; `locks` are of one mode."""
        entries = tuple(Entry(span, spare) for span in locks)

        def late() -> None:
            self._entries += entries
            self._on_late()

        change = LockChange(
            unlocks=tuple(entry.range for entry in unlocks),
            locks=tuple(entry.range for entry in entries),
            shared=bool(locks) and locks[0].mode == Mode.SHARED,
            on_late=late,
        )
        granted = await _granted(partial(file.lock, change, wait))
        self._strike(unlocks)  # they are done even where the locks are refused
        if granted:
            self._entries += entries
        return granted

    def _strike(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry in self._entries:
                self._entries.remove(entry)

    async def in_the_way(self, wanted: Span) -> Span | None:
        """By locking, and unlocking again; what is held already stays. Where another's lock begins is not known."""
        held = self.held
        free = Ranges([wanted])
        for span in held:
            free.set(span._replace(mode=Mode.NONE))
        for mode in dict.fromkeys((wanted.mode, Mode.SHARED)):
            tried = held.copy()
            for part in free:
                tried.set(part._replace(mode=mode))
            if await self.change(tried, held):
                await self.change(held, held)
                return None if mode == wanted.mode else wanted._replace(mode=Mode.SHARED)
        return wanted._replace(mode=Mode.EXCLUSIVE)

    @asynccontextmanager
    async def aside(self, span: Span) -> AsyncIterator[None]:
        """Be without our shared locks on these bytes for a moment: they keep us from writing, too."""
        held = self.held
        await self._give_back([entry for entry in self._entries if entry.span.overlaps(span)])
        try:
            yield
        finally:
            if not await self._reach(held, Wait(PATIENCE)):
                self._tell_lost()

    async def _carry_over(self, old: OpenFile, new: OpenFile) -> None:
        """Shared locks overlap; for exclusive ones the new FID waits in line when the old one lets go."""
        shared = tuple(span for span in self.held if span.mode == Mode.SHARED)
        before, self._entries = self._entries, []
        if shared:
            await self._take(new, shared, None)
        for batch in _batches(tuple(entry.span for entry in before if entry.span.mode == Mode.EXCLUSIVE)):
            gone = tuple(entry.range for entry in before if any(entry.span.overlaps(span) for span in batch))
            await _in_line(
                partial(self._send, new, (), batch), partial(old.lock, LockChange(unlocks=gone)), Wait(PATIENCE)
            )


def _batches(spans: tuple[Span, ...]) -> Iterable[tuple[Span, ...]]:
    return (spans[start : start + PER_MESSAGE] for start in range(0, len(spans), PER_MESSAGE))


def _at_once() -> Wait:
    """A try that is ended as soon as it is out."""
    made = Wait(0)
    made.stop()
    return made


async def _in_line(first: Callable[[Wait], Awaitable[T]], second: Callable[[], Awaitable[object]], wait: Wait) -> T:
    """Send a request that waits for a lock, and another right behind it; returns what came of the first.

    Errors are raised after both have ended.
    """
    found: list[T] = []
    errors: list[SmbfuseError] = []

    async def wait_for_lock() -> None:
        found.append(await first(wait))

    async def guarded(request: Callable[[], Awaitable[object]]) -> None:
        try:
            await request()
        except SmbfuseError as exc:
            errors.append(exc)
        finally:
            wait.under_way.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guarded, wait_for_lock)
        await wait.under_way.wait()
        nursery.start_soon(guarded, second)
    if errors:
        raise errors[0]
    return found[0]


# --- locks of the UNIX extensions


class PosixLocks(ServerLocks):
    """Locks of the UNIX extensions: the server merges and splits, an upgrade loses nothing."""

    def __init__(self, file: OpenFile, end: int, on_late: Callable[[], None]) -> None:
        super().__init__(file, end, on_late)
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
        return self._held.covers([step])

    async def _set(self, file: OpenFile, step: Span, wait: Wait | None) -> bool:
        def late() -> None:
            self._held.set(step)
            self._on_late()

        change = PosixLockChange(span=(step.start, step.end), lock_type=_POSIX_TYPES[step.mode], on_late=late)
        granted = await _granted(partial(file.posix_lock, change, wait))
        if granted:
            self._held.set(step)
        return granted

    async def in_the_way(self, wanted: Span) -> Span | None:
        found = await self.file.query_posix_lock(_POSIX_TYPES[wanted.mode], (wanted.start, wanted.end))
        mode = next((mode for mode, number in _POSIX_TYPES.items() if number == found.lock_type), Mode.EXCLUSIVE)
        end = min(found.offset + found.length, END) if found.length else END
        return Span(found.offset, end, mode) if mode else None

    async def _carry_over(self, old: OpenFile, new: OpenFile) -> None:
        """For smbd the FID is a part of who holds a lock: as with LOCKING_ANDX."""
        before, self._held = self._held, Ranges()
        for span in before:
            if span.mode == Mode.SHARED:
                await self._set(new, span, None)
                continue
            unlock = PosixLockChange(span=(span.start, span.end), lock_type=POSIX_LOCK_TYPE_UNLOCK)
            await _in_line(partial(self._set, new, span), partial(old.posix_lock, unlock), Wait(PATIENCE))
