"""One connection and the requests on it: reader, writer, deadlines, cancellation, liveness. [MS-CIFS] 3.2.1.2.

A request's MID and its place in the window belong to it until the answer came, also when its caller is gone: cancelled
or past its deadline. What a late answer still means (an open that nobody wants any more) is told by `on_late`.

The reader task never waits for anything but the socket. Nothing that it calls may raise or wait.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypedDict

import trio

from smbfuse.client.clock import seconds_asleep
from smbfuse.client.window import Window
from smbfuse.errors import AnswerSpoiled, ConnectionLost, RemoteProtocolError, RequestTimeout, SmbfuseError, WireError
from smbfuse.ntstatus import status_name
from smbfuse.proto.engine import Engine
from smbfuse.proto.events import Interim, OplockBreak, Response, Unsolicited
from smbfuse.wire.names import command_name
from smbfuse.wire.setup import EchoRequest

if TYPE_CHECKING:
    from smbfuse.client.transport import Transport
    from smbfuse.wire.codec import Body, Buffer

log: Final = logging.getLogger(__name__)

MAX_UNSOLICITED: Final = 1000
"""Messages that nobody asked for, over the life of a connection, before it is given up as hostile."""


NAP: Final = 1.0
"""Seconds of sleep that make no difference."""
AWAKE: Final = 5.0
"""Seconds that a server has for its answer after this machine was asleep longer."""


@dataclass(slots=True, eq=False)
class Call:
    """A request and the task that waits for it."""

    command: int
    on_late: Callable[[Response], None] | None = None
    on_sent: Callable[[Callable[[], None]], None] | None = None
    on_answer: Callable[[], None] | None = None
    chain: bool = False
    """Whether there is more than one request in it."""
    done: trio.Event = field(default_factory=trio.Event)
    response: Response | None = None
    error: ConnectionLost | None = None
    spoiled: bool = False
    """Whether its answer may have come without its name."""
    sent: bool = False
    abandoned: bool = False
    on_spoiled: Callable[[], None] | None = None
    in_passing: bool = False
    """Whether there never was a caller."""
    hopeless_at: float = math.inf
    """trio time from which no answer is counted on any more: twice what it may take has passed."""


class How(TypedDict, total=False):
    """How a request is sent, for those who pass it on: as `Connection.request` has it."""

    flags2: int
    timeout: float | None
    urgent: bool
    unhurried: bool
    surely: bool
    on_late: Callable[[Response], None] | None
    on_sent: Callable[[Callable[[], None]], None] | None
    on_answer: Callable[[], None] | None


@dataclass(slots=True)
class Statistics:
    """Counters for tests and for people; requests count messages sent, not parts of them."""

    requests: int = 0
    late: int = 0
    unsolicited: int = 0
    breaks: int = 0
    by_command: dict[str, int] = field(default_factory=dict)


class Connection:
    """Requests over one transport. Made by the session; `run` must run as a task as long as it is used."""

    def __init__(
        self, transport: Transport, *, pid: int, timeout: float, echo_interval: float, patient: bool = False
    ) -> None:
        self.engine = Engine(pid=pid)
        self.window = Window()
        self.statistics = Statistics()
        self.timeout = timeout
        """Seconds that a request may take if its caller does not say otherwise."""
        self.patient = patient
        """Whether it may take as long as the server lives, instead."""
        self.echo_interval = echo_interval
        self.settled = False
        """Whether the logon is done: what goes wrong before is told by its error, what goes wrong later by the log."""
        self.lost: ConnectionLost | None = None
        """Why the connection is gone; None while it is there."""
        self.on_oplock_break: Callable[[OplockBreak], None] | None = None
        self.on_lost: Callable[[ConnectionLost], None] | None = None
        self._transport = transport
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._busy_since = 0.0
        """trio time since which answers have been due without a break."""

    # --- requests

    async def request(
        self,
        *bodies: Body,
        tid: int = 0,
        uid: int = 0,
        flags2: int = 0,
        rest: tuple[Body, ...] = (),
        timeout: float | None = None,
        urgent: bool = False,
        unhurried: bool = False,
        surely: bool = False,
        on_late: Callable[[Response], None] | None = None,
        on_sent: Callable[[Callable[[], None]], None] | None = None,
        on_answer: Callable[[], None] | None = None,
    ) -> Response:
        """Send a message (a chain, if there are several bodies) and wait for its whole answer.

        Raises ConnectionLost, RequestTimeout, WireError (a name that the character set lacks), and AnswerSpoiled for a
        chain. When the caller is cancelled or out of time the MID stays reserved until the answer comes, which then
        goes to `on_late`. If it waits for its place still, nothing is sent, unless the message must go out `surely`:
        then in the background.
        `urgent` requests have places of their own, `unhurried` ones leave some to the others.

        `on_sent` is called when the message is out, with a function that asks the server to end it early (NT_CANCEL):
        it is answered all the same then, only sooner. `on_answer` is called as soon as the answer is here, before
        whatever the server says next is looked at: it shall not wait, nor raise.
        """
        call = Call(bodies[0].COMMAND, on_late, on_sent, on_answer, len(bodies) > 1)
        limit = timeout if timeout is not None else math.inf if self.patient else self.timeout
        ended = False
        try:
            with trio.fail_after(limit):
                call.hopeless_at = trio.current_time() + 2 * limit
                await self.window.acquire(urgent, unhurried)
                self._start(call, bodies, rest, tid, uid, flags2)
                await call.done.wait()
            ended = not call.spoiled
        except trio.TooSlowError:
            raise RequestTimeout(f"no answer to {command_name(call.command)} within {limit:g} s") from None
        finally:
            if not ended:
                self._abandon(call)
                if surely and not call.sent:
                    self.spawn(
                        partial(
                            self.request,
                            *bodies,
                            tid=tid,
                            uid=uid,
                            flags2=flags2,
                            rest=rest,
                            urgent=urgent,
                            on_answer=on_answer,
                        )
                    )
        if call.error is not None:
            raise _copy(call.error, sent=True)
        if call.spoiled:
            raise AnswerSpoiled(f"the answer to a chain of {command_name(call.command)} has lost its header")
        assert call.response is not None  # noqa: S101 - done is only set with one of the three
        return call.response

    def ask_in_passing(
        self,
        *bodies: Body,
        tid: int,
        uid: int,
        flags2: int,
        on_answer: Callable[[Response], None],
        on_spoiled: Callable[[], None],
    ) -> bool:
        """Send a message for which nobody waits, if it has a place at once. Never waits.

        `on_answer` is called if its answer comes, `on_spoiled` if that may have come without its name. WireError.
        """
        if self.lost is not None or not self.window.try_acquire(urgent=False):
            return False
        call = Call(bodies[0].COMMAND, on_answer, chain=len(bodies) > 1, on_spoiled=on_spoiled)
        call.abandoned = call.in_passing = True
        call.hopeless_at = trio.current_time() + 2 * self.timeout
        self._start(call, bodies, (), tid, uid, flags2)
        return True

    def _start(
        self, call: Call, bodies: tuple[Body, ...], rest: tuple[Body, ...], tid: int, uid: int, flags2: int
    ) -> None:
        """Put the request on the wire; the window's place is taken already."""
        try:
            if self.lost is not None:
                raise _copy(self.lost)
            if not self.engine.mids.pending:
                self._busy_since = trio.current_time()
            mid, frame = self.engine.start(bodies, call, tid=tid, uid=uid, flags2=flags2, rest=list(rest))
            call.sent = True
        finally:
            if not call.sent:
                self.window.release()
        self._count(call.command)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("MID %d > %s", mid, ", ".join(command_name(body.COMMAND) for body in bodies))
        self._send(frame)
        if call.on_sent is not None:
            call.on_sent(partial(self._cancel, call, mid))

    def _cancel(self, call: Call, mid: int) -> None:
        """Send NT_CANCEL, unless the answer is here. Never waits, never raises. [MS-CIFS] 2.2.4.65."""
        frame = None if call.done.is_set() else self.engine.cancel(mid)
        if frame is not None:
            self._send(frame)

    def _count(self, command: int) -> None:
        self.statistics.requests += 1
        name = command_name(command)
        self.statistics.by_command[name] = self.statistics.by_command.get(name, 0) + 1

    def _send(self, frame: list[Buffer]) -> None:
        try:
            self._transport.send(frame)
        except ConnectionLost as exc:
            self.fail(exc)

    def send_unanswered(self, body: Body, *, tid: int, uid: int) -> None:
        """Send a message that gets no answer (an oplock acknowledgement). Never waits, never raises."""
        if self.lost is None:
            self._count(body.COMMAND)
            self._send(self.engine.unanswered(body, tid=tid, uid=uid))

    def spawn(self, work: Callable[..., Awaitable[object]], *args: object) -> bool:
        """Run `work` in the background, as long as the connection lives. False: it does not any more.

        For closing what nobody wants any more, and for what is wanted soon.
        """
        if self._nursery is None or self.lost is not None:
            return False
        self._nursery.start_soon(self._guarded, work, *args)
        return True

    async def _guarded(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        try:
            await work(*args)
        except SmbfuseError as exc:
            log.debug("background request failed: %s", exc)

    # --- the tasks

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the connection until it is closed or lost. Never raises: `lost` tells why it ended."""
        with self._scope:
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._watch)
                    task_status.started()
                    try:
                        await trio.sleep_forever()
                    finally:
                        self._nursery = None  # before it takes no more tasks: requests may be abandoned after that
            finally:
                if self.lost is not None:
                    self._transport.abort()
                else:
                    self.fail(ConnectionLost("the connection was closed"))
                    await self._transport.aclose()

    async def _read(self) -> None:
        """The reader: nothing here waits but for the socket. One of the two guards of the process."""
        try:
            async with aclosing(self._transport.frames()) as frames:
                async for frame in frames:
                    self._dispatch(self.engine.receive(frame), frame)
        except ConnectionLost as exc:
            self.fail(exc)
        except (WireError, RemoteProtocolError) as exc:
            self._broken(exc)
        except Exception as exc:
            log.exception("a bug in smbfuse ended the connection")
            self.fail(ConnectionLost(f"internal error: {type(exc).__name__}"))

    def _broken(self, why: SmbfuseError) -> None:
        if self.settled:
            log.error("the server broke the protocol: %s", why)
        self.fail(ConnectionLost(f"the server broke the protocol: {why}"))

    def _dispatch(self, event: object, frame: Buffer) -> None:
        if isinstance(event, Response):
            self._answered(event)
        elif isinstance(event, OplockBreak):
            self.statistics.breaks += 1
            if self.on_oplock_break is not None:
                self.on_oplock_break(event)
        elif isinstance(event, Interim):
            for more in self.engine.proceed(event.mid):
                self._send(more)
        elif isinstance(event, Unsolicited):
            self._unasked(event)

    def _answered(self, response: Response) -> None:
        call: Call = response.owner
        response.owner = None  # else the two hold each other, and a frame of 1 MiB, until the collector runs
        self.window.release()
        if log.isEnabledFor(logging.DEBUG):
            log.debug("MID %d < %s: %s", response.mid, command_name(call.command), status_name(response.status))
        call.response = response
        call.done.set()
        if call.on_answer is not None:
            call.on_answer()
        if call.abandoned:
            self._take(call, response)

    def _abandon(self, call: Call) -> None:
        """The caller is gone. The answer may be here all the same: it came in the moment of the cancellation."""
        call.abandoned = True
        if call.response is not None:
            self._take(call, call.response)

    def _take(self, call: Call, response: Response) -> None:
        """An answer that no task waits for."""
        self.statistics.late += not call.in_passing
        if call.on_late is None:
            return
        try:
            call.on_late(response)
        except (WireError, RemoteProtocolError) as exc:
            self._broken(exc)

    def _unasked(self, event: Unsolicited) -> None:
        self.statistics.unsolicited += 1
        log.debug("dropped an answer that nobody waits for: %s, MID %d", command_name(event.command), event.mid)
        if self.statistics.unsolicited > MAX_UNSOLICITED:
            raise RemoteProtocolError(f"more than {MAX_UNSOLICITED} answers that nobody asked for")
        self._spoil_chains()

    def _spoil_chains(self) -> None:
        """It may be the answer to any chain: smbd 4.17 spoils the header where a READ_ANDX in one fails.

        Whoever waits for a chain asks in another way, at once; those that are answered after all are late.
        """
        for pending in self.engine.mids.pending.values():
            call: Call = pending.owner
            if call.chain and not call.done.is_set():
                call.spoiled = True
                call.done.set()
                if call.on_spoiled is not None:
                    call.on_spoiled()

    async def _write(self) -> None:
        try:
            await self._transport.run_writer()
        except ConnectionLost as exc:
            self.fail(exc)

    async def _watch(self) -> None:
        """Tell a slow server from a dead one: silence while answers are due is asked about, then taken for death.

        Where the window has no place left to ask (MaxMpxCount of 1), a request's whole time is waited first. After this
        machine was asleep the server is asked at once: most have hung up by then, and nobody has heard it.
        """
        asked_at = -math.inf
        asleep = seconds_asleep()
        while True:
            await trio.sleep(self.echo_interval / 4)
            before, asleep = asleep, seconds_asleep()
            if asleep - before > NAP and self.window.used < self.window.limit:
                self.spawn(self._ask_after_sleep)
            if not self.engine.mids.pending:
                continue
            if reason := self._hopeless():
                self.fail(ConnectionLost(reason))
                return
            heard_at = max(self._transport.last_received, self._busy_since)
            silent = trio.current_time() - heard_at
            patience = 2 * self.echo_interval if asked_at > heard_at else max(2 * self.echo_interval, self.timeout)
            if silent >= patience:
                self.fail(ConnectionLost(f"the server has been silent for {silent:.0f} s"))
            elif silent >= self.echo_interval and asked_at <= heard_at and self.window.used < self.window.limit:
                asked_at = trio.current_time()
                self.spawn(self.echo)

    async def _ask_after_sleep(self) -> None:
        try:
            await self.echo(AWAKE)
        except RequestTimeout:
            self.fail(ConnectionLost(f"no answer for {AWAKE:g} s after this machine was asleep"))

    def _hopeless(self) -> str | None:
        """Why nothing can come of this connection any more, though the server says something now and then."""
        now, begun = trio.current_time(), self._transport.begun
        if begun is not None and now - begun > self.timeout and not self.patient:
            return f"a message of the server's has not come to its end for {self.timeout:g} s"
        calls = [pending.owner for pending in self.engine.mids.pending.values()]
        unanswered = sum(now > call.hopeless_at for call in calls)
        endless = sum(call.hopeless_at == math.inf for call in calls)
        if unanswered and unanswered + endless >= self.window.limit - self.window.reserved:
            return f"the server has left {unanswered} requests unanswered, and takes no more at once"
        return None

    async def echo(self, timeout: float = math.inf) -> None:
        """One SMB_COM_ECHO and its answer, for which the echo interval is time at most. Raises as `request`."""
        request = EchoRequest(echo_count=1, data=b"smbfuse")
        await self.request(request, tid=0xFFFF, urgent=True, timeout=min(timeout, self.echo_interval))

    # --- the end

    def fail(self, why: ConnectionLost) -> None:
        """End the connection: every request that waits gets `why`. The first reason counts."""
        if self.lost is not None:
            return
        self.lost = why
        for call in self.engine.forget_all():
            call.error = why
            call.done.set()
            self.window.release()
        self._scope.cancel()
        if self.on_lost is not None:
            self.on_lost(why)


def _copy(why: ConnectionLost, *, sent: bool = False) -> ConnectionLost:
    """An exception of one's own for each task that it is raised in: a traceback belongs to one of them."""
    copy = ConnectionLost(*why.args)
    copy.sent = sent
    return copy
