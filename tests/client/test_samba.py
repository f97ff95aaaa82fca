"""What only a real server can show: logons as smbd has them, signing by its count, files of any size on its disk."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from smbfuse import ntstatus as nt
from smbfuse.client.openfile import LockChange, OpenFile
from smbfuse.client.session import Session, open_session
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.errors import AuthenticationError, StatusError
from smbfuse.settings import Credentials, Secret, ServerSettings
from smbfuse.wire.const import FILE_OPEN, FILE_READ_DATA, OPLOCK_BATCH, OPLOCK_NONE, SMB_INFO_SET_EAS
from smbfuse.wire.filelevels import Fea, FeaList, FileStandardInfo
from smbfuse.wire.files import NtCreateAndXExtendedResponse, NtCreateAndXResponse
from smbfuse.wire.findlevels import FileIdFullDirectoryInfo
from tests.client.support import assert_idle, opened
from tests.samba.smbd import Share, Smbd

PASSWORD = "correct horse 1"
TESTER = Credentials(username="tester", password=Secret(PASSWORD))
ANONYMOUS = Credentials(anonymous=True)
HEAD = 15 * 4096
"""Bytes to be read with an open."""

MakeSmbd = Callable[..., Smbd]


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory to serve that the guest account reaches too: those of pytest are for their owner only."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-share-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


# --- logon


async def log_on(
    server: Smbd, nursery: trio.Nursery, credentials: Credentials = TESTER, *, require_signing: bool = False
) -> Session:
    settings = ServerSettings(
        host="127.0.0.1",
        share="share",
        port=server.port,
        credentials=credentials,
        require_signing=require_signing,
    )
    return await open_session(settings, nursery)


async def test_right_password(samba: Smbd, nursery: trio.Nursery) -> None:
    session = await log_on(samba, nursery)
    assert session.uid
    assert "Windows" in session.server_os
    await connect_tree(session, "share")
    await session.log_off()


@pytest.mark.parametrize("password", ["wrong", "", PASSWORD.upper()])
async def test_wrong_password(samba: Smbd, nursery: trio.Nursery, password: str) -> None:
    with pytest.raises(StatusError) as caught:
        await log_on(samba, nursery, Credentials(username="tester", password=Secret(password)))
    assert caught.value.status == nt.STATUS_LOGON_FAILURE


async def test_unknown_user_becomes_a_guest_and_is_refused(samba: Smbd, nursery: trio.Nursery) -> None:
    with pytest.raises(AuthenticationError, match="lets in a guest; if that is enough, use -o guest"):
        await log_on(samba, nursery, Credentials(username="nobody-knows", password=Secret("x")))


async def test_signing_demanded_of_a_server_that_does_not_sign(
    make_smbd: MakeSmbd, root: Path, nursery: trio.Nursery
) -> None:
    server = make_smbd([Share(name="share", path=root)], options={"server signing": "disabled"})
    with pytest.raises(AuthenticationError, match="does not sign messages"):
        await log_on(server, nursery, require_signing=True)


async def test_anonymous_guest_share(make_smbd: MakeSmbd, root: Path, nursery: trio.Nursery) -> None:
    (root / "hello.txt").write_bytes(b"hello")
    server = make_smbd([Share(name="share", path=root, guest_ok=True)], options={"map to guest": "Bad User"})
    session = await log_on(server, nursery, ANONYMOUS)
    assert not session.limits.signing
    file = await opened(await connect_tree(session, "share"), "\\hello.txt", access=1)
    assert bytes(await file.read(0, 10)) == b"hello"


# --- signed by smbd's count


@pytest.mark.parametrize("signing", ["mandatory", "auto"])
async def test_signed_work(make_smbd: MakeSmbd, root: Path, nursery: trio.Nursery, signing: str) -> None:
    """Whatever takes a number is among it; one that is wrong would end the connection (mandatory) or fail a request."""
    server = make_smbd([Share(name="share", path=root)], options={"server signing": signing})
    session = await log_on(server, nursery)
    tree = await connect_tree(session, "share")
    assert session.connection.engine.signer is not None
    data = random.Random(1).randbytes(300_001)
    file = await opened(tree, "\\file")
    await file.write(0, data)
    file.oplock = OPLOCK_BATCH  # as if: what counts is that an answer to a break is signed, and not answered
    file.broken(OPLOCK_NONE)
    assert bytes(await file.read(0, 400_000)) == data
    # 20 KiB and more go in a first part and secondaries
    feas = FeaList(feas=tuple(Fea(name=f"user{index}", value=bytes([index]) * 800) for index in range(40)))
    with pytest.raises(StatusError):  # more than the disk takes, but it has to be said by a signed answer
        await tree.set_file(file, feas, level=SMB_INFO_SET_EAS)
    for _ in range(20):
        with trio.move_on_after(0):
            await file.read(0, 60_000)
    await file.flush()
    await file.close()
    for index in range(400):
        (root / f"a rather long file name, to fill pages, number {index:05}").touch()
    search = tree.search(ServerPath("\\*"), FileIdFullDirectoryInfo)
    found = 0
    while page := await search.next_page():
        found += len(page)
    assert found == 403
    assert (root / "file").read_bytes() == data
    assert session.connection.lost is None


@pytest.mark.parametrize("signing", ["mandatory", "disabled"])
async def test_answers_in_parts(
    make_smbd: MakeSmbd, root: Path, nursery: trio.Nursery, signing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """smbd cuts a transaction's answer by our MaxBufferSize; all parts of a signed one bear one number."""
    monkeypatch.setattr("smbfuse.client.session.MAX_BUFFER", 1500)
    names = {f"a rather long file name, to fill pages, number {index:05}" for index in range(400)}
    for name in names:
        (root / name).touch()
    server = make_smbd([Share(name="share", path=root)], options={"server signing": signing})
    tree = await connect_tree(await log_on(server, nursery), "share")
    assert (tree.session.connection.engine.signer is not None) == (signing == "mandatory")
    search = tree.search(ServerPath("\\*"), FileIdFullDirectoryInfo)
    found: set[str] = set()
    while page := await search.next_page():
        found |= {entry.file_name for entry in page}
    assert found == names | {".", ".."}
    assert_idle(tree)


