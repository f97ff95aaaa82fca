"""The arguments of the command `smbfuse`, taken apart and not yet understood. What mount(8) passes: mounthelper.py."""

from __future__ import annotations

import enum
import getopt
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smbfuse.cli.unc import looks_like_share
from smbfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT: Final = "o:fdvshV"
LONG: Final = ("help", "version")


class Action(enum.Enum):
    """What the user wants."""

    MOUNT = enum.auto()
    CHECK = enum.auto()
    """Look at everything that needs no network, and mount nothing (mount -f)."""
    HELP = enum.auto()
    VERSION = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One command line."""

    action: Action
    source: str = ""
    mountpoint: str = ""
    options: tuple[str, ...] = ()
    """The arguments of each `-o`, in order."""
    foreground: bool = False
    debug: bool = False
    verbose: bool = False
    sloppy: bool = False
    rest: tuple[str, ...] = ()
    """All arguments but those of `-o`, ready to be given to the same program again."""


@dataclass(frozen=True, slots=True)
class Words:
    """Arguments after getopt: switches in order, values of `-o`, the rest."""

    switches: tuple[tuple[str, str], ...]
    options: tuple[str, ...]
    operands: tuple[str, ...]

    @property
    def rest(self) -> tuple[str, ...]:
        """All but `-o`, in a form that getopt reads the same way."""
        switches = [word for name, value in self.switches for word in ((name, value) if value else (name,))]
        return (*switches, "--", *self.operands)

    def has(self, *names: str) -> bool:
        """Whether one of these switches was given."""
        return any(name in names for name, _ in self.switches)


def read_words(arguments: Sequence[str], short: str, long: Sequence[str] = LONG) -> Words:
    """Switches may stand anywhere, and end at `--`. Raises UsageError."""
    try:
        pairs, operands = getopt.gnu_getopt(list(arguments), short, list(long))
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}; smbfuse --help lists what there is") from None
    options = tuple(value for name, value in pairs if name == "-o")
    switches = tuple((name, value) for name, value in pairs if name != "-o")
    return Words(switches, options, tuple(operands))


def information(words: Words) -> Invocation | None:
    """The invocation if only help or the version is wanted."""
    if words.has("-h", "--help"):
        return Invocation(action=Action.HELP)
    if words.has("-V", "--version"):
        return Invocation(action=Action.VERSION)
    return None


def operands(words: Words) -> tuple[str, str]:
    """Share and mountpoint, the latter absolute. Raises UsageError."""
    match words.operands:
        case (source, mountpoint) if looks_like_share(mountpoint) and not looks_like_share(source):
            raise UsageError(f"the share comes first, then the mountpoint: smbfuse {mountpoint} {source}")
        case (source, mountpoint) if mountpoint and "\0" not in mountpoint:
            return source, os.path.abspath(mountpoint)
        case () | ("",):
            missing = "which share, and where? Write"
        case (_,):
            missing = "where to? Write"
        case (_, _):
            missing = "the mountpoint is empty; write"
        case _:
            missing = "one share and one mountpoint, please (quote names with blanks); write"
    raise UsageError(f"{missing} smbfuse //server/share MOUNTPOINT [-o OPTIONS]; smbfuse --help tells more")


def parse_command(arguments: Sequence[str]) -> Invocation:
    """The command line of `smbfuse`, without the program's name. Raises UsageError."""
    words = read_words(arguments, SHORT)
    if (asked := information(words)) is not None:
        return asked
    source, mountpoint = operands(words)
    return Invocation(
        action=Action.MOUNT,
        source=source,
        mountpoint=mountpoint,
        options=words.options,
        foreground=words.has("-f"),
        debug=words.has("-d"),
        verbose=words.has("-v"),
        sloppy=words.has("-s"),
        rest=words.rest,
    )
