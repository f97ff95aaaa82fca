"""What a server keeps of a file beside its data: extended attributes, streams, security descriptor, DOS facts.

How each is asked for and set in SMB. Names here are the server's; the names that programs use are in `xattrs.py`.
Statuses come up as StatusError. Everything goes by path, so that it does not matter how the file was opened.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from smbfuse.client.nttransact import enumerate_snapshots, query_security, set_security
from smbfuse.client.tree import MAX_DATA, ServerPath
from smbfuse.core.server.statuses import UNKNOWN_LEVEL
from smbfuse.errors import StatusError
from smbfuse.ntstatus import (
    STATUS_EAS_NOT_SUPPORTED,
    STATUS_NO_EAS_ON_FILE,
    STATUS_OBJECT_NAME_NOT_FOUND,
)
from smbfuse.wire.chains import iter_entries
from smbfuse.wire.const import (
    ACCESS_SYSTEM_SECURITY,
    DACL_SECURITY_INFORMATION,
    DELETE,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_NAMED_STREAMS,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    GROUP_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
    READ_CONTROL,
    SACL_SECURITY_INFORMATION,
    SMB_INFO_QUERY_ALL_EAS,
    SMB_INFO_QUERY_EAS_FROM_LIST,
    SMB_INFO_SET_EAS,
    SMB_QUERY_FILE_STREAM_INFO,
    WRITE_DAC,
    WRITE_OWNER,
)
from smbfuse.wire.filelevels import (
    Fea,
    FeaList,
    FileAltNameInfo,
    FileBasicInfo,
    FileEaInfo,
    FileEndOfFileInfo,
    FileInternalInfo,
    FileStreamInfo,
    encode_geas,
)
from smbfuse.wire.fslevels import FsAttributeInfo
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans2 import QueryPathParameters, SetPathParameters
from smbfuse.wire.unixlevels import FileUnixInfo2, PosixWhoami

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.server.backend import Backend

T = TypeVar("T")

MAX_VALUE: Final = 0x1_0000
"""Bytes of an extended attribute of Linux (XATTR_SIZE_MAX), and so of a stream that is to be seen as one."""
_MAX_LIST: Final = 0xFFFF
"""Bytes of an EA list: the counts of TRANSACTION2 have 16 bits."""
_EMPTY_LIST: Final = 4
_NO_EAS: Final = UNKNOWN_LEVEL | {STATUS_EAS_NOT_SUPPORTED, STATUS_NO_EAS_ON_FILE}
"""How servers say that a file has no EAs, or cannot have any."""
_DESCRIPTOR_HEADER: Final = 20
"""Bytes at least of a self-relative security descriptor. [MS-DTYP] 2.4.6."""
_DATA: Final = ":$DATA"
"""The one type of stream that can be read and written."""

_TO_READ: Final = {SACL_SECURITY_INFORMATION: ACCESS_SYSTEM_SECURITY}
_TO_WRITE: Final = {
    OWNER_SECURITY_INFORMATION: WRITE_OWNER,
    GROUP_SECURITY_INFORMATION: WRITE_OWNER,
    DACL_SECURITY_INFORMATION: WRITE_DAC,
    SACL_SECURITY_INFORMATION: ACCESS_SYSTEM_SECURITY,
}
"""The right that each part of a security descriptor needs. [MS-CIFS] 2.2.7.3."""


class Extras:
    """The server's side of xattrs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tree = backend.tree
        self._streams: bool | None = None
        self._unix_info2 = True
        """Whether the server is hoped or known to have SMB_QUERY_FILE_UNIX_INFO2."""

    # --- extended attributes

    async def eas(self, path: ServerPath) -> dict[str, bytes]:
        """All EAs, by name. OSError(E2BIG) if they do not fit a message: then only single ones can be had.

        Most files have none, which the size tells; smbd 4.17 answers an empty list also where it would be too long.
        """
        try:
            if not (await self._tree.query_path(path, FileEaInfo)).ea_size:
                return {}
            raw = await self._query(path, SMB_INFO_QUERY_ALL_EAS)
        except StatusError as exc:
            if exc.status in _NO_EAS:
                return {}
            raise
        size = int.from_bytes(raw[:4], "little")
        if size > len(raw) or size <= _EMPTY_LIST:
            raise OSError(errno.E2BIG, "the file's extended attributes do not fit a message")
        feas = FeaList.unpack(raw).feas
        return {self._spelled(fea.name): bytes(fea.value) for fea in feas if fea.name and "\0" not in fea.name}

    async def ea(self, path: ServerPath, name: str) -> bytes | None:
        """One EA, for a file that has too many; the case of the name does not matter. None: there is none of it."""
        raw = await self._query(path, SMB_INFO_QUERY_EAS_FROM_LIST, encode_geas((name,)))
        values = [bytes(fea.value) for fea in FeaList.unpack(raw).feas]
        return values[0] or None if values else None  # one that is not there is told as an empty one

    async def set_ea(self, path: ServerPath, name: str, value: bytes) -> None:
        """Set an EA, or remove it: an empty value means that. [MS-CIFS] 2.2.8.4.2.

        smbd takes an EA of the same name in another case for the same, and keeps the case it had.
        """
        data = FeaList(feas=(Fea(name=name, value=value),)).pack(UNICODE) if len(value) <= _MAX_LIST else b""
        if not 0 < len(data) <= _MAX_LIST:
            raise OSError(errno.E2BIG, "no message can hold a value so long")
        parameters = SetPathParameters(information_level=SMB_INFO_SET_EAS, file_name=path.text)
        response = await self._tree.trans2(parameters, data, flags2=path.flags2)
        if response.status:  # what is wrong with a name or a flag comes with the severity of a warning
            raise StatusError(response.status, "TRANSACTION2", path.text)

    async def _query(self, path: ServerPath, level: int, data: bytes = b"") -> bytes:
        parameters = QueryPathParameters(information_level=level, file_name=path.text)
        response = await self._tree.trans2(parameters, data, max_data=_MAX_LIST, flags2=path.flags2)
        response.check(path.text)
        assert response.transaction is not None  # noqa: S101 - trans2 said so
        return response.transaction.data

    def _spelled(self, name: str) -> str:
        """Windows keeps names of EAs in capitals only. Nearly all that programs use are in small letters."""
        return name.lower() if self._tree.session.server_lan_manager.startswith("Windows") else name

    # --- streams

    async def has_streams(self) -> bool:
        """Whether files can have further streams of data. In POSIX paths a colon is a colon, and reaches none."""
        if self._streams is None:
            flags = (await self._tree.query_fs(FsAttributeInfo)).file_system_attributes
            self._streams = self._backend.style.separator == "\\" and bool(flags & FILE_NAMED_STREAMS)
        return self._streams

    async def streams(self, path: ServerPath) -> list[str]:
        """Names of the streams beside the file's own data."""
        if not await self.has_streams():
            return []
        try:
            raw = await self._query(path, SMB_QUERY_FILE_STREAM_INFO)
        except StatusError as exc:
            if exc.status in UNKNOWN_LEVEL:
                return []
            raise
        told = [entry.stream_name for entry in iter_entries(FileStreamInfo, raw)]
        names = [name[1:].removesuffix(_DATA) for name in told if name.endswith(_DATA)]
        return [self._backend.style.from_server(name) for name in names if name and "\0" not in name]

    async def stream(self, path: ServerPath, name: str) -> bytes | None:
        """What a stream holds; None: there is none of this name. OSError(E2BIG) where no xattr can hold it."""
        return await self._tree.persist(partial(self._stream, path, name))

    async def _stream(self, path: ServerPath, name: str) -> bytes | None:
        try:
            file, answer = await self._tree.create(
                await self._stream_path(path, name), access=FILE_READ_DATA, disposition=FILE_OPEN
            )
        except StatusError as exc:
            if exc.status == STATUS_OBJECT_NAME_NOT_FOUND:
                return None
            raise
        try:
            if answer.end_of_file > MAX_VALUE:
                raise OSError(errno.E2BIG, f"the stream has {answer.end_of_file} bytes")
            return bytes(await file.read(0, answer.end_of_file)) if answer.end_of_file else b""
        finally:
            file.close_soon()

    async def set_stream(self, path: ServerPath, name: str, value: bytes) -> None:
        """Write a stream, making it if it is not there; a new one that cannot be written goes again.

        Overwriting it by disposition might touch the file's attributes.
        """
        await self._tree.persist(partial(self._set_stream, path, name, value))

    async def _set_stream(self, path: ServerPath, name: str, value: bytes) -> None:
        access = FILE_READ_DATA | FILE_WRITE_DATA
        where = await self._stream_path(path, name)
        file, answer = await self._tree.create(where, access=access, disposition=FILE_OPEN_IF)
        done = False
        try:
            if value:
                await file.write(0, value)
            if answer.end_of_file > len(value):
                await self._tree.set_file(file, FileEndOfFileInfo(end_of_file=len(value)))
            done = True
        finally:
            await file.close()
            if not done and answer.create_disposition == FILE_CREATED:
                await self.remove_stream(path, name)

    async def remove_stream(self, path: ServerPath, name: str) -> bool:
        """Remove a stream; False: there is none of this name."""
        asked = False

        async def look() -> None:
            nonlocal asked
            asked = True  # then it may be gone by that, which is as well

        return await self._tree.persist(partial(self._remove_stream, path, name), look) or asked

    async def _remove_stream(self, path: ServerPath, name: str) -> bool:
        try:
            file, _ = await self._tree.create(
                await self._stream_path(path, name),
                access=DELETE,
                disposition=FILE_OPEN,
                options=FILE_DELETE_ON_CLOSE,
            )
        except StatusError as exc:
            if exc.status == STATUS_OBJECT_NAME_NOT_FOUND:
                return False
            raise
        await file.close()
        return True

    async def _stream_path(self, path: ServerPath, name: str) -> ServerPath:
        if not await self.has_streams():
            raise OSError(errno.EOPNOTSUPP, "no streams on this server")
        if not name or "/" in name or "\0" in name:
            raise OSError(errno.EINVAL, "not a name of a stream")
        return ServerPath(f"{path.text}:{self._backend.style.to_server(name)}", path.snapshot)

    # --- security descriptors

    async def security(self, path: ServerPath, fields: int) -> bytes:
        """The self-relative security descriptor, as far as `fields` (OWNER_SECURITY_INFORMATION, ...) wants it."""
        rights = READ_CONTROL | _rights(fields, _TO_READ)
        return await self._by_own(path, rights, lambda file: query_security(file, fields))

    async def set_security(self, path: ServerPath, fields: int, descriptor: bytes) -> None:
        """Change the parts named by `fields` to what the descriptor says of them."""
        if len(descriptor) < _DESCRIPTOR_HEADER:
            raise OSError(errno.EINVAL, "not a security descriptor")
        await self._by_own(path, _rights(fields, _TO_WRITE), lambda file: set_security(file, fields, descriptor))

    async def _by_own(self, path: ServerPath, access: int, work: Callable[[OpenFile], Awaitable[T]]) -> T:
        """Do something, which may be done twice, by a FID of a file or directory that is opened for it."""

        async def attempt() -> T:
            file, _ = await self._tree.create(path, access=access, disposition=FILE_OPEN)
            try:
                return await work(file)
            finally:
                file.close_soon()

        return await self._tree.persist(attempt)

    # --- facts

    async def basic(self, path: ServerPath) -> FileBasicInfo:
        """Times and attributes as the server has them, in its own units."""
        return await self._tree.query_path(path, FileBasicInfo)

    async def set_basic(self, path: ServerPath, info: FileBasicInfo) -> None:
        """Set times and attributes; what is 0 stays as it is."""
        await self._backend.set_basic(path, None, info)

    async def file_id(self, path: ServerPath) -> int:
        """The server's number of the file, 0 if it has none."""
        return (await self._tree.query_path(path, FileInternalInfo)).index_number

    async def short_name(self, path: ServerPath) -> str:
        """The 8.3 name, empty if there is none."""
        return (await self._tree.query_path(path, FileAltNameInfo)).file_name

    async def flags(self, path: ServerPath) -> int:
        """File flags of the UNIX extensions (EXT_IMMUTABLE, ...), as far as the server has any.

        smbd tells those of BSD's chflags(2); on Linux it has none, but answers.
        """
        if not self._unix_info2:
            return 0
        try:
            birth = (await self._tree.query_path(path, FileUnixInfo2)).birth
        except StatusError as exc:
            if exc.status not in UNKNOWN_LEVEL:
                raise
            self._unix_info2 = False
            return 0
        return birth.file_flags & birth.file_flags_mask

    async def whoami(self) -> PosixWhoami | None:
        """Whom the server takes us for; None if it has no UNIX extensions. smbd says so whether or not they are on."""
        try:
            return await self._tree.query_fs(PosixWhoami, max_data=MAX_DATA)
        except StatusError as exc:
            if exc.status in UNKNOWN_LEVEL:
                return None
            raise

    async def snapshots(self, path: ServerPath) -> tuple[str, ...]:
        """@GMT tokens of the snapshots in which the file may be looked for."""
        return await self._by_own(path, FILE_READ_DATA, enumerate_snapshots)


def _rights(fields: int, table: dict[int, int]) -> int:
    found = 0
    for field, right in table.items():
        if fields & field:
            found |= right
    return found
