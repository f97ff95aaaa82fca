"""Can anything be mounted there? Asked before the network is touched, so that the answer is quick.

Checks of this machine only; each line says what to type. They may be out of date by the time of the mount; then the
mount itself fails, less kindly.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from smbfuse.cli.daemon import descriptor_of
from smbfuse.errors import MountError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

DEVICE: Final = "/dev/fuse"
FUSE_CONF: Final = "/etc/fuse.conf"
_MOUNTS: Final = "/proc/self/mountinfo"
_OUR_TYPE: Final = "fuse.smbfuse"
_ANSWER: Final = 2.0
"""Seconds that a mount may take to show whether it is dead: then the kernel answers, at once."""
_UMOUNT: Final = 10.0
_MOST_DEAD: Final = 100
"""Dead mounts one upon the other."""
_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class FuseMissing(MountError):
    """This machine has no FUSE, or not for this user."""


def check_mountpoint(path: str, *, is_root: bool, mounts: str = _MOUNTS) -> None:
    """Raises MountError with one line if `path` (absolute) is no place to mount something on.

    Looks at the table of mounts first: a mount whose server is gone answers no other question. One whose process died
    is no hindrance, see `clear_dead_mounts`.
    """
    if descriptor_of(path) is not None:
        return
    real = _resolved(path, mounts)
    if real == "/":
        raise MountError("nobody could reach a share that is mounted on /: name another directory")
    if (source := mounted_by_us(real, mounts)) is not None:
        if is_dead(real):
            return
        raise MountError(f"{path} is busy: {source} is mounted there; to unmount it type {_umount(path, is_root)}")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise MountError(_stat_hint(path, error, is_root=is_root, mounts=mounts)) from None
    if not stat.S_ISDIR(mode):
        raise MountError(f"mountpoint {path} is not a directory: name another, or move it away and mkdir {path}")
    if not is_root and not os.access(path, os.W_OK | os.X_OK):
        raise MountError(f"mountpoint {path} is not yours to write: choose a directory of your own, or mount as root")


def clear_dead_mounts(path: str, *, is_root: bool, mounts: str = _MOUNTS) -> None:
    """Take away mounts of ours at `path` whose processes died: they only stand in the way. Raises MountError."""
    if descriptor_of(path) is not None:
        return
    real = _resolved(path, mounts)
    for _ in range(_MOST_DEAD):
        if mounted_by_us(real, mounts) is None or not is_dead(real):
            return
        command = ["umount", "-l", real] if is_root else ["fusermount3", "-u", "-z", real]
        done = subprocess.run(  # noqa: S603 - no shell, and a path that begins with a slash
            command, check=False, capture_output=True, text=True, timeout=_UMOUNT, env={**os.environ, "PATH": _path()}
        )
        if done.returncode:
            raise MountError(f"{path}: a dead mount cannot be taken away: {done.stderr.strip() or done.returncode}")


def _resolved(path: str, mounts: str) -> str:
    """Without symbolic links, also of the last component. Raises MountError where a mount on the way says nothing."""
    if mounted_by_us(path, mounts) is not None:
        return path  # that needs no answer of the mount's
    real = _in_time(lambda: os.path.realpath(path))
    if real is None:
        raise MountError(f"mountpoint {path}: no answer in {_ANSWER:g} s: unmount what hangs there, or name another")
    return real


def is_dead(path: str) -> bool:
    """Whether the process behind the FUSE mount at `path` is gone. One that takes its time to answer is not."""

    def look() -> int | None:
        try:
            os.statvfs(path)  # which the kernel never answers by itself
        except OSError as error:
            return error.errno
        return None

    return _in_time(look) in (errno.ENOTCONN, errno.ECONNABORTED)


def _in_time(look: Callable[[], T]) -> T | None:
    """What it returns, None if that takes too long: a thread that waits for a mount may do so for ever."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(look()), daemon=True)
    thread.start()
    thread.join(_ANSWER)
    return found[0] if found else None


def _path() -> str:
    """Where programs are; services are started without much of it."""
    return os.environ.get("PATH", "") + os.pathsep + _PATH


def _umount(path: str, is_root: bool) -> str:
    return f"umount {path}" if is_root else f"fusermount3 -u {path}"


def _stat_hint(path: str, error: OSError, *, is_root: bool, mounts: str) -> str:
    match error:
        case FileNotFoundError():
            return f"mountpoint {path} does not exist: type mkdir -p {path}"
        case NotADirectoryError():
            return f"mountpoint {path}: a part of this path is not a directory: name another"
        case PermissionError():
            return f"mountpoint {path} cannot be reached by you: choose a directory of your own, or mount as root"
        case _:
            dead = _mount_above(path, mounts) or path
            return f"mountpoint {path}: {error.strerror}; if a mount died there, type {_umount(dead, is_root)}"


def _mount_above(path: str, mounts: str) -> str | None:
    """The mount of ours that the path leads into."""
    with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
        points = [point for point, kind, _ in _parse(lines) if kind == _OUR_TYPE and f"{path}/".startswith(f"{point}/")]
    return max(points, key=len, default=None)


def mounted_by_us(path: str, mounts: str = _MOUNTS) -> str | None:
    """The source of the smbfuse mount that is on top at `path`, if it is one."""
    on_top = None
    with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
        for point, kind, source in _parse(lines):
            if point == path:
                on_top = source if kind == _OUR_TYPE else None
    return on_top


def _parse(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Mount point, type and source of each line of proc(5)'s mountinfo."""
    for line in lines:
        before, _, after = line.partition(" - ")
        kind, source, _ = after.split(" ", 2)
        yield _unescape(before.split(" ")[4]), kind, _unescape(source)


def _unescape(text: str) -> str:
    """The kernel writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def check_fuse(*, is_root: bool, device: str = DEVICE) -> None:
    """Raises FuseMissing with one line if this machine has no FUSE for this user."""
    if not os.path.exists(device):
        raise FuseMissing(f"there is no {device}: type modprobe fuse as root (in a container: pass the device in)")
    if not os.access(device, os.R_OK | os.W_OK):
        raise FuseMissing(f"{device} may not be opened by you: type chmod 666 {device} as root")
    if not is_root and shutil.which("fusermount3", path=_path()) is None:
        raise FuseMissing("there is no fusermount3, which mounts for users: install the package fuse3")


def check_allow_other(*, is_root: bool, conf: str = FUSE_CONF) -> None:
    """Raises MountError with one line if the user may not let others in."""
    if is_root:
        return
    try:
        with open(conf, encoding="utf-8", errors="replace") as lines:
            allowed = any(line.strip() == "user_allow_other" for line in lines)
    except FileNotFoundError:
        allowed = False
    if not allowed:
        raise MountError(f"allow_other is root's to permit: add the line user_allow_other to {conf}, or leave it out")
