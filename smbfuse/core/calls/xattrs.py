"""Extended attributes: which name stands for what, and the four system calls.

    user.NAME               an extended attribute (EA) of the server's
    user.smb.stream.NAME    an alternate data stream
    user.cifs.dosattrib     DOS attributes, 4 bytes; user.cifs.creationtime: FILETIME, 8 bytes; both little-endian
    system.cifs_acl         security descriptor as cifs-utils want it, and system.cifs_ntsd, system.cifs_ntsd_full
    system.posix_acl_access, system.posix_acl_default   POSIX ACLs, where they are on
    smb.NAME                facts about the file, read-only

Only the first two are listed, as with cifs.ko, and ACLs that are there: the others every file has, and a program that
copies all it finds listed would carry them to where they mean nothing. All other names (security.capability before each
write) are answered without a question to the server. ENOSYS is never the answer: it would end xattrs for the mount.

POSIX ACLs are a matter of all or nothing. `ls -l` asks for two of each file until it is told that there are none on
this file system (EOPNOTSUPP), and no listing tells which files have any. A guess would make backups lose them, and
setfacl(1) too. So they are on where somebody says so, or where the directory that is mounted has one itself.
"""

from __future__ import annotations

import errno
import logging
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from weakref import WeakKeyDictionary

from smbfuse.core.calls.vfs import Vfs, system_call
from smbfuse.core.server.acls import Acls, PosixAcls, from_xattr, minimal
from smbfuse.core.server.extras import MAX_VALUE, Extras
from smbfuse.core.server.facts import facts
from smbfuse.core.server.names import from_kernel, to_kernel
from smbfuse.wire import const
from smbfuse.wire.filelevels import FileBasicInfo

if TYPE_CHECKING:
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.cache.inodes import Inode

log: Final = logging.getLogger(__name__)

USER: Final = b"user."
STREAM: Final = b"user.smb.stream."
FACT: Final = b"smb."
MAX_NAME: Final = 255
"""Bytes of a name with its prefix (XATTR_NAME_MAX)."""
_MAX_KEPT: Final = 64
"""Files whose EAs are kept: programs list those of one file, and then ask for each."""
_SETTLED_NS: Final = 2 * 10**9
"""The grain of change times, with room: within it a file may change twice and show one time."""


class Attribute:
    """One xattr of a file. What a subclass does not do cannot be done."""

    user: ClassVar[bool] = False
    """Whether the option nouser_xattr hides it."""
    changes_mode: ClassVar[bool] = False
    """Whether stat(2) may tell another mode after it was set. The kernel expects another change time only."""

    async def get(self, path: ServerPath) -> bytes:
        """The value. OSError(ENODATA) if there is none."""
        raise OSError(errno.ENODATA, "no such attribute")

    async def set(self, path: ServerPath, value: bytes) -> None:
        """Set, or make it."""
        raise OSError(errno.EPERM, "this attribute cannot be changed")

    async def remove(self, path: ServerPath) -> None:
        """Remove it. OSError(ENODATA) if it is not there."""
        raise OSError(errno.EPERM, "this attribute cannot be removed")


@dataclass(frozen=True, slots=True)
class Ea(Attribute):
    """An extended attribute of SMB. Its name goes to the server as the bytes it has, as with cifs.ko."""

    user: ClassVar[bool] = True
    extras: Extras
    name: str
    known: Callable[[], Awaitable[dict[str, bytes]]]
    """Gives all EAs of the file."""

    async def _find(self) -> tuple[str, bytes] | None:
        """Spelling and value; another case is the same attribute, but this very name goes first."""
        found = await self.known()
        if self.name in found:
            return self.name, found[self.name]
        return next(((name, value) for name, value in found.items() if name.upper() == self.name.upper()), None)

    async def get(self, path: ServerPath) -> bytes:
        try:
            found = await self._find()
        except OSError as exc:
            if exc.errno != errno.E2BIG:
                raise
            value = await self.extras.ea(path, self.name)
            found = None if value is None else (self.name, value)
        if found is None:
            raise OSError(errno.ENODATA, "no such attribute")
        return found[1]

    async def set(self, path: ServerPath, value: bytes) -> None:
        if not value:
            raise OSError(errno.EOPNOTSUPP, "SMB takes an empty value for a removal")
        await self.extras.set_ea(path, self.name, value)

    async def remove(self, path: ServerPath) -> None:
        """Servers remove what is not there without a word, so it has to be looked for."""
        await self.get(path)
        await self.extras.set_ea(path, self.name, b"")


