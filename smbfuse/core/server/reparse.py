"""Symbolic links as Windows keeps them: reparse points. They are read, and never made. [MS-FSCC] 2.1.2.4.

Other reparse points (mount points, deduplicated and offline files) the server follows by itself: they stay files and
directories.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from smbfuse.client.nttransact import nt_transact
from smbfuse.core.server.attrs import IO_REPARSE_TAG_SYMLINK
from smbfuse.errors import WireError
from smbfuse.wire.const import FSCTL_GET_REPARSE_POINT, NT_TRANSACT_IOCTL
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans2 import IoctlSetup

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile

_MAX: Final = 0x4000
"""MAXIMUM_REPARSE_DATA_BUFFER_SIZE, [MS-FSCC] 2.1.2."""
_BUFFER: Final = struct.Struct("<IHHHHHHI")
_RELATIVE: Final = 1
_NT_PREFIX: Final = "\\??\\"


async def read_target(file: OpenFile) -> str:
    """Where a link leads; `file` was opened with FILE_OPEN_REPARSE_POINT. StatusError, WireError."""
    setup = IoctlSetup(function_code=FSCTL_GET_REPARSE_POINT, fid=file.fid, is_fsctl=1).pack()
    return decode((await nt_transact(file, NT_TRANSACT_IOCTL, setup=setup, max_data=_MAX)).data)


def decode(data: bytes) -> str:
    """The target in a SYMBOLIC_LINK_REPARSE_DATA_BUFFER, with `/` between names. WireError if it is no such thing.

    A path with a drive is the server's own and leads nowhere here; it is shown as the server's user would see it.
    """
    if len(data) < _BUFFER.size:
        raise WireError("a reparse point is cut off")
    tag, length, _, there, there_size, shown, shown_size, flags = _BUFFER.unpack_from(data)
    names = data[_BUFFER.size : 8 + length]
    if (
        tag != IO_REPARSE_TAG_SYMLINK
        or len(data) < 8 + length
        or max(there + there_size, shown + shown_size) > len(names)
    ):
        raise WireError("a reparse point is no symbolic link, or a damaged one")
    use_shown = shown_size and not flags & _RELATIVE
    start, size = (shown, shown_size) if use_shown else (there, there_size)
    target = UNICODE.decode(names[start : start + size])
    if "\0" in target:
        raise WireError("a link's target holds a NUL")
    return target.removeprefix(_NT_PREFIX).replace("\\", "/")
