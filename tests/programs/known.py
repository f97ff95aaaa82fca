"""What is known not to hold on a mount, and why; the reasons stand in the man page too."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from tests.programs.stage import Setting

MODES: Final = "Without the UNIX extensions a server keeps no modes but the write bit of files."
LINKS: Final = "Without the UNIX extensions there are symbolic links with the option mfsymlinks only."
NODES: Final = "Without the UNIX extensions there are no FIFOs, sockets and device nodes."
CASE: Final = "Without the UNIX extensions a name is found in any case."
LINK_TIMES: Final = (
    "With the UNIX extensions smbd does not set the times of symbolic links, though it says that it did."
)
XATTRS: Final = "A server's extended attributes are user.* only, and none is empty: SMB takes that for a removal."
FUSE: Final = "The kernel does not ask FUSE file systems for this (FS_IOC_FIEMAP)."


@dataclass(frozen=True, slots=True)
class Known:
    """Tests of a program that fail or are left out for a reason. All but the reason are patterns of fnmatch."""

    reason: str
    program: str
    test: str = "*"
    text: str = "*"
    """What is said of the failure."""
    unix: bool = False
    """Whether it is so with the UNIX extensions too."""

    def covers(self, setting: Setting, program: str, test: str, text: str) -> bool:
        return (
            (self.unix or not setting.unix)
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
    Known(XATTRS, "test_*", text="no non-broken extended attribute support", unix=True),
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
    Known(LINK_TIMES, "copies", "times of symbolic links", unix=True),
    Known(MODES, "stress-*", "access"),
    Known(LINKS, "stress-*", "symlink", "*not allowed on the filesystem*"),
    Known(FUSE, "stress-*", "fiemap", "*not supported on the file system*", unix=True),
)


def reason(setting: Setting, program: str, test: str, text: str) -> str | None:
    """Why this is so; None: nobody knows, it is a finding."""
    return next((known.reason for known in KNOWN if known.covers(setting, program, test, text)), None)