@dataclass(frozen=True, slots=True)
class Stream(Attribute):
    """An alternate data stream."""

    user: ClassVar[bool] = True
    extras: Extras
    name: str

    async def get(self, path: ServerPath) -> bytes:
        value = await self.extras.stream(path, self.name)
        if value is None:
            raise OSError(errno.ENODATA, "no such stream")
        return value

    async def set(self, path: ServerPath, value: bytes) -> None:
        await self.extras.set_stream(path, self.name, value)

    async def remove(self, path: ServerPath) -> None:
        if not await self.extras.remove_stream(path, self.name):
            raise OSError(errno.ENODATA, "no such stream")


@dataclass(frozen=True, slots=True)
class Basic(Attribute):
    """A field of FileBasicInfo as bytes, little-endian; the value is as cifs.ko has it."""

    extras: Extras
    field: str
    size: int
    zero: int
    """What to set for 0, which on the wire means: leave it as it is."""

    async def get(self, path: ServerPath) -> bytes:
        value: int = getattr(await self.extras.basic(path), self.field)
        return value.to_bytes(self.size, "little")

    async def set(self, path: ServerPath, value: bytes) -> None:
        if len(value) != self.size:
            raise OSError(errno.ERANGE, f"the value has {self.size} bytes")
        info = FileBasicInfo()
        setattr(info, self.field, int.from_bytes(value, "little") or self.zero)
        await self.extras.set_basic(path, info)


class DosAttributes(Basic):
    """One of them is the read-only attribute."""

    changes_mode: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Security(Attribute):
    """The security descriptor. As cifs.ko: what is written depends more on the name than what is read."""

    changes_mode: ClassVar[bool] = True
    extras: Extras
    to_read: int
    to_write: int

    async def get(self, path: ServerPath) -> bytes:
        return await self.extras.security(path, self.to_read)

    async def set(self, path: ServerPath, value: bytes) -> None:
        await self.extras.set_security(path, self.to_write, value)


@dataclass(frozen=True, slots=True)
class AccessAcl(Attribute):
    """The POSIX ACL of a file. Its mask is the group's part of the mode."""

    changes_mode: ClassVar[bool] = True
    acls: PosixAcls
    known: Callable[[], Awaitable[Acls]]

    async def get(self, path: ServerPath) -> bytes:
        return _there((await self.known()).access)

    async def set(self, path: ServerPath, value: bytes) -> None:
        await self.acls.set_access(path, from_xattr(value))

    async def remove(self, path: ServerPath) -> None:
        await self.acls.set_access(path, minimal(from_xattr(await self.get(path))))


@dataclass(frozen=True, slots=True)
class DefaultAcl(Attribute):
    """The ACL that a directory gives to what is made in it."""

    acls: PosixAcls
    known: Callable[[], Awaitable[Acls]]

    async def get(self, path: ServerPath) -> bytes:
        return _there((await self.known()).default)

    async def set(self, path: ServerPath, value: bytes) -> None:
        await self.acls.set_default(path, from_xattr(value))

    async def remove(self, path: ServerPath) -> None:
        await self.get(path)
        await self.acls.set_default(path, ())


def _there(value: bytes) -> bytes:
    if not value:
        raise OSError(errno.ENODATA, "no such ACL")
    return value


@dataclass(frozen=True, slots=True)
class Fact(Attribute):
    """Something to know about a file, as text."""

    tell: Callable[[ServerPath], Awaitable[str]]

    async def get(self, path: ServerPath) -> bytes:
        text = await self.tell(path)
        if not text:
            raise OSError(errno.ENODATA, "nothing to tell")
        return to_kernel(text)


