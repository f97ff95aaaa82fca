"""What a kind of lie is, and what the lies are made with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import trio

from smbfuse.wire.codec import Body, Buffer
from smbfuse.wire.const import SMB_FLAGS_REPLY
from smbfuse.wire.frame import encode
from smbfuse.wire.trans import Trans2Response
from tests.fakes import script
from tests.fakes.exchange import Action, Exchange, Reply
from tests.fakes.offer import Offer
from tests.hostile.program import Program

Work = Callable[[Program], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of hostile answer. `does` is its name: what the server does."""

    does: str
    to: int | None
    """Command of the requests that are answered so; None: all."""
    subcommand: int | None = None
    by: Action
    """How."""
    times: int | None = 1
    """How often; None: always."""
    work: Work
    """What a program does meanwhile."""
    gives: object
    """What the program gets: the errno's name, or what the work returns."""
    ends: bool = False
    """Whether the connection is ended."""
    says: str | None = None
    """Regular expression for the one line in the log; None: there is none."""
    offer: Callable[[], Offer] = field(default=Offer)
    within: float = 1.0
    """Seconds after which the program has its answer."""
    afterwards: float = 0.0
    """Seconds after that in which the connection may end."""


# --- what they are made with


def with_bytes(at: int, value: bytes) -> Action:
    """The right answer but for these bytes, counted from the start of its header."""

    def change(frame: bytearray) -> None:
        frame[at : at + len(value)] = value

    return script.changed(change)


def words(index: int, value: int, size: int = 2) -> Action:
    """The right answer, but for the parameter word (of 16 bits) with this index."""
    return with_bytes(33 + 2 * index, value.to_bytes(size, "little"))


def instead(*bodies: Body, status: int = 0) -> Action:
    """This answer, whatever is asked; nothing is done."""

    async def action(exchange: Exchange) -> None:
        await exchange.answer(Reply(list(bodies), status))

    return action


def edited(edit: Callable[[Body], Body | None]) -> Action:
    """The right answer, its first body changed before it is encoded."""

    async def action(exchange: Exchange) -> None:
        reply = exchange.perform()
        reply.bodies[0] = edit(reply.bodies[0]) or reply.bodies[0]
        await exchange.answer(reply)

    return action


def contents(edit: Callable[[bytearray], Buffer | None]) -> Action:
    """The right answer of a transaction, its data changed."""

    def change(body: Body) -> Body:
        assert isinstance(body, Trans2Response)
        data = bytearray(body.data)
        return Trans2Response(parameters=body.parameters, data=bytes(edit(data) or data))

    return edited(change)


def at(offset: int, value: bytes) -> Callable[[bytearray], None]:
    """For `contents`: these bytes there."""

    def edit(data: bytearray) -> None:
        data[offset : offset + len(value)] = value

    return edit


def frame_of(exchange: Exchange, body: Body, *, status: int = 0, **changed: int) -> bytes:
    """A message that answers this request, unsigned; `changed` are fields of its header."""
    asked = exchange.message.header
    header = replace(asked, status=status, flags=asked.flags | SMB_FLAGS_REPLY, security_features=bytes(8))
    for name, value in changed.items():
        setattr(header, name, value)
    return b"".join(map(bytes, encode(header, body)))


def parts(*made: Body, times: int = 1) -> Action:
    """These messages, one after the other, and that so often."""

    async def action(exchange: Exchange) -> None:
        for _ in range(times):
            for body in made:
                await exchange.send(frame_of(exchange, body))

    return action


def part(*, total: int, at: int, data: bytes, parameters: bytes = bytes(10)) -> Trans2Response:
    """A part of a search's answer: `data` from `at` on, of `total` bytes in all; the parameters are in the first."""
    first = at == 0
    return Trans2Response(
        total_parameter_count=len(parameters),
        parameters=parameters if first else b"",
        parameter_displacement=0 if first else len(parameters),
        total_data_count=total,
        data=data,
        data_displacement=at,
    )


def again(times: int) -> Action:
    """The right answer, so often."""

    async def action(exchange: Exchange) -> None:
        frames: Sequence[Buffer] = exchange.frames()
        for _ in range(times):
            for frame in frames:
                await exchange.send(frame)

    return action


def bytes_for_ever(data: bytes, every: float, *, first: bytes = b"") -> Action:
    """These bytes again and again, and never an answer."""

    async def action(exchange: Exchange) -> None:
        await exchange.connection.send_bytes(first)
        while True:
            await exchange.connection.send_bytes(data)
            await trio.sleep(every)

    return action
