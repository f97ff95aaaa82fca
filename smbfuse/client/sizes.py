"""How much one READ_ANDX or WRITE_ANDX may carry. [MS-SMB] 2.2.4.5.2.1 (CAP_LARGE_READX, CAP_LARGE_WRITEX), 2.2.4.2.

A server that offers the UNIX extensions is Samba or follows it: unsigned, it answers reads of 1 MiB in one message and
takes writes of nearly 128 KiB (4.17). Windows stays at 64 KiB. With signing the document binds us to MaxBufferSize.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smbfuse.wire.const import CAP_LARGE_READX, CAP_LARGE_WRITEX, CAP_UNIX

if TYPE_CHECKING:
    from smbfuse.client.session import Limits
    from smbfuse.settings import ServerSettings

PAGE: Final = 4096
OVERHEAD: Final = 64
"""Header, words and pads around the data of a read answer or a write request: 60 to 64 bytes."""
UNIX_READ: Final = 1024 * 1024
UNIX_WRITE: Final = 31 * PAGE
"""The message stays below the 0x1FFFF bytes that smbd 4.17 takes."""
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
        read = _large(limits, CAP_LARGE_READX, UNIX_READ, LARGE_READ, small)
        write = _large(limits, CAP_LARGE_WRITEX, UNIX_WRITE, LARGE_WRITE, small)
        return cls(min(read, settings.rsize or read), min(write, settings.wsize or write))


def _large(limits: Limits, capability: int, unix: int, large: int, small: int) -> int:
    if limits.signing or not limits.has(capability):
        return small
    return unix if limits.has(CAP_UNIX) else max(large, small)


def pieces(size: int, most: int) -> list[tuple[int, int]]:
    """(start, length) of as few pieces as `most` allows, of about the same size and on page boundaries where it can."""
    count = -(-size // most)
    if count <= 1:
        return [(0, size)]
    step = -(-size // count)
    rounded = -(-step // PAGE) * PAGE
    step = rounded if rounded <= most else most
    return [(start, min(step, size - start)) for start in range(0, size, step)]
