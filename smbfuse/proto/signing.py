"""Message signing: MD5 MACs over sequence numbers. [MS-CIFS] 3.1.4.1, 3.1.5.1, [MS-SMB] 3.1.4.1.

Numbers follow the order on the wire, so only the engine hands them out, at the moment in which a message is queued: a
message takes two (its own and its answer's), also one that gets no answer; only NT_CANCEL takes one. So the server
counts: [MS-CIFS] 3.3.5.2.3, and smbd 4.17 too.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING, Final

from smbfuse.wire.const import SMB_COM_NT_CANCEL
from smbfuse.wire.header import SIGNATURE_AT

if TYPE_CHECKING:
    from smbfuse.wire.codec import Buffer

_number: Final = struct.Struct("<II")
_AFTER: Final = SIGNATURE_AT + 8


class Signer:
    """Signs and checks messages with one MAC key, and counts the sequence numbers."""

    __slots__ = ("_keyed", "next_number")

    def __init__(self, mac_key: bytes, next_number: int) -> None:
        self._keyed = hashlib.md5(mac_key, usedforsecurity=False)
        self.next_number = next_number

    def __repr__(self) -> str:
        return f"Signer(next_number={self.next_number})"

    def take(self, command: int) -> int:
        """The number of the next message to be sent, which begins with this command."""
        number = self.next_number
        self.next_number += 1 if command == SMB_COM_NT_CANCEL else 2
        return number

    def sign(self, parts: list[Buffer], number: int) -> None:
        """Write the signature of the message `parts` (the first holds the header) into its header."""
        head = parts[0]
        if not isinstance(head, bytearray):
            raise TypeError("the part that holds the header must be writable")
        head[SIGNATURE_AT:_AFTER] = self._mac(parts, number)

    def valid(self, frame: Buffer, number: int) -> bool:
        """Whether the received message bears the right signature for this number."""
        return hmac.compare_digest(self._mac([frame], number), bytes(frame[SIGNATURE_AT:_AFTER]))

    def _mac(self, parts: list[Buffer], number: int) -> bytes:
        mac = self._keyed.copy()
        head = memoryview(parts[0])
        mac.update(head[:SIGNATURE_AT])
        mac.update(_number.pack(number & 0xFFFF_FFFF, 0))
        mac.update(head[_AFTER:])
        for part in parts[1:]:
            mac.update(part)
        return mac.digest()[:8]
