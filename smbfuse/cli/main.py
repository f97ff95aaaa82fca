"""The command: from arguments to a running mount, and from whatever goes wrong to one line and an exit status.

The order matters. Passwords leave argv first; then everything that needs no network is checked, so that a typing error
costs no waiting; then the password is asked for; then comes the fork; only after it trio and pyfuse3 are loaded.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Final, cast

from smbfuse import __version__
from smbfuse.cli import credentials, logs, options
from smbfuse.cli.arguments import Action, Invocation, parse_command
from smbfuse.cli.assemble import Caller, allows_others, mount_settings, overruled, server_settings, share_of
from smbfuse.cli.daemon import Outcome, descriptor_of, in_background
from smbfuse.cli.exitcode import ExitCode
from smbfuse.cli.hiding import forbid_dumps, start_again
from smbfuse.cli.messages import explain
from smbfuse.cli.mounthelper import is_helper, parse_helper
from smbfuse.cli.mountpoint import FuseMissing, check_allow_other, check_fuse, check_mountpoint, clear_dead_mounts
from smbfuse.cli.usage import help_text
from smbfuse.errors import ConnectError, ConnectionLost, MountError, RequestTimeout, SmbfuseError, UsageError
from smbfuse.settings import Credentials, MountSettings, Secret, ServerSettings

Serve = Callable[[ServerSettings, MountSettings, Callable[[], None]], Awaitable[None]]
"""The type of smbfuse.fuse.session.serve."""

_UNREACHABLE: Final = (ConnectError, ConnectionLost, RequestTimeout)


def main(serve: Serve | None = None) -> int:
    """The entry point: reads sys.argv and the environment, returns the exit status.

    `serve` stands in for smbfuse.fuse.session.serve; tests of the process use it.
    """
    program = os.path.basename(sys.argv[0]) if is_helper(sys.argv[0]) else "smbfuse"
    _open_standard_files()
    try:
        outcome = _run(serve)
    except UsageError as error:
        outcome = Outcome(ExitCode.USAGE, str(error))
    except FuseMissing as error:
        outcome = Outcome(ExitCode.SYSTEM, str(error))
    except MountError as error:
        outcome = Outcome(ExitCode.MOUNT, str(error))
    except OSError as error:
        outcome = Outcome(ExitCode.SYSTEM, f"this machine refuses: {error}")
    except KeyboardInterrupt:
        outcome = Outcome(ExitCode.INTERRUPTED, "interrupted, nothing is mounted")
    if outcome.line:
        _say(f"{program}: {outcome.line}")
    return outcome.status


def _open_standard_files() -> None:
    """Nothing of ours may get the numbers that everybody writes messages to. Init scripts leave some of them closed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _run(serve: Serve | None) -> Outcome:
    parse = parse_helper if is_helper(sys.argv[0]) else parse_command
    invocation = parse(sys.argv[1:])
    match invocation.action:
        case Action.HELP:
            _show(help_text())
        case Action.VERSION:
            _show(f"smbfuse {__version__}\n")
        case Action.CHECK:
            prepare(invocation, Caller.current(), asker=lambda _: Credentials().password)
        case Action.MOUNT:
            start_again(_interpreter_head(), invocation.rest, invocation.options)
            return _mount(invocation, serve)
    return Outcome(ExitCode.OK)


def _show(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _interpreter_head() -> list[str]:
    """How this program was started, up to its own arguments: python, its switches, the script or -m."""
    own = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - own]]


def prepare(
    invocation: Invocation, caller: Caller, *, asker: Callable[[str], Secret] = credentials.ask
) -> tuple[ServerSettings, MountSettings, options.Choices]:
    """Check everything that needs no network. May ask for a password. Raises UsageError and MountError."""
    choices = options.parse(invocation.options, sloppy=invocation.sloppy)
    choices.debug = choices.debug or invocation.debug
    unc = share_of(invocation.source, choices)
    mount = mount_settings(invocation.source, invocation.mountpoint, unc, choices, caller)
    check_mountpoint(mount.mountpoint, is_root=caller.is_root)
    check_fuse(is_root=caller.is_root)
    if allows_others(choices, caller) or "allow_root" in mount.fuse_options:
        check_allow_other(is_root=caller.is_root)
    for line in (*choices.warnings, *overruled(choices, caller)):
        _warn(line)
    who = credentials.gather(choices, unc.host, os.environ, url_user=unc.user, asker=asker, warn=_warn)
    return server_settings(unc, choices, who), mount, choices


def _mount(invocation: Invocation, serve: Serve | None) -> Outcome:
    forbid_dumps()
    caller = Caller.current()
    server, mount, choices = prepare(invocation, caller)
    clear_dead_mounts(mount.mountpoint, is_root=caller.is_root)
    check_mountpoint(mount.mountpoint, is_root=caller.is_root)  # what was below
    logs.to_stderr(logs.level_of(debug=choices.debug, verbose=invocation.verbose))

    def job(ready: Callable[[], None]) -> Outcome:
        return _serve_until_unmounted(server, mount, choices, ready, serve)

    if invocation.foreground or choices.debug:
        return job(lambda: None)
    kept = descriptor_of(mount.mountpoint)
    return in_background(job, keep=() if kept is None else (kept,))


def _serve_until_unmounted(
    server: ServerSettings,
    mount: MountSettings,
    choices: options.Choices,
    ready: Callable[[], None],
    serve: Serve | None,
) -> Outcome:
    """Connect, mount, serve. The only place that runs trio; it and pyfuse3 are loaded here, after the fork."""
    try:
        import trio

        serving = serve or _load_serve()
    except ImportError as error:
        return Outcome(ExitCode.SYSTEM, f"smbfuse is not installed completely ({error}); install it again")
    try:
        trio.run(serving, server, mount, ready)
    except SmbfuseError as error:
        return failure(error, server, nofail=choices.nofail)
    except BaseExceptionGroup as group:
        return _outcome_of(group)
    except OSError as error:
        return Outcome(ExitCode.SYSTEM, f"this machine refuses: {error}")
    return Outcome(ExitCode.OK)


def _outcome_of(group: BaseExceptionGroup[BaseException]) -> Outcome:
    """Of what trio hands out in groups: Ctrl-C, and what this machine refuses. All else is a bug, and raised."""
    if group.subgroup(KeyboardInterrupt) is not None:
        raise KeyboardInterrupt
    refused, others = group.split(OSError)
    if refused is None or others is not None:
        raise group
    error: BaseException = refused
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return Outcome(ExitCode.SYSTEM, f"this machine refuses: {error}")


def _load_serve() -> Serve:
    return cast("Serve", importlib.import_module("smbfuse.fuse.session").serve)


def failure(error: SmbfuseError, server: ServerSettings, *, nofail: bool) -> Outcome:
    """Line and exit status for an attempt that failed. `nofail` forgives that the server cannot be reached."""
    line = explain(error, server)
    if nofail and isinstance(error, _UNREACHABLE):
        return Outcome(ExitCode.OK, f"{line} (nofail: going on without)")
    return Outcome(ExitCode.USAGE if isinstance(error, UsageError) else ExitCode.MOUNT, line)


def _warn(line: str) -> None:
    _say(f"smbfuse: warning: {line}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
