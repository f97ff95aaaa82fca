"""Which looks in passing are still true when the file is open: those at files that nobody has changed for a while."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest
import trio

from smbfuse.client.peek import Peek
from smbfuse.core.server.attrs import Attributes
from smbfuse.core.server.unix import UnixBackend
from smbfuse.wire.files import NtCreateAndXResponse
from smbfuse.wire.text import ns_to_filetime
from tests.client.support import tree_of
from tests.fakes.server import FakeServer

SECOND = 1_000_000_000


@pytest.fixture
async def backend(nursery: trio.Nursery) -> UnixBackend:
    return UnixBackend(await tree_of(FakeServer(), nursery), 0)


def opened(backend: UnixBackend, *, changed: float) -> Attributes:
    """A file that was changed so many seconds ago, by the server's clock, and written long before that."""
    now = backend.now_ns()
    return Attributes(
        kind=stat.S_IFREG,
        size=100,
        allocated=4096,
        atime_ns=now,
        mtime_ns=now - 5000 * SECOND,
        ctime_ns=now - int(changed * SECOND),
    )


def looked_at(attrs: Attributes) -> Peek:
    """What a look tells of a file with these attributes."""
    peek = Peek()
    peek.data = b"x" * attrs.size
    peek.found = NtCreateAndXResponse(
        oplock_level=0,
        fid=1,
        create_disposition=1,
        create_time=0,
        last_access_time=ns_to_filetime(attrs.atime_ns),
        last_write_time=ns_to_filetime(attrs.mtime_ns),
        last_change_time=ns_to_filetime(attrs.ctime_ns),
        ext_file_attributes=0,
        allocation_size=attrs.allocated,
        end_of_file=attrs.size,
        resource_type=0,
        nm_pipe_status=0,
        directory=0,
    )
    return peek


async def test_of_a_file_that_nobody_has_changed(backend: UnixBackend) -> None:
    attrs = opened(backend, changed=60)
    assert backend.may_have_head(attrs)
    assert backend._still_so(looked_at(attrs), attrs)
    assert backend._still_so(looked_at(replace(attrs, atime_ns=attrs.atime_ns - SECOND)), attrs)


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns"])
async def test_of_one_that_was_changed_between_the_look_and_the_open(backend: UnixBackend, field: str) -> None:
    attrs = opened(backend, changed=60)
    peek = looked_at(replace(attrs, **{field: getattr(attrs, field) - 100}))
    assert not backend._still_so(peek, attrs)


async def test_of_one_that_was_changed_a_moment_ago(backend: UnixBackend) -> None:
    """It may have been changed twice within one tick of the server's clock."""
    attrs = opened(backend, changed=1)
    assert not backend.may_have_head(attrs)
    assert not backend._still_so(looked_at(attrs), attrs)


async def test_without_an_answer(backend: UnixBackend) -> None:
    assert not backend._still_so(Peek(), opened(backend, changed=60))
