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
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.client.openfile import LockChange, PosixLockChange, Wait
from smbfuse.core.locks.locktable import END, Mode, Ranges, Span, differences
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

    async def move(self, new: OpenFile, wanted: Ranges) -> None:
        """Let another FID of the file hold the locks. Never raises: what is lost is logged.

        `wanted` is what is to be held, for the case that the old FID is gone.
        """
        before, old, self.file = self.held.copy(), self.file, new
        try:
            if old.gone:
                before = wanted
                await self.retake(new, wanted)
            else:
                await self._carry_over(old, new)
        except SmbfuseError as exc:
            log.debug("moving locks: %s", exc)
        if self.held != before:
            self._tell_lost()

    async def retake(self, new: OpenFile, wanted: Ranges) -> None:
        """Hold `wanted` by `new`: the FID that held it is gone, and the locks with it. StatusError if it cannot be."""
        self.file = new
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
    """What has to be changed where `entries` are held, each as it was taken, so that `wanted` is.

    A shared lock below an exclusive one of the same bytes stays as long as that: an unlock could not tell them apart.
    """
    entries = list(entries)
    kept = [entry for entry in entries if entry.mode == Mode.EXCLUSIVE and wanted.overlapping(entry) == [entry]]
    exclusive = [span for span in differences(_covered(kept), wanted) if span.mode == Mode.EXCLUSIVE]
    for entry in entries:
        room = not any(entry.overlaps(span) for span in exclusive)
        if entry.mode == Mode.SHARED and room and wanted.covers([entry]):
            kept.append(entry)
    return Plan(
        shared=tuple(span for span in differences(_covered(kept), wanted) if span.mode == Mode.SHARED),
        unlocks=tuple(entry for entry in entries if entry not in kept),
        exclusive=tuple(exclusive),
    )


def _covered(entries: Iterable[Span]) -> Ranges:
    """What locks that overlap hold together: exclusive ones stand over shared ones."""
    found = Ranges()
    for entry in sorted(entries, key=lambda span: span.mode):
        found.set(entry)
    return found


def shadow(span: Span) -> Span:
    """The bytes that stand for these, beyond where any file ends."""
    return span._replace(start=span.start + END, end=span.end + END)


def _lit(span: Span) -> Span:
    """Of a shadow the bytes that it stands for; else the span itself."""
    return span if span.start < END else span._replace(start=span.start - END, end=span.end - END)


