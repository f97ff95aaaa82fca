"""smbfuse with a `serve` that needs no server. Run as `python -m tests.cli.program ARGUMENTS`.

SMBFUSE_TEST_SERVE tells how it behaves, SMBFUSE_TEST_REPORT names a file that gets one line of JSON when it runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import trio

from smbfuse.cli.main import main
from smbfuse.errors import ConnectError, StatusError
from smbfuse.ntstatus import STATUS_LOGON_FAILURE
from smbfuse.settings import MountSettings, ServerSettings

PR_GET_DUMPABLE = 3


def report(server: ServerSettings, mount: MountSettings) -> None:
    """Write down what this process is and was told. The password only as a hash: files are copied into reports."""
    facts = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "directory": str(Path.cwd()),
        "descriptors": {
            entry.name: os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()
        },
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "dumpable": ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
        "user": server.credentials.username,
        "password": hashlib.sha256(server.credentials.password.reveal().encode()).hexdigest(),
        "environment": sorted(os.environ),
        "source": mount.source,
        "prefix": mount.prefix,
        "mountpoint": mount.mountpoint,
    }
    path = Path(os.environ["SMBFUSE_TEST_REPORT"])
    path.with_suffix(".new").write_text(json.dumps(facts))
    path.with_suffix(".new").rename(path)


async def serve(server: ServerSettings, mount: MountSettings, ready: Callable[[], None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        match os.environ["SMBFUSE_TEST_SERVE"]:
            case "unreachable":
                raise ConnectError("connecting") from ConnectionRefusedError(111, "refused")
            case "refused":
                raise StatusError(STATUS_LOGON_FAILURE, "SESSION_SETUP_ANDX")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "broken":
                raise OSError(12, "Cannot allocate memory")
            case "slow":
                report(server, mount)
            case "mounted":
                ready()
                report(server, mount)
        async for _ in signals:
            break


if __name__ == "__main__":
    sys.exit(main(serve))
