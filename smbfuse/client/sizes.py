"""How much one READ_ANDX or WRITE_ANDX may carry. [MS-SMB] 2.2.4.5.2.1 (CAP_LARGE_READX, CAP_LARGE_WRITEX), 2.2.4.2.

A server that offers the UNIX extensions is Samba or follows it: it answers reads of nearly 128 KiB in one message and
takes writes of that size, signed or not; and where it offers CIFS_UNIX_LARGE_READ_CAP (3.2 and later, unsigned), reads
of 1 MiB. Windows stays at 64 KiB. With signing the document binds us to MaxBufferSize; Samba takes more all the same
(cifs.ko relies on it, too), others if the user says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smbfuse.wire.const import CAP_LARGE_READX, CAP_LARGE_WRITEX, CAP_UNIX, CIFS_UNIX_LARGE_READ_CAP

if TYPE_CHECKING:
    from smbfuse.client.limits import Limits
    from smbfuse.settings import ServerSettings

PAGE: Final = 4096
OVERHEAD: Final = 64
"""Header, words and pads around the data of a read answer or a write request: 60 to 64 bytes."""
UNIX_READ: Final = 1024 * 1024
UNIX_USUAL: Final = 31 * PAGE
"""The message stays below the 0x1FFFF bytes that smbd 4.17 takes, and gives when it signs.

Samba 3.0 takes no more than one high bit of MaxCount for one, and so 128 KiB and 1 MiB for a read of nothing.
"""
LOW: Final = 0xFFFF
"""What the first 16 bits of a read's size can say."""
LARGE_READ: Final = 15 * PAGE
LARGE_WRITE: Final = 16 * PAGE


@dataclass(frozen=True, slots=True)
class TransferSizes:
    """Bytes of data per request at most."""

    read: int
    write: int

    @classmethod
    def of(cls, limits: Limits, settings: ServerSettings, unix_capabilities: int = 0) -> TransferSizes:
        """What the negotiation and the options rsize, wsize allow, and what the share offers (CIFS_UNIX_..._CAP)."""
        reads = UNIX_READ if unix_capabilities & CIFS_UNIX_LARGE_READ_CAP and not limits.signing else UNIX_USUAL
        buffer = max(limits.max_buffer_size - OVERHEAD, 512)
        small = buffer // PAGE * PAGE or buffer
        return cls(
            _most(limits, CAP_LARGE_READX, reads, max(LARGE_READ, small), small, settings.rsize),
            _most(limits, CAP_LARGE_WRITEX, UNIX_USUAL, max(LARGE_WRITE, small), small, settings.wsize),
        )


def _most(limits: Limits, capability: int, unix: int, large: int, small: int, asked: int | None) -> int:
    if not limits.has(capability):
        usual = possible = small
    elif limits.has(CAP_UNIX):
        usual = possible = unix
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
