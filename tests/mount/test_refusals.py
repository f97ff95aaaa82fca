"""Errors that smbd cannot be made to give, through a real mount: a server of ours gives them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from smbfuse import ntstatus as nt
from smbfuse.wire.const import SMB_COM_NT_CREATE_ANDX, SMB_COM_NT_RENAME, SMB_COM_WRITE_ANDX
from tests.fakes.background import Running, running
from tests.fakes.script import Rule, refused
from tests.fakes.server import FakeServer
from tests.mount.posix import fails, opened
from tests.support.mount import Mount

pytestmark = pytest.mark.fuse


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """A mount, and the server of its empty share."""
    point = tmp_path_factory.mktemp("mnt")
    with ExitStack() as stack:
        server = stack.enter_context(running(FakeServer(files={})))
        options = {"port": server.port, "username": "anybody", "password": "any"}
        stack.enter_context(Mount(server.unc(), point, options))
        yield server, point


@pytest.fixture
def served(mounted: tuple[Running, Path]) -> Iterator[tuple[Running, Path]]:
    """The same, left empty."""
    yield mounted
    for path in mounted[1].iterdir():
        path.unlink()


def refuse_once(server: Running, status: int, command: int) -> Rule:
    """Refuse the next request with this command."""
    return server.call(lambda: server.server.script.once(refused(status), command=command))


def ids(value: object) -> str:
    return nt.status_name(value) if isinstance(value, int) and value > 0xFFFF else errno.errorcode[int(str(value))]


@pytest.mark.parametrize(
    ("status", "number"),
    [
        (nt.STATUS_QUOTA_EXCEEDED, errno.EDQUOT),
        (nt.STATUS_DISK_QUOTA_EXCEEDED, errno.EDQUOT),
        (nt.STATUS_DISK_FULL, errno.ENOSPC),
        (nt.STATUS_FILE_TOO_LARGE, errno.EFBIG),
        (nt.STATUS_MEDIA_WRITE_PROTECTED, errno.EROFS),
    ],
    ids=ids,
)
def test_a_write_is_refused(served: tuple[Running, Path], status: int, number: int) -> None:
    """The write itself says so, not only close; what was written before stays, and writing can go on."""
    server, mounted = served
    with opened(mounted / "f", os.O_RDWR | os.O_CREAT) as file:
        os.write(file, b"before ")
        rule = refuse_once(server, status, SMB_COM_WRITE_ANDX)
        with fails(number):
            os.write(file, b"x" * 10)
        assert rule.hits == 1
        assert os.fstat(file).st_size == 7
        os.pwrite(file, b"after", 7)
    assert (mounted / "f").read_bytes() == b"before after"


@pytest.mark.parametrize(
    ("status", "number"),
    [
        (nt.STATUS_QUOTA_EXCEEDED, errno.EDQUOT),
        (nt.STATUS_TOO_MANY_OPENED_FILES, errno.ENFILE),
        (nt.STATUS_DELETE_PENDING, errno.EBUSY),
        (nt.STATUS_ACCESS_DENIED, errno.EACCES),
    ],
    ids=ids,
)
def test_a_file_is_not_created(served: tuple[Running, Path], status: int, number: int) -> None:
    server, mounted = served
    rule = refuse_once(server, status, SMB_COM_NT_CREATE_ANDX)
    with fails(number):
        os.open(mounted / "f", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert rule.hits == 1
    assert os.listdir(mounted) == []
    (mounted / "f").write_bytes(b"content")


def test_a_file_has_too_many_links(served: tuple[Running, Path]) -> None:
    server, mounted = served
    (mounted / "f").write_bytes(b"content")
    rule = refuse_once(server, nt.STATUS_TOO_MANY_LINKS, SMB_COM_NT_RENAME)
    with fails(errno.EMLINK):
        os.link(mounted / "f", mounted / "g")
    assert rule.hits == 1
    assert os.listdir(mounted) == ["f"]
