"""A relay from outside: its commands, whether it runs in a process or in a thread."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass
from typing import Any, Final

from tests.support.relay.conditions import TO_CLIENT, TO_SERVER

ANSWER: Final = 20.0


@dataclass(frozen=True, slots=True)
class Status:
    """What a relay has done so far."""

    accepted: int
    """Connections from clients, those too that the server refused."""
    open: int
    """Connections that are there."""
    to_server: int
    """Bytes passed on to the server."""
    to_client: int


class Remote:
    """Commands for a Loop. Each is in force when it returns."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(ANSWER)
        self._lock = threading.Lock()
        self._answers = self._ours.makefile("rb")

    def _ask(self, name: str, **arguments: object) -> Any:  # noqa: ANN401 - whatever the command gives
        with self._lock:
            self._ours.sendall(json.dumps([name, arguments]).encode() + b"\n")
            line = self._answers.readline()
        if not line:
            raise RuntimeError("the relay has ended")
        well, value = json.loads(line)
        if well != "ok":
            raise RuntimeError(value)
        return value

    def _hang_up(self) -> None:
        """The loop ends then."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        self._answers.close()
        self._ours.close()

    # -- how the network is --------------------------------------------------------------------------------------------

    def delay(self, to_server: float, to_client: float | None = None) -> None:
        """Seconds that each byte takes from now on; the same in both directions if only one is given."""
        self._ask("delay", to_server=to_server, to_client=to_server if to_client is None else to_client)

    def throttle(self, to_server: float | None, to_client: float | None = None) -> None:
        """Bytes per second of all connections together, None for as fast as it goes."""
        self._ask("throttle", to_server=to_server, to_client=to_client)

    def status(self) -> Status:
        return Status(**self._ask("status"))

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    def cut(self, *, reset: bool = True, server_too: bool = True) -> int:
        """End all connections now, by RST or else FIN; new ones are welcome. Returns how many there were.

        What was on its way is lost. With `server_too` False the server does not hear of it: it goes on to hold
        what the client had open.
        """
        count: int = self._ask("cut", reset=reset, server_too=server_too)
        return count

    def cut_after(self, count: int, way: str = TO_CLIENT, *, reset: bool = True, server_too: bool = True) -> None:
        """Cut the connection on which the byte with this number passes, counted from now."""
        self._ask("cut_after", way=way, count=count, reset=reset, server_too=server_too)

    def cut_at_request(self, command: int, nth: int = 1, *, reset: bool = True, server_too: bool = True) -> None:
        """Cut instead of passing on the nth request of this command: the server never sees it."""
        self._ask("cut_at", way=TO_SERVER, command=command, nth=nth, reset=reset, server_too=server_too)

    def cut_at_answer(self, command: int, nth: int = 1, *, reset: bool = True, server_too: bool = True) -> None:
        """Cut instead of passing on the nth answer to this command: the server has done it, the client cannot know."""
        self._ask("cut_at", way=TO_CLIENT, command=command, nth=nth, reset=reset, server_too=server_too)

    def truncate(self, keep: int, count: int = 1, way: str = TO_CLIENT) -> None:
        """Of the next `count` messages only the first `keep` bytes pass, as if they were all."""
        self._ask("truncate", way=way, keep=keep, count=count)

    def reorder(self, count: int, patience: float = 0.05) -> None:
        """Answers pass in groups of `count`, last one first; after `patience` seconds those that are here."""
        self._ask("reorder", count=count, patience=patience)

    def freeze(self) -> None:
        """From now on nothing passes in either direction, while connections stay. Nothing is lost: see `thaw`."""
        self._ask("freeze")

    def thaw(self) -> None:
        """Let pass what was held back, and what comes."""
        self._ask("thaw")

    def black_hole(self) -> None:
        """From now on everything is swallowed, both ways, while connections stay and new ones seem to be made."""
        self._ask("black_hole")

    def refuse(self) -> None:
        """Refuse new connections; those that are there stay."""
        self._ask("refuse")

    def heal(self) -> None:
        """No fault any more; delay and rate stay. Connections of which something was swallowed remain mute for ever,
        as behind a router that has forgotten them."""
        self._ask("heal")