_OWNER_DACL: Final = (
    const.OWNER_SECURITY_INFORMATION | const.GROUP_SECURITY_INFORMATION | const.DACL_SECURITY_INFORMATION
)
_FULL: Final = _OWNER_DACL | const.SACL_SECURITY_INFORMATION


def named_attributes(extras: Extras) -> dict[bytes, Attribute]:
    """The attributes that have one name each."""
    return {
        b"user.cifs.dosattrib": DosAttributes(extras, "ext_file_attributes", 4, const.FILE_ATTRIBUTE_NORMAL),
        b"user.cifs.creationtime": Basic(extras, "creation_time", 8, 1),
        b"system.cifs_acl": Security(extras, _OWNER_DACL, const.DACL_SECURITY_INFORMATION),
        b"system.cifs_ntsd": Security(extras, _OWNER_DACL, _OWNER_DACL),
        b"system.cifs_ntsd_full": Security(extras, _FULL, _FULL),
        **{FACT + name: Fact(tell) for name, tell in facts(extras).items()},
    }


class _KnownAcls(NamedTuple):
    """The ACLs of an inode as the server told them: for which version of it, until when surely."""

    version: int
    until: float
    ctime_ns: int | None
    """The file's change time, which an ACL that is set moves; None where it was too young to rely on that."""
    acls: Acls


_ACL_NAMES: Final = (b"system.posix_acl_access", b"system.posix_acl_default")
"""In the order of Acls."""


