"""Where log records go: standard error as long as somebody may be looking, the system log afterwards."""

from __future__ import annotations

import logging
import logging.handlers
import os
from typing import Final

_SOCKET: Final = "/dev/log"
_ROOT: Final = logging.getLogger("smbfuse")


def level_of(*, debug: bool, verbose: bool) -> int:
    """The lowest level that is shown."""
    if debug:
        return logging.DEBUG
    return logging.INFO if verbose else logging.WARNING


def to_stderr(level: int) -> None:
    """Log to standard error, as a program in the foreground does."""
    _ROOT.setLevel(level)
    _use(logging.StreamHandler(), "smbfuse: %(levelname)s: %(message)s")


def to_syslog(socket: str = _SOCKET) -> None:
    """Log to the system log from now on, or nowhere if there is none (as in many containers)."""
    handler: logging.Handler
    try:
        handler = logging.handlers.SysLogHandler(socket, facility="daemon")
    except OSError:
        handler = logging.NullHandler()
    _use(handler, f"smbfuse[{os.getpid()}]: %(levelname)s: %(message)s")


def _use(handler: logging.Handler, form: str) -> None:
    handler.setFormatter(logging.Formatter(form))
    for old in _ROOT.handlers[:]:
        _ROOT.removeHandler(old)
        old.close()
    _ROOT.addHandler(handler)
    _ROOT.propagate = False
