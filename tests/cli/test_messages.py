"""Each error of the floors below becomes one line that names the server and says what to do."""

from __future__ import annotations

import errno
import socket

import pytest

from smbfuse import errors, ntstatus
from smbfuse.cli.exitcode import ExitCode
from smbfuse.cli.main import failure
from smbfuse.cli.messages import STATUS_LINES, explain
from smbfuse.settings import Credentials, Secret, ServerSettings

SERVER = ServerSettings(
    host="nas", share="data", port=4450, credentials=Credentials(username="joe", password=Secret("geheim"))
)


def caused(error: errors.SmbfuseError, cause: BaseException) -> errors.SmbfuseError:
    error.__cause__ = cause
    return error


def hidden(error: errors.SmbfuseError, near: OSError, far: OSError) -> errors.SmbfuseError:
    """As the client floor raises it: out of trio's group, `from None`."""
    near.__cause__ = ExceptionGroup("attempts", [far])
    try:
        try:
            raise near
        except OSError:
            raise error from None
    except errors.SmbfuseError as raised:
        return raised


CASES = [
    (errors.StatusError(ntstatus.STATUS_LOGON_FAILURE), "refuses user joe: wrong name or password"),
    (errors.StatusError(ntstatus.STATUS_BAD_NETWORK_NAME), "no share 'data'; to list those it has, type smbclient"),
    (errors.StatusError(ntstatus.STATUS_ACCOUNT_LOCKED_OUT), "is locked after wrong passwords"),
    (errors.StatusError(0xC0FFEE00), "the server answers 0xC0FFEE00; try again with -d"),
    (
        caused(errors.AuthenticationError("no"), errors.StatusError(ntstatus.STATUS_PASSWORD_EXPIRED)),
        "the password of user joe has expired",
    ),
    (errors.AuthenticationError("it would have us as guest"), "//nas/data: it would have us as guest"),
    (hidden(errors.ConnectError("x"), OSError("all failed"), OSError(errno.EHOSTUNREACH, "x")), "Try ping nas"),
    (errors.ConnectError("nas port 445 does not answer within 10 s"), "within 10 s; is it switched on"),
    (errors.ConnectError("no SMB1; ask"), "//nas/data: no SMB1; ask"),
    (caused(errors.ConnectError("x"), socket.gaierror(-2, "unknown")), "no host 'nas' to be found; check the spelling"),
    (
        caused(errors.ConnectError("x"), ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
        "nas refuses connections to port 4450",
    ),
    (caused(errors.ConnectError("x"), TimeoutError()), "does not answer on port 4450"),
    (caused(errors.ConnectError("x"), OSError(errno.EHOSTUNREACH, "x")), "Try ping nas"),
    (errors.ConnectError("the server speaks no SMB1"), "the server speaks no SMB1"),
    (errors.RequestTimeout("x"), "does not answer in time"),
    (errors.ConnectionLost("end of stream"), "was lost: end of stream"),
    (errors.NotSupported("UNIX extensions {host}"), "//nas/data: UNIX extensions {host}"),
    (errors.RemoteProtocolError("bad\nheader\x1b"), "is not SMB1 as it should be (bad header?)"),
    (errors.WireError(""), "(WireError)"),
]


@pytest.mark.parametrize(("error", "text"), CASES)
def test_line(error: errors.SmbfuseError, text: str) -> None:
    line = explain(error, SERVER)
    assert line.startswith("//nas/data: ")
    assert text in line
    assert line.isprintable()
    assert "geheim" not in line


@pytest.mark.parametrize("status", STATUS_LINES, ids=ntstatus.status_name)
@pytest.mark.parametrize("anonymous", [True, False])
def test_every_status_line_can_be_filled_in_and_says_what_to_do(status: int, anonymous: bool) -> None:
    server = ServerSettings(host="nas", share="data", credentials=Credentials(anonymous=anonymous), address="10.0.0.7")
    line = explain(errors.StatusError(status, "TREE_CONNECT_ANDX"), server)
    assert line.isprintable()
    assert "{" not in line
    assert any(mark in line for mark in ";(")


@pytest.mark.parametrize("error", [errors.MountError("/m is busy"), errors.UsageError("no")])
def test_errors_that_are_lines_already_stay_as_they_are(error: errors.SmbfuseError) -> None:
    assert explain(error, SERVER) == str(error)


def test_nofail_forgives_only_a_server_that_cannot_be_reached() -> None:
    assert failure(errors.ConnectError("x"), SERVER, nofail=True).status == ExitCode.OK
    assert "x" in failure(errors.ConnectError("x"), SERVER, nofail=True).line
    assert failure(errors.ConnectError("x"), SERVER, nofail=False).status == ExitCode.MOUNT
    refused = errors.StatusError(ntstatus.STATUS_LOGON_FAILURE)
    assert failure(refused, SERVER, nofail=True).status == ExitCode.MOUNT
