"""The same program as a helper of mount(8): `mount.smbfuse SPEC DIR [-sfnv] [-N ns] [-o opts] [-t type.subtype]`.

The letters are mount(8)'s: `-f` is fake here, not foreground. Called through mount.fuse instead, smbfuse is given the
command's own form, with `dev,suid` added, and needs nothing of this.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from smbfuse.cli.arguments import Action, Invocation, information, operands, read_words
from smbfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT: Final = "o:sfnvN:t:hV"
_TYPES: Final = frozenset({"smbfuse", "fuse.smbfuse", "fuse3.smbfuse", "fuse"})


def is_helper(program: str) -> bool:
    """Whether this name of the program (argv[0]) says that mount(8) calls."""
    return os.path.basename(program).startswith("mount.")


def parse_helper(arguments: Sequence[str]) -> Invocation:
    """What mount(8) passes, without the program's name. Raises UsageError."""
    words = read_words(arguments, SHORT)
    if (asked := information(words)) is not None:
        return asked
    switches = dict(words.switches)
    if "-N" in switches:
        raise UsageError("cannot mount into another namespace (-N); type nsenter --mount=FILE mount ... instead")
    if switches.get("-t", "smbfuse") not in _TYPES:
        raise UsageError(f"cannot mount type '{switches['-t']}'; the type is smbfuse")
    source, mountpoint = operands(words)
    return Invocation(
        action=Action.CHECK if words.has("-f") else Action.MOUNT,
        source=source,
        mountpoint=mountpoint,
        options=words.options,
        verbose=words.has("-v"),
        sloppy=words.has("-s"),
        rest=words.rest,
    )