class XattrCalls(Vfs):
    """The system calls about extended attributes. Names are bytes with their prefix, values bytes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Vfs's own
        super().__init__(*args, **kwargs)
        self.extras = Extras(self.backend)
        self._named = named_attributes(self.extras)
        self._eas: OrderedDict[Inode, tuple[int, float, dict[str, bytes]]] = OrderedDict()
        """EAs of the files asked for last: the inode's version, until when, and the EAs."""
        self.acls: PosixAcls | None = None
        """Set where POSIX ACLs are on: by `find_acls`, before the mount."""
        self._acls: WeakKeyDictionary[Inode, _KnownAcls] = WeakKeyDictionary()

    async def find_acls(self) -> None:
        """See whether POSIX ACLs are to be on. StatusError.

        A mount that has none of its own at the root is left in peace unless the option acl is given.
        """
        offered = self.backend.acls
        if offered is None:
            if self.mount.acl:
                log.warning("there are no POSIX ACLs: the server does not offer them")
            return
        wanted = self.mount.acl
        if wanted is None:
            wanted = any(await offered.seen(self.path(self.inodes.root)))
        self.acls = offered if wanted else None

    @system_call
    async def listxattr(self, number: int) -> list[bytes]:
        """Names of EAs, streams and ACLs. Other kinds of files than the two have none of the former."""
        inode = self.inodes.get(number)
        if not self.mount.user_xattr and self.acls is None:
            raise OSError(errno.EOPNOTSUPP, "mounted with nouser_xattr")
        names = [] if self.acls is None else await self._acl_names(self.acls, inode)
        if self.mount.user_xattr and inode.kind in (stat.S_IFREG, stat.S_IFDIR):
            eas = await self._known_eas(inode)
            names += [USER + name.encode("ascii", "surrogateescape") for name in eas]
            names += [STREAM + to_kernel(name) for name in await self.extras.streams(self.path(inode))]
        return [name for name in names if len(name) <= MAX_NAME]

    async def _acl_names(self, acls: PosixAcls, inode: Inode) -> list[bytes]:
        if inode.kind == stat.S_IFLNK:
            return []
        known = await self._known_acls(acls, inode)
        return [name for name, value in zip(_ACL_NAMES, known, strict=True) if value]

    @system_call
    async def getxattr(self, number: int, name: bytes) -> bytes:
        """A value. OSError(ENODATA) if the file has none of that name, EOPNOTSUPP if no file can."""
        inode = self.inodes.get(number)
        attribute = self._attribute(inode, name)
        return await attribute.get(self.path(inode))

    @system_call
    async def setxattr(self, number: int, name: bytes, value: bytes) -> None:
        """Set a value. OSError(E2BIG) where it is too long for SMB, ENOSPC where the server has no room for it."""
        if len(value) > MAX_VALUE:
            raise OSError(errno.E2BIG, "no xattr may be so long")
        await self._change_xattr(number, name, lambda attribute, path: attribute.set(path, value))

    @system_call
    async def removexattr(self, number: int, name: bytes) -> None:
        """Remove an EA or a stream. OSError(ENODATA) if it is not there."""
        await self._change_xattr(number, name, lambda attribute, path: attribute.remove(path))

    async def _change_xattr(
        self, number: int, name: bytes, work: Callable[[Attribute, ServerPath], Awaitable[None]]
    ) -> None:
        inode = self.inodes.get(number)
        attribute = self._attribute(inode, name)
        self.check_writable(inode)
        path = self.path(inode)

        async def accounted() -> None:
            try:
                await work(attribute, path)
            finally:
                self.cache.changed(inode)  # times too, and with the new version what is kept of its EAs

        await self.change(accounted)
        if attribute.changes_mode:
            await self.kernel.forget_attributes(number)

    def _attribute(self, inode: Inode, name: bytes) -> Attribute:
        """What a name stands for. OSError(EOPNOTSUPP) for what SMB does not have."""
        found = self._named.get(name) or self._of_family(inode, name)
        if found is None or (found.user and not self.mount.user_xattr):
            raise OSError(errno.EOPNOTSUPP, "no such attributes here")
        return found

    def _of_family(self, inode: Inode, name: bytes) -> Attribute | None:
        if name.startswith(STREAM):
            return Stream(self.extras, from_kernel(name.removeprefix(STREAM)))
        if name.startswith(USER) and name != USER:
            ea = name.removeprefix(USER).decode("ascii", "surrogateescape")
            return Ea(self.extras, ea, lambda: self._known_eas(inode))
        if name in _ACL_NAMES and self.acls is not None:
            return self._of_acls(self.acls, inode, name)
        return Attribute() if name.startswith(FACT) else None

    def _of_acls(self, acls: PosixAcls, inode: Inode, name: bytes) -> Attribute:
        if name == _ACL_NAMES[0]:
            return AccessAcl(acls, lambda: self._known_acls(acls, inode))
        if inode.kind == stat.S_IFDIR:
            return DefaultAcl(acls, lambda: self._known_acls(acls, inode))
        return Attribute()

    async def _known_acls(self, acls: PosixAcls, inode: Inode) -> Acls:
        """The ACLs of a file. They count for as long as other answers, and then as long as the file does not change."""
        known = self._acls.get(inode)
        if known is not None and known.version == inode.version:
            attrs = self.cache.attributes(inode)
            if self.cache.remaining(known.until) > 0 or (attrs is not None and attrs.ctime_ns == known.ctime_ns):
                return known.acls
        version, asked, attrs = inode.version, self.cache.now(), self.cache.attributes(inode)
        settled = attrs is not None and self.backend.now_ns() - attrs.ctime_ns > _SETTLED_NS
        found = await acls.get(self.path(inode))
        until = asked + self.cache.lifetime
        self._acls[inode] = _KnownAcls(version, until, attrs.ctime_ns if attrs and settled else None, found)
        return found

    async def _known_eas(self, inode: Inode) -> dict[str, bytes]:
        """All EAs of a file, from an answer that may still be served or from the server."""
        version, until, eas = self._eas.get(inode, (-1, 0.0, {}))
        if version == inode.version and self.cache.remaining(until) > 0:
            return eas
        version, asked = inode.version, self.cache.now()
        eas = await self.extras.eas(self.path(inode))
        self._eas[inode] = version, asked + self.cache.lifetime, eas
        self._eas.move_to_end(inode)
        if len(self._eas) > _MAX_KEPT:
            self._eas.popitem(last=False)
        return eas
