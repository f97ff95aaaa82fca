"""How the fake server lets clients in: nearly anybody (the default), or one user with a password, by bare NTLMSSP."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import spnego
from spnego.exceptions import SpnegoError

from smbfuse import ntstatus as nt
from smbfuse.wire.codec import U16, U32, Raw8, Rest, WireStruct, wire
from tests.fakes.volume import Refusal

NTLM_SIGNATURE = b"NTLMSSP\0"
_AUTHENTICATE = 3
_FLAGS_AT = 60
_ANONYMOUS = 0x0000_0800
_CHALLENGE_FLAGS = 0xE28A_8215
"""Unicode, NTLM, extended session security, target info, key exchange, 128 and 56 bits: what smbd offers."""


class Step(NamedTuple):
    """What the server says to a client's token."""

    token: bytes
    done: bool
    session_key: bytes | None = None


class Acceptor(Protocol):
    """The server's side of one logon."""

    def step(self, token: bytes) -> Step:
        """The answer to a token. Raises Refusal."""


@wire
class NtlmChallenge(WireStruct):
    """CHALLENGE_MESSAGE: [MS-NLMP] 2.2.1.2. `payload` is the target info, an AV_PAIR list."""

    signature: Raw8 = NTLM_SIGNATURE
    message_type: U32 = 2
    target_name_len: U16 = 0
    target_name_max: U16 = 0
    target_name_offset: U32 = 56
    flags: U32 = _CHALLENGE_FLAGS
    challenge: Raw8
    reserved: Raw8 = bytes(8)
    target_info_len: U16
    target_info_max: U16
    target_info_offset: U32 = 56
    version: Raw8 = bytes(8)
    payload: Rest


def _av_pair(number: int, value: bytes) -> bytes:
    return number.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value


class Anybody:
    """Lets in whoever comes. Knows no password, and so has no session key."""

    def step(self, token: bytes) -> Step:
        if not token.startswith(NTLM_SIGNATURE):
            raise Refusal(nt.STATUS_INVALID_PARAMETER)
        if _is_authenticate(token):
            return Step(b"", True)
        name = "FAKE".encode("utf-16-le")
        info = _av_pair(2, name) + _av_pair(1, name) + _av_pair(0, b"")
        challenge = NtlmChallenge(
            challenge=b"\x01\x23\x45\x67\x89\xab\xcd\xef",
            target_info_len=len(info),
            target_info_max=len(info),
            payload=info,
        )
        return Step(challenge.pack(), False)


class OneUser:
    """Lets in one user, with the right password, by pyspnego's acceptor; and the anonymous one, without a key."""

    def __init__(self, user: str, password: str) -> None:
        self._line = f":{user}:{password}\n"
        with self._known_users():
            self._context = spnego.server(protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)

    def step(self, token: bytes) -> Step:
        if _is_authenticate(token) and _flags(token) & _ANONYMOUS:
            return Step(b"", True)
        try:
            with self._known_users():
                answer = self._context.step(token)
        except SpnegoError:
            raise Refusal(nt.STATUS_LOGON_FAILURE) from None
        if not self._context.complete:
            return Step(answer or b"", False)
        return Step(answer or b"", True, self._context.session_key[:16])

    @contextmanager
    def _known_users(self) -> Iterator[None]:
        """The file that pyspnego reads users from, for as long as it may look."""
        with tempfile.TemporaryDirectory(prefix="smbfuse-fake-") as directory:
            path = Path(directory) / "users"
            path.touch(mode=0o600)
            path.write_text(self._line)
            with _environment("NTLM_USER_FILE", str(path)):
                yield


def _is_authenticate(token: bytes) -> bool:
    return int.from_bytes(token[8:12], "little") == _AUTHENTICATE


def _flags(token: bytes) -> int:
    return int.from_bytes(token[_FLAGS_AT : _FLAGS_AT + 4], "little")


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
