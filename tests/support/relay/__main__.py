"""The process of a Relay: `python -m tests.support.relay LISTENER CONTROL HOST PORT`, the first two by descriptor."""

from __future__ import annotations

import signal
import socket
import sys

from tests.support.relay.loop import Loop


def main() -> None:
    # Ctrl-C is for who uses the relay; it ends when they do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener, control, host, port = sys.argv[1:]
    Loop((host, int(port)), socket.socket(fileno=int(listener)), socket.socket(fileno=int(control))).run()


if __name__ == "__main__":
    main()
