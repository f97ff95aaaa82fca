"""What a workload costs in requests: counted by a tap between mount and server, and by smbd itself as a cross-check."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.bench.circumstances import Link, Setting
from tests.bench.peers import Peer
from tests.bench.stage import Endpoint, Stage
from tests.bench.workloads.base import Workload
from tests.samba.smbd import Smbd
from tests.support.tap import Tap

SETTLED: Final = 1.5
"""Seconds in which smbd's account did not change, after which it is taken for complete: it is written once a second."""
PATIENCE: Final = 30.0


@dataclass(slots=True)
class Count:
    """Messages of one run, with those that nobody waits for: by their commands, and in all as smbd counts them."""

    requests: Counter[str] = field(default_factory=Counter)
    by_server: int = 0

    @property
    def total(self) -> int:
        return self.requests.total()


def count(workload: Workload, link: Link, setting: Setting, peer: type[Peer], stage: Stage) -> Count:
    """Do the work once with the peer, and count."""
    server = stage.endpoint(link, signed=setting.signed).server
    found = Count()

    @contextmanager
    def counted() -> Iterator[None]:
        before = _settled(server)
        with tap.counted() as requests:
            yield
            found.by_server = _settled(server) - before
        found.requests = requests

    with Tap((server.address, server.port)) as tap:
        workload.measure(peer(stage, Endpoint(server, tap.port), setting), stage, link.sizes, counted)
    return found


def _settled(server: Smbd) -> int:
    """Messages so far, once no more come."""
    give_up = time.monotonic() + PATIENCE
    seen, since = server.requests(), time.monotonic()
    while time.monotonic() < min(since + SETTLED, give_up):
        time.sleep(0.1)
        now = server.requests()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen
