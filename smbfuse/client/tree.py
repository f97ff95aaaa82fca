"""A tree connect: the share's facts, and the SMB operations on its paths and files. [MS-CIFS] 3.2.4.2.5 and following.

One method per operation of the protocol, named as there; statuses come up unmapped as StatusError. Paths are the
server's own spelling (`ServerPath`), made on floor 4. Each method raises ConnectionLost and RequestTimeout besides; a
cancelled one leaves its request to be answered in the background (an open that it asked for is closed again).

Where somebody keeps the tree connected (`reconnect.py`) a lost connection is waited for, and what was asked is asked
again on the next one. Not so what a FID is used for, since FIDs are gone: `OpenFile.gone` tells that. And not what
makes, moves or removes a name, unless it was not even sent (`ConnectionLost.sent`): whoever asked has to look whether
it was done.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from smbfuse.client.openfile import OpenFile
from smbfuse.client.search import Search
from smbfuse.client.treeconnect import TreeConnect, Tries
from smbfuse.errors import (
    AnswerSpoiled,
    AuthenticationError,
    ConnectionLost,
    RemoteProtocolError,
    RequestTimeout,
    StatusError,
)
from smbfuse.ntstatus import (
    STATUS_INVALID_PARAMETER,
    STATUS_INVALID_SMB,
    STATUS_NETWORK_NAME_DELETED,
    STATUS_NETWORK_SESSION_EXPIRED,
    STATUS_NOT_IMPLEMENTED,
    STATUS_NOT_SUPPORTED,
    STATUS_SMB_BAD_COMMAND,
    STATUS_SMB_BAD_TID,
    STATUS_SMB_BAD_UID,
    STATUS_USER_SESSION_DELETED,
    is_error,
    status_name,
)
from smbfuse.proto.reassembly import Transaction, slices
from smbfuse.wire import trans2
from smbfuse.wire.const import (
    FILE_APPEND_DATA,
    FILE_DELETE_ON_CLOSE,
    FILE_OPEN,
    FILE_SHARE_DELETE,
    FILE_SHARE_READ,
    FILE_SHARE_WRITE,
    FILE_WRITE_DATA,
    NT_CREATE_REQUEST_EXTENDED_RESPONSE,
    NT_CREATE_REQUEST_OPBATCH,
    NT_CREATE_REQUEST_OPLOCK,
    OPLOCK_BATCH,
    OPLOCK_EXCLUSIVE,
    OPLOCK_LEVEL_II,
    OPLOCK_NONE,
    SMB_FLAGS2_REPARSE_PATH,
    SMB_NT_RENAME_SET_LINK_INFO,
    SMB_O_CREAT,
    SMB_REQUEST_BATCH_OPLOCK,
    SMB_REQUEST_OPLOCK,
    SMB_UNIQUE_FILE_NAME,
)
from smbfuse.wire.files import (
    CreateDirectoryRequest,
    DeleteDirectoryRequest,
    DeleteRequest,
    NtCreateAndXExtendedResponse,
    NtCreateAndXRequest,
    NtCreateAndXResponse,
    NtRenameRequest,
    ReadAndXRequest,
    ReadAndXResponse,
    RenameRequest,
)
from smbfuse.wire.frame import RawBody
from smbfuse.wire.setup import (
    TreeDisconnectRequest,
)
from smbfuse.wire.text import UNICODE
from smbfuse.wire.trans import Trans2Request, Trans2SecondaryRequest
from smbfuse.wire.unixlevels import PosixOpenRequest, PosixOpenResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Unpack

    from smbfuse.client.connection import How
    from smbfuse.client.reconnect import Keeper
    from smbfuse.client.session import Session
    from smbfuse.client.sizes import TransferSizes
    from smbfuse.proto.events import Response
    from smbfuse.wire.codec import Body, WireStruct

log: Final = logging.getLogger(__name__)

SHARE_ALL: Final = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE
LAST_OPENED: Final = 0xFFFF
"""In a chain behind an open: the FID that it gets. [MS-CIFS] 2.2.4.64.1."""
MAX_DATA: Final = 0xFF00
"""Bytes of transaction data asked for: with header and parameters one message of our MaxBufferSize holds them."""
SEARCH_ALL: Final = 0x0016
"""Search attributes that leave nothing out: hidden, system, directory. [MS-CIFS] 2.2.1.2.4."""
_TRANS2_OVERHEAD: Final = 32 + 1 + 2 * 15 + 2 + 3 + 8

_ENDED: Final = frozenset(
    {STATUS_NETWORK_NAME_DELETED, STATUS_SMB_BAD_TID, STATUS_SMB_BAD_UID, STATUS_USER_SESSION_DELETED}
)
"""How a server says that it has ended the session or the tree connect; nothing was done then. [MS-CIFS] 3.2.5.1."""

_CHAIN_REFUSED: Final = frozenset(
    {STATUS_INVALID_PARAMETER, STATUS_INVALID_SMB, STATUS_NOT_IMPLEMENTED, STATUS_NOT_SUPPORTED, STATUS_SMB_BAD_COMMAND}
)
"""How a server may say that it takes no such chain; an open alone may fail so, too."""

_OPLOCKS: Final = frozenset({OPLOCK_NONE, OPLOCK_EXCLUSIVE, OPLOCK_BATCH, OPLOCK_LEVEL_II})
_OPLOCK_FLAGS: Final = {
    OPLOCK_NONE: 0,
    OPLOCK_EXCLUSIVE: NT_CREATE_REQUEST_OPLOCK,
    OPLOCK_BATCH: NT_CREATE_REQUEST_OPLOCK | NT_CREATE_REQUEST_OPBATCH,
}
_POSIX_OPLOCK_FLAGS: Final = {
    OPLOCK_NONE: 0,
    OPLOCK_EXCLUSIVE: SMB_REQUEST_OPLOCK,
    OPLOCK_BATCH: SMB_REQUEST_OPLOCK | SMB_REQUEST_BATCH_OPLOCK,
}


class ServerPath(NamedTuple):
    """A path as the server has it. `snapshot`: an @GMT token is in it, which only Flags2 makes the server see.

    `file_id`: the server's number of the file that is meant, 0 where that is not known; it is not sent.
    """

    text: str
    snapshot: bool = False
    file_id: int = 0

    @property
    def flags2(self) -> int:
        """Bits to be set in the header of every request that names this path. [MS-SMB] 3.2.4.1.1."""
        return SMB_FLAGS2_REPARSE_PATH if self.snapshot else 0


class Level(Protocol):
    """An information level's structure, which knows its number."""

    LEVEL: int