class MandatoryLocks(ServerLocks):
    """Locks of LOCKING_ANDX. [MS-CIFS] 2.2.4.32.

    Making an exclusive lock shared leaves no gap. Making a shared one exclusive does: smbd and Windows refuse an
    exclusive lock over a shared one of the same FID, so that goes first, and is gone even where the other is refused.
    Therefore a shared lock is held twice, also on bytes that no file has, its shadow. Who makes it exclusive tries that
    with the shadow, and only then with the lock itself, which nobody but a client of another kind can be in the way of.
    One machine at a time does so: who has the lock of a byte for that, the `turn`. Servers with 32-bit ranges have no
    room for shadows.

    What remains is the time that the server takes between two ranges of one message, in which it unlocks the one and
    locks the other; unlocking a part of an exclusive lock is done so, too. A wait for such a change is no wait at the
    server (we would hold nothing all the while) but a try now and then, by whoever calls.

    Of two locks of the same bytes an unlock ends the exclusive one first ([MS-FSA] 2.1.5.9; smbd 4.17: the older).
    """

    def __init__(self, file: OpenFile, end: int, on_late: Callable[[], None]) -> None:
        super().__init__(file, end, on_late)
        self._entries: list[Span] = []
        self._turn = Span(end - 1, end, Mode.EXCLUSIVE)
        self._shadows = end == END

    @property
    def held(self) -> Ranges:
        return _covered(entry for entry in self._entries if entry.start < self._turn.start)

    def _with_shadows(self, wanted: Ranges) -> Ranges:
        found = wanted.copy()
        for span in wanted if self._shadows else ():
            if span.mode == Mode.SHARED:
                found.set(shadow(span))
        return found

    def _forget(self) -> None:
        self._entries = []

    async def change(self, wanted: Ranges, otherwise: Ranges, wait: Wait | None = None) -> bool:
        gives_up = bool(plan(self._entries, self._with_shadows(wanted)).unlocks)
        return await super().change(wanted, otherwise, None if gives_up else wait)

    async def _reach(self, wanted: Ranges, wait: Wait | None) -> bool:
        if self._shadows and not await self._prepare(wanted):
            return False
        return await self._step(self._with_shadows(wanted), wait)

    async def _prepare(self, wanted: Ranges) -> bool:
        """Make sure that what is held shared can be made exclusive where that is wanted.

        First comes the turn, then the shadows (that is where refusals are to be expected), then what is to be locked
        besides: who has all of them gets the rest. Where that comes to nothing others may be refused for a moment.
        """
        exclusive = [span for span in wanted if span.mode == Mode.EXCLUSIVE]
        shared = [part for span in exclusive for part in self.held.overlapping(span) if part.mode == Mode.SHARED]
        if not shared:
            return True
        goal = _covered([*self._entries, self._turn])
        if not await self._step(goal, Wait(TURN_PATIENCE)):
            return False
        for span in shared:
            goal.set(shadow(span)._replace(mode=Mode.EXCLUSIVE))
        if not await self._step(goal, None):
            return False
        for span in [*exclusive, *shared]:
            goal.set(span)
        return await self._step(goal, None)

    async def _step(self, goal: Ranges, wait: Wait | None) -> bool:
        todo = plan(self._entries, goal)
        # Not in one message: where that is refused servers unlock again, which would end exclusive locks of ours.
        ours = tuple(span for span in todo.shared if self.held.covers([_lit(span)]))
        others = tuple(span for span in todo.shared if span not in ours)
        if not await self._take(self.file, others, wait) or not await self._take(self.file, ours, None):
            return False
        if todo.unlocks and len(todo.unlocks) + len(todo.exclusive) > PER_MESSAGE:
            await self._give_back(todo.unlocks)
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
        await self._give_back(unlocks)
        return not locks or await self._take(self.file, locks, wait)

    async def _give_back(self, unlocks: Iterable[Span]) -> None:
        """One by one: what the server does not know of is no reason to keep the rest."""
        for span in unlocks:
            try:
                await self._send(self.file, (span,), (), None)
            except StatusError as exc:
                if exc.status != STATUS_RANGE_NOT_LOCKED:
                    raise
                self._strike((span,))

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
        self._strike(unlocks)  # they are done even where the locks are refused
        if granted:
            self._entries += locks
        return granted

    def _strike(self, spans: Iterable[Span]) -> None:
        for span in spans:
            if span in self._entries:
                self._entries.remove(span)

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

    async def _carry_over(self, old: OpenFile, new: OpenFile) -> None:
        """Shared locks overlap; for exclusive ones the new FID waits in line when the old one lets go."""
        shared = tuple(span for span in _covered(self._entries) if span.mode == Mode.SHARED)
        before, self._entries = self._entries, []
        await self._take(new, shared, None)
        for batch in _batches(tuple(entry for entry in before if entry.mode == Mode.EXCLUSIVE)):
            gone = tuple((entry.start, entry.end) for entry in before if any(map(entry.overlaps, batch)))
            let_go = partial(old.lock, LockChange(unlocks=gone))
            await _in_line(partial(self._send, new, (), batch), let_go)


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

    def __init__(self, file: OpenFile, end: int, on_late: Callable[[], None]) -> None:
        super().__init__(file, end, on_late)
        self._held = Ranges()

    @property
    def held(self) -> Ranges:
        return self._held

    def _forget(self) -> None:
        self._held = Ranges()

    async def _reach(self, wanted: Ranges, wait: Wait | None) -> bool:
        """What can be refused comes first: each span whole, so that no part of it is held while another is waited for.

        Nor is there a wait where several are needed.
        """
        missing = [step for step in differences(self._held, wanted) if not self._held.covers([step])]
        stronger = [span for span in wanted if any(span.overlaps(step) and span.mode == step.mode for step in missing)]
        for span in stronger:
            if not await self._set(self.file, span, wait if len(stronger) == 1 else None):
                return False
        for step in differences(self._held, wanted):
            if not await self._set(self.file, step, None):
                return False
        return True

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
            await _in_line(partial(self._set, new, span), partial(old.posix_lock, unlock))
