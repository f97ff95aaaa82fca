"""What the file system asks of a server, in POSIX terms; how it is said in SMB differs by what the server can.

`NtBackend` (nt.py) speaks the information levels that every NT LM 0.12 server has, `UnixBackend` (unix.py) the UNIX
extensions. Paths are the server's (`path`). Statuses come up as StatusError; `vfs.py` makes errnos of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from smbfuse.client.tree import ServerPath
from smbfuse.core.server.attrs import ANYBODY, Owner
from smbfuse.core.server.names import NameStyle, is_snapshot
from smbfuse.wire.const import FILE_ATTRIBUTE_READONLY, OPLOCK_NONE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smbfuse.client.openfile import OpenFile
    from smbfuse.client.tree import Tree
    from smbfuse.core.server.acls import PosixAcls
    from smbfuse.core.server.attrs import Attributes
    from smbfuse.wire.filelevels import FileBasicInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What setattr changes; None leaves a thing as it is. Times are nanoseconds since 1970.

    `atime_now`, `mtime_now`: the time that the server has when it is done. `dated` says which that is; backends are
    never asked for it.
    """

    size: int | None = None
    permissions: int | None = None
    st_uid: int | None = None
    st_gid: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    atime_now: bool = False
    mtime_now: bool = False

    @classmethod
    def to(cls, permissions: int | None, owner: Owner) -> Change:
        """What makes a new file what it was to be."""
        return cls(permissions=permissions, st_uid=owner.st_uid, st_gid=owner.st_gid)

    def dated(self, now_ns: int) -> Change:
        """The same with `now_ns` for now."""
        return replace(
            self,
            atime_ns=now_ns if self.atime_now else self.atime_ns,
            mtime_ns=now_ns if self.mtime_now else self.mtime_ns,
            atime_now=False,
            mtime_now=False,
        )

    def applied_to(self, before: Attributes) -> Attributes:
        """What attributes are after it, as far as that follows. It has to be dated."""
        after = replace(before)
        if self.permissions is not None:
            if before.permissions is not None:
                after.permissions = self.permissions
            elif before.dos is not None and not before.is_dir:
                read_only = 0 if self.permissions & 0o200 else FILE_ATTRIBUTE_READONLY
                after.dos = before.dos & ~FILE_ATTRIBUTE_READONLY | read_only
        if before.st_uid is not None and self.st_uid is not None:
            after.st_uid = self.st_uid
        if before.st_gid is not None and self.st_gid is not None:
            after.st_gid = self.st_gid
        after.atime_ns = before.atime_ns if self.atime_ns is None else self.atime_ns
        after.mtime_ns = before.mtime_ns if self.mtime_ns is None else self.mtime_ns
        return after


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """How a file is made, or opened if it is there and need not be new."""

    permissions: int
    exclusive: bool = False
    """Whether it must be new."""
    truncate: bool = False
    owner: Owner = ANYBODY
    oplock: int = OPLOCK_NONE
    """What is asked for: OPLOCK_BATCH, ..."""


class Space(NamedTuple):
    """What statfs tells: bytes per unit, and counts of units and of file nodes (0 where the server does not say)."""

    unit: int
    total: int
    free: int
    available: int
    nodes: int
    free_nodes: int


class Pages(Protocol):
    """A directory as it comes in. `next_page` gives (name as programs see it, attributes); empty at the end."""

    async def next_page(self) -> list[tuple[str, Attributes]]: ...

    async def close(self) -> None: ...


class Backend(Protocol):
    """The server's side of the file system."""

    style: NameStyle
    late_times: bool
    """Whether the server may tell the time of a write later than it did the write."""

    def now_ns(self) -> int:
        """The server's clock, in nanoseconds since 1970."""

    tree: Tree
    posix_locks: bool
    """Whether the server locks as POSIX wants: advisory, byte by byte."""
    acls: PosixAcls | None
    """POSIX ACLs, if the server has them."""

    async def stat(self, path: ServerPath) -> Attributes: ...

    async def count_names(self, path: ServerPath) -> int:
        """How many names a file has. The `nlink` of a search without the UNIX extensions does not tell it."""

    async def stat_open(self, file: OpenFile) -> Attributes: ...

    async def file_id(self, file: OpenFile) -> int:
        """The server's number of the file, 0 if it has none."""

    def list(self, path: ServerPath) -> Pages: ...

    def may_have_head(self, known: Attributes) -> bool:
        """Whether what a file begins with is worth asking for with its open."""

    async def open(
        self, path: ServerPath, read: bool, write: bool, oplock: int = OPLOCK_NONE, head: int = 0
    ) -> tuple[OpenFile, Attributes]:
        """Open a file that is there. The first `head` bytes may come with it, where that costs no wait."""

    async def create(self, path: ServerPath, read: bool, write: bool, new: Creation) -> tuple[OpenFile, Attributes]: ...

    async def change(
        self, path: ServerPath | None, file: OpenFile | None, change: Change, before: Attributes | None
    ) -> None:
        """Change a file by its path, or by a FID that may write. `path` None: it has no name left, only the FID."""

    async def set_basic(self, path: ServerPath | None, file: OpenFile | None, info: FileBasicInfo) -> None: ...

    async def make_directory(self, path: ServerPath, permissions: int, owner: Owner = ANYBODY) -> Attributes | None: ...

    async def remove_directory(self, path: ServerPath) -> None: ...

    async def unlink(self, path: ServerPath) -> None: ...

    async def delete_when_closed(self, path: ServerPath) -> None: ...

    async def rename(self, old: ServerPath, new: ServerPath, replace: bool) -> None: ...

    async def read_link(self, path: ServerPath) -> str: ...

    async def make_symlink(self, path: ServerPath, target: str, owner: Owner = ANYBODY) -> None: ...

    async def make_node(self, path: ServerPath, mode: int, rdev: int, owner: Owner = ANYBODY) -> None: ...

    async def link(self, old: ServerPath, new: ServerPath) -> None: ...

    async def space(self) -> Space: ...

    async def undo(self, step: Callable[[], Awaitable[object]]) -> None:
        """Undo a step of a change that came to nothing: now, or when the server is back."""

    async def catch_up(self) -> None:
        """Undo what could not be undone while the server was away."""


def server_path(components: list[str], style: NameStyle) -> ServerPath:
    """The path of these components below the share's root.

    A snapshot's token goes to the front, wherever the user typed it: smbd 4.17 takes it anywhere but as the last
    component behind a directory's name.
    """
    tokens = [name for name in components if is_snapshot(name)]
    if tokens:
        components = [tokens[-1], *(name for name in components if not is_snapshot(name))]
    text = style.separator + style.separator.join(
        name if is_snapshot(name) else style.to_server(name) for name in components
    )
    return ServerPath(text, bool(tokens))


def child(path: ServerPath, name: str, style: NameStyle) -> ServerPath:
    """`name` below `path`, already in the server's spelling (a wildcard, a temporary name)."""
    joint = "" if path.text.endswith(style.separator) else style.separator
    return ServerPath(f"{path.text}{joint}{name}", path.snapshot)


def split(path: ServerPath, style: NameStyle) -> tuple[ServerPath, str]:
    """Directory and last component."""
    head, _, name = path.text.rpartition(style.separator)
    return ServerPath(head or style.separator, path.snapshot), name
