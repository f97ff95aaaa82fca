"""What waits to be written when the mount ends: the server gets it, however slowly, or the log says what is lost."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from smbfuse import ntstatus as nt
from smbfuse.core.cache.inodes import ROOT
from smbfuse.fuse.session import GOODBYE_TIMEOUT, LONGEST_GOODBYE, _write_all
from smbfuse.wire.const import SMB_COM_WRITE_ANDX
from tests.fakes import script
from tests.fakes.exchange import Exchange
from tests.fakes.offer import Offer
from tests.hostile.program import Program, program
from tests.support.logguard import LogGuard

Slow = Callable[[Exchange], Awaitable[None]]
LOST = "^/new: {} bytes written here are lost: the server did not take them"


async def ended(by: Slow, count: int, log_guard: LogGuard, lost: str | None = None) -> tuple[bytes, float]:
    """Write `count` bytes that wait, end the mount: what the server has then, and how long it took."""
    if lost is not None:
        log_guard.expect(lost)
    # One request at a time, so that time passes with each of them; a break would find no place then, but none comes.
    async with program(Offer(oplocks=True, max_mpx_count=2), cache="strict") as made:
        await waiting(made, bytes(range(256)) * (count // 256))
        made.server.script.on(by, command=SMB_COM_WRITE_ANDX)
        begun = trio.current_time()
        await _write_all(made.files)
        took = trio.current_time() - begun
        return bytes(made.server.volume.find("new").data), took


async def waiting(made: Program, data: bytes) -> None:
    """A file, open, with data that are not sent."""
    opened, _ = await made.operations.create(ROOT, b"new", 0o644, os.O_RDWR | os.O_CREAT, made.context)
    await made.operations.write(opened.fh, 0, data)
    assert made.server.volume.find("new").data == b""


async def test_a_slow_server_gets_all(autojump_clock: MockClock, log_guard: LogGuard) -> None:
    data, took = await ended(script.delayed(GOODBYE_TIMEOUT - 1), 600 * 1024, log_guard)
    assert data == bytes(range(256)) * 2400
    assert took > 2 * GOODBYE_TIMEOUT


async def test_one_that_takes_nothing_is_not_waited_for(autojump_clock: MockClock, log_guard: LogGuard) -> None:
    data, took = await ended(script.dropped, 512, log_guard, LOST.format(512))
    assert data == b""
    assert took == pytest.approx(GOODBYE_TIMEOUT)


async def test_the_whole_has_an_end(autojump_clock: MockClock, log_guard: LogGuard) -> None:
    data, took = await ended(script.delayed(GOODBYE_TIMEOUT - 1), 4 << 20, log_guard, LOST.format(r"\d+"))
    assert 0 < len(data) < 4 << 20
    assert LONGEST_GOODBYE <= took <= LONGEST_GOODBYE + GOODBYE_TIMEOUT


async def test_what_is_refused_is_told(autojump_clock: MockClock, log_guard: LogGuard) -> None:
    said = "^/new: what was written here is lost: WRITE_ANDX .*new: STATUS_DISK_FULL"
    data, _ = await ended(script.refused(nt.STATUS_DISK_FULL), 512, log_guard, said)
    assert data == b""
