"""Under what circumstances something is measured: settings of mount and server, the network between, the amounts.

No measuring here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """What differs between mounts of one table: UNIX extensions or not, a server that signs or one that does not."""

    name: str
    unix: bool
    signed: bool


UNIX: Final = Setting("unix", unix=True, signed=False)
NOUNIX: Final = Setting("nounix", unix=False, signed=False)
UNIX_SIGNED: Final = Setting("unix, signed", unix=True, signed=True)
NOUNIX_SIGNED: Final = Setting("nounix, signed", unix=False, signed=True)
SETTINGS: Final = (UNIX, NOUNIX, UNIX_SIGNED, NOUNIX_SIGNED)
UNSIGNED: Final = (UNIX, NOUNIX)
SIGNED: Final = (UNIX_SIGNED, NOUNIX_SIGNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything. `big` is in bytes, `age` in seconds, the others are counts."""

    big: int = 256 * MIB
    random_reads: int = 2000
    files: int = 1000
    stats: int = 2000
    entries: int = 10_000
    walked: int = 2000
    copied: int = 1000
    appends: int = 2000
    remembered: int = 100_000
    age: float = 2.5
    """How long small files have lain there that are read: what people read was not written just now, and a client that
    knows that may save a wait."""


@dataclass(frozen=True, slots=True)
class Link:
    """What lies between client and server. `delay` is the round trip in seconds; None: nothing at all.

    `peers` is for those who are so slow there that the amounts of `sizes` would take hours; rates are compared.
    """

    name: str
    delay: float | None
    settings: tuple[Setting, ...]
    sizes: Sizes
    peers: Sizes

    def quick(self) -> Link:
        """The same with small amounts: shows that it works, proves nothing."""
        return replace(self, sizes=QUICK, peers=QUICK if self.delay is None else QUICK_FAR)


QUICK: Final = Sizes(
    big=32 * MIB,
    random_reads=200,
    files=40,
    stats=100,
    entries=300,
    walked=100,
    copied=20,
    appends=200,
    remembered=2000,
    age=0,
)
QUICK_FAR: Final = Sizes(
    big=MIB, random_reads=20, files=5, stats=20, entries=100, walked=20, copied=5, appends=20, age=0
)

_FAR: Final = Sizes(random_reads=400, files=200, copied=100)
_FAR_PEERS: Final = Sizes(
    big=2 * MIB, random_reads=40, files=20, stats=40, entries=2000, walked=40, copied=10, appends=40
)

LOOPBACK: Final = Link("loopback", None, SETTINGS, Sizes(), Sizes())
FAR: Final = Link("20 ms", 0.020, UNSIGNED, _FAR, _FAR_PEERS)
LINKS: Final = (LOOPBACK, FAR)
