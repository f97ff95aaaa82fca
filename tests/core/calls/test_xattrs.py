"""Extended attributes over the scriptable server: what is asked, what is kept, and servers that are not Samba."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from smbfuse import ntstatus as nt
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import Tree
from smbfuse.core.cache.inodes import ROOT
from smbfuse.core.calls.filesystem import FileSystem
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.settle import Settler
from smbfuse.settings import MountSettings
from smbfuse.wire.const import (
    FILE_ATTRIBUTE_NORMAL,
    FILE_NAMED_STREAMS,
    FILE_OPENED,
    FSCTL_SRV_ENUMERATE_SNAPSHOTS,
    SMB_COM_NT_CREATE_ANDX,
    SMB_COM_NT_TRANSACT,
    SMB_INFO_QUERY_ALL_EAS,
    SMB_INFO_QUERY_EAS_FROM_LIST,
    SMB_INFO_SET_EAS,
    SMB_QUERY_FILE_EA_INFO,
    TRANS2_QUERY_FS_INFORMATION,
    TRANS2_QUERY_PATH_INFORMATION,
    TRANS2_SET_PATH_INFORMATION,
)
from smbfuse.wire.filelevels import Fea, FeaList, FileEaInfo, SnapshotArray, decode_geas
from smbfuse.wire.files import NtCreateAndXResponse
from smbfuse.wire.fslevels import FsAttributeInfo
from smbfuse.wire.trans import NtTransactRequest, NtTransactResponse, Trans2Response
from smbfuse.wire.trans2 import IoctlSetup, QueryPathParameters, SetPathParameters
from smbfuse.wire.unixlevels import FileUnixBasic, FileUnixInfo2, UnixBirth
from tests.client.support import logged_on
from tests.fakes.exchange import Exchange, Reply
from tests.fakes.script import refused
from tests.fakes.server import FakeServer
from tests.support.logguard import LogGuard

FOREIGN = (b"security.capability", b"system.posix_acl_access", b"trusted.a", b"system.smb3_acl", b"user.", b"other")


@dataclass
class WindowsEas:
    """EAs of one file as Windows keeps them: in capitals, a zero byte as good as none."""

    values: dict[str, bytes] = field(default_factory=dict)
    limit: int = 0xFFFF
    """Size of a list from which on there is an empty one, as smbd answers it."""

    def install(self, server: FakeServer) -> None:
        server.script.on(
            self.query,
            subcommand=TRANS2_QUERY_PATH_INFORMATION,
            where=lambda exchange: (
                _level(exchange) in (SMB_QUERY_FILE_EA_INFO, SMB_INFO_QUERY_ALL_EAS, SMB_INFO_QUERY_EAS_FROM_LIST)
            ),
        )
        server.script.on(
            self.change,
            subcommand=TRANS2_SET_PATH_INFORMATION,
            where=lambda exchange: (
                SetPathParameters.unpack(_transaction(exchange)[0]).information_level == SMB_INFO_SET_EAS
            ),
        )

    async def query(self, exchange: Exchange) -> None:
        everything = FeaList(feas=tuple(Fea(name=name, value=value) for name, value in self.values.items()))
        level = _level(exchange)
        if level == SMB_QUERY_FILE_EA_INFO:
            data = FileEaInfo(ea_size=len(everything.pack()) if self.values else 0).pack()
        elif level == SMB_INFO_QUERY_EAS_FROM_LIST:
            names = decode_geas(_transaction(exchange)[1])
            data = FeaList(feas=tuple(Fea(name=n, value=self.values.get(n.upper(), b"")) for n in names)).pack()
        else:
            data = everything.pack() if len(everything.pack()) <= self.limit else FeaList().pack()
        await _answer(exchange, data)

    async def change(self, exchange: Exchange) -> None:
        for fea in FeaList.unpack(_transaction(exchange)[1]).feas:
            self.values.pop(fea.name.upper(), None)
            if fea.value:
                self.values[fea.name.upper()] = bytes(fea.value)
        await _answer(exchange, b"")


def _transaction(exchange: Exchange) -> tuple[bytes, bytes]:
    assert exchange.transaction is not None
    return exchange.transaction


def _level(exchange: Exchange) -> int:
    return QueryPathParameters.unpack(_transaction(exchange)[0]).information_level


async def _answer(exchange: Exchange, data: bytes) -> None:
    await exchange.answer(Reply([Trans2Response(parameters=bytes(2), data=data)]))


@dataclass
class Mounted:
    files: FileSystem
    server: FakeServer
    tree: Tree
    eas: WindowsEas

    async def number(self, name: bytes = b"a.txt") -> int:
        return (await self.files.lookup(ROOT, name)).number

    async def cost(self, work: Awaitable[object]) -> int:
        before = self.server.tap.total
        await work
        return self.server.tap.total - before


@asynccontextmanager
async def mounted(
    *, windows: bool = True, read_only: bool = False, user_xattr: bool = True, actimeo: float = 1.0
) -> AsyncIterator[Mounted]:
    server, eas = FakeServer(files={"a.txt": b"aaa"}), WindowsEas()
    eas.install(server)
    settings = MountSettings(
        source="//fake/share", mountpoint="/mnt", actimeo=actimeo, read_only=read_only, user_xattr=user_xattr
    )
    async with trio.open_nursery() as nursery:
        session = await logged_on(server, nursery)
        session.server_lan_manager = "Windows Server 2003 5.2" if windows else "fake"
        tree = await connect_tree(session, "share")
        files = FileSystem(NtBackend(tree), settings, Settler(nursery), trio.current_time, unique_file_names=False)
        yield Mounted(files, server, tree, eas)
        nursery.cancel_scope.cancel()


async def failure(work: Awaitable[object]) -> str:
    """Name of the errno with which it fails, empty if it does not."""
    try:
        await work
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return ""


async def test_names_that_smb_does_not_have_cost_nothing() -> None:
    async with mounted() as m:
        number = await m.number()
        before = m.server.tap.total
        for name in FOREIGN:
            assert await failure(m.files.getxattr(number, name)) == "ENOTSUP", name
            assert await failure(m.files.setxattr(number, name, b"1")) == "ENOTSUP", name
            assert await failure(m.files.removexattr(number, name)) == "ENOTSUP", name
        assert m.server.tap.total == before


async def test_a_file_without_any_costs_one_question(autojump_clock: trio.testing.MockClock) -> None:
    async with mounted() as m:
        number = await m.number()
        assert await m.cost(failure(m.files.getxattr(number, b"user.a"))) == 1
        assert await m.cost(failure(m.files.getxattr(number, b"user.b"))) == 0
        await trio.sleep(1.1)
        assert await m.cost(failure(m.files.getxattr(number, b"user.b"))) == 1


async def test_a_list_answers_for_the_values_until_we_change_one() -> None:
    async with mounted() as m:
        number = await m.number()
        m.eas.values = {"ONE": b"1", "TWO": b"2"}
        assert await m.files.listxattr(number) == [b"user.one", b"user.two"]
        assert await m.cost(m.files.getxattr(number, b"user.two")) == 0
        await m.files.setxattr(number, b"user.two", b"22")
        assert await m.files.getxattr(number, b"user.two") == b"22"


async def test_with_actimeo_zero_nothing_is_kept() -> None:
    async with mounted(actimeo=0) as m:
        number = await m.number()
        m.eas.values = {"A": b"1"}
        assert await m.files.getxattr(number, b"user.a") == b"1"
        m.eas.values = {"A": b"2"}
        assert await m.files.getxattr(number, b"user.a") == b"2"


async def test_capitals_of_windows_are_shown_small_and_found_in_any_case() -> None:
    async with mounted() as m:
        number = await m.number()
        await m.files.setxattr(number, b"user.mime_type", b"text/plain")
        assert m.eas.values == {"MIME_TYPE": b"text/plain"}
        assert await m.files.listxattr(number) == [b"user.mime_type"]
        assert await m.files.getxattr(number, b"user.Mime_Type") == b"text/plain"
        await m.files.removexattr(number, b"user.MIME_type")
        assert m.eas.values == {}
        assert await failure(m.files.removexattr(number, b"user.mime_type")) == "ENODATA"


async def test_another_servers_spelling_is_its_own() -> None:
    async with mounted(windows=False) as m:
        m.eas.values = {"LOUD": b"1"}
        assert await m.files.listxattr(await m.number()) == [b"user.LOUD"]


async def test_a_list_too_long_for_the_server_is_no_empty_list() -> None:
    async with mounted() as m:
        number = await m.number()
        m.eas.values, m.eas.limit = {"A": b"1" * 100, "B": b"2"}, 50
        assert await failure(m.files.listxattr(number)) == "E2BIG"
        assert await m.files.getxattr(number, b"user.b") == b"2"
        assert await failure(m.files.getxattr(number, b"user.c")) == "ENODATA"


@pytest.mark.parametrize(
    ("status", "listed", "got"),
    [
        (nt.STATUS_EAS_NOT_SUPPORTED, "", "ENODATA"),
        (nt.STATUS_INVALID_LEVEL, "", "ENODATA"),
        (nt.STATUS_ACCESS_DENIED, "EACCES", "EACCES"),
    ],
)
async def test_a_server_that_refuses(status: int, listed: str, got: str) -> None:
    async with mounted() as m:
        number = await m.number()
        m.server.script.clear()
        m.server.script.on(refused(status), subcommand=TRANS2_QUERY_PATH_INFORMATION)
        assert await failure(m.files.listxattr(number)) == listed
        assert await failure(m.files.getxattr(number, b"user.a")) == got


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (nt.STATUS_INVALID_EA_NAME, "EINVAL"),
        (nt.STATUS_EA_TOO_LARGE, "ENOSPC"),
        (nt.STATUS_EAS_NOT_SUPPORTED, "ENOTSUP"),
        (nt.STATUS_MEDIA_WRITE_PROTECTED, "EROFS"),
    ],
)
async def test_a_set_that_fails(status: int, wanted: str) -> None:
    async with mounted() as m:
        number = await m.number()
        m.server.script.clear()
        m.server.script.on(refused(status), subcommand=TRANS2_SET_PATH_INFORMATION)
        assert await failure(m.files.setxattr(number, b"user.a", b"1")) == wanted


async def test_what_cannot_be_set() -> None:
    async with mounted() as m:
        number = await m.number()
        before = m.server.tap.total
        assert await failure(m.files.setxattr(number, b"user.a", b"")) == "ENOTSUP"
        assert await failure(m.files.setxattr(number, b"user.a", bytes(0xFFFF))) == "E2BIG"
        assert await failure(m.files.setxattr(number, b"user.a", bytes(0x1_0001))) == "E2BIG"
        assert await failure(m.files.setxattr(number, b"user.cifs.dosattrib", b"1")) == "ERANGE"
        assert await failure(m.files.setxattr(number, b"system.cifs_acl", b"1")) == "EINVAL"
        assert await failure(m.files.setxattr(number, b"smb.path", b"1")) == "EPERM"
        assert await failure(m.files.removexattr(number, b"system.cifs_acl")) == "EPERM"
        assert m.server.tap.total == before


async def test_a_read_only_mount_asks_nothing() -> None:
    async with mounted(read_only=True) as m:
        number = await m.number()
        before = m.server.tap.total
        assert await failure(m.files.setxattr(number, b"user.a", b"1")) == "EROFS"
        assert await failure(m.files.removexattr(number, b"user.smb.stream.a")) == "EROFS"
        assert m.server.tap.total == before


async def test_nouser_xattr_hides_eas_and_streams_only() -> None:
    async with mounted(user_xattr=False) as m:
        number = await m.number()
        assert await failure(m.files.listxattr(number)) == "ENOTSUP"
        assert await failure(m.files.getxattr(number, b"user.a")) == "ENOTSUP"
        assert await failure(m.files.getxattr(number, b"user.smb.stream.a")) == "ENOTSUP"
        assert len(await m.files.getxattr(number, b"user.cifs.creationtime")) == 8


async def test_dos_attributes_and_creation_time_are_bytes() -> None:
    async with mounted() as m:
        number = await m.number()
        await m.files.setxattr(number, b"user.cifs.dosattrib", b"\x03\0\0\0")
        assert await m.files.getxattr(number, b"smb.attributes") == b"READONLY HIDDEN"
        assert (await m.files.getattr(number)).stat.mode & 0o222 == 0  # type: ignore[union-attr] # it is there
        created = (130_000_000_000_000_000).to_bytes(8, "little")
        await m.files.setxattr(number, b"user.cifs.creationtime", created)
        assert await m.files.getxattr(number, b"user.cifs.creationtime") == created


async def test_a_stream_larger_than_an_xattr_is_told_as_such() -> None:
    attributes = FsAttributeInfo(
        file_system_attributes=FILE_NAMED_STREAMS, max_file_name_length=255, file_system_name="NTFS"
    )

    async def opened(exchange: Exchange) -> None:
        await exchange.answer(Reply([_opened(0x1_0001)]))

    async with mounted() as m:
        number = await m.number()
        m.server.script.on(
            lambda exchange: _answer(exchange, attributes.pack()), subcommand=TRANS2_QUERY_FS_INFORMATION
        )
        m.server.script.on(opened, command=SMB_COM_NT_CREATE_ANDX)
        assert await failure(m.files.getxattr(number, b"user.smb.stream.s")) == "E2BIG"
        assert await failure(m.files.getxattr(number, b"user.smb.stream.a/b")) == "EINVAL"
        await trio.testing.wait_all_tasks_blocked()
        assert not m.tree.opens


def _opened(size: int) -> NtCreateAndXResponse:
    return NtCreateAndXResponse(
        oplock_level=0,
        fid=0x7777,
        create_disposition=FILE_OPENED,
        create_time=0,
        last_access_time=0,
        last_write_time=0,
        last_change_time=0,
        ext_file_attributes=FILE_ATTRIBUTE_NORMAL,
        allocation_size=size,
        end_of_file=size,
        resource_type=0,
        nm_pipe_status=0,
        directory=0,
    )


@pytest.mark.parametrize("data", [b"\1", b"\xff" * 40, b"\x20" + bytes(3) + b"\xff" * 40])
async def test_nonsense_from_the_server_is_an_io_error(data: bytes, log_guard: LogGuard) -> None:
    log_guard.expect("the server gave an answer that cannot be: (Fea|FileEaInfo)")
    async with mounted() as m:
        number = await m.number()
        m.server.script.clear()
        m.server.script.on(lambda exchange: _answer(exchange, data), subcommand=TRANS2_QUERY_PATH_INFORMATION)
        assert await failure(m.files.listxattr(number)) in ("EIO", "E2BIG")


async def test_snapshots_are_asked_for_by_ioctl() -> None:
    labels = ("@GMT-2024.02.29-12.30.00", "@GMT-2023.03.04-05.06.07")
    seen: list[IoctlSetup] = []

    async def action(exchange: Exchange) -> None:
        request = exchange.message.members[0][1]
        assert isinstance(request, NtTransactRequest)
        seen.append(IoctlSetup.unpack(request.setup))
        array = SnapshotArray(number_of_snapshots=2, number_of_snapshots_returned=2, size=102, snapshots=labels)
        await exchange.answer(Reply([NtTransactResponse(data=array.pack())]))

    async with mounted() as m:
        m.server.script.on(action, command=SMB_COM_NT_TRANSACT)
        assert await m.files.getxattr(ROOT, b"smb.snapshots") == "\n".join(labels).encode()
        assert seen[0].function_code == FSCTL_SRV_ENUMERATE_SNAPSHOTS
        assert seen[0].is_fsctl
        await trio.testing.wait_all_tasks_blocked()
        assert not m.tree.opens


@pytest.mark.parametrize(
    ("filetime", "text"),
    [
        (0, ""),
        (1, "1601-01-01T00:00:00.0000001Z"),
        (116_444_736_000_000_000, "1970-01-01T00:00:00.0000000Z"),
        (0x7FFF_FFFF_FFFF_FFFF, "@910692730085.4775807"),
    ],
)
async def test_dates_of_all_ages(filetime: int, text: str) -> None:
    async with mounted() as m:
        number = await m.number()
        m.server.volume.find("\\a.txt").created = filetime
        if text:
            assert await m.files.getxattr(number, b"smb.created") == text.encode()
        else:
            assert await failure(m.files.getxattr(number, b"smb.created")) == "ENODATA"


async def test_file_flags_in_words() -> None:
    told = UnixBirth(file_flags=0x88 | 0x10, file_flags_mask=0xA8)
    async with mounted() as m:
        number = await m.number()
        m.server.script.on(
            lambda exchange: _answer(exchange, FileUnixBasic().pack() + told.pack()),
            subcommand=TRANS2_QUERY_PATH_INFORMATION,
            where=lambda exchange: _level(exchange) == FileUnixInfo2.LEVEL,
        )
        assert await m.files.getxattr(number, b"smb.flags") == b"IMMUTABLE HIDDEN"


async def test_a_server_without_file_flags_is_asked_once() -> None:
    async with mounted() as m:
        number = await m.number()
        for cost in (1, 0):
            assert await m.cost(failure(m.files.getxattr(number, b"smb.flags"))) == cost
        assert await failure(m.files.getxattr(number, b"smb.whoami")) == "ENODATA"


async def test_a_descriptor_that_may_not_be_read_leaves_no_open_file() -> None:
    async with mounted() as m:
        number = await m.number()
        m.server.script.on(refused(nt.STATUS_ACCESS_DENIED), command=SMB_COM_NT_TRANSACT)
        assert await failure(m.files.getxattr(number, b"system.cifs_acl")) == "EACCES"
        await trio.testing.wait_all_tasks_blocked()
        assert not m.tree.opens