L = TypeVar("L", bound="WireStruct")
T = TypeVar("T")


class Tree:
    """A share, as it is connected to now (`at`) and, where it is kept connected, will be later.

    What is known of it since the first connection must hold for those that follow: `preparations` see to that, each of
    them is given the new tree before it takes the old one's place, and raises SmbfuseError if it will not do.
    """

    def __init__(self, session: Session, tid: int, optional_support: int, file_system: str, rights: int = 0) -> None:
        self.at = TreeConnect(session, tid)
        self.optional_support = optional_support
        self.file_system = file_system
        self.rights = rights
        """What the user may do on the share at most, as an access mask; 0: the server does not tell."""
        self.losses = 0
        """How often the connection was lost."""
        self.keeper: Keeper | None = None
        self.chains = True
        """Whether reads may be chained to opens, as far as is known."""
        self.preparations: list[Callable[[Tree], Awaitable[None]]] = []
        self.on_lost: list[Callable[[], None]] = []
        """Called when the connection is gone, and all FIDs with it. Not to wait and not to raise."""
        self.on_revived: list[Callable[[], None]] = []
        """Called when the next one is there; likewise."""

    @property
    def session(self) -> Session:
        """The session of now. What was asked on one before may still be answered."""
        return self.at.session

    @property
    def tid(self) -> int:
        return self.at.tid

    @property
    def opens(self) -> dict[int, OpenFile]:
        """What is open now."""
        return self.at.opens

    @property
    def sizes(self) -> TransferSizes:
        return self.at.sizes

    @property
    def unique_file_names(self) -> bool:
        """SMB_UNIQUE_FILE_NAME: no file has two names, and names may be cached for 60 s. [MS-SMB] 2.2.4.7.2."""
        return bool(self.optional_support & SMB_UNIQUE_FILE_NAME)

    @property
    def read_only(self) -> bool:
        """Whether the user may change nothing on the whole share, as with smbd's `read only = yes`."""
        return self.rights != 0 and not self.rights & (FILE_WRITE_DATA | FILE_APPEND_DATA)

    # --- requests

    async def request(
        self,
        *bodies: Body,
        rest: tuple[Body, ...] = (),
        at: TreeConnect | None = None,
        once: bool = False,
        **how: Unpack[How],
    ) -> Response:
        """A request on this tree; see Connection.request.

        `at`: on this tree connect and no other, since it names a FID or a search of that. `once`: not to be sent again
        after it was sent. ConnectionLost is raised for these two, and for all when it was waited for long enough.
        """
        tries = Tries()
        while True:
            on = at or await self.up()
            try:
                return await self._answered(on, *bodies, rest=rest, **how)
            except ConnectionLost as exc:
                if at is not None or (once and exc.sent):
                    raise
                await self.try_again(exc, tries)

    async def _answered(self, on: TreeConnect, *bodies: Body, rest: tuple[Body, ...], **how: Unpack[How]) -> Response:
        """The answer to one request. ConnectionLost (not sent) where it says that session or tree connect are gone.

        A session that has expired is renewed, once: then nothing is lost, and what was asked is asked again.
        """
        logons = on.session.logons
        response = await on.request(*bodies, rest=rest, **how)
        if self.keeper is None:
            return response
        if response.status == STATUS_NETWORK_SESSION_EXPIRED:
            try:
                await on.session.renew(logons)
            except (AuthenticationError, RemoteProtocolError, RequestTimeout, StatusError) as exc:
                on.lose(f"the session has expired and cannot be renewed: {exc}")
            response = await on.request(*bodies, rest=rest, **how)
        if response.status in _ENDED or response.status == STATUS_NETWORK_SESSION_EXPIRED:
            on.lose(f"the server has ended the session: {status_name(response.status)}")
            raise ConnectionLost(f"the server has ended the session: {status_name(response.status)}")
        return response

    async def up(self) -> TreeConnect:
        """The tree connect of now, waited for if need be. ConnectionLost if that takes too long."""
        return self.at if self.keeper is None else await self.keeper.up()

    async def try_again(self, lost: ConnectionLost, tries: Tries) -> None:
        """Return when what has failed so may be tried once more; raise `lost` if it may not."""
        if self.keeper is None:
            raise lost
        await self.keeper.try_again(lost, tries)

    async def persist(
        self, work: Callable[[], Awaitable[T]], between: Callable[[], Awaitable[None]] | None = None
    ) -> T:
        """Do `work`, which may be done twice or sees to that itself, again if its connection is lost.

        `between` is for looking what became of it, if it was sent.
        """
        tries = Tries()
        while True:
            try:
                return await work()
            except ConnectionLost as exc:
                await self.try_again(exc, tries)
                if exc.sent and between is not None:
                    await between()

    async def do_once(self, change: Callable[[], Awaitable[object]], is_done: Callable[[], Awaitable[bool]]) -> None:
        """Make a change of names that is not to be made twice: if its answer is lost, `is_done` looks for it."""
        done = False

        async def unless_done() -> None:
            if not done:
                await change()

        async def look() -> None:
            nonlocal done
            done = await is_done()

        await self.persist(unless_done, look)

    async def trans2(
        self,
        parameters: WireStruct,
        data: bytes = b"",
        *,
        max_data: int = 0,
        at: TreeConnect | None = None,
        once: bool = False,
        **how: Unpack[How],
    ) -> Response:
        """One TRANSACTION2, its subcommand taken from the parameters' class. [MS-CIFS] 2.2.4.46.

        The status is not looked at, but an answer without error holds a whole transaction.
        """
        subcommand: int = parameters.SUBCOMMAND  # type: ignore[attr-defined] # every class of trans2.py has it
        raw = parameters.pack(UNICODE)
        room = self.session.limits.max_buffer_size - _TRANS2_OVERHEAD
        first, *more = slices(raw, data, [room])
        primary = Trans2Request(
            total_parameter_count=len(raw),
            total_data_count=len(data),
            max_parameter_count=16,
            max_data_count=max_data,
            setup=subcommand.to_bytes(2, "little"),
            parameters=first[1],
            data=first[3],
        )
        secondaries = tuple(
            Trans2SecondaryRequest(
                total_parameter_count=len(raw),
                total_data_count=len(data),
                parameter_displacement=p,
                parameters=chunk,
                data_displacement=d,
                data=part,
            )
            for p, chunk, d, part in more
        )
        response = await self.request(primary, rest=secondaries, at=at, once=once, **how)
        if response.transaction is None and not is_error(response.status):
            if response.status:  # no success, whatever its severity: wrong names of EAs are warned of
                raise StatusError(response.status, "TRANSACTION2")
            raise RemoteProtocolError("TRANSACTION2 was answered without a transaction")
        return response

    async def _transact(
        self,
        parameters: WireStruct,
        data: bytes = b"",
        *,
        max_data: int = 0,
        path: ServerPath | None = None,
        file: OpenFile | None = None,
        once: bool = False,
    ) -> Transaction:
        flags2, at = path.flags2 if path else 0, file.at if file else None
        response = await self.trans2(parameters, data, max_data=max_data, flags2=flags2, at=at, once=once)
        response.check(path.text if path else file.path if file else "")
        assert response.transaction is not None  # noqa: S101 - trans2 said so
        return response.transaction

    # --- opening

    async def create(
        self,
        path: ServerPath,
        *,
        access: int,
        disposition: int,
        options: int = 0,
        attributes: int = 0,
        share: int = SHARE_ALL,
        oplock: int = OPLOCK_NONE,
        head: int = 0,
        on_sent: Callable[[Callable[[], None]], None] | None = None,
    ) -> tuple[OpenFile, NtCreateAndXResponse | NtCreateAndXExtendedResponse]:
        """SMB_COM_NT_CREATE_ANDX: open, or create, and say what was found. [MS-CIFS] 2.2.4.64.

        To open what is there may be done twice: the first FID went with its connection. `oplock` is asked for
        (OPLOCK_EXCLUSIVE, OPLOCK_BATCH); what was granted stands in the OpenFile. So does what comes with it of the
        `head` bytes at the start of the file, which must be a file and opened for reading. `on_sent`: see How.
        """
        request = NtCreateAndXRequest(
            name_length=len(UNICODE.encode(path.text)),
            flags=NT_CREATE_REQUEST_EXTENDED_RESPONSE | _OPLOCK_FLAGS[self.oplock_to_ask(oplock)],
            desired_access=access,
            ext_file_attributes=attributes,
            share_access=share,
            create_disposition=disposition,
            create_options=options,
            file_name=path.text,
        )
        once = disposition != FILE_OPEN or bool(options & FILE_DELETE_ON_CLOSE)
        ask = partial(self.request, request, flags2=path.flags2, on_late=self._close_late, on_sent=on_sent, once=once)
        response = await self._with_head(ask, head) if head and self.chains else await ask()
        if not _is_open(response):
            response.check(path.text)
            if response.status:  # a warning without a file, as STATUS_STOPPED_ON_SYMLINK
                raise StatusError(response.status, "NT_CREATE_ANDX", path.text)
        answer = _create_answer(response)
        file = self.opened(answer.fid, path, answer.oplock_level, response.owner)
        if len(response.members) > 1 and isinstance(body := response.members[1][1], ReadAndXResponse):
            file.head = body.data
        return file, answer

    async def _with_head(self, ask: Callable[..., Awaitable[Response]], size: int) -> Response:
        """The same with a READ_ANDX chained to it. A server that does not take that is asked without, from then on.

        smbd 4.17 lets go of its answer's header if the read fails, which another client's lock is enough for.
        """
        try:
            response = await ask(ReadAndXRequest(fid=LAST_OPENED, offset_low=0, max_count_low=size))
        except AnswerSpoiled:
            self.no_chains()
            return await ask()
        if not _is_open(response) and response.status in _CHAIN_REFUSED:
            response = await ask()
            self.chains = not _is_open(response)
        return response

    def no_chains(self) -> None:
        """Chain no read to an open any more: it may leave the answer nameless, and the file open at the server."""
        log.debug("reads are not chained to opens any more")
        self.chains = False

    def oplock_to_ask(self, wanted: int) -> int:
        """None where the server takes one request at a time: its break would wait behind what waits for the break."""
        return wanted if self.session.limits.max_mpx_count > 1 else OPLOCK_NONE

    def opened(self, fid: int, path: ServerPath, oplock: int = OPLOCK_NONE, at: TreeConnect | None = None) -> OpenFile:
        """Keep account of a FID that the server gave out with this oplock, however it was asked for.

        An oplock that there is not allows nothing.
        """
        file = OpenFile(self, at or self.at, fid, path.text, oplock if oplock in _OPLOCKS else OPLOCK_NONE)
        file.at.opened(file)
        return file

    def _close_late(self, response: Response) -> None:
        """An open whose caller is gone is closed again, so that nothing stays open that nobody knows."""
        if _is_open(response):
            OpenFile(self, response.owner, _create_answer(response).fid, "").close_soon()

    # --- asking

    async def query_path(self, path: ServerPath, level: type[L], *, max_data: int = 4096) -> L:
        """TRANS2_QUERY_PATH_INFORMATION. [MS-CIFS] 2.2.6.6."""
        parameters = trans2.QueryPathParameters(information_level=_number(level), file_name=path.text)
        answer = await self._transact(parameters, max_data=max_data, path=path)
        return level.unpack(answer.data, text=UNICODE)

    async def query_file(self, file: OpenFile, level: type[L], *, max_data: int = 4096, asked: bytes = b"") -> L:
        """TRANS2_QUERY_FILE_INFORMATION; some levels want to be `asked` about something. [MS-CIFS] 2.2.6.8."""
        parameters = trans2.QueryFileParameters(fid=file.fid, information_level=_number(level))
        return level.unpack((await self._transact(parameters, asked, max_data=max_data, file=file)).data, text=UNICODE)

    async def query_fs(self, level: type[L], *, max_data: int = 1024) -> L:
        """TRANS2_QUERY_FS_INFORMATION. [MS-CIFS] 2.2.6.4."""
        parameters = trans2.QueryFsParameters(information_level=_number(level))
        return level.unpack((await self._transact(parameters, max_data=max_data)).data, text=UNICODE)

    def search(self, pattern: ServerPath, level: type[L], *, single: bool = False) -> Search[L]:
        """A search by TRANS2_FIND_FIRST2, page by page; `single` for one name and no more."""
        return Search(self, pattern, level, single)

    # --- changing

    async def posix_open(
        self, path: ServerPath, flags: int, permissions: int = 0, oplock: int = OPLOCK_NONE
    ) -> tuple[OpenFile, PosixOpenResponse]:
        """Open or create by the UNIX extensions, and get the FileUnixBasic. `oplock` as `create`."""
        response = await self._posix_open(path, flags, permissions, oplock, self._close_late_posix)
        answer = _posix_answer(response)
        return self.opened(answer.fid, path, answer.oplock_flags, response.owner), answer

    async def posix_make_directory(self, path: ServerPath, flags: int, permissions: int) -> PosixOpenResponse:
        """The same for a directory, which comes without a FID."""
        return _posix_answer(await self._posix_open(path, flags, permissions, OPLOCK_NONE, None))

    async def _posix_open(
        self,
        path: ServerPath,
        flags: int,
        permissions: int,
        oplock: int,
        on_late: Callable[[Response], None] | None,
    ) -> Response:
        parameters = trans2.SetPathParameters(information_level=PosixOpenRequest.LEVEL, file_name=path.text)
        asked = _POSIX_OPLOCK_FLAGS[self.oplock_to_ask(oplock)]
        data = PosixOpenRequest(oplock_flags=asked, open_flags=flags, permissions=permissions).pack()
        once = bool(flags & SMB_O_CREAT)
        response = await self.trans2(parameters, data, max_data=1024, flags2=path.flags2, on_late=on_late, once=once)
        response.check(path.text)
        return response

    def _close_late_posix(self, response: Response) -> None:
        if not is_error(response.status):
            OpenFile(self, response.owner, _posix_answer(response).fid, "").close_soon()

    async def set_path(self, path: ServerPath, info: WireStruct, *, once: bool = False) -> Transaction:
        """TRANS2_SET_PATH_INFORMATION. [MS-CIFS] 2.2.6.7. `once` for what makes, moves or removes a name."""
        parameters = trans2.SetPathParameters(information_level=_number(type(info)), file_name=path.text)
        return await self._transact(parameters, info.pack(UNICODE), path=path, once=once)

    async def set_file(self, file: OpenFile, info: WireStruct, level: int | None = None) -> None:
        """TRANS2_SET_FILE_INFORMATION. [MS-CIFS] 2.2.6.9."""
        number = _number(type(info)) if level is None else level
        parameters = trans2.SetFileParameters(fid=file.fid, information_level=number)
        await self._transact(parameters, info.pack(UNICODE), file=file)

    async def set_fs(self, info: WireStruct) -> None:
        """TRANS2_SET_FS_INFORMATION. [MS-SMB] 2.2.6.5."""
        await self._transact(trans2.SetFsParameters(information_level=_number(type(info))), info.pack(UNICODE))

    async def delete(self, path: ServerPath) -> None:
        """SMB_COM_DELETE of one file. Whoever calls sees to it that no wildcard is in the name. [MS-CIFS] 2.2.4.7."""
        request = DeleteRequest(search_attributes=SEARCH_ALL & ~0x10, file_name=path.text)
        (await self.request(request, flags2=path.flags2, once=True)).check(path.text)

    async def create_directory(self, path: ServerPath) -> None:
        """SMB_COM_CREATE_DIRECTORY. [MS-CIFS] 2.2.4.1."""
        (await self.request(CreateDirectoryRequest(directory_name=path.text), flags2=path.flags2, once=True)).check(
            path.text
        )

    async def delete_directory(self, path: ServerPath) -> None:
        """SMB_COM_DELETE_DIRECTORY. [MS-CIFS] 2.2.4.2."""
        (await self.request(DeleteDirectoryRequest(directory_name=path.text), flags2=path.flags2, once=True)).check(
            path.text
        )

    async def rename(self, old: ServerPath, new: ServerPath) -> None:
        """SMB_COM_RENAME; fails where the new name exists. [MS-CIFS] 2.2.4.8."""
        request = RenameRequest(search_attributes=SEARCH_ALL, old_file_name=old.text, new_file_name=new.text)
        (await self.request(request, flags2=old.flags2 | new.flags2, once=True)).check(old.text)

    async def link(self, old: ServerPath, new: ServerPath) -> None:
        """SMB_COM_NT_RENAME that makes a hard link. [MS-CIFS] 2.2.4.66."""
        request = NtRenameRequest(
            search_attributes=SEARCH_ALL,
            information_level=SMB_NT_RENAME_SET_LINK_INFO,
            old_file_name=old.text,
            new_file_name=new.text,
        )
        (await self.request(request, flags2=old.flags2 | new.flags2, once=True)).check(new.text)

    async def disconnect(self) -> None:
        """SMB_COM_TREE_DISCONNECT, of the tree connect of now. [MS-CIFS] 2.2.4.51."""
        await self.at.request(TreeDisconnectRequest(), timeout=2.0, urgent=True)


def _number(level: type[WireStruct]) -> int:
    number: int = level.LEVEL  # type: ignore[attr-defined] # every class that is an information level has it
    return number


def _is_open(response: Response) -> bool:
    """Whether an open was done: in a chain the status is the last request's, and the open is answered all the same."""
    if isinstance(response.members[0][1], RawBody):
        return False
    return len(response.members) > 1 or not is_error(response.status)


def _create_answer(response: Response) -> NtCreateAndXResponse | NtCreateAndXExtendedResponse:
    body = response.members[0][1]
    if isinstance(body, NtCreateAndXExtendedResponse):
        return body
    return response.body(NtCreateAndXResponse)


def _posix_answer(response: Response) -> PosixOpenResponse:
    assert response.transaction is not None  # noqa: S101 - trans2 said so
    return PosixOpenResponse.unpack(response.transaction.data)
