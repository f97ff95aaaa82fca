"""What may be known of names and files without asking, and why it may be believed or not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smbfuse.core.server.attrs import Attributes


@dataclass(slots=True)
class Listing:
    """A whole directory as the server listed it. Keys are names as the server compares them.

    Attributes of None: the server has to be asked. We changed the file since, or others did, or its name.
    """

    entries: dict[str, tuple[str, Attributes | None]]
    until: float


@dataclass(slots=True)
class Absent:
    """A name that is known not to be there, until when."""

    until: float


@dataclass(slots=True)
class Present:
    """A name that is known to be there: how it is spelled, what it is, until when."""

    name: str
    attrs: Attributes
    until: float


class Why(Enum):
    """Why something may be served without asking, or not; the values are for people."""

    PROMISED = "the server promises that no file has two names"
    YOUNG = "it is younger than actimeo"
    NEVER_ASKED = "never asked"
    EXPIRED = "its time is over"
    CHANGED = "we changed it"
    TOLD = "the server told of a change"


SERVED: Final = frozenset({Why.PROMISED, Why.YOUNG})
