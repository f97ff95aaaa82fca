"""A call that may end in a UsageError, as a value that tests can look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from smbfuse.errors import UsageError

T = TypeVar("T")


class Line(str):
    """The text of a UsageError."""

    __slots__ = ()


def outcome(call: Callable[[], T]) -> T | Line:
    """What the call returns, or the line it was refused with. Other exceptions pass."""
    try:
        return call()
    except UsageError as error:
        return Line(error)
