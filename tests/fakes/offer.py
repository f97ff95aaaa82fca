"""What a fake server claims to be: every number it says of itself, in one place for tests to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from smbfuse.wire.const import (
    CAP_EXTENDED_SECURITY,
    CAP_LARGE_FILES,
    CAP_LARGE_READX,
    CAP_LARGE_WRITEX,
    CAP_LEVEL_II_OPLOCKS,
    CAP_NT_FIND,
    CAP_NT_SMBS,
    CAP_STATUS32,
    CAP_UNICODE,
    FILE_ALL_ACCESS,
    NEGOTIATE_ENCRYPT_PASSWORDS,
    NEGOTIATE_SECURITY_SIGNATURES_ENABLED,
    NEGOTIATE_SECURITY_SIGNATURES_REQUIRED,
    NEGOTIATE_USER_SECURITY,
    SMB_SUPPORT_SEARCH_BITS,
)
from tests.fakes.auth import Acceptor, Anybody

CAPABILITIES = (
    CAP_UNICODE
    | CAP_LARGE_FILES
    | CAP_NT_SMBS
    | CAP_STATUS32
    | CAP_LEVEL_II_OPLOCKS
    | CAP_NT_FIND
    | CAP_LARGE_READX
    | CAP_LARGE_WRITEX
    | CAP_EXTENDED_SECURITY
)
SECURITY = NEGOTIATE_USER_SECURITY | NEGOTIATE_ENCRYPT_PASSWORDS
SIGNING_ENABLED = SECURITY | NEGOTIATE_SECURITY_SIGNATURES_ENABLED
SIGNING_REQUIRED = SIGNING_ENABLED | NEGOTIATE_SECURITY_SIGNATURES_REQUIRED


@dataclass(kw_only=True)
class Offer:
    """Defaults are those of smbd 4.17 without its UNIX extensions, and unsigned."""

    security_mode: int = SECURITY
    capabilities: int = CAPABILITIES
    max_mpx_count: int = 50
    max_buffer_size: int = 16644
    optional_support: int = SMB_SUPPORT_SEARCH_BITS
    """Set SMB_UNIQUE_FILE_NAME here: smbd never does."""
    rights: int = FILE_ALL_ACCESS
    """What the user may do on the shares at most."""
    file_system: str = "NTFS"
    native_os: str = "Fake"
    guest: bool = False
    """Whether the session setup says that the user came in as a guest only."""
    acceptor: Callable[[], Acceptor] = field(default=Anybody)
    oplocks: bool = False
    """Whether opens get the oplock that they ask for. Nobody takes it back but a script."""
    numbers_in_opens: bool = True
    """Whether the answer to an open tells the file's number. smbd 4.17 says 0."""
