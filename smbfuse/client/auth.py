"""Security blobs: NTLMv2 inside SPNEGO by pyspnego, and the anonymous logon that it lacks. [MS-SMB] 3.2.4.2.4.

Never weaker than NTLMv2: what pyspnego would read from the environment about LM and NTLMv1 is overruled here. No
password appears in a repr, a log line or an exception of this module.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, SupportsIndex

import spnego
from spnego.exceptions import SpnegoError

from smbfuse.errors import AuthenticationError
from smbfuse.wire import ntlmssp, spnego_token
from smbfuse.wire.ntlmssp import NtlmAuthenticate, NtlmNegotiate
from smbfuse.wire.text import upper_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smbfuse.settings import Credentials

_LM_COMPAT: Final = "LM_COMPAT_LEVEL"
NTLMV2_ONLY: Final = "3"
"""[MS-NLMP] LmCompatibilityLevel 3: send NTLMv2 responses only."""
_NONSENSE: Final = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, struct.error)
"""What pyspnego 0.12 raises, besides its own errors, where a token is cut short or holds what it should not."""


class Authenticator(Protocol):
    """Gives the client's token for each token of the server's, and the session key at the end."""

    def step(self, token: bytes | None) -> bytes | None:
        """The next token to send, or None when there is nothing more to say. Raises AuthenticationError."""

    @property
    def session_key(self) -> bytes | None:
        """16 bytes for the MAC key; None if the logon has none (anonymous)."""


class _User(str):
    """`DOMAIN\\name`, or the name: its response is made of the name in upper case, which pyspnego takes from here.

    Python's own makes two letters of one (SS of the German sharp s), which is not what a server does.
    """

    def upper(self) -> str:
        return upper_case(self)

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return [_User(part) for part in super().split(sep, maxsplit)]


class SpnegoAuthenticator:
    """NTLMv2, in SPNEGO where the server's first token is one, else as bare NTLMSSP."""

    def __init__(self, credentials: Credentials, host: str, server_token: bytes) -> None:
        user = credentials.username
        if credentials.domain:
            user = f"{credentials.domain}\\{user}"
        with _ntlmv2_only():
            try:
                self._context = spnego.client(
                    _User(user),
                    credentials.password.reveal(),
                    hostname=host,
                    service="cifs",
                    protocol="negotiate" if server_token else "ntlm",
                    options=spnego.NegotiateOptions.use_negotiate if server_token else spnego.NegotiateOptions.use_ntlm,
                )
            except SpnegoError as exc:
                raise AuthenticationError(f"cannot log on as {user}: {exc.message}") from None

    def step(self, token: bytes | None) -> bytes | None:
        if self._context.complete:
            return None
        try:
            answer = self._context.step(token or None)
        except SpnegoError as exc:
            raise AuthenticationError(f"the server's logon token makes no sense: {exc.message}") from None
        except _NONSENSE as exc:
            raise AuthenticationError(f"the server's logon token makes no sense ({type(exc).__name__})") from None
        return spnego_token.bare(answer) if answer and not ntlmssp.tells_time(token or b"") else answer

    @property
    def session_key(self) -> bytes | None:
        return self._context.session_key[:16].ljust(16, b"\0") if self._context.complete else None


class AnonymousAuthenticator:
    """A logon without a user, as bare NTLMSSP. [MS-NLMP] 3.2.5.1.2: an empty NT response, one zero byte for LM."""

    session_key: bytes | None = None

    def __init__(self) -> None:
        self._tokens = [NtlmNegotiate().pack(), NtlmAuthenticate.anonymous().pack()]

    def step(self, token: bytes | None) -> bytes | None:
        return self._tokens.pop(0) if self._tokens else None


def authenticator(credentials: Credentials, host: str, server_token: bytes) -> Authenticator:
    """The one that fits these credentials."""
    if credentials.anonymous:
        return AnonymousAuthenticator()
    return SpnegoAuthenticator(credentials, host, server_token)


@contextmanager
def _ntlmv2_only() -> Iterator[None]:
    before = os.environ.get(_LM_COMPAT)
    os.environ[_LM_COMPAT] = NTLMV2_ONLY
    try:
        yield
    finally:
        if before is None:
            del os.environ[_LM_COMPAT]
        else:
            os.environ[_LM_COMPAT] = before
