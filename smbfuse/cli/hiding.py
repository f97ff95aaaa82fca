"""Keeps passwords out of sight: of `ps`, /proc/PID/cmdline, /proc/PID/environ, core dumps and debuggers.

The kernel shows the memory in which it once put arguments and environment. Overwriting that memory depends on where it
lies and on nobody having copied it; replacing the process does not. So a command line with a password in it is executed
again without: the password waits in a pipe, and `password_fd=` or PASSWD_FD names the descriptor. What cannot be
helped are the milliseconds until then, and the same text in the argv of a shell or mount(8) that called us.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from smbfuse.cli.options import SECRETS, UNWANTED_SECRETS, split
from smbfuse.cli.values import PASSWORD_LIMIT
from smbfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_USER_NAMES: Final = frozenset({"username", "user"})
_PLACE: Final = "password_fd={}"
_PR_SET_DUMPABLE: Final = 4


def take_secrets(options: Sequence[str]) -> tuple[list[str], str | None]:
    """The options with a place for a descriptor (`{}`) instead of the password, and that password.

    Of several passwords the last one wins, and its place is where it stood, so that it still wins against a
    `password_fd=` before it and loses against one after it.
    """
    cleaned: list[str] = []
    secret: str | None = None
    for token in split(options):
        name, _, text = token.partition("=")
        if name in UNWANTED_SECRETS:
            cleaned.append(name)  # to be refused, without what nobody may see
            continue
        if name in SECRETS and token != name:
            secret, kept = text, []
        elif name in _USER_NAMES and "%" in text:
            user, _, secret = text.partition("%")
            kept = [f"{name}={user}"]
        else:
            cleaned.append(token)
            continue
        cleaned = [*(other for other in cleaned if other != _PLACE), *kept, _PLACE]
    return cleaned, secret


def hidden(options: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], dict[str, str], str] | None:
    """Options and environment to start again with, still with `{}` for the descriptor, and the password to send.

    None: there is nothing to hide.
    """
    cleaned, secret = take_secrets(options)
    variables = dict(environ)
    from_environment = variables.pop("PASSWD", None)
    if secret is not None:
        return cleaned, variables, secret
    if from_environment is not None:
        return cleaned, variables | {"PASSWD_FD": "{}"}, from_environment
    return None


def start_again(head: Sequence[str], tail: Sequence[str], options: Sequence[str]) -> None:
    """Execute `head -o OPTIONS tail` in this process's place if there is a password to hide; else return.

    `head` is the interpreter with its arguments and the program's name, `tail` all of the program's arguments that
    are not options of the mount. Raises UsageError.
    """
    if (replacement := hidden(options, os.environ)) is None:
        return
    cleaned, environ, secret = replacement
    _execute(head, tail, cleaned, environ, secret)


def _execute(
    head: Sequence[str], tail: Sequence[str], options: Sequence[str], environ: dict[str, str], secret: str
) -> NoReturn:
    data = os.fsencode(secret)
    if len(data) > 4 * PASSWORD_LIMIT or b"\n" in data:
        raise UsageError(f"the password is longer than {PASSWORD_LIMIT} characters, or not one line")
    descriptor = str(_pipe_with(data))
    text = ",".join(f"password_fd={descriptor}" if token == _PLACE else token for token in options)
    if "PASSWD" not in environ and environ.get("PASSWD_FD") == "{}":
        environ["PASSWD_FD"] = descriptor
    arguments = [*head, *(["-o", text] if text else []), *tail]
    os.execve(sys.executable, arguments, environ)  # noqa: S606 - no shell is the point


def _pipe_with(data: bytes) -> int:
    """The reading end of a pipe that holds the data and outlives an exec."""
    reading, writing = os.pipe()
    os.write(writing, data)  # far below a pipe's capacity, so neither waits nor is cut
    os.close(writing)
    os.set_inheritable(reading, True)
    return reading


def forbid_dumps() -> None:
    """No core dumps, and no reading of our memory by the user's other programs: it holds the password."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A core dump that goes to a program (core_pattern) ignores the limit; this flag covers that, and ptrace.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
