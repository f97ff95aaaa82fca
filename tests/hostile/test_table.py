"""The table: each kind of lie costs a program one errno, the log at most one line, and nobody anything else."""

from __future__ import annotations

import errno
import logging
import re

import pytest
import trio
from pyfuse3 import FUSEError
from trio.testing import MockClock, wait_all_tasks_blocked

from smbfuse.client import search
from smbfuse.core import errno_map
from tests.hostile import answers, listings, messages, values
from tests.hostile.kinds import Kind
from tests.hostile.program import Program, program

KINDS = [*messages.KINDS, *answers.KINDS, *listings.KINDS, *values.KINDS]


async def outcome(kind: Kind, made: Program) -> object:
    try:
        return await kind.work(made)
    except (FUSEError, OSError) as error:
        return errno.errorcode[error.errno or 0]


def test_there_are_many() -> None:
    names = [kind.does for kind in KINDS]
    assert len(set(names)) == len(names) >= 24


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.does)
async def test_a_server_that(
    kind: Kind, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(errno_map, "_warned", set())
    monkeypatch.setattr(search, "MAX_NAMES", 5000)
    async with program(kind.offer()) as made:
        made.server.script.on(kind.by, command=kind.to, subcommand=kind.subcommand, times=kind.times)
        connection = made.tree.session.connection
        begun = trio.current_time()
        found = await outcome(kind, made)
        took = trio.current_time() - begun
        await wait_all_tasks_blocked()
        await trio.sleep(kind.afterwards)
        assert found == kind.gives
        assert took <= kind.within
        assert (connection.lost is not None) == kind.ends
        if not kind.ends:
            made.server.script.clear()
            assert (await made.stat(b"other.txt")).st_size == 5, "others are served on"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (kind.says is not None), lines
    assert all(re.search(kind.says or "", line) for line in lines)
    assert not any(record.exc_info for record in caplog.records)
