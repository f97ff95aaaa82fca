"""What is known not to hold on a mount, and why; the reasons stand in the man page too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from tests.programs.stage import Setting


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something does not hold, and in which settings that is one."""

    text: str
    applies: Callable[[Setting], bool] = lambda setting: setting.server is not None


MODES: Final = Reason(
    "Without the UNIX extensions a server keeps no modes but the write bit of files; dynperm remembers them.",
    lambda setting: not setting.modes,
)
LINKS: Final = Reason(
    "Without the UNIX extensions there are symbolic links with the option mfsymlinks only.",
    lambda setting: not setting.symlinks,
)
NODES: Final = Reason(
    "Without the UNIX extensions there are no FIFOs, sockets and device nodes.", lambda setting: not setting.unix
)
CASE: Final = Reason("Without the UNIX extensions a name is found in any case.", lambda setting: not setting.unix)
LINK_TIMES: Final = Reason(
    "With the UNIX extensions smbd does not set the times of symbolic links, though it says that it did.",
    lambda setting: setting.server is not None and setting.unix,
)
XATTRS: Final = Reason(
    "A server's extended attributes are user.* only, and none is empty: SMB takes that for a removal."
)
FIEMAP: Final = Reason("The kernel asks no FUSE file system for the places of extents (FS_IOC_FIEMAP).")
SLOW: Final = Reason(
    "Where the server sets no space aside fallocate writes zeroes, and takes so long that a signal can interrupt it."
)


@dataclass(frozen=True, slots=True)
class Known:
    """Tests of a program that fail or are left out for a reason. All but the reason are patterns of fnmatch."""

    reason: Reason
    program: str
    test: str = "*"
    text: str = "*"
    """What is said of the failure."""

    def covers(self, setting: Setting, program: str, test: str, text: str) -> bool:
        """Whether this is such a test."""
        return (
            self.reason.applies(setting)
            and fnmatchcase(program, self.program)
            and fnmatchcase(test, self.test)
            and fnmatchcase(text, self.text)
        )


KNOWN: Final = (
    # CPython's tests look first whether the file system has what they need, and say so where it has not.
    Known(MODES, "test_*", text="requires working os.chmod()"),
    Known(MODES, "test_os", text="No support for S_ISGID dir mode."),
    Known(LINKS, "test_*", text="*symlink implementation"),
    Known(LINKS, "test_os", text="*symlink support"),
    Known(LINKS, "test_os", text="cannot create symbolic link"),
    Known(NODES, "test_*", text="*mkfifo(): * Operation not permitted"),
    Known(NODES, "test_*", text="cannot bind Unix socket: * Operation not permitted"),
    Known(XATTRS, "test_*", text="no non-broken extended attribute support"),
    # Others just try, and compare modes.
    Known(MODES, "test_os", "*.MakedirTests.test_mode"),
    Known(MODES, "test_posix", "*.test_chmod_dir_fd"),
    Known(MODES, "test_pathlib", "*.test_mkdir_parents"),
    Known(MODES, "test_pathlib", "*.test_*_mode"),
    Known(MODES, "test_tarfile", "*.test_file_mode"),
    Known(MODES, "test_mailbox", "*perm*"),
    Known(LINKS, "test_posix", "*link_dir_fd", "PermissionError*symlink*"),
    Known(NODES, "test_tarfile", "*.test_pipe"),
    Known(CASE, "test_pathlib", "*.PosixPathTest.test_*glob"),
    Known(LINKS, "tools", "venv, compileall", "*Operation not permitted: 'lib' -> *"),
    Known(LINK_TIMES, "copies", "times of symbolic links"),
    Known(MODES, "stress-*", "access"),
    Known(LINKS, "stress-*", "symlink", "*not allowed on the filesystem*"),
    Known(SLOW, "stress-*", "iomix", "*fallocate failed, errno=4 *"),
    Known(FIEMAP, "stress-*", "fiemap", "*not supported on the file system*"),
)


def reason(setting: Setting, program: str, test: str, text: str) -> str | None:
    """Why this is so; None: nobody knows, it is a finding."""
    return next((known.reason.text for known in KNOWN if known.covers(setting, program, test, text)), None)
