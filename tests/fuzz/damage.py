"""A relay in a thread that damages what a real server answers."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Sequence
from random import Random
from types import TracebackType
from typing import Final, Self

from tests.fuzz.corpus import captured
from tests.fuzz.mutation import Mutator
from tests.support.relay.conditions import TO_CLIENT
from tests.support.relay.loop import Loop
from tests.support.relay.remote import Remote

_LIMIT: Final = 20.0


class DamagingRelay(Remote):
    """Listens on `port` as long as the `with` block runs; of the server's messages the share `rate` is damaged."""

    def __init__(self, server: tuple[str, int], seed: int, rate: float) -> None:
        super().__init__()
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = listener.getsockname()[1]
        self.rate = rate
        self.damaged: Counter[str] = Counter()
        self._random = Random(seed)
        self._mutate = Mutator(seed, captured(from_server=True))
        self._before = b""
        self._thread = threading.Thread(target=Loop(server, listener, self._theirs, self._see).run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._hang_up()
        self._thread.join(_LIMIT)
        assert not self._thread.is_alive(), "the thread of the relay does not end"

    def _see(self, way: str, message: bytes) -> Sequence[bytes]:
        if way != TO_CLIENT:
            return [message]
        before, self._before = self._before, message
        if self._random.random() >= self.rate:
            return [message]
        how = self._random.choices(("changed", "misframed", "lost", "twice", "another"), (80, 5, 5, 5, 5))[0]
        self.damaged[how] += 1
        if how == "lost":
            return []
        if how == "twice":
            return [message, message]
        if how == "another":  # an answer to somebody else
            return [before or message]
        changed = self._mutate(message[4:])
        size = len(changed) + (self._random.choice((-1, 1, 1000)) if how == "misframed" else 0)
        return [max(size, 0).to_bytes(4, "big") + changed]
