"""Which requests are treated specially, and the catalogue of what can be done to them.

rule = server.script.on(held(event), command=SMB_COM_READ_ANDX)
server.script.once(refused(STATUS_DISK_FULL), command=SMB_COM_WRITE_ANDX)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from smbfuse import ntstatus as nt
from smbfuse.wire.codec import Buffer
from smbfuse.wire.const import SMB_FLAGS2_NT_STATUS
from smbfuse.wire.frame import RawBody
from tests.fakes.exchange import Action, Exchange, Reply


@dataclass(eq=False)
class Rule:
    """Requests that fit all that is not None, `times` of them at most."""

    action: Action
    command: int | None = None
    subcommand: int | None = None
    mid: int | None = None
    where: Callable[[Exchange], bool] | None = None
    times: int | None = None
    hits: int = 0

    def fits(self, exchange: Exchange) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and self.command in (None, exchange.command)
            and self.subcommand in (None, exchange.subcommand)
            and self.mid in (None, exchange.mid)
            and (self.where is None or self.where(exchange))
        )


@dataclass
class Script:
    """Rules in their order; the first that fits is taken."""

    rules: list[Rule] = field(default_factory=list)

    def on(
        self,
        action: Action,
        *,
        command: int | None = None,
        subcommand: int | None = None,
        mid: int | None = None,
        where: Callable[[Exchange], bool] | None = None,
        times: int | None = None,
    ) -> Rule:
        """From now on do `action` with requests that fit."""
        rule = Rule(action, command, subcommand, mid, where, times)
        self.rules.append(rule)
        return rule

    def once(self, action: Action, *, command: int | None = None, subcommand: int | None = None) -> Rule:
        """Do `action` with the next request that fits."""
        return self.on(action, command=command, subcommand=subcommand, times=1)

    def clear(self) -> None:
        self.rules.clear()

    def take(self, exchange: Exchange) -> Action | None:
        """The action for this request, counted."""
        for rule in self.rules:
            if rule.fits(exchange):
                rule.hits += 1
                return rule.action
        return None


# --- time and order


def held(until: trio.Event, *, done_first: bool = False) -> Action:
    """Answer when `until` is set; what is asked is done then too, or at once."""

    async def action(exchange: Exchange) -> None:
        if done_first:
            exchange.perform()
        await until.wait()
        await exchange.answer()

    return action


def delayed(seconds: float) -> Action:
    """Answer after a while (of the test's clock)."""

    async def action(exchange: Exchange) -> None:
        await trio.sleep(seconds)
        await exchange.answer()

    return action


def reordered(count: int, order: Callable[[list[Exchange]], Sequence[Exchange]]) -> Action:
    """Collect `count` requests, then answer them in this order."""
    collected: list[Exchange] = []

    async def action(exchange: Exchange) -> None:
        collected.append(exchange)
        if len(collected) == count:
            batch, collected[:] = order(collected[:]), []
            for one in batch:
                await one.answer()

    return action


def until_cancelled(status: int = nt.STATUS_CANCELLED) -> Action:
    """As a lock that somebody else holds: no answer until NT_CANCEL comes, then this status and nothing done."""

    async def action(exchange: Exchange) -> None:
        await exchange.connection.wait_cancelled(exchange.mid)
        await exchange.answer(Reply([RawBody()], status))

    return action


# --- no answer


async def dropped(exchange: Exchange) -> None:
    """Neither done nor answered."""


async def done_unanswered(exchange: Exchange) -> None:
    """Done, but not answered."""
    exchange.perform()


async def disconnected(exchange: Exchange) -> None:
    """The connection is closed instead of an answer."""
    await exchange.connection.aclose()


def cut_after(count: int) -> Action:
    """`count` bytes of the answer (transport header included), then the connection is closed."""

    async def action(exchange: Exchange) -> None:
        frame = exchange.frames()[0]
        await exchange.connection.send_bytes((len(frame).to_bytes(4, "big") + frame)[:count])
        await exchange.connection.aclose()

    return action


# --- other answers


def refused(status: int) -> Action:
    """An NTSTATUS, and nothing is done."""

    async def action(exchange: Exchange) -> None:
        await exchange.answer(Reply([RawBody()], status))

    return action


def refused_dos(error_class: int, code: int) -> Action:
    """A DOS error: class and code, and Flags2 that say so."""

    async def action(exchange: Exchange) -> None:
        header = exchange.message.header
        header.flags2 &= ~SMB_FLAGS2_NT_STATUS
        await exchange.answer(Reply([RawBody()], error_class | code << 16))

    return action


def replaced(frame: Buffer) -> Action:
    """This message instead of the answer, whatever it is."""

    async def action(exchange: Exchange) -> None:
        await exchange.send(frame)

    return action


def raw(data: bytes) -> Action:
    """These bytes instead of the answer, transport header and all."""

    async def action(exchange: Exchange) -> None:
        await exchange.connection.send_bytes(data)

    return action


def changed(change: Callable[[bytearray], Buffer | None]) -> Action:
    """The right answer, changed after signing. `change` works in place or returns another message."""

    async def action(exchange: Exchange) -> None:
        for frame in exchange.frames():
            await exchange.send(change(frame) or frame)

    return action


def badly_signed(frame: bytearray) -> None:
    """For `changed`: another signature."""
    frame[14] ^= 0xFF


def with_mid(mid: int) -> Callable[[bytearray], None]:
    """For `changed`: the answer to somebody else."""

    def change(frame: bytearray) -> None:
        frame[30:32] = mid.to_bytes(2, "little")

    return change


def misannounced(by: int) -> Action:
    """The right answer behind a transport header that says `by` bytes more (or less) than there are."""

    async def action(exchange: Exchange) -> None:
        frame = exchange.frames()[0]
        await exchange.connection.send_bytes((len(frame) + by).to_bytes(4, "big") + frame)

    return action


def parted(room: int, order: Callable[[list[bytearray]], Sequence[Buffer]] = lambda frames: frames) -> Action:
    """A transaction's answer in messages of at most `room` bytes, in this order."""

    async def action(exchange: Exchange) -> None:
        for frame in order(exchange.frames(room=room)):
            await exchange.send(frame)

    return action


# --- more than an answer


def breaking(fid: int | None = None, *, level: int = 0, before: bool = False) -> Action:
    """Take the oplock of `fid` back (None: of the file that the request opens) before or after the answer."""

    async def action(exchange: Exchange) -> None:
        body = exchange.perform().bodies[0]
        which = getattr(body, "fid", fid) if fid is None else fid
        assert which is not None
        if before:
            await exchange.connection.break_oplock(which, level)
        await exchange.answer()
        if not before:
            await exchange.connection.break_oplock(which, level)

    return action


def preceded_by(*frames: Buffer) -> Action:
    """Send these messages first, then the answer."""

    async def action(exchange: Exchange) -> None:
        for frame in frames:
            await exchange.send(frame)
        await exchange.answer()

    return action
