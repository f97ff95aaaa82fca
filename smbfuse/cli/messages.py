"""One line for each thing that can go wrong with a mount: what is wrong, then what to do about it.

Errors of the floors below come in as exceptions and leave as text; nothing is decided here but words. No line ever
holds a password, because no exception and no `ServerSettings` shows one.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from smbfuse import ntstatus
from smbfuse.cli.unc import list_shares
from smbfuse.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    MountError,
    ProtocolError,
    RequestTimeout,
    SmbfuseError,
    StatusError,
    UsageError,
    WireError,
)
from smbfuse.ntstatus import status_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smbfuse.settings import ServerSettings

_REFUSED: Final = (
    "the server refuses user {user}: wrong name or password; check username=, domain= and the credentials file"
)
_BUSY: Final = "the server has no room for another session; try again later, or end others there"
_NO_SHARE: Final = "the server has no share '{share}'; to list those it has, type {list_shares}"
_NO_DIRECTORY: Final = "there is no directory '{path}' on share '{share}'; mount the share and look"
_DOMAIN: Final = "the server cannot ask its domain about user {user}; try domain={host} for an account of its own"

STATUS_LINES: Final[dict[int, str]] = {
    ntstatus.STATUS_LOGON_FAILURE: _REFUSED,
    ntstatus.STATUS_WRONG_PASSWORD: _REFUSED,
    ntstatus.STATUS_NO_SUCH_USER: _REFUSED,
    ntstatus.STATUS_ACCESS_DENIED: "the server does not let user {user} in; ask who runs it, or give another username=",
    ntstatus.STATUS_NETWORK_ACCESS_DENIED: (
        "the server does not let user {user} in over the network; ask who runs it, or give another username="
    ),
    ntstatus.STATUS_ACCOUNT_DISABLED: "the account of user {user} is disabled on the server; have it enabled there",
    ntstatus.STATUS_ACCOUNT_EXPIRED: "the account of user {user} has expired on the server; have it renewed there",
    ntstatus.STATUS_ACCOUNT_LOCKED_OUT: (
        "the account of user {user} is locked after wrong passwords; wait, or have it unlocked on the server"
    ),
    ntstatus.STATUS_ACCOUNT_RESTRICTION: (
        "the server restricts the account of user {user} (an empty password is a common cause); give it a password"
    ),
    ntstatus.STATUS_INVALID_LOGON_HOURS: "user {user} may not log on at this time of day; the server's account says so",
    ntstatus.STATUS_INVALID_WORKSTATION: "user {user} may not log on from this machine; the server's account says so",
    ntstatus.STATUS_LOGON_TYPE_NOT_GRANTED: "user {user} may not log on over the network; have that allowed there",
    ntstatus.STATUS_PASSWORD_EXPIRED: "the password of user {user} has expired; change it on the server, then mount",
    ntstatus.STATUS_PASSWORD_MUST_CHANGE: (
        "user {user} must change the password first; log on at the server or a Windows machine to do so"
    ),
    ntstatus.STATUS_NO_LOGON_SERVERS: _DOMAIN,
    ntstatus.STATUS_TRUSTED_DOMAIN_FAILURE: _DOMAIN,
    ntstatus.STATUS_TRUSTED_RELATIONSHIP_FAILURE: _DOMAIN,
    ntstatus.STATUS_NO_TRUST_SAM_ACCOUNT: _DOMAIN,
    ntstatus.STATUS_BAD_NETWORK_NAME: _NO_SHARE,
    ntstatus.STATUS_BAD_NETWORK_PATH: _NO_SHARE,
    ntstatus.STATUS_BAD_DEVICE_TYPE: "'{share}' is not a share of files (a printer or a pipe?); name another",
    ntstatus.STATUS_OBJECT_NAME_NOT_FOUND: _NO_DIRECTORY,
    ntstatus.STATUS_OBJECT_PATH_NOT_FOUND: _NO_DIRECTORY,
    ntstatus.STATUS_NOT_A_DIRECTORY: "'{path}' is a file of share '{share}'; name the directory that it is in",
    ntstatus.STATUS_PATH_NOT_COVERED: (
        "share '{share}' only refers to another server (DFS), which this version does not follow; mount that one"
    ),
    ntstatus.STATUS_REQUEST_NOT_ACCEPTED: _BUSY,
    ntstatus.STATUS_TOO_MANY_SESSIONS: _BUSY,
    ntstatus.STATUS_REMOTE_SESSION_LIMIT: _BUSY,
    ntstatus.STATUS_INSUFF_SERVER_RESOURCES: (
        "the server is out of memory for sessions; restart its file service, or try again later"
    ),
}

_SOCKET_LINES: Final[dict[int, str]] = {
    errno.ECONNREFUSED: "{host} refuses connections to port {port}; is file sharing switched on there? Another port=?",
    errno.EHOSTUNREACH: "{host} cannot be reached; is it switched on and on the network? Try ping {host}",
    errno.ENETUNREACH: "there is no way to {host} from this machine; check this machine's network",
    errno.EHOSTDOWN: "{host} is down; is it switched on and on the network? Try ping {host}",
    errno.ETIMEDOUT: "{host} does not answer on port {port}; is it switched on, is a firewall between?",
    errno.ECONNRESET: "{host} hangs up on port {port}; is that a file server, and does it speak SMB1?",
}


def explain(error: SmbfuseError, server: ServerSettings) -> str:
    """The line for an error that ended the attempt to mount `server`, without a newline."""
    if isinstance(error, UsageError | MountError):
        return _one_line(str(error))
    template = _template(error)
    path = error.subject.replace("\\", "/").strip("/") if isinstance(error, StatusError) else ""
    line = template.format(error=_plain(error), path=path, **_words(server))
    return _one_line(f"//{server.host}/{server.share}: {line}")


def _words(server: ServerSettings) -> dict[str, object]:
    user = server.credentials.username
    return {
        "host": server.host if server.address is None else f"{server.host} ({server.address})",
        "share": server.share,
        "port": server.port,
        "user": "(none)" if server.credentials.anonymous else _named(user),
        "list_shares": list_shares(server.address or server.host, user, server.port),
    }


def _named(user: str) -> str:
    """In quotes if something is there that nobody would see."""
    return user if user == user.strip() else f"'{user}'"


def _template(error: SmbfuseError) -> str:
    """Words for the error, with the fields of `_words` and `{error}`."""
    match error:
        case StatusError():
            return STATUS_LINES.get(error.status, f"the server answers {status_name(error.status)}; {_DEBUG}")
        case AuthenticationError():
            return _authentication(error)
        case ConnectError():
            return _connect(error)
        case RequestTimeout():
            return "{host} does not answer in time; is it overloaded? Try again, or raise request_timeout="
        case ConnectionLost():
            return "the connection to {host} was lost: {error}; try again"
        case ProtocolError() | WireError():
            return "what {host} sends on port {port} is not SMB1 as it should be ({error}); is that a file server?"
        case _:
            return "{error}"


_DEBUG: Final = "try again with -d to see the dialogue"


def _authentication(error: AuthenticationError) -> str:
    """Without a status of the server's the policy was offended, and the error itself says how."""
    if isinstance(error.__cause__, StatusError):
        return _template(error.__cause__)
    return "{error}"


def _connect(error: ConnectError) -> str:
    """The operating system's reason if we have words for it; else the error's text, with advice if it holds none."""
    for reason in _behind(error):
        match reason:
            case socket.gaierror():
                return "there is no host '{host}' to be found; check the spelling, or give ip=ADDRESS"
            case TimeoutError():
                return _SOCKET_LINES[errno.ETIMEDOUT]
            case OSError(errno=number) if number in _SOCKET_LINES:
                return _SOCKET_LINES[number]
    return "{error}" if ";" in str(error) else "{error}; is it switched on, is a firewall between?"


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that led to this one, nearest first; those that `from None` hides from tracebacks, too."""
    waiting: deque[BaseException | None] = deque([error])
    seen: set[int] = set()
    while waiting:
        found = waiting.popleft()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += (found.__cause__, found.__context__)
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions


def _plain(error: SmbfuseError) -> str:
    """The error's own text, and the class where it has none."""
    return str(error) or type(error).__name__


def _one_line(text: str) -> str:
    """Nothing that a terminal or a log would take for more than one line: parts come from the server."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
