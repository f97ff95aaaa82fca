"""The file system in the CIFS UNIX extensions: modes, owners, links and POSIX names are the server's own.

Data are read and written as with any server; only names and metadata are asked for in other words.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from smbfuse.client.peek import Peeks
from smbfuse.core.server.acls import PosixAcls
from smbfuse.core.server.attrs import ANYBODY, UNIX_KINDS, Attributes, Owner, from_unix
from smbfuse.core.server.backend import Change, Space, child, split
from smbfuse.core.server.names import POSIX_NAMES, acceptable
from smbfuse.core.server.nt import NtBackend, named
from smbfuse.core.server.statuses import UNKNOWN_LEVEL
from smbfuse.errors import NotSupported, RemoteProtocolError, StatusError
from smbfuse.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_CANNOT_DELETE,
    STATUS_NO_SUCH_FILE,
    STATUS_OBJECT_NAME_NOT_FOUND,
)
from smbfuse.wire.const import (
    CIFS_UNIX_FCNTL_LOCKS_CAP,
    CIFS_UNIX_LARGE_READ_CAP,
    CIFS_UNIX_LARGE_WRITE_CAP,
    CIFS_UNIX_POSIX_ACLS_CAP,
    CIFS_UNIX_POSIX_PATH_OPS_CAP,
    CIFS_UNIX_POSIX_PATHNAMES_CAP,
    FILE_CREATED,
    OPLOCK_NONE,
    POSIX_UNLINK_DIRECTORY_TARGET,
    POSIX_UNLINK_FILE_TARGET,
    SMB_FLAGS_CASE_INSENSITIVE,
    SMB_O_CREAT,
    SMB_O_DIRECTORY,
    SMB_O_EXCL,
    SMB_O_RDONLY,
    SMB_O_RDWR,
    SMB_O_TRUNC,
    SMB_O_WRONLY,
)
from smbfuse.wire.text import filetime_to_ns, ns_to_filetime
from smbfuse.wire.unixlevels import (
    CifsUnixInfo,
    FileUnixBasic,
    FileUnixHlink,
    FileUnixLink,
    FindFileUnix,
    PosixFsInfo,
    PosixOpenResponse,
    PosixUnlink,
)

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.peek import Peek
    from smbfuse.client.search import Search
    from smbfuse.client.tree import ServerPath, Tree
    from smbfuse.core.server.backend import Creation, Pages

_NEEDED: Final = CIFS_UNIX_POSIX_PATHNAMES_CAP | CIFS_UNIX_POSIX_PATH_OPS_CAP
"""Without these the extensions would be worse than none."""
_USED: Final = (
    _NEEDED
    | CIFS_UNIX_FCNTL_LOCKS_CAP
    | CIFS_UNIX_POSIX_ACLS_CAP
    | CIFS_UNIX_LARGE_READ_CAP
    | CIFS_UNIX_LARGE_WRITE_CAP
)
_NO_POSIX_OPEN: Final = UNKNOWN_LEVEL - {STATUS_NO_SUCH_FILE}
_SETTLED: Final = 2_000_000_000
"""Nanoseconds for which a file has not been changed: more than any tick, and than what we misjudge the server's clock
by."""


async def enable(tree: Tree) -> int:
    """Turn the extensions on for this tree, and return which of them are used (CIFS_UNIX_ capabilities).

    0 if the server lacks what they need. StatusError for other troubles.
    """
    used = tree.at.unix_capabilities & _USED
    if used & _NEEDED != _NEEDED:
        return 0
    await tree.set_fs(CifsUnixInfo(capabilities=used))
    tree.session.connection.engine.flags &= ~SMB_FLAGS_CASE_INSENSITIVE
    return used


class UnixPages:
    """A listing with UNIX attributes."""

    def __init__(self, search: Search[Any]) -> None:
        self._search = search

    async def next_page(self) -> list[tuple[str, Attributes]]:
        while page := await self._search.next_page():
            found = [(entry.file_name, from_unix(entry.basic)) for entry in page if acceptable(entry.file_name)]
            if found:
                return found
        return []

    async def close(self) -> None:
        await self._search.close()


class UnixBackend(NtBackend):
    """A server with the UNIX extensions on; what they do not say better is inherited."""

    style = POSIX_NAMES
    late_times = False

    def __init__(self, tree: Tree, capabilities: int) -> None:
        super().__init__(tree)
        self._peeks = Peeks(tree)
        self._opens_by_posix = True
        """Whether POSIX_OPEN opens what is there. Samba 3.0 makes files by it, and knows no other use of it."""
        self.capabilities = capabilities
        self.posix_locks = bool(capabilities & CIFS_UNIX_FCNTL_LOCKS_CAP)
        self.acls = PosixAcls(tree) if capabilities & CIFS_UNIX_POSIX_ACLS_CAP else None

    @property
    def _follows_links(self) -> bool:
        """Whether attributes that are set of a symbolic link are set of what it leads to, wherever that is.

        Read in the sources of 3.0.28a. 4.17 sets the owner of the link.
        """
        version = self.tree.session.samba
        return version is not None and version < (4, 0)

    async def stat(self, path: ServerPath) -> Attributes:
        return from_unix(await self.tree.query_path(path, FileUnixBasic))

    async def count_names(self, path: ServerPath) -> int:
        return (await self.stat(path)).nlink

    async def stat_open(self, file: OpenFile) -> Attributes:
        return from_unix(await self.tree.query_file(file, FileUnixBasic))

    async def file_id(self, file: OpenFile) -> int:
        return (await self.stat_open(file)).file_id

    def list(self, path: ServerPath) -> Pages:
        return UnixPages(self.tree.search(child(path, "*", self.style), FindFileUnix))

    async def space(self) -> Space:
        try:
            info = await self.tree.query_fs(PosixFsInfo)
        except StatusError as exc:
            if exc.status not in UNKNOWN_LEVEL:
                raise
            return await super().space()  # a Samba on a system without statvfs
        return Space(
            max(info.block_size, 1),
            info.total_blocks,
            info.blocks_available,
            info.user_blocks_available,
            info.total_file_nodes,
            info.free_file_nodes,
        )

    # --- opening

    def may_have_head(self, known: Attributes) -> bool:
        """Not of a file that was changed a moment ago: see `_still_so`."""
        return known.ctime_ns <= self.now_ns() - _SETTLED

    async def open(
        self, path: ServerPath, read: bool, write: bool, oplock: int = OPLOCK_NONE, head: int = 0
    ) -> tuple[OpenFile, Attributes]:
        """POSIX_OPEN is a TRANSACTION2, to which nothing can be chained: the head is read in passing before it.

        An NT_CREATE_ANDX that stays open would do, but other clients' POSIX_UNLINK then takes the name away only when
        the file is closed. smbd 4.17 takes no notice of FILE_FLAG_POSIX_SEMANTICS there.
        """
        if not self._opens_by_posix:
            return await self._open_as_nt(path, read, write, oplock, head)
        peek = self._peeks.look(path, head) if head else None
        try:
            file, answer = await self.tree.posix_open(path, _open_flags(read, write), oplock=oplock)
        except StatusError as exc:
            if exc.status not in _NO_POSIX_OPEN:
                raise
            file, attrs = await self._open_as_nt(path, read, write, oplock, head)
            with file.kept():
                self._opens_by_posix = False  # now that this was no fault of the file's
                await self._read_and_write_as_posix(self.tree)
                return file, attrs
        with file.kept():
            attrs = _attributes(answer)
            if peek is not None and self._still_so(peek, attrs):
                file.head = peek.data
            return file, attrs

    async def _read_and_write_as_posix(self, tree: Tree) -> None:
        """Have what is opened so read and written by POSIX's rules: past locks of ours that POSIX locks are.

        Samba 3.0 does that for clients who do not say that they use POSIX_OPEN. It takes that all the same.
        """
        with suppress(StatusError):
            await tree.set_fs(CifsUnixInfo(capabilities=self.capabilities & ~CIFS_UNIX_POSIX_PATH_OPS_CAP))

    async def prepare(self, tree: Tree) -> None:
        """The same on the next connection. NotSupported if it is not there any more."""
        if self.capabilities & ~(await enable(tree) if tree.session.unix else 0):
            raise NotSupported(f"{tree.session.settings.host} has not the same UNIX extensions any more; mount again")
        if not self._opens_by_posix:
            await self._read_and_write_as_posix(tree)

    async def _open_as_nt(
        self, path: ServerPath, read: bool, write: bool, oplock: int, head: int
    ) -> tuple[OpenFile, Attributes]:
        file, _ = await super().open(path, read, write, oplock, head)
        with file.kept():
            return file, await self.stat_open(file)

    def _still_so(self, peek: Peek, attrs: Attributes) -> bool:
        """Whether nobody can have changed the file since the look, which was a moment before it was opened.

        Any change sets the change time, which nobody else can; but the server's disk tells no two moments apart that
        lie within a tick of its clock. So the last one has to be a while ago.
        """
        found = peek.found
        if found is None or not self.may_have_head(attrs):
            return False
        then = found.end_of_file, filetime_to_ns(found.last_write_time), filetime_to_ns(found.last_change_time)
        return then == (attrs.size, attrs.mtime_ns, attrs.ctime_ns)

    async def create(self, path: ServerPath, read: bool, write: bool, new: Creation) -> tuple[OpenFile, Attributes]:
        flags = _open_flags(read, write) | SMB_O_CREAT
        flags |= SMB_O_EXCL if new.exclusive else 0
        flags |= SMB_O_TRUNC if new.truncate else 0
        made, since = False, self.now_ns()

        async def attempt() -> tuple[OpenFile, PosixOpenResponse]:
            asked = flags & ~(SMB_O_EXCL | SMB_O_TRUNC) if made else flags
            return await self.tree.posix_open(path, asked, new.permissions, new.oplock)

        async def look() -> None:
            nonlocal made
            made = await self._looking.is_made(path, stat.S_IFREG, since)

        file, answer = await self.tree.persist(attempt, look)
        with file.kept():
            attrs = _attributes(answer)
            attrs.new = made or answer.create_action == FILE_CREATED
            if attrs.new:
                self.tree.session.clock.dated(attrs.ctime_ns, since)
                await self._insist(path, attrs, new.permissions)
                await self._give(path, attrs, new.owner)
        return file, attrs

    async def _insist(self, path: ServerPath, attrs: Attributes, permissions: int) -> None:
        """Samba's `create mask` takes bits away from what is new, but not from what is changed afterwards.

        Where a default ACL of the directory's has taken them, that is as it should be.
        """
        if attrs.permissions == permissions:
            return
        if self.acls is not None and await self.acls.passes_on(split(path, self.style)[0]):
            return
        await self.tree.set_path(path, FileUnixBasic(permissions=permissions))
        attrs.permissions = permissions

    async def _give(self, path: ServerPath, attrs: Attributes | None, owner: Owner) -> None:
        """Make something new belong to somebody else, if the user who logged on may do that; as cifs.ko."""
        wanted = Change.to(None, owner)
        if wanted == Change() or (attrs is not None and wanted.applied_to(attrs) == attrs):
            return
        try:
            await self.change(path, None, wanted, attrs)
        except StatusError as exc:
            if exc.status != STATUS_ACCESS_DENIED:
                raise
            return
        if attrs is not None:
            given = wanted.applied_to(attrs)
            attrs.st_uid, attrs.st_gid = given.st_uid, given.st_gid

    # --- changing

    async def change(
        self, path: ServerPath | None, file: OpenFile | None, change: Change, before: Attributes | None
    ) -> None:
        """All in one request, but for the size of an open file, which its FID sets.

        By FID smbd 4.17 sets nothing of UNIX's of a file whose name is gone.
        """
        if change.size is not None:
            await self._resize(path, file, change.size)
        if before is not None and before.kind == stat.S_IFLNK and self._follows_links:
            owner = Change(st_uid=change.st_uid, st_gid=change.st_gid)
            if owner.applied_to(before) != before:
                raise OSError(errno.EPERM, "this server would give away what the link leads to")
            return
        info = FileUnixBasic()
        if change.permissions is not None:
            info.permissions = change.permissions
        if change.st_uid is not None:
            info.uid = change.st_uid
        if change.st_gid is not None:
            info.gid = change.st_gid
        if change.atime_ns is not None:
            info.last_access_time = ns_to_filetime(change.atime_ns)
        if change.mtime_ns is not None:
            info.last_modification_time = ns_to_filetime(change.mtime_ns)
        if info != FileUnixBasic():
            await self.tree.set_path(named(path), info)

    async def make_directory(self, path: ServerPath, permissions: int, owner: Owner = ANYBODY) -> Attributes | None:
        # Just these two bits are "make a directory" for smbd 4.17, and fail where the name is taken.
        made, since = False, self.now_ns()

        async def attempt() -> Attributes | None:
            if made:
                return await self.stat(path)
            answer = await self.tree.posix_make_directory(path, SMB_O_CREAT | SMB_O_DIRECTORY, permissions)
            basic = answer.basic()
            return None if basic is None else from_unix(basic)

        async def look() -> None:
            nonlocal made
            made = await self._looking.is_made(path, stat.S_IFDIR, since)

        attrs = await self.tree.persist(attempt, look)
        if attrs is None:
            return None
        self.tree.session.clock.dated(attrs.ctime_ns, since)
        # A set-group-id directory hands that bit down: the server's disk has seen to it.
        await self._insist(path, attrs, permissions | (attrs.permissions or 0) & stat.S_ISGID)
        await self._give(path, attrs, owner)
        return attrs

    async def remove_directory(self, path: ServerPath) -> None:
        await self._posix_unlink(path, POSIX_UNLINK_DIRECTORY_TARGET)

    async def unlink(self, path: ServerPath) -> None:
        try:
            await self._posix_unlink(path, POSIX_UNLINK_FILE_TARGET)
        except StatusError as exc:
            if exc.status != STATUS_CANNOT_DELETE:
                raise
            await self._unlink_read_only(path)  # Samba 3.0 has Windows' rules for these, too

    async def _delete(self, path: ServerPath) -> None:
        await self._posix_unlink(path, POSIX_UNLINK_FILE_TARGET)

    async def _posix_unlink(self, path: ServerPath, target: int) -> None:
        unlink = partial(self.tree.set_path, path, PosixUnlink(target=target), once=True)
        await self.tree.do_once(unlink, partial(self._looking.is_gone, path))

    async def rename(self, old: ServerPath, new: ServerPath, replace: bool) -> None:
        """smbd 4.17 does not replace a file that we have open; it does rename and delete one."""
        try:
            await super().rename(old, new, replace)
        except StatusError as exc:
            if exc.status != STATUS_ACCESS_DENIED or not replace:
                raise
            try:
                await self._set_aside(old, new)
            except StatusError:
                raise exc from None

    async def read_link(self, path: ServerPath) -> str:
        return (await self.tree.query_path(path, FileUnixLink, max_data=8192)).target

    async def make_symlink(self, path: ServerPath, target: str, owner: Owner = ANYBODY) -> None:
        make = partial(self.tree.set_path, path, FileUnixLink(target=target), once=True)
        await self.tree.do_once(make, partial(self._looking.leads_to, path, target))
        await self._give(path, None, owner)

    async def make_node(self, path: ServerPath, mode: int, rdev: int, owner: Owner = ANYBODY) -> None:
        """A device node, FIFO or socket: set for a name that is not there, UNIX_BASIC makes it (capture 30a).

        It would change what is there, so that has to be seen before. Samba takes bits away from the permissions.
        """
        try:
            await self.stat(path)
        except StatusError as exc:
            if exc.status != STATUS_OBJECT_NAME_NOT_FOUND:
                raise
        else:
            raise OSError(errno.EEXIST, "the name is taken")
        wanted = FileUnixBasic(
            end_of_file=0,
            file_type=UNIX_KINDS[stat.S_IFMT(mode)],
            device_major=os.major(rdev),
            device_minor=os.minor(rdev),
            permissions=stat.S_IMODE(mode),
        )
        await self.tree.set_path(path, wanted)
        made = await self.stat(path)
        await self._insist(path, made, stat.S_IMODE(mode))
        await self._give(path, made, owner)

    async def link(self, old: ServerPath, new: ServerPath) -> None:
        link = partial(self.tree.set_path, new, FileUnixHlink(target=old.text), once=True)
        await self.tree.do_once(link, partial(self._looking.is_linked, old, new))


def _attributes(answer: PosixOpenResponse) -> Attributes:
    basic = answer.basic()
    if basic is None:
        raise RemoteProtocolError("a POSIX open was answered without the attributes asked for")
    return from_unix(basic)


def _open_flags(read: bool, write: bool) -> int:
    if write:
        return SMB_O_RDWR if read else SMB_O_WRONLY
    return SMB_O_RDONLY


async def choose_backend(tree: Tree) -> NtBackend:
    """The backend that fits the server and the options. NotSupported if the user insists on what is not there.

    A connection that takes this one's place later has to have the same.
    """
    wanted = tree.session.settings.unix_extensions
    if tree.session.unix and (capabilities := await enable(tree)):
        backend = UnixBackend(tree, capabilities)
        tree.preparations.append(backend.prepare)
        return backend
    if wanted:
        raise NotSupported(f"{tree.session.settings.host} has no UNIX extensions; mount without the option unix")
    return NtBackend(tree)
