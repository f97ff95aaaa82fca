"""Numbers of the UNIX extensions that no file has: the kernel's form takes what is made of them."""

from __future__ import annotations

import pytest

from smbfuse.core.calls.vfs import Entry
from smbfuse.core.server.attrs import LARGEST, OwnerPolicy, from_unix
from smbfuse.fuse.operations import attributes
from smbfuse.settings import MountSettings
from smbfuse.wire.unixlevels import FileUnixBasic


@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF])
def test_every_field_at_its_ends(byte: int) -> None:
    told = from_unix(FileUnixBasic.unpack(bytes([byte]) * FileUnixBasic.SIZE))
    policy = OwnerPolicy.of(MountSettings(source="//fake/share", mountpoint="/mnt"))
    shown = attributes(Entry(2, policy.stat(told), 0.0, 0.0))
    assert 0 <= shown.st_size <= LARGEST
    assert shown.st_nlink >= 1
    assert shown.st_mode & 0o170000
