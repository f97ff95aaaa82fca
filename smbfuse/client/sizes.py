"""How much one READ_ANDX or WRITE_ANDX may carry. [MS-SMB] 2.2.4.5.2.1 (CAP_LARGE_READX, CAP_LARGE_WRITEX), 2.2.4.2.

A server that offers the UNIX extensions is Samba or follows it: unsigned, it answers reads of 1 MiB in one message,
signed of nearly 128 KiB, and takes writes of that size (4.17). Windows stays at 64 KiB. With signing the document binds
us to MaxBufferSize; Samba takes more all the same (cifs.ko relies on it, too), others if the user says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smbfuse.wire.const import CAP_LARGE_READX, CAP_LARGE_WRITEX, CAP_UNIX

if TYPE_CHECKING:
    from smbfuse.client.limits import Limits
    from smbfuse.settings import ServerSettings

PAGE: Final = 4096
OVERHEAD: Final = 64
"""Header, words and pads around the data of a read answer or a write request: 60 to 64 bytes."""
UNIX_READ: Final = 1024 * 1024
UNIX_WRITE: Final = 31 * PAGE
"""The message stays below the 0x1FFFF bytes that smbd 4.17 takes, and gives when it signs."""
LARGE_READ: Final = 15 * PAGE
LARGE_WRITE: Final = 16 * PAGE


@dataclass(frozen=True, slots=True)
class TransferSizes:
    """Bytes of data per request at most."""

    read: int
    write: int

    @classmethod
    def of(cls, limits: Limits, settings: ServerSettings) -> TransferSizes:
        """What the negotiation and the options rsize, wsize allow."""
        buffer = max(limits.max_buffer_size - OVERHEAD, 512)
        small = buffer // PAGE * PAGE or buffer
        return cls(
            _most(limits, CAP_LARGE_READX, UNIX_READ, max(LARGE_READ, small), small, settings.rsize),
            _most(limits, CAP_LARGE_WRITEX, UNIX_WRITE, max(LARGE_WRITE, small), small, settings.wsize),
        )


def _most(limits: Limits, capability: int, unix: int, large: int, small: int, asked: int | None) -> int:
    if not limits.has(capability):
        usual = possible = small
    elif limits.has(CAP_UNIX):
        usual = possible = min(unix, UNIX_WRITE) if limits.signing else unix
    else:
        usual, possible = small if limits.signing else large, large
    return usual if asked is None else min(asked, possible)


def pieces(size: int, most: int) -> list[tuple[int, int]]:
    """(start, length) of as few pieces as `most` allows, of about the same size and on page boundaries where it can."""
    count = -(-size // most)
    if count <= 1:
        return [(0, size)]
    step = -(-size // count)
    rounded = -(-step // PAGE) * PAGE
    step = rounded if rounded <= most else most
    return [(start, min(step, size - start)) for start in range(0, size, step)]
