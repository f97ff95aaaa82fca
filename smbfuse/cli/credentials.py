"""Who logs on, gathered from options, credentials file, environment and terminal: mount.cifs's rules, minus its traps.

An option beats the file, the file beats the environment, and the terminal is asked last, and only if somebody sits at
it. Passwords live in `Secret` from the moment they are read, and no message of this module shows any part of one.
"""

from __future__ import annotations

import getpass
import os
import pwd
import stat
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from smbfuse.cli import values
from smbfuse.errors import UsageError
from smbfuse.settings import Credentials, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smbfuse.cli.options import Choices

FILE_LIMIT: Final = 64 << 10
"""Bytes. A credentials file larger than this is something else."""

_HINT_NO_TERMINAL: Final = (
    "no password given, and no terminal to ask on: use -o credentials=FILE (or guest, or the variable PASSWD_FILE)"
)


@dataclass(slots=True)
class FileContents:
    """What a credentials file says; None: nothing. Warnings are lines for the user."""

    username: str | None = None
    password: Secret | None = None
    domain: str | None = None
    warnings: list[str] = field(default_factory=list)


class UserName(NamedTuple):
    """The parts of what was given as user."""

    name: str
    domain: str | None = None
    password: Secret | None = None


def split_username(text: str) -> UserName:
    """Take `DOMAIN/name%password` or `DOMAIN\\name%password` apart; all but the name may be missing.

    `name@REALM` stays whole: the server knows what to do with it.
    """
    account, percent, password = text.partition("%")
    slash = min((account.index(char) for char in "/\\" if char in account), default=-1)
    domain = account[:slash] if slash >= 0 else None
    return UserName(account[slash + 1 :], domain, Secret(password) if percent else None)


def read_file(path: str) -> FileContents:
    """Read a credentials file. Raises UsageError with one line, which tells the line's number but not its text."""
    contents = FileContents()
    try:
        # O_NONBLOCK: a FIFO without a writer must not keep us for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(FILE_LIMIT + 1) or b""
    except OSError as error:
        raise UsageError(f"credentials file {path}: {error.strerror}; {_file_hint(error)}") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        contents.warnings.append(f"credentials file {path} is open to everybody: type chmod 600 {path}")
    if len(data) > FILE_LIMIT:
        raise UsageError(f"credentials file {path} is larger than {FILE_LIMIT >> 10} KiB: is it the right one?")
    _parse_file(path, data, contents)
    return contents


def _file_hint(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "create it with lines username=..., password=..., domain=..."
        case PermissionError():
            return "it must be readable by who mounts"
        case _:
            return "give the name of a readable file"


_KEYS: Final[tuple[tuple[str, str, values.Value], ...]] = (
    ("user", "username", values.USERNAME),
    ("pass", "password", values.PASSWORD),
    ("dom", "domain", values.DOMAIN),
    ("workgroup", "domain", values.DOMAIN),
)
"""Beginning of the key -> attribute of FileContents, kind. mount.cifs compares no more than the beginning."""


def _parse_file(path: str, data: bytes, contents: FileContents) -> None:
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        line = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        key, equals, text = line.lstrip(" \t").partition("=")
        if not line.strip() or key.startswith(("#", ";")):
            continue
        where = f"credentials file {path}, line {number}"
        if not equals:
            raise UsageError(f"{where}: there is no '='; write username=..., password=... or domain=...")
        _set(contents, where, key, text)


def _set(contents: FileContents, where: str, key: str, text: str) -> None:
    for beginning, target, value in _KEYS:
        if key.lower().startswith(beginning):
            try:
                setattr(contents, target, value.parse(text))
            except values.Refusal as error:
                raise UsageError(f"{where}: the {target} {error}") from None
            return
    contents.warnings.append(f"{where} is passed over: the key is none of username, password, domain")


def password_from_environment(environ: Mapping[str, str]) -> Secret | None:
    """What PASSWD, PASSWD_FD or PASSWD_FILE gives, in this order. Raises UsageError."""
    for variable, read in _VARIABLES.items():
        if (text := environ.get(variable)) is not None:
            try:
                return read(text)
            except values.Refusal as error:
                raise UsageError(f"password from {variable} {error}") from None
            except ValueError:
                raise UsageError(f"{variable} must be the number of an open file descriptor") from None
    return None


def _read_password_file(path: str) -> Secret:
    try:
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise values.Refusal(f"cannot be read: {path}: {error.strerror}") from None
    except ValueError:
        raise values.Refusal("cannot be read: there is a NUL in the file's name") from None
    try:
        return values.read_password(descriptor)
    finally:
        os.close(descriptor)


_VARIABLES: Final[dict[str, Callable[[str], Secret]]] = {
    "PASSWD": lambda text: Secret(values.password_text(text)),
    "PASSWD_FD": lambda text: values.read_password(values.descriptor_number(text)),
    "PASSWD_FILE": _read_password_file,
}


def login_name(environ: Mapping[str, str]) -> str:
    """USER, else the name of the real user id, else nothing."""
    if name := environ.get("USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def ask(prompt: str) -> Secret:
    """Ask on the terminal. Raises UsageError where there is none, and KeyboardInterrupt on Ctrl-C."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(_HINT_NO_TERMINAL)
    try:
        return Secret(values.password_text(getpass.getpass(prompt)))
    except EOFError:
        raise UsageError("no password given") from None
    except UnicodeDecodeError:
        raise UsageError("the password is not UTF-8, as the terminal sends it; use -o credentials=FILE") from None
    except values.Refusal as error:
        raise UsageError(f"the password {error}") from None


def gather(
    choices: Choices,
    host: str,
    environ: Mapping[str, str],
    *,
    url_user: str | None = None,
    asker: Callable[[str], Secret] = ask,
    warn: Callable[[str], None] = lambda _: None,
) -> Credentials:
    """Who logs on at `host`. Raises UsageError. May ask the user at the terminal; `warn` gets lines before that."""
    contents = read_file(choices.credentials) if choices.credentials is not None else FileContents()
    for line in contents.warnings:
        warn(line)
    if choices.security.anonymous:
        return Credentials(anonymous=True)
    given = _first(choices.username, url_user, contents.username)
    if choices.guest and not given:
        return Credentials(anonymous=True)
    # mount.cifs's page says that USER may hold user%password; its code takes USER as it is, and so does ours.
    user = _checked(UserName(login_name(environ)) if given is None else split_username(given))
    domain = _first(choices.domain, user.domain, contents.domain, "") or ""
    password = choices.password or user.password or contents.password
    if choices.guest:
        password = Secret("")
    if password is None:
        password = password_from_environment(environ) or asker(_prompt(user.name, domain, host))
    return Credentials(username=user.name, password=password, domain=domain)


def _prompt(name: str, domain: str, host: str) -> str:
    return f"Password for {domain}\\{name} on {host}: " if domain else f"Password for {name} on {host}: "


def _first(*texts: str | None) -> str | None:
    return next((text for text in texts if text is not None), None)


def _checked(user: UserName) -> UserName:
    """The same, within mount.cifs's limits. Names may come from the environment, so bytes are looked at, too."""
    if not user.name:
        raise UsageError("the user's name is empty: give username=NAME, or guest")
    try:
        values.limited(values.USER_LIMIT)(user.name)
        values.limited(values.DOMAIN_LIMIT)(user.domain or "")
        values.password_text(user.password.reveal() if user.password else "")
    except values.Refusal as error:
        raise UsageError(f"the user's name {error}; give username= and domain= apart") from None
    return user
