"""Negotiate, log on, log off: what a connection knows once it may be used. [MS-CIFS] 3.2.4.2, [MS-SMB] 3.2.4.2.

The security policy is here: signing by the table of [MS-SMB] 3.2.4.2.4, no fallback to guest unseen, no logon weaker
than what was asked for.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from smbfuse.client.auth import authenticator
from smbfuse.client.clock import ServerClock
from smbfuse.client.connection import Connection
from smbfuse.client.limits import Limits
from smbfuse.client.transport import connect
from smbfuse.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    NotSupported,
    RemoteProtocolError,
    RequestTimeout,
)
from smbfuse.ntstatus import STATUS_MORE_PROCESSING_REQUIRED
from smbfuse.proto.signing import Signer
from smbfuse.wire.const import (
    CAP_DFS,
    CAP_EXTENDED_SECURITY,
    CAP_LARGE_FILES,
    CAP_LARGE_READX,
    CAP_LARGE_WRITEX,
    CAP_LEVEL_II_OPLOCKS,
    CAP_NT_SMBS,
    CAP_STATUS32,
    CAP_UNICODE,
    CAP_UNIX,
    NEGOTIATE_SECURITY_SIGNATURES_ENABLED,
    NEGOTIATE_SECURITY_SIGNATURES_REQUIRED,
    SMB_FLAGS2_EAS,
    SMB_FLAGS2_EXTENDED_SECURITY,
    SMB_FLAGS2_IS_LONG_NAME,
    SMB_FLAGS2_LONG_NAMES,
    SMB_FLAGS2_NT_STATUS,
    SMB_FLAGS2_SMB_SECURITY_SIGNATURE,
    SMB_FLAGS2_SMB_SECURITY_SIGNATURE_REQUIRED,
    SMB_FLAGS2_UNICODE,
    SMB_SETUP_GUEST,
)
from smbfuse.wire.setup import (
    NO_DIALECT,
    LogoffAndXRequest,
    NegotiateExtendedResponse,
    NegotiateNonExtendedResponse,
    NegotiateRefusal,
    NegotiateRequest,
    SessionSetupExtendedRequest,
    SessionSetupExtendedResponse,
)
from smbfuse.wire.text import filetime_to_ns

if TYPE_CHECKING:
    from smbfuse.client.auth import Authenticator
    from smbfuse.proto.events import Response
    from smbfuse.settings import ServerSettings

log: Final = logging.getLogger(__name__)

DIALECTS: Final = ("NT LM 0.12", "Samba")
"""The first is the one that is spoken. By the other Samba 3.0 knows a client that tells upper from lower case; it takes
those with extended security for Vista else, which does not, and rounds what files occupy up to 1 MiB for them.
"""
MAX_BUFFER: Final = 0xFFFF
"""Largest message that we take for a transaction; reads may be larger. The field has 16 bits."""
MAX_AT_ONCE: Final = 1024
"""Requests under way at most, whatever the server offers: each may have an answer of a megabyte."""
MAX_SETUP_ROUNDS: Final = 8

_FLAGS2: Final = (
    SMB_FLAGS2_LONG_NAMES
    | SMB_FLAGS2_EAS
    | SMB_FLAGS2_IS_LONG_NAME
    | SMB_FLAGS2_EXTENDED_SECURITY
    | SMB_FLAGS2_NT_STATUS
    | SMB_FLAGS2_UNICODE
)
_CAPABILITIES: Final = (
    CAP_UNICODE
    | CAP_LARGE_FILES
    | CAP_NT_SMBS
    | CAP_STATUS32
    | CAP_LEVEL_II_OPLOCKS
    | CAP_LARGE_READX
    | CAP_LARGE_WRITEX
    | CAP_EXTENDED_SECURITY
)


class Strength(NamedTuple):
    """How well a session is secured, where servers differ. Extended security and NTLMv2 every session has."""

    signing: bool


class Session:
    """A user logged on over a connection of its own."""

    def __init__(self, connection: Connection, settings: ServerSettings, at_least: Strength | None = None) -> None:
        """`at_least`: what the session that this one follows had. Who takes that away may be a man in the middle."""
        self.connection = connection
        self.settings = settings
        self.uid = 0
        self.logons = 0
        """How often the user was logged on: a session may expire and be renewed."""
        self._at_least = at_least or Strength(signing=False)
        self._server_token = b""
        self._renewing = trio.Lock()
        self.limits = Limits(0, 0, 1, False)
        self.clock = ServerClock()
        self.server_os = ""
        self.server_lan_manager = ""
        """NativeLanMan, what calls itself "Windows ..." only where it is; smbd calls itself Windows in `server_os`."""

    @property
    def unix(self) -> bool:
        """Whether UNIX extensions may be used: the server has them and the user did not forbid them."""
        return self.limits.has(CAP_UNIX) and self.settings.unix_extensions is not False

    @property
    def samba(self) -> tuple[int, ...] | None:
        """The version of a Samba server, as (3, 0); None: it is none, or does not say so."""
        match = re.match(r"Samba (\d+)\.(\d+)", self.server_lan_manager)
        return None if match is None else tuple(map(int, match.groups()))

    @property
    def strength(self) -> Strength:
        """What the sessions after this one must have, too."""
        return Strength(self.limits.signing)

    # --- negotiate

    async def negotiate(self) -> bytes:
        """Agree on the dialect; returns the server's first security token. Raises ConnectError, NotSupported."""
        engine = self.connection.engine
        engine.flags2 = _FLAGS2 | SMB_FLAGS2_SMB_SECURITY_SIGNATURE
        host = self.settings.host
        try:
            response = await self.connection.request(
                NegotiateRequest(dialects=DIALECTS), timeout=self.settings.connect_timeout
            )
        except ConnectionLost as exc:
            raise ConnectError(f"{host} does not speak SMB1 ({exc}); SMB1 may be switched off there") from None
        except RequestTimeout as exc:
            why = f"{host} takes connections, but does not speak SMB1 ({exc})"
            raise ConnectError(f"{why}; another port=? SMB1 may be switched off there") from None
        response.check()
        answer = response.members[0][1]
        if isinstance(answer, NegotiateRefusal) and answer.dialect_index == NO_DIALECT:
            raise NotSupported(f"{host} does not speak SMB1's NT LM 0.12 dialect; SMB1 may be switched off there")
        if isinstance(answer, NegotiateNonExtendedResponse):
            raise NotSupported(f"{host} knows only logons without extended security, which smbfuse does not do yet")
        if not isinstance(answer, NegotiateExtendedResponse) or answer.dialect_index != 0:
            raise NotSupported(f"{host} answers with a dialect of SMB1 that was not offered to it")
        if not answer.capabilities & CAP_UNICODE:
            raise NotSupported(f"{host} does not speak Unicode, which smbfuse cannot do without yet")
        self._settle(answer)
        return answer.security_blob

    def _settle(self, negotiated: NegotiateExtendedResponse) -> None:
        """Keep what the server said, and decide about signing by the table of [MS-SMB] 3.2.4.2.4."""
        server_signs = negotiated.security_mode & NEGOTIATE_SECURITY_SIGNATURES_ENABLED
        server_must = negotiated.security_mode & NEGOTIATE_SECURITY_SIGNATURES_REQUIRED
        if self.settings.require_signing and not (server_signs or server_must):
            raise AuthenticationError(
                f"{self.settings.host} does not sign messages, but the option sign (or sec=) demands it"
            )
        if self._at_least.signing and not (server_signs or server_must):
            raise AuthenticationError(
                f"{self.settings.host} signed messages before and does not any more: somebody may be in between"
            )
        self.limits = Limits(
            capabilities=negotiated.capabilities,
            max_buffer_size=max(negotiated.max_buffer_size, 1024),
            max_mpx_count=min(max(negotiated.max_mpx_count, 1), MAX_AT_ONCE),
            signing=bool(server_signs or server_must),
        )
        self.clock.shows(filetime_to_ns(negotiated.system_time))
        engine = self.connection.engine
        if not self.limits.signing:
            engine.flags2 &= ~SMB_FLAGS2_SMB_SECURITY_SIGNATURE
        elif self.settings.require_signing:
            engine.flags2 |= SMB_FLAGS2_SMB_SECURITY_SIGNATURE_REQUIRED
        self.connection.window.limit = self.limits.max_mpx_count

    # --- session setup

    async def log_on(self, server_token: bytes) -> None:
        """Session setup until the server is content. Raises AuthenticationError, StatusError."""
        self._server_token = server_token
        response, auth = await self._authenticate()
        self._begin_signing(response, auth.session_key)
        self.connection.settled = True

    async def renew(self, logons: int) -> None:
        """Log on once more under the same UID: the session, in which there were so many logons, has expired.

        Messages go on being signed with the first logon's key. [MS-SMB] 3.2.5.1, 3.2.4.2.4. Raises as `log_on`.
        """
        async with self._renewing:
            if self.logons == logons:
                uid = self.uid
                await self._authenticate()
                if self.uid != uid:
                    raise RemoteProtocolError("the server renews a session under another UID")

    async def _authenticate(self) -> tuple[Response, Authenticator]:
        """The exchange of tokens; returns the server's last answer."""
        auth = authenticator(self.settings.credentials, self.settings.host, self._server_token)
        token = auth.step(self._server_token)
        for _ in range(MAX_SETUP_ROUNDS):
            response = await self._setup(token or b"")
            body = response.body(SessionSetupExtendedResponse)
            self.uid = response.header.uid
            if response.status != STATUS_MORE_PROCESSING_REQUIRED:
                break
            token = auth.step(body.security_blob)
        else:
            raise RemoteProtocolError("the server wants to go on with the logon for ever")
        anonymous = self.settings.credentials.anonymous
        if body.action & SMB_SETUP_GUEST and not anonymous:
            raise AuthenticationError(
                f"{self.settings.host} does not know the user and lets in a guest; if that is enough, use -o guest "
                "and no username="
            )
        if body.security_blob:
            auth.step(body.security_blob)  # checks the server's part, where there is one
        self.server_os = body.native_os or ""
        self.server_lan_manager = body.native_lan_man or ""
        if auth.session_key is None and not anonymous:
            raise AuthenticationError(f"{self.settings.host} ends the logon before it has seen who we are")
        self.logons += 1
        return response, auth

    async def _setup(self, token: bytes) -> Response:
        response = await self.connection.request(
            SessionSetupExtendedRequest(
                max_buffer_size=MAX_BUFFER,
                max_mpx_count=self.limits.max_mpx_count,
                vc_number=1,
                capabilities=self._our_capabilities(),
                security_blob=token,
                native_os="Linux",
                native_lan_man="smbfuse",
            ),
            uid=self.uid,
            timeout=self.settings.connect_timeout * 2,
        )
        if response.status != STATUS_MORE_PROCESSING_REQUIRED:
            response.check()
        return response

    def _our_capabilities(self) -> int:
        ours = _CAPABILITIES | (self.limits.capabilities & CAP_DFS)
        return ours | CAP_UNIX if self.unix else ours

    def _begin_signing(self, response: Response, key: bytes | None) -> None:
        """Sign from the next message on. The logon's last answer bears number 1 already: it proves the server's key."""
        if not self.limits.signing:
            return
        if key is None:
            if self.settings.require_signing:
                raise AuthenticationError("an anonymous logon has no key to sign with, but signing is demanded")
            self.connection.engine.flags2 &= ~SMB_FLAGS2_SMB_SECURITY_SIGNATURE
            self.limits = replace(self.limits, signing=False)
            return
        signer = Signer(key, next_number=2)
        if not signer.valid(response.raw, 1):
            raise AuthenticationError(f"the signature of {self.settings.host} is wrong: it does not know the password")
        self.connection.engine.signer = signer

    async def log_off(self) -> None:
        """End the session. Errors do not matter any more."""
        await self.connection.request(LogoffAndXRequest(), uid=self.uid, timeout=2.0, urgent=True)


async def open_session(settings: ServerSettings, nursery: trio.Nursery, at_least: Strength | None = None) -> Session:
    """Connect and log on; the connection's tasks run in `nursery` until it is closed or lost.

    Raises ConnectError, AuthenticationError, NotSupported, StatusError, fit to be shown; nothing is left behind then.
    """
    transport = await connect(settings.host, settings.address, settings.port, settings.connect_timeout)
    connection = Connection(
        transport,
        pid=os.getpid(),
        timeout=settings.request_timeout,
        echo_interval=settings.echo_interval,
        patient=settings.hard,
    )
    await nursery.start(connection.run)
    session = Session(connection, settings, at_least)
    done = False
    try:
        await session.log_on(await session.negotiate())
        done = True
    finally:
        if not done:
            connection.fail(ConnectionLost("the logon failed"))
    return session
