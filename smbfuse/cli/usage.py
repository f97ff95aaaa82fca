"""The text of --help, made of the option table."""

from __future__ import annotations

import textwrap
from typing import Final

from smbfuse.cli.options import Verdict, names_with, supported

_HEAD: Final = """\
Usage: smbfuse //SERVER/SHARE[/DIR] MOUNTPOINT [-o OPTION[,OPTION...]] [switches]

Mounts a share of an SMB1 (CIFS, NT LM 0.12) server. To unmount: umount MOUNTPOINT,
as a user fusermount3 -u MOUNTPOINT. The share may also be written \\\\SERVER\\SHARE
(in quotes) or smb://[USER@]SERVER[:PORT]/SHARE.

  -o OPTIONS     as below; the last one of two counts
  -f             stay in the foreground, log to the terminal
  -d             the same, and log each request
  -v             log more
  -s             pass over unknown options
  -h, --help     show this
  -V, --version  show the version

As mount.smbfuse (mount -t smbfuse, fstab), -f means: check everything, mount nothing.

Options (names are mount.cifs's):
"""
_TAIL: Final = "The manual is smbfuse(1), for fstab mount.smbfuse(8).\n"
_COLUMN: Final = 25
_WIDTH: Final = 92


def help_text() -> str:
    """The whole text, with a newline at the end."""
    rows = "".join(_row(option.synopsis, option.text) for option in supported())
    return "\n".join((_HEAD + rows, *(_names(verdict) for verdict in list(Verdict)[1:]), _TAIL))


def _row(synopsis: str, text: str) -> str:
    gap = " " * (_COLUMN - len(synopsis) - 2) if len(synopsis) < _COLUMN - 2 else f"\n{' ' * _COLUMN}"
    return f"  {synopsis}{gap}{text}\n"


def _names(verdict: Verdict) -> str:
    """Names that need no words each."""
    names = ", ".join([*names_with(verdict), *(["x-..."] if verdict is Verdict.IGNORE else [])])
    return (
        f"{verdict.value.capitalize()}:\n"
        + textwrap.fill(names, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        + "\n"
    )
