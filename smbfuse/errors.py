"""Every exception of smbfuse, on one screen. The class says who must act; the text says what happened.

Floor 0: no state, no imports from the package but the table of status codes. Statuses travel unmapped up to floor 4,
where `core/errno_map.py` turns them into errno values.
"""

from __future__ import annotations

from smbfuse.ntstatus import status_name


class SmbfuseError(Exception):
    """Base of all errors that smbfuse raises on purpose."""


class WireError(SmbfuseError, ValueError):
    """The bytes do not hold the structure they should."""


class ProtocolError(SmbfuseError):
    """Somebody broke the rules of the protocol."""


class RemoteProtocolError(ProtocolError):
    """The server did. The connection cannot be trusted any more and is closed."""


class LocalProtocolError(ProtocolError):
    """We did: a bug of ours, never an answer to what the server sent."""


class StatusError(SmbfuseError):
    """The server answered a request with an error status."""

    def __init__(self, status: int, command: str = "", subject: str = "") -> None:
        self.status = status
        self.command = command
        self.subject = subject
        super().__init__(status, command, subject)

    def __str__(self) -> str:
        where = " ".join(part for part in (self.command, self.subject) if part)
        return f"{where}: {status_name(self.status)}" if where else status_name(self.status)


class ConnectError(SmbfuseError):
    """No connection could be made: name, address, port, or not an SMB1 server at all."""


class ConnectionLost(SmbfuseError):
    """The connection that a request was sent on (or should have been) is gone."""

    sent = False
    """Whether the request had gone out: then the server may have done what it asks for."""


class NotConnected(ConnectionLost):
    """The same, and no other took its place within the time that there is for that."""


class ConnectionRefused(NotConnected):
    """The same, and the server will not have us again: to wait does not help, somebody has to see to it."""


class RequestTimeout(SmbfuseError):
    """The server did not answer a request before its deadline."""


class AnswerSpoiled(SmbfuseError):
    """The server's answer to a chain has lost the header that tells whose it is, and will not come again."""


class AuthenticationError(SmbfuseError):
    """The server refused the user, or would only have us in a way that the security policy forbids."""


class NotSupported(SmbfuseError):
    """The server lacks what the operation needs, and there is no other way."""


class UsageError(SmbfuseError):
    """The command line, the environment or a file of the user's is wrong. The text is one line for the user."""


class MountError(SmbfuseError):
    """The mount itself failed (mountpoint, FUSE). The text is one line for the user."""
