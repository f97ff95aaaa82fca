"""What is wrong with the network just now. Plain values, set by commands and read by whoever passes bytes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

TO_SERVER = "to_server"
TO_CLIENT = "to_client"

Hook = Callable[[str, bytes], Sequence[bytes]]
"""Sees each whole message, with its way and its transport header; what it returns is passed on instead."""


@dataclass(slots=True)
class Cut:
    """Connections that end."""

    reset: bool = True
    """By RST; else by FIN."""
    server_too: bool = True
    """Else the server is left to think that the client is still there."""


@dataclass(slots=True)
class CutAt:
    """Cut when the `nth` message that begins with `command` would be passed on; it is not."""

    command: int
    nth: int
    cut: Cut


@dataclass(slots=True)
class Shorten:
    """Messages of which the first `keep` bytes are passed on; their transport header says so."""

    keep: int
    count: int


@dataclass(slots=True)
class Reorder:
    """Messages that are collected, and passed on last one first."""

    count: int
    patience: float
    """Seconds after which those that are here go on without the rest."""


@dataclass(slots=True)
class Way:
    """One direction, of all connections together."""

    delay: float = 0.0
    """Seconds that a byte takes. Any number of bytes may be under way."""
    rate: float | None = None
    """Bytes per second."""
    cut_after: int | None = None
    """Bytes that are passed on until the connections are cut."""
    cut_after_how: Cut = field(default_factory=Cut)
    cut_at: CutAt | None = None
    shorten: Shorten | None = None
    reorder: Reorder | None = None
    free_at: float = 0.0
    """Monotonic time when what was sent has gone through, at this rate."""
    passed: int = 0
    """Bytes sent on."""

    @property
    def by_message(self) -> bool:
        """Whether something is to be done to single messages."""
        return self.cut_at is not None or self.shorten is not None or self.reorder is not None

    @property
    def room(self) -> int:
        """Bytes that may be on their way: without end where only time is lost, little where the way is narrow."""
        return 256 << 20 if self.rate is None else max(1 << 16, int(self.rate * (self.delay + 0.1)))

    def heal(self) -> None:
        """Delay and rate are as the network is; the rest was a fault."""
        self.cut_after = self.cut_at = self.shorten = self.reorder = None


@dataclass(slots=True)
class Conditions:
    """Of all connections through one relay."""

    ways: dict[str, Way] = field(default_factory=lambda: {TO_SERVER: Way(), TO_CLIENT: Way()})
    frozen: bool = False
    """Nothing is passed on, nothing is lost."""
    hole: bool = False
    """What comes is lost."""

    def heal(self) -> None:
        self.frozen = self.hole = False
        for way in self.ways.values():
            way.heal()
