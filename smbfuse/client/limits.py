"""What a server can do, as it said when the dialect was negotiated. [MS-CIFS] 2.2.4.52.2."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the negotiation settled about sizes and abilities."""

    capabilities: int
    max_buffer_size: int
    """Bytes of the largest message the server takes, header included."""
    max_mpx_count: int
    signing: bool

    def has(self, capability: int) -> bool:
        """Whether the server has this capability (CAP_...)."""
        return bool(self.capabilities & capability)
