"""The two machines, and a file open on both."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from tests.client.support import assert_idle
from tests.core.locks import WRITE, Handle, Place, machine
from tests.samba.smbd import Smbd


@pytest.fixture(params=[True, False], ids=["unix", "nounix"])
async def place(request: pytest.FixtureRequest, samba: Smbd) -> AsyncIterator[Place]:
    name = f"locks-{uuid.uuid4().hex[:12]}"
    path = samba.shares["share"].path / name
    path.mkdir()
    try:
        async with trio.open_nursery() as nursery:
            made = Place(path, request.param, *[await machine(samba, name, request.param, nursery) for _ in "12"])
            yield made
            for each in (made.one, made.other):
                assert_idle(each.tree)
                await each.files.close_all()  # else the server deletes hidden files while we do
            nursery.cancel_scope.cancel()
    finally:
        shutil.rmtree(path)


@pytest.fixture
async def pair(place: Place) -> AsyncIterator[tuple[Handle, Handle]]:
    """The same file, open on both machines. At the end nothing of its locks may be left."""
    place.put("file")
    one, other = await place.one.open("file"), await place.other.open("file")
    yield one, other
    for handle in (one, other):
        for owner in range(1, 10):
            await handle.closed_by(owner)
        assert handle.machine.files._locks == {}
    assert await one.locks(WRITE)
    await one.closed_by(1)
    assert await other.locks(WRITE)