# --- data


async def test_beyond_four_gib(samba: Smbd, nursery: trio.Nursery) -> None:
    tree = await connect_tree(await log_on(samba, nursery), "share")
    on_disk = samba.shares["share"].path / "sparse"
    generator = random.Random(11)
    file = await opened(tree, "\\sparse")
    try:
        written: dict[int, bytes] = {}
        for base in (0, (1 << 31) - 777, (1 << 32) - 50_001, (1 << 32) + 3, (1 << 40) + 12_345):
            data = generator.randbytes(generator.randrange(60_000, 200_000))
            await file.write(base, data)
            written[base] = data
            assert bytes(await file.read(base, len(data))) == data
        info = await tree.query_file(file, FileStandardInfo)
        last = max(written)
        assert info.end_of_file == last + len(written[last])
        assert bytes(await file.read(last + 100, 1_000_000)) == written[last][100:]
        await file.close()
        with on_disk.open("rb") as disk:
            for base, data in written.items():
                disk.seek(base)
                expected = bytearray(data)
                overlap = written.get((1 << 32) + 3) if base == (1 << 32) - 50_001 else None
                if overlap is not None:
                    expected[50_004:] = overlap[: len(data) - 50_004]
                assert disk.read(len(data)) == bytes(expected)
    finally:
        on_disk.unlink()


