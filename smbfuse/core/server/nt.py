"""The file system in NT information levels, as every NT LM 0.12 server has them."""

from __future__ import annotations

import errno
import logging
import secrets
import stat
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from smbfuse.client.ahead import Ahead
from smbfuse.core.server.attrs import ANYBODY, Attributes, Owner, from_nt
from smbfuse.core.server.backend import Change, Space, child, split
from smbfuse.core.server.looking import Looking
from smbfuse.core.server.names import WINDOWS_NAMES, NameStyle, acceptable
from smbfuse.core.server.reparse import read_target
from smbfuse.core.server.statuses import UNKNOWN_LEVEL
from smbfuse.errors import ConnectionLost, SmbfuseError, StatusError
from smbfuse.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_CANNOT_DELETE,
    STATUS_NO_SUCH_FILE,
    STATUS_NOT_A_REPARSE_POINT,
    STATUS_OBJECT_NAME_COLLISION,
    STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_PATH_NOT_FOUND,
)
from smbfuse.wire.const import (
    DELETE,
    FILE_APPEND_DATA,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_READONLY,
    FILE_CREATE,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OPEN_REPARSE_POINT,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    OPLOCK_NONE,
)
from smbfuse.wire.filelevels import (
    FileAllInfo,
    FileBasicInfo,
    FileDispositionInfo,
    FileEndOfFileInfo,
    FileInternalInfo,
    FileRenameInformation,
)
from smbfuse.wire.files import NtCreateAndXExtendedResponse
from smbfuse.wire.findlevels import FileBothDirectoryInfo, FileDirectoryInfo, FileIdFullDirectoryInfo
from smbfuse.wire.fslevels import FsFullSizeInfo, FsSizeInfo
from smbfuse.wire.text import ns_to_filetime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.search import Search
    from smbfuse.client.tree import ServerPath, Tree
    from smbfuse.core.server.acls import PosixAcls
    from smbfuse.core.server.backend import Creation, Pages
    from smbfuse.wire.codec import WireStruct
    from smbfuse.wire.files import NtCreateAndXResponse

log: Final = logging.getLogger(__name__)

_NOT_SO: Final = frozenset({STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND})
"""How servers say that a file cannot be renamed by its FID, beside not knowing the level."""
_ALL_INFO: Final = 0x4000
"""Bytes of FileAllInfo: it ends with the path, of two bytes a character."""
_FIND_LEVELS: Final[tuple[type[WireStruct], ...]] = (
    FileIdFullDirectoryInfo,
    FileBothDirectoryInfo,
    FileDirectoryInfo,
)
"""Best first: the one with file ids, then what older servers know."""


def access_mask(read: bool, write: bool) -> int:
    """Rights to be asked for in an open: just those that the program's use needs, since more may be refused."""
    wanted = FILE_READ_ATTRIBUTES
    if read:
        wanted |= FILE_READ_DATA
    if write:
        wanted |= FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_ATTRIBUTES
    return wanted


class NtPages:
    """A listing in NT levels; falls back to an older level when the server does not know the one asked for."""

    def __init__(self, backend: NtBackend, pattern: ServerPath, *, single: bool = False) -> None:
        self._backend = backend
        self._pattern = pattern
        self._single = single
        self._search = self._begin()
        self._started = False

    def _begin(self) -> Search[Any]:
        level = _FIND_LEVELS[self._backend.find_level]
        return self._backend.tree.search(self._pattern, level, single=self._single)

    async def next_page(self) -> list[tuple[str, Attributes]]:
        style = self._backend.style
        while page := await self._next():
            named = [(style.from_server(entry.file_name), entry) for entry in page]
            found = [
                (name, from_nt(entry, entry.creation_time, file_id=getattr(entry, "file_id", 0)))
                for name, entry in named
                if acceptable(name)
            ]
            if found:
                return found
        return []

    async def _next(self) -> list[Any]:
        while True:
            try:
                page = await self._search.next_page()
            except StatusError as exc:
                if self._started or exc.status not in UNKNOWN_LEVEL or not self._backend.older_find_level():
                    raise
                self._search = self._begin()
            else:
                self._started = True
                return page

    async def close(self) -> None:
        await self._search.close()


