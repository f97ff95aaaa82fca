"""`python -m tests.fakes`: serve the standard shares on a loopback port until Ctrl-C, to mount by hand."""

from __future__ import annotations

import signal

from tests.fakes.background import running
from tests.fakes.server import FakeServer

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with running(FakeServer()) as server:
        print(f"smbfuse //127.0.0.1/share MOUNTPOINT -o port={server.port},username=anybody,password=any", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
