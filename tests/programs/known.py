"""What is known not to hold on a mount, and why; the reasons stand in the man page too."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.programs.stage import Setting

MODES = "Without the UNIX extensions a server keeps no modes but the write bit of files."
LINKS = "Without the UNIX extensions there are symbolic links with the option mfsymlinks only."
NODES = "Without the UNIX extensions there are no FIFOs, sockets and device nodes."
CASE = "Without the UNIX extensions names differ by more than case."
XATTRS = "An extended attribute is one of the server's (user.*), and not empty: SMB has no other."
FUSE = "The kernel does not ask a FUSE file system for this."


@dataclass(frozen=True, slots=True)
class Known:
    """Tests of a program that fail or are left out; the patterns are fnmatch's."""

    reason: str
    program: str
    test: str = "*"
    text: str = "*"
    """What is said of the failure."""
    unix: bool = True
    """Whether it is so with the UNIX extensions too."""

    def covers(self, setting: Setting, program: str, test: str, text: str) -> bool:
        return (
            (self.unix or not setting.unix)
            and fnmatchcase(program, self.program)
            and fnmatchcase(test, self.test)
            and fnmatchcase(text, self.text)
        )


KNOWN: tuple[Known, ...] = ()


def reason(setting: Setting, program: str, test: str, text: str) -> str | None:
    """Why this is so; None: nobody knows, it is a finding."""
    return next((known.reason for known in KNOWN if known.covers(setting, program, test, text)), None)
