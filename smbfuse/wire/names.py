"""Names of commands for messages to people."""

from __future__ import annotations

from typing import Final

from smbfuse.wire import const

_COMMANDS: Final = {
    value: name.removeprefix("SMB_COM_")
    for name, value in vars(const).items()
    if name.startswith("SMB_COM_") and isinstance(value, int)
}


def command_name(command: int) -> str:
    """`READ_ANDX` for 0x2E; the number itself where the command has no name here."""
    return _COMMANDS.get(command, f"command 0x{command:02X}")
