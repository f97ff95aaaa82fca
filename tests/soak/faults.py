"""What goes wrong, one thing at a time, and is well again soon after."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.samba.smbd import Smbd
from tests.support.relay import Relay


class Faults:
    """Faults of a server and of the relay before it. `happened` counts them by name."""

    def __init__(self, server: Smbd, relay: Relay, seed: int) -> None:
        self._server = server
        self._relay = relay
        self._numbers = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], object]] = {
            "reset": lambda: relay.cut(reset=True),
            "closed": lambda: relay.cut(reset=False),
            "lost, and the server does not know": lambda: relay.cut(server_too=False),
            "cut in an answer": lambda: relay.cut_after(self._numbers.randrange(1, 50_000)),
            "black hole": self._black_hole,
            "refused": self._refused,
            "frozen for a second": self._frozen,
            "server's process killed": server.drop_clients,
            "server restarted": server.restart,
            "server stopped for a second": self._stopped,
        }

    def one(self) -> None:
        """Any of them; well again when this returns."""
        name = self._numbers.choice(list(self._kinds))
        self._kinds[name]()
        self.happened[name] += 1

    def _for_a_while(self, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
        begin()
        try:
            time.sleep(seconds)
        finally:
            end()

    def _black_hole(self) -> None:
        self._for_a_while(self._relay.black_hole, self._relay.heal, 0.5)

    def _refused(self) -> None:
        self._relay.refuse()
        self._relay.cut()
        self._for_a_while(lambda: None, self._relay.heal, 0.5)

    def _frozen(self) -> None:
        self._for_a_while(self._relay.freeze, self._relay.thaw, 1)

    def _stopped(self) -> None:
        self._for_a_while(self._server.sigstop, self._server.sigcont, 1)