@pytest.mark.parametrize("extensions", ["yes", "no"])
async def test_large_file_as_on_disk(make_smbd: MakeSmbd, root: Path, nursery: trio.Nursery, extensions: str) -> None:
    """8 MiB, read at once and in odd pieces, written back: with reads of 1 MiB, and with those of 60 KiB."""
    server = make_smbd([Share(name="share", path=root)], options={"unix extensions": extensions})
    data = random.Random(3).randbytes(8 * 1024 * 1024 + 13)
    (root / "file").write_bytes(data)
    tree = await connect_tree(await log_on(server, nursery), "share")
    assert tree.sizes.read == (1024 * 1024 if extensions == "yes" else 60 * 1024)
    file = await opened(tree, "\\file", access=1)
    assert bytes(await file.read(0, len(data) + 100)) == data
    generator = random.Random(5)
    for _ in range(30):
        start, size = generator.randrange(len(data)), generator.randrange(3_000_000)
        assert bytes(await file.read(start, size)) == data[start : start + size]
    copy = await opened(tree, "\\copy")
    await copy.write(0, data)
    assert (root / "copy").read_bytes() == data
    assert_idle(tree)


# --- the start of a file with its open


@pytest.mark.parametrize("signing", ["disabled", "mandatory"])
async def test_the_start_of_a_file_comes_with_its_open(
    make_smbd: MakeSmbd, root: Path, nursery: trio.Nursery, signing: str
) -> None:
    server = make_smbd([Share(name="share", path=root)], options={"server signing": signing})
    session = await log_on(server, nursery)
    tree = await connect_tree(session, "share")
    for size in (0, 1, HEAD - 1, HEAD, HEAD + 1, 5 * HEAD):
        data = random.Random(size).randbytes(size)
        (root / "file").write_bytes(data)
        before = session.connection.statistics.requests
        file, answer = await with_head(tree, "\\file")
        assert session.connection.statistics.requests == before + 1
        assert file.head is not None
        assert bytes(file.head) == data[:HEAD]
        assert answer.end_of_file == size
        await file.close()
    with pytest.raises(StatusError) as caught:
        await with_head(tree, "\\none")
    assert caught.value.status == nt.STATUS_OBJECT_NAME_NOT_FOUND
    assert_idle(tree)


async def test_the_start_of_a_locked_file_does_not_come_with_its_open(
    make_smbd: MakeSmbd, root: Path, nursery: trio.Nursery
) -> None:
    """smbd 4.17 answers that with a header that tells nothing; nobody waits for another answer."""
    server = make_smbd([Share(name="share", path=root)])
    (root / "file").write_bytes(b"data")
    theirs = await opened(await connect_tree(await log_on(server, nursery), "share"), "\\file")
    await theirs.lock(LockChange(locks=((0, 4),)))
    tree = await connect_tree(await log_on(server, nursery), "share")
    with trio.fail_after(10):
        file, answer = await with_head(tree, "\\file")
    assert file.head is None
    assert answer.end_of_file == 4
    before = tree.session.connection.statistics.requests
    await with_head(tree, "\\file")
    assert tree.session.connection.statistics.requests == before + 1


async def with_head(tree: Tree, path: str) -> tuple[OpenFile, NtCreateAndXResponse | NtCreateAndXExtendedResponse]:
    return await tree.create(ServerPath(path), access=FILE_READ_DATA, disposition=FILE_OPEN, head=HEAD)


async def test_two_hundred_callers_cancelled_at_random(samba: Smbd, nursery: trio.Nursery) -> None:
    """The connection stays whole, and no FID stays open at the server."""
    tree = await connect_tree(await log_on(samba, nursery), "share")
    generator = random.Random(8)

    async def one(delay: float) -> None:
        with trio.move_on_after(delay):
            file = await opened(tree, "\\numbers.bin", access=1)
            try:
                assert bytes(await file.read(0, 200_000)) == bytes(range(256)) * 512
            finally:
                await file.close()

    async with trio.open_nursery() as callers:
        for _ in range(200):
            callers.start_soon(one, generator.random() * 0.3)
    with trio.fail_after(10):
        while tree.session.connection.engine.mids.pending:
            await tree.session.connection.echo()
    await tree.session.connection.echo()
    assert tree.opens == {}
    assert_idle(tree)
    statistics = tree.session.connection.statistics
    assert statistics.by_command["CLOSE"] == statistics.by_command["NT_CREATE_ANDX"]
