"""What came out of the POSIX suite, and the table that the man page shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.mount.posix import Check
from tests.mount.stage import Kind


@dataclass
class Outcomes:
    """Of this run: which checks hold in which kind of mount."""

    holds: dict[tuple[int, str], bool] = field(default_factory=dict)

    def note(self, kind: Kind, check: Check, *, holds: bool) -> None:
        self.holds[id(kind), check.name] = holds
