"""Damage done to messages. Everything follows from the generator's seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from smbfuse.wire.header import HEADER_SIZE

_EDGES: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


class Mutator:
    """Changes messages (without the transport's length) in ways that formats are broken by."""

    def __init__(self, seed: int, others: Sequence[bytes] = ()) -> None:
        """`others`: messages of which pieces are put into those that are changed."""
        self.random = Random(seed)
        self._others = others
        self._ways: tuple[tuple[Callable[[bytearray], None], int], ...] = (
            (self._bits, 3),
            (self._edge, 6),
            (self._near, 4),
            (self._counts, 4),
            (self._cut, 2),
            (self._remove, 1),
            (self._repeat, 1),
            (self._insert, 1),
            (self._splice, 2),
            (self._header, 1),
        )

    def __call__(self, message: bytes) -> bytes:
        """The message after one to four changes."""
        changed = bytearray(message)
        ways, weights = zip(*self._ways, strict=True)
        for way in self.random.choices(ways, weights, k=self.random.choice((1, 1, 1, 2, 2, 4))):
            if len(changed) > HEADER_SIZE:
                way(changed)
        return bytes(changed)

    def _place(self, message: bytearray) -> int:
        """Most often near the beginning, where lengths and offsets stand."""
        last = len(message) - 1
        if self.random.random() < 0.7:
            last = min(last, HEADER_SIZE + 100)
        return self.random.randint(HEADER_SIZE, last)

    def _bits(self, message: bytearray) -> None:
        for _ in range(self.random.randint(1, 4)):
            message[self._place(message)] ^= 1 << self.random.randrange(8)

    def _put(self, message: bytearray, at: int, value: int, size: int) -> None:
        raw = (value % (1 << 8 * size)).to_bytes(size, "little")
        message[at : at + size] = raw[: len(message) - at]

    def _edge(self, message: bytearray) -> None:
        size = self.random.choice((1, 2, 2, 4, 8))
        self._put(message, self._place(message), self.random.choice(_EDGES) * (0x1_0000_0001 if size == 8 else 1), size)

    def _near(self, message: bytearray) -> None:
        """A number that is a little off."""
        at, size = self._place(message), self.random.choice((1, 2, 4))
        value = int.from_bytes(message[at : at + size], "little")
        self._put(message, at, value + self.random.choice((-4, -2, -1, 1, 2, 4, 256)), size)

    def _counts(self, message: bytearray) -> None:
        """WordCount, or ByteCount."""
        if self.random.random() < 0.5:
            message[HEADER_SIZE] = self.random.choice((0, 1, message[HEADER_SIZE] ^ 1, self.random.randrange(256)))
            return
        at = HEADER_SIZE + 1 + 2 * message[HEADER_SIZE]
        if at + 2 <= len(message):
            self._put(message, at, self.random.choice((0, 1, 0xFFFF, len(message), self.random.randrange(1 << 16))), 2)

    def _cut(self, message: bytearray) -> None:
        del message[self._place(message) :]

    def _range(self, message: bytearray) -> tuple[int, int]:
        start = self._place(message)
        return start, min(len(message), start + self.random.choice((1, 2, 3, 4, 8, 30)))

    def _remove(self, message: bytearray) -> None:
        start, stop = self._range(message)
        del message[start:stop]

    def _repeat(self, message: bytearray) -> None:
        start, stop = self._range(message)
        message[start:start] = message[start:stop] * self.random.choice((1, 1, 2, 100))

    def _insert(self, message: bytearray) -> None:
        at = self._place(message)
        message[at:at] = self.random.randbytes(self.random.choice((1, 2, 4, 60)))

    def _splice(self, message: bytearray) -> None:
        """The rest of another message instead of our own."""
        if self._others:
            other = self.random.choice(self._others)
            at = self._place(message)
            message[at:] = other[min(at, len(other)) :]

    def _header(self, message: bytearray) -> None:
        """Flags, status, identifiers; not the command and the protocol's name."""
        message[self.random.randrange(5, HEADER_SIZE)] = self.random.randrange(256)
