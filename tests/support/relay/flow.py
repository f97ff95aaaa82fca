"""One direction of one connection: bytes in, whole messages, what is on its way, bytes out. Never blocks."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from tests.support.relay.conditions import Cut, Hook, Way

_RECEIVE: Final = 1 << 18
_COMMAND_AT: Final = 4 + 4
"""Of the command in a message: behind the transport header and the protocol's name. [MS-CIFS] 2.2.3.1."""

Data = bytes | bytearray


class Framer:
    """Finds in a stream where messages begin, by their transport headers. [MS-SMB] 2.1."""

    def __init__(self) -> None:
        self._left = 0
        """Bytes still to come of a message whose beginning was passed on."""
        self._kept: Data = b""
        """What has come of the next one, and was not passed on."""

    def through(self, data: Data) -> Data:
        """What may be passed on at once: all but a header that is not complete."""
        if self._kept:
            data = bytes(self._kept) + data
        at = self._left
        while at + 4 <= len(data):
            at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        self._left = max(0, at - len(data))
        self._kept = data[at:]
        return data[:at] if self._kept else data

    def whole(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """The end of a message whose beginning was passed on, and the whole messages that are here."""
        rest, data = data[: self._left], data[self._left :]
        self._left -= len(rest)
        if not data:
            return rest, []
        kept = self._kept if isinstance(self._kept, bytearray) else bytearray(self._kept)
        kept += data
        messages: list[bytes] = []
        at = 0
        while at + 4 <= len(kept) and at + (size := 4 + int.from_bytes(kept[at + 1 : at + 4], "big")) <= len(kept):
            messages.append(bytes(kept[at : at + size]))
            at += size
        self._kept = kept[at:] if at else kept
        return rest, messages

    def left(self) -> Data:
        """The beginning of a message that did not come to its end."""
        return self._kept


class Flow:
    """From `source` to `sink`, as its `way` is."""

    def __init__(self, name: str, way: Way, source: socket.socket, sink: socket.socket, hook: Hook | None) -> None:
        self.name = name
        self.way = way
        self.source = source
        self.sink = sink
        self.ended = False
        """Whether the source has said its last."""
        self.done = False
        """Whether the sink knows."""
        self.lost = False
        """Bytes are missing since: nothing is passed on any more."""
        self.cut: Cut | None = None
        """How the connection is to be cut, once its time has come."""
        self._cut_is_queued = False
        self._hook = hook
        self._framer = Framer()
        self._queue: deque[tuple[float, memoryview | Cut]] = deque()
        self._queued = 0
        self._collected: list[Data] = []
        self._collected_until = 0.0

    # -- what it waits for ---------------------------------------------------------------------------------------------

    @property
    def wants_more(self) -> bool:
        return not self.ended and self._queued < self.way.room

    @property
    def nothing_under_way(self) -> bool:
        return not self._queue and not self._collected

    def due(self) -> float | None:
        """Monotonic time when there is something to do; None: when more has come."""
        times = [max(self._queue[0][0], self.way.free_at)] if self._queue else []
        if self._collected:
            times.append(self._collected_until)
        return min(times, default=None)

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive(self) -> None:
        """Take what the source has; raises OSError where it was reset."""
        try:
            data = self.source.recv(_RECEIVE)
        except BlockingIOError:
            return
        if self.lost:
            self.ended = not data
        elif data:
            self._take(data)
        else:
            self.ended = True
            self.flush_collected()
            self._put(self._framer.left())

    def _take(self, data: bytes) -> None:
        if self._hook is None and not self.way.by_message:
            self._put(self._framer.through(data))
            return
        rest, messages = self._framer.whole(data)
        self._put(rest)
        for message in messages:
            for one in [message] if self._hook is None else self._hook(self.name, message):
                self._message(one)

    def _message(self, message: Data) -> None:
        way = self.way
        if self._cut_is_queued or self._cut_here(message):
            return
        if way.shorten is not None and way.shorten.count > 0:
            way.shorten.count -= 1
            kept = message[4 : 4 + way.shorten.keep]
            message = len(kept).to_bytes(4, "big") + kept
        if way.reorder is None:
            self._put(message)
            return
        if not self._collected:
            self._collected_until = time.monotonic() + way.reorder.patience
        self._collected.append(message)
        if len(self._collected) >= way.reorder.count:
            self.flush_collected()

    def _cut_here(self, message: Data) -> bool:
        at = self.way.cut_at
        if at is None or message[_COMMAND_AT : _COMMAND_AT + 1] != bytes([at.command]):
            return False
        at.nth -= 1
        if at.nth > 0:
            return False
        self.way.cut_at = None
        self._cut_is_queued = True
        self.flush_collected()
        self._queue.append((time.monotonic() + self.way.delay, at.cut))
        return True

    def flush_collected(self) -> None:
        """Let go what was collected to be reordered."""
        messages, self._collected = self._collected[::-1], []
        for message in messages:
            self._put(message)

    def _put(self, data: Data) -> None:
        if data:
            self._queue.append((time.monotonic() + self.way.delay, memoryview(data)))
            self._queued += len(data)

    # -- out -----------------------------------------------------------------------------------------------------------

    def send(self, now: float) -> None:
        """Pass on what is due, as much as the sink takes; raises OSError where it was reset."""
        if self._collected and now >= self._collected_until:
            self.flush_collected()
        with contextlib.suppress(BlockingIOError):
            while self._queue and self.cut is None and max(self._queue[0][0], self.way.free_at) <= now:
                self._send_one(now)

    def _send_one(self, now: float) -> None:
        way = self.way
        at, data = self._queue.popleft()
        if isinstance(data, Cut):
            self.cut = data
            return
        try:
            sent = self.sink.send(data[: self._limit()])
        except BlockingIOError:
            self._queue.appendleft((at, data))
            raise
        self._queued -= sent
        way.passed += sent
        if sent < len(data):
            self._queue.appendleft((at, data[sent:]))
        if way.rate is not None:
            way.free_at = max(now, way.free_at) + sent / way.rate
        if way.cut_after is not None:
            way.cut_after -= sent
            if way.cut_after <= 0:
                way.cut_after = None
                self.cut = way.cut_after_how

    def _limit(self) -> int:
        """Bytes that may be sent at once: a hundredth of a second's, and no more than until the cut."""
        limits: Sequence[int] = [
            1 << 20 if self.way.rate is None else max(1, int(self.way.rate / 100)),
            1 << 20 if self.way.cut_after is None else max(1, self.way.cut_after),
        ]
        return min(limits)

    def lose(self) -> None:
        """Forget what is on its way, and whatever comes."""
        self.lost = True
        self._queue.clear()
        self._collected.clear()
        self._queued = 0

    def finish(self) -> None:
        """Tell the sink that the source has ended, if all else is through."""
        if self.ended and self.nothing_under_way and not self.done:
            self.done = True
            if not self.lost:
                with contextlib.suppress(OSError):
                    self.sink.shutdown(socket.SHUT_WR)