class NtBackend:
    """What any NT LM 0.12 server can do."""

    style: NameStyle = WINDOWS_NAMES
    late_times = True
    posix_locks = False
    acls: PosixAcls | None = None

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.find_level = 0
        """Index in _FIND_LEVELS of the level that the server is known (or hoped) to take."""
        self._path_rename = True
        """Whether FileRenameInformation by path is worth a try: Samba takes it, others want a FID."""
        self._internal_info = True
        self._has_to_ask_numbers = False
        """Whether an open has been seen to tell no number of the file, and there is a way to ask."""
        self._looking = Looking(self)
        self._to_undo: list[Callable[[], Awaitable[object]]] = []

    # --- asking

    def now_ns(self) -> int:
        return self.tree.session.clock.now_ns()

    async def stat(self, path: ServerPath) -> Attributes:
        """Attributes of one path, in one request: a search for just this name, which tells the file id too.

        The root of the share and of a snapshot have no name to search for.
        """
        if _is_root(path, self.style):
            return await self._stat_all(path)
        try:
            page = await NtPages(self, path, single=True).next_page()
        except StatusError as exc:
            # Searching needs the right to list the directory, asking for one path does not.
            if exc.status == STATUS_ACCESS_DENIED:
                return await self._stat_all(path)
            raise
        if not page:
            raise StatusError(STATUS_OBJECT_NAME_NOT_FOUND, "FIND_FIRST2", path.text)
        return page[0][1]

    async def _stat_all(self, path: ServerPath) -> Attributes:
        info = await self.tree.query_path(path, FileAllInfo, max_data=_ALL_INFO)
        return from_nt(info, info.creation_time, nlink=info.number_of_links)

    async def count_names(self, path: ServerPath) -> int:
        return (await self._stat_all(path)).nlink

    async def stat_open(self, file: OpenFile) -> Attributes:
        """Attributes by FID: right also for sizes of files being written, which listings of Windows are late with."""
        info = await self.tree.query_file(file, FileAllInfo, max_data=_ALL_INFO)
        return from_nt(info, info.creation_time, nlink=info.number_of_links)

    def list(self, path: ServerPath) -> Pages:
        return NtPages(self, child(path, "*", self.style))

    def older_find_level(self) -> bool:
        """Go down one level, for good; False if there is none."""
        if self.find_level + 1 == len(_FIND_LEVELS):
            return False
        self.find_level += 1
        return True

    async def space(self) -> Space:
        try:
            full = await self.tree.query_fs(FsFullSizeInfo)
            unit = full.sectors_per_allocation_unit * full.bytes_per_sector
            return Space(
                max(unit, 1),
                full.total_allocation_units,
                full.actual_available_allocation_units,
                full.caller_available_allocation_units,
                0,
                0,
            )
        except StatusError as exc:
            if exc.status not in UNKNOWN_LEVEL:
                raise
        size = await self.tree.query_fs(FsSizeInfo)
        unit = size.sectors_per_allocation_unit * size.bytes_per_sector
        free = size.available_allocation_units
        return Space(max(unit, 1), size.total_allocation_units, free, free, 0, 0)

    # --- lost connections

    async def undo(self, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
        except ConnectionLost as exc:
            log.warning("a change is undone when the server is back: %s", exc)
            self._to_undo.append(step)

    async def catch_up(self) -> None:
        steps, self._to_undo = self._to_undo, []
        for step in steps:
            await self.undo(step)

    # --- opening

    def may_have_head(self, known: Attributes) -> bool:
        return True

    async def open(
        self, path: ServerPath, read: bool, write: bool, oplock: int = OPLOCK_NONE, head: int = 0
    ) -> tuple[OpenFile, Attributes]:
        file, answer = await self.tree.create(
            path,
            access=access_mask(read, write),
            disposition=FILE_OPEN,
            options=FILE_NON_DIRECTORY_FILE,
            oplock=oplock,
            head=head,
        )
        return file, from_nt(answer, answer.create_time, file_id=_file_id(answer))

    async def create(self, path: ServerPath, read: bool, write: bool, new: Creation) -> tuple[OpenFile, Attributes]:
        """Create, or open what is there. Truncating is a step of its own: FILE_OVERWRITE would drop attributes too."""
        made, since = False, self.now_ns()

        async def attempt() -> tuple[OpenFile, Attributes]:
            nonlocal made
            look = Ahead(partial(self.stat, path))
            disposition = FILE_OPEN if made else FILE_CREATE if new.exclusive else FILE_OPEN_IF
            file, answer = await self.tree.create(
                path,
                access=access_mask(read, write),
                disposition=disposition,
                options=FILE_NON_DIRECTORY_FILE,
                attributes=FILE_ATTRIBUTE_NORMAL if new.permissions & 0o200 else FILE_ATTRIBUTE_READONLY,
                oplock=new.oplock,
                on_sent=partial(self._begin, look) if self._has_to_ask_numbers else None,
            )
            made = made or answer.create_disposition == FILE_CREATED
            with file.kept():
                if new.truncate and not made and answer.end_of_file:
                    await self.tree.set_file(file, FileEndOfFileInfo(end_of_file=0))
                    answer.end_of_file = 0
                attrs = from_nt(answer, answer.create_time, file_id=_file_id(answer))
                attrs.file_id = attrs.file_id or await self._number(file, attrs, look)
                attrs.new = made
                if made:
                    self.tree.session.clock.dated(attrs.ctime_ns, since)
                return file, attrs

        async def look() -> None:
            nonlocal made
            made = made or await self._looking.is_made(path, stat.S_IFREG, since)

        return await self.tree.persist(attempt, look)

    def _begin(self, look: Ahead[Attributes], _cancel: Callable[[], None]) -> None:
        """Look at a path right behind an open, which is on the wire (`on_sent` of `Connection.request`).

        A server that takes one message after the other has opened the file by then. One that does not may tell of what
        was there before, or of nothing at all, and so may one to which others have come between.
        """
        look.begin(self.tree.session.connection)  # that of now, perhaps a new one

    async def _number(self, file: OpenFile, attrs: Attributes, look: Ahead[Attributes]) -> int:
        """The number of a file whose open did not tell it: by the look at its path, if that found the same file."""
        self._has_to_ask_numbers = self._internal_info and not self.find_level
        with suppress(SmbfuseError):
            seen = await look.answer()
            if seen.file_id and seen.btime_ns == attrs.btime_ns:
                return seen.file_id
        return await self.file_id(file)

    async def file_id(self, file: OpenFile) -> int:
        if not self._internal_info or self.find_level:
            return 0
        try:
            return (await self.tree.query_file(file, FileInternalInfo)).index_number
        except StatusError as exc:
            if exc.status not in UNKNOWN_LEVEL:
                raise
            self._internal_info = False
            return 0

    # --- changing

    async def change(
        self, path: ServerPath | None, file: OpenFile | None, change: Change, before: Attributes | None
    ) -> None:
        """Size, times and the read-only bit. Owners and the other mode bits are not the server's to keep."""
        if change.size is not None:
            await self._resize(path, file, change.size)
        info = FileBasicInfo(
            last_access_time=_filetime(change.atime_ns),
            last_write_time=_filetime(change.mtime_ns),
            ext_file_attributes=_dos_change(change, before),
        )
        if info != FileBasicInfo():
            await self.set_basic(path, file, info)

    async def _resize(self, path: ServerPath | None, file: OpenFile | None, size: int) -> None:
        if file is not None:
            await self.tree.set_file(file, FileEndOfFileInfo(end_of_file=size))
            return

        async def by_own() -> None:
            own, _ = await self.open(named(path), read=False, write=True)
            try:
                await self.tree.set_file(own, FileEndOfFileInfo(end_of_file=size))
            finally:
                own.close_soon()

        await self.tree.persist(by_own)

    async def set_basic(self, path: ServerPath | None, file: OpenFile | None, info: FileBasicInfo) -> None:
        """By the FID of a file open for writing: a time set by path smbd replaces with its own when that FID is closed.

        Else by path, in one request. Some servers want a FID for it.
        """
        if file is not None:
            await self.tree.set_file(file, info)
            return
        path = named(path)
        try:
            await self.tree.set_path(path, info)
            return
        except StatusError as exc:
            if exc.status not in UNKNOWN_LEVEL:
                raise

        async def by_own() -> None:
            own, _ = await self.tree.create(path, access=FILE_WRITE_ATTRIBUTES, disposition=FILE_OPEN)
            try:
                await self.tree.set_file(own, info)
            finally:
                own.close_soon()

        await self.tree.persist(by_own)

    async def make_directory(self, path: ServerPath, permissions: int, owner: Owner = ANYBODY) -> Attributes | None:
        is_made = partial(self._looking.is_made, path, stat.S_IFDIR, self.now_ns())
        await self.tree.do_once(partial(self.tree.create_directory, path), is_made)
        return None

    async def remove_directory(self, path: ServerPath) -> None:
        await self.tree.do_once(partial(self.tree.delete_directory, path), partial(self._looking.is_gone, path))

    async def _delete(self, path: ServerPath) -> None:
        await self.tree.do_once(partial(self.tree.delete, path), partial(self._looking.is_gone, path))

    async def _rename(self, old: ServerPath, new: ServerPath) -> None:
        """Where nothing has the new name."""
        await self.tree.do_once(partial(self.tree.rename, old, new), partial(self._looking.is_renamed, old, new))

    async def unlink(self, path: ServerPath) -> None:
        """Delete a file, a read-only one too: for POSIX that is the directory's business."""
        try:
            await self._delete(path)
        except StatusError as exc:
            if exc.status != STATUS_CANNOT_DELETE:
                raise
            await self._unlink_read_only(path)

    async def _unlink_read_only(self, path: ServerPath) -> None:
        await self.set_basic(path, None, FileBasicInfo(ext_file_attributes=FILE_ATTRIBUTE_NORMAL))
        gone = False
        try:
            await self._delete(path)
            gone = True
        finally:
            if not gone:
                again = FileBasicInfo(ext_file_attributes=FILE_ATTRIBUTE_READONLY)
                await self.undo(partial(self.set_basic, path, None, again))

    async def delete_when_closed(self, path: ServerPath) -> None:
        """Have the server delete a file that is in use at its last close, and let nobody see it until then.

        The attribute that hides it takes the read-only one's place, which would be in the way.
        """
        await self.set_basic(path, None, FileBasicInfo(ext_file_attributes=FILE_ATTRIBUTE_HIDDEN))

        version = self.tree.session.samba
        by_option = version is None or version >= (3, 2)  # Samba 3.0 takes the option for new files only

        async def mark() -> None:
            option = FILE_DELETE_ON_CLOSE if by_option else 0
            own, _ = await self.tree.create(
                path, access=DELETE, disposition=FILE_OPEN, options=FILE_NON_DIRECTORY_FILE | option
            )
            try:
                if not by_option:
                    await self.tree.set_file(own, FileDispositionInfo(delete_pending=1))
            finally:
                await own.close()

        await self.tree.do_once(mark, partial(self._looking.is_gone, path))

    async def rename(self, old: ServerPath, new: ServerPath, replace: bool) -> None:
        """Rename; `replace` takes the place of a file that is there, at once and whole where the server can do that.

        FileRenameInformation can, within a directory. smbd 4.17 refuses it to hidden files, which for it are also those
        whose names begin with a dot.
        """
        (old_dir, old_name), (new_dir, name) = split(old, self.style), split(new, self.style)
        # To another spelling of the same name smbd 4.17 answers well to FileRenameInformation, and does nothing.
        other_name = self.style.key(old_name) != self.style.key(name)
        within = old_dir == new_dir and other_name and not old_name.startswith(".")
        if replace and within and await self._replace(old, name):
            return
        try:
            await self._rename(old, new)
        except StatusError as exc:
            if exc.status != STATUS_OBJECT_NAME_COLLISION or not replace:
                raise
            await self._take_place(old, new)

    async def _take_place(self, old: ServerPath, new: ServerPath) -> None:
        """Replace from another directory, or a hidden file: by way of another name in the new directory."""
        new_dir, name = split(new, self.style)
        between = child(new_dir, _unique_name(), self.style)._replace(file_id=old.file_id)
        await self._rename(old, between)
        done = False
        try:
            done = await self._replace(between, name) or await self._set_aside(between, new)
        finally:
            if not done:
                await self.undo(partial(self._rename, between, old))

    async def _replace(self, old: ServerPath, name: str) -> bool:
        """Rename within the directory, over what is there; False if the server cannot do that (to this file).

        By path smbd 4.17 wants the right to write the file (STATUS_ACCESS_DENIED for one of mode 0444), which by FID
        it does not.
        """
        info = FileRenameInformation(replace_if_exists=1, file_name=name)
        new = child(split(old, self.style)[0], name, self.style)
        is_renamed = partial(self._looking.is_renamed, old, new)
        known_level = not self._path_rename
        if self._path_rename:
            try:
                replace = partial(self.tree.set_path, old, info, once=True)
                await self.tree.do_once(replace, is_renamed)
                return True
            except StatusError as exc:
                if exc.status in (STATUS_NO_SUCH_FILE, STATUS_OBJECT_PATH_NOT_FOUND):
                    return False  # the latter of Samba 3.0, in the root
                known_level = exc.status == STATUS_ACCESS_DENIED
                if not known_level and exc.status not in UNKNOWN_LEVEL:
                    raise
        replaced = await self._replace_by_fid(old, info, is_renamed)
        if not known_level:
            # Only now is it known that it was the level, not this name, for which STATUS_INVALID_PARAMETER stands too.
            self._path_rename = not replaced
        return replaced

    async def _replace_by_fid(
        self, old: ServerPath, info: FileRenameInformation, is_renamed: Callable[[], Awaitable[bool]]
    ) -> bool:
        """The same by an open of its own; False also where there is none to be had, as of a symbolic link on smbd."""

        async def by_own() -> None:
            own, _ = await self.tree.create(old, access=DELETE | FILE_READ_ATTRIBUTES, disposition=FILE_OPEN)
            try:
                await self.tree.set_file(own, info)
            finally:
                own.close_soon()

        try:
            await self.tree.do_once(by_own, is_renamed)
        except StatusError as exc:
            if exc.status not in _NOT_SO and exc.status not in UNKNOWN_LEVEL:
                raise
            return False
        return True

    async def _set_aside(self, source: ServerPath, new: ServerPath) -> bool:
        """Replace in two steps, neither of which loses a file: what was there keeps living under another name."""
        aside = child(split(new, self.style)[0], _unique_name(), self.style)._replace(file_id=new.file_id)
        await self._rename(new, aside)
        moved = False
        try:
            await self._rename(source, new)
            moved = True
        finally:
            if not moved:
                await self.undo(partial(self._rename, aside, new))
        try:
            await self.unlink(aside)
        except StatusError as exc:
            log.debug("%s is in use: %s", aside.text, exc)
            await self.delete_when_closed(aside)
        return True

    async def read_link(self, path: ServerPath) -> str:
        async def by_own() -> str:
            own, _ = await self.tree.create(
                path, access=FILE_READ_ATTRIBUTES, disposition=FILE_OPEN, options=FILE_OPEN_REPARSE_POINT
            )
            try:
                return await read_target(own)
            except StatusError as exc:
                if exc.status != STATUS_NOT_A_REPARSE_POINT and exc.status not in UNKNOWN_LEVEL:
                    raise
                raise OSError(errno.EINVAL, "not a symbolic link") from exc
            finally:
                own.close_soon()

        return await self.tree.persist(by_own)

    async def make_symlink(self, path: ServerPath, target: str, owner: Owner = ANYBODY) -> None:
        raise OSError(errno.EPERM, "this server has no symbolic links")

    async def make_node(self, path: ServerPath, mode: int, rdev: int, owner: Owner = ANYBODY) -> None:
        raise OSError(errno.EPERM, "this server has regular files only")

    async def link(self, old: ServerPath, new: ServerPath) -> None:
        await self.tree.do_once(partial(self.tree.link, old, new), partial(self._looking.is_linked, old, new))


def named(path: ServerPath | None) -> ServerPath:
    """The path of what only a path can reach. OSError(ESTALE) if there is none: an empty one is the share's root."""
    if path is None:
        raise OSError(errno.ESTALE, "the file has no name any more")
    return path


def _file_id(answer: NtCreateAndXResponse | NtCreateAndXExtendedResponse) -> int:
    """The server's number of the file that was opened, if it tells: smbd 4.17 does not."""
    return answer.file_id if isinstance(answer, NtCreateAndXExtendedResponse) else 0


def _filetime(ns: int | None) -> int:
    """0 leaves a time as it is, so 1601-01-01 itself cannot be set."""
    return 0 if ns is None else ns_to_filetime(ns)


def _dos_change(change: Change, before: Attributes | None) -> int:
    """New ext_file_attributes where the owner's write bit and the read-only attribute disagree, else 0: no change."""
    if change.permissions is None or before is None or before.is_dir or before.dos is None:
        return 0
    read_only = not change.permissions & 0o200
    if read_only == bool(before.dos & FILE_ATTRIBUTE_READONLY):
        return 0
    dos = before.dos & ~FILE_ATTRIBUTE_NORMAL
    dos = dos | FILE_ATTRIBUTE_READONLY if read_only else dos & ~FILE_ATTRIBUTE_READONLY
    return dos or FILE_ATTRIBUTE_NORMAL


def _unique_name() -> str:
    """A name that nobody uses, for the middle of a rename; no dot in front, so that it is not hidden."""
    return f"smbfuse-{secrets.token_hex(8)}.tmp"


def _is_root(path: ServerPath, style: NameStyle) -> bool:
    """The share's root, or a snapshot's."""
    return path.text.count(style.separator) == 1 and (len(path.text) == 1 or path.snapshot)
