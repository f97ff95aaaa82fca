"""The relay itself: one thread that serves all connections and commands. Run in a process or thread of its own.

Commands are lines of JSON, [name, arguments]; answers are lines of JSON, ["ok", value] or ["error", text].
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final

from tests.support.relay.conditions import TO_CLIENT, TO_SERVER, Conditions, Cut, CutAt, Hook, Reorder, Shorten
from tests.support.relay.flow import Flow

_CONNECT: Final = 5.0
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: close sends RST."""


class Link:
    """A client's connection and ours to the server."""

    def __init__(self, client: socket.socket, server: socket.socket, conditions: Conditions, hook: Hook | None) -> None:
        self.client = client
        self.server = server
        ways = conditions.ways
        self.flows = (
            Flow(TO_SERVER, ways[TO_SERVER], client, server, hook),
            Flow(TO_CLIENT, ways[TO_CLIENT], server, client, hook),
        )
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # messages follow each other as they come

    @property
    def cut(self) -> Cut | None:
        return next((flow.cut for flow in self.flows if flow.cut is not None), None)

    @property
    def over(self) -> bool:
        return all(flow.done for flow in self.flows)

    def lose(self) -> None:
        for flow in self.flows:
            flow.lose()

    def end(self, how: Cut) -> None:
        """Cut. After FIN, and where the server is not to know, what still comes is swallowed until they close too."""
        self.lose()
        for flow in self.flows:
            flow.cut = None
        for end, told in ((self.client, True), (self.server, how.server_too)):
            if end.fileno() < 0:
                continue  # cut before, when the other side was not to know
            if told and how.reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                end.close()
            elif told:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_WR)
        for flow in self.flows:
            if flow.source.fileno() < 0:
                flow.ended = flow.done = True

    def close(self) -> None:
        for end in (self.client, self.server):
            end.close()


class Loop:
    """Serves `listener` until its `control` socket is closed at the other end."""

    def __init__(
        self, target: tuple[str, int], listener: socket.socket, control: socket.socket, hook: Hook | None = None
    ) -> None:
        self.conditions = Conditions()
        self._target = target
        self._address = listener.getsockname()[:2]
        self._family = listener.family
        self._listener: socket.socket | None = listener
        self._control = control
        self._commands = b""
        self._hook = hook
        self._links: list[Link] = []
        self._accepted = 0
        self._ended = False

    def run(self) -> None:
        """Until there is nobody left to command it."""
        try:
            while not self._ended:
                self._turn()
        finally:
            if self._listener is not None:
                self._listener.close()
            for link in self._links:
                link.close()
            self._control.close()

    # -- passing on ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        now = time.monotonic()
        sources: dict[socket.socket, Callable[[], None]] = {self._control: self._obey}
        if self._listener is not None:
            sources[self._listener] = self._accept
        sinks: list[socket.socket] = []
        alarm = None if self.conditions.frozen else self._next(now, sinks)
        receivers = {flow.source: flow for link in self._links for flow in link.flows if flow.wants_more}
        ready, _, _ = select.select([*sources, *receivers], sinks, [], alarm)
        for one in ready:
            if one in sources:
                sources[one]()
        came = set(ready)
        for link in list(self._links):
            self._serve(link, came)

    def _next(self, now: float, sinks: list[socket.socket]) -> float | None:
        """Seconds until something is due; what is due already waits for its sink only."""
        alarm: float | None = None
        for link in self._links:
            for flow in link.flows:
                due = flow.due()
                if due is not None and due <= now:
                    sinks.append(flow.sink)
                elif due is not None:
                    alarm = due - now if alarm is None else min(alarm, due - now)
        return alarm

    def _serve(self, link: Link, ready: set[socket.socket]) -> None:
        try:
            for flow in link.flows:
                if flow.source in ready and flow.source.fileno() >= 0:
                    flow.receive()
                if self.conditions.hole and not flow.lost and not flow.nothing_under_way:
                    link.lose()
                if not self.conditions.frozen:
                    flow.send(time.monotonic())
                    flow.finish()
        except OSError:  # one side was reset: so is the other
            link.end(Cut())
        if link.cut is not None:
            link.end(link.cut)
        if link.over:
            link.close()
            self._links.remove(link)

    def _accept(self) -> None:
        assert self._listener is not None
        client = self._listener.accept()[0]
        self._accepted += 1
        try:
            server = socket.create_connection(self._target, timeout=_CONNECT)
        except OSError:  # nobody there: the client is told so
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            client.close()
            return
        self._links.append(Link(client, server, self.conditions, self._hook))

    # -- commands ------------------------------------------------------------------------------------------------------

    def _obey(self) -> None:
        data = self._control.recv(1 << 16)
        if not data:
            self._ended = True
            return
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            name, arguments = json.loads(line)
            command: Callable[..., Any] = getattr(self, f"do_{name}")
            try:
                answer = ["ok", command(**arguments)]
            except (OSError, ValueError) as exc:
                answer = ["error", f"{type(exc).__name__}: {exc}"]
            self._control.sendall(json.dumps(answer).encode() + b"\n")

    def do_delay(self, to_server: float, to_client: float) -> None:
        self.conditions.ways[TO_SERVER].delay = to_server
        self.conditions.ways[TO_CLIENT].delay = to_client

    def do_throttle(self, to_server: float | None, to_client: float | None) -> None:
        self.conditions.ways[TO_SERVER].rate = to_server
        self.conditions.ways[TO_CLIENT].rate = to_client

    def do_cut(self, **how: bool) -> int:
        links = list(self._links)
        for link in links:
            link.end(Cut(**how))
            if link.over:
                link.close()
                self._links.remove(link)
        return len(links)

    def do_cut_after(self, way: str, count: int, **how: bool) -> None:
        self.conditions.ways[way].cut_after = count
        self.conditions.ways[way].cut_after_how = Cut(**how)

    def do_cut_at(self, way: str, command: int, nth: int, **how: bool) -> None:
        self.conditions.ways[way].cut_at = CutAt(command, nth, Cut(**how))

    def do_truncate(self, way: str, keep: int, count: int) -> None:
        self.conditions.ways[way].shorten = Shorten(keep, count)

    def do_reorder(self, count: int, patience: float) -> None:
        self.conditions.ways[TO_CLIENT].reorder = Reorder(count, patience)

    def do_freeze(self) -> None:
        self.conditions.frozen = True

    def do_thaw(self) -> None:
        self.conditions.frozen = False

    def do_black_hole(self) -> None:
        self.conditions.hole = True
        for link in self._links:
            if not all(flow.nothing_under_way for flow in link.flows):
                link.lose()

    def do_refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def do_heal(self) -> None:
        self.conditions.heal()
        for link in self._links:
            for flow in link.flows:
                flow.flush_collected()
        if self._listener is None:
            self._listener = socket.create_server(self._address, family=self._family)

    def do_status(self) -> dict[str, int]:
        passed = {name: way.passed for name, way in self.conditions.ways.items()}
        return {"accepted": self._accepted, "open": len(self._links), **passed}
