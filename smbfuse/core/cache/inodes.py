"""The inodes that the kernel knows: their numbers, their names, how often each was looked up.

An inode is found by its number (that is all the kernel passes) and reaches the server by a path, made from its names up
to the root. Numbers are the server's own file ids where it gives them, so that they are the same after a remount; where
that would make two different files one (an id of 0, a snapshot of a file beside the file, an id that was given again),
a number is made from the path. st_ino equal means: the same file.
"""

from __future__ import annotations

import errno
import hashlib
import math
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from smbfuse.core.server.names import is_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from smbfuse.core.cache.known import Listing, Why
    from smbfuse.core.server.attrs import Attributes

ROOT: Final = 1
"""The number by which the kernel knows the root."""
_MADE_UP: Final = 1 << 63
"""Numbers from here on were made of a path; no file system in use has inode numbers so high."""


class Name(NamedTuple):
    """A name in some directory."""

    directory: Inode
    key: str
    """As the server compares it."""
    spelling: str

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands, for tables: the directory's number and the key."""
        return self.directory.number, self.key


@dataclass(slots=True, weakref_slot=True, eq=False)
class Inode:
    """One file or directory, as long as the kernel, a handle or a cached listing may name it."""

    number: int
    kind: int
    """S_IFREG, S_IFDIR, ...: never changes; what else came to stand under the name is another inode."""
    file_id: int = 0
    """The server's number of the file, which `number` is not always; 0: it has none."""
    snapshot: bool = False
    """Whether it is inside a snapshot: read-only, and never the same as its present self."""
    entries: dict[str, Inode] | None = None
    """What has a name in this directory, by that name as the server compares it; None: nothing that is known."""
    linked: bool = False
    """Whether we gave it a further name: then the names known count, where the server does not tell how many it has."""
    pages_hold: bool = False
    """Whether what the kernel has of its data was read under an oplock that has been held ever since."""
    told_version: int = 0
    """The version at which the kernel was made to ask anew, when the file was opened last."""
    lookups: int = 0
    """How often the kernel was told of it; it is forgotten at 0."""
    handles: int = 0
    """Open files and directories."""
    children: int = 0
    """Inodes that have a name in it: it must outlive them."""
    # What is cached of it; `metacache.py` alone writes these.
    attrs: Attributes | None = None
    attrs_until: float = 0.0
    unsure: Why | None = None
    """Why they are to be asked for again before their time is over."""
    version: int = 0
    """Grows with each change: an answer to a question asked before a change must not be cached after it."""
    changed_at: float = -math.inf
    """When we changed it ourselves the last time."""
    listing: Listing | None = None
    # Its last name, which is nearly always its only one, and those before it: for 100,000 inodes it matters how.
    _directory: Inode | None = None
    _key: str = ""
    _spelling: str = ""
    _older: tuple[Name, ...] = ()

    @property
    def names(self) -> tuple[Name, ...]:
        """Each name known; the last one is used for paths."""
        return () if self._directory is None else (*self._older, Name(self._directory, self._key, self._spelling))

    @names.setter
    def names(self, names: tuple[Name, ...]) -> None:
        self._older = names[:-1]
        self._directory, self._key, self._spelling = names[-1] if names else (None, "", "")

    @property
    def directory(self) -> Inode | None:
        """Where its last name is; None: it has none, or is the root."""
        return self._directory

    @property
    def spelling(self) -> str:
        """That name."""
        return self._spelling

    @property
    def deleted(self) -> bool:
        """Whether no name is left: only open handles reach it."""
        return self._directory is None and self.number != ROOT


class InodeTable:
    """All inodes, by number and by (directory, name). `key` makes names equal that the server takes for the same.

    Without `server_numbers` files have no ids, whatever the server says: for those that give one to several files.
    """

    def __init__(self, root: Inode, key: Callable[[str], str], *, server_numbers: bool = True) -> None:
        self.root = root
        self.server_numbers = server_numbers
        self.renamed: Callable[[Inode, Inode, str], None] = lambda inode, parent, name: None
        """Called with an inode, and the directory and name that it had: others have given it another."""
        self._key = key
        self._by_number: dict[int, Inode] = {root.number: root}
        self._last_places: WeakKeyDictionary[Inode, tuple[int, str]] = WeakKeyDictionary()
        """Where files were that have no name left, and of which the kernel knows yet."""
        self._by_file_id: dict[int, Inode] = {}
        """The newest inode with this id of the server's where that is not its number, snapshots left out."""

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Inode]:
        return iter(self._by_number.values())

    def get(self, number: int) -> Inode:
        """The inode of this number. OSError(ESTALE) if the kernel names one that it was never told of."""
        try:
            return self._by_number[number]
        except KeyError:
            raise OSError(errno.ESTALE, f"no inode {number}") from None

    def find(self, parent: Inode, name: str) -> Inode | None:
        """The inode known under this name, if any."""
        return parent.entries.get(self._key(name)) if parent.entries is not None else None

    def components(self, inode: Inode) -> list[str]:
        """Names from the root down. OSError(ENOENT) if the file was deleted, ELOOP if names go in a circle."""
        found: list[str] = []
        while inode is not self.root:
            if inode.directory is None:
                raise OSError(errno.ENOENT, "the file was deleted")
            if len(found) > 2048:
                raise OSError(errno.ELOOP, "names go in a circle")
            found.append(inode.spelling)
            inode = inode.directory
        found.reverse()
        return found

    def parent(self, inode: Inode) -> Inode:
        """The directory that it is in; the root for the root and for what was deleted."""
        return inode.directory or self.root

    def places(self, inode: Inode) -> list[tuple[int, str]]:
        """Where it stands, or for a file that has no name any more: stood last."""
        last = self._last_places.get(inode) if inode.deleted else None
        return [name.place for name in inode.names] if last is None else [last]

    def upwards(self, inode: Inode) -> Iterator[Inode]:
        """The inode, the directory that it is in, and so on to the root."""
        while inode is not self.root:
            yield inode
            inode = self.parent(inode)
        yield inode

    def is_below(self, inode: Inode, directory: Inode) -> bool:
        """Whether the directory is on the way from the root to this inode."""
        return directory in self.upwards(inode)

    # --- entering

    def enter(self, parent: Inode, name: str, attrs: Attributes) -> Inode:
        """The inode that `name` in `parent` stands for, now that the server described it so.

        What was known under the name before and is not the same file loses the name. A file that is known under
        another name and has one only (`attrs.nlink`) was renamed by others: the other name is not its any more. If it
        is new, its id was another file's, which others have deleted.
        """
        snapshot = parent.snapshot or is_snapshot(name)
        known = self.find(parent, name)
        if known is not None:
            if self._same(known, attrs):
                self.link(known, parent, name)
                if attrs.dos is None:  # else nobody has counted
                    self._drop_other_names(known, attrs)
                return known
            self.unlink(parent, name)
        inode = None if snapshot else self._by_another_name(attrs)
        if inode is not None and attrs.new:
            for other in inode.names:
                self.unlink(other.directory, other.spelling)
            inode = None
        if inode is None:
            file_id = self._id(attrs)
            inode = Inode(self._number(parent, name, file_id, snapshot), attrs.kind, file_id, snapshot)
            self._by_number[inode.number] = inode
            if inode.number == file_id:
                self._by_file_id.pop(file_id, None)
            elif file_id > ROOT and not snapshot:
                self._by_file_id[file_id] = inode
        self.link(inode, parent, name)
        self._drop_other_names(inode, attrs)
        return inode

    def _id(self, attrs: Attributes) -> int:
        return attrs.file_id if self.server_numbers else 0

    def _drop_other_names(self, inode: Inode, attrs: Attributes) -> None:
        """Leave the name that was linked last, if the file has no other."""
        if attrs.nlink <= 1:
            for other in inode.names[:-1]:
                self.unlink(other.directory, other.spelling)
                self.renamed(inode, other.directory, other.spelling)

    def is_by_another_name(self, parent: Inode, name: str, attrs: Attributes) -> bool:
        """Whether `enter` would take this file for one that is known, but not under this name."""
        known = self.find(parent, name)
        if known is not None and self._same(known, attrs):
            return False
        return not (parent.snapshot or is_snapshot(name)) and self._by_another_name(attrs) is not None

    def _by_another_name(self, attrs: Attributes) -> Inode | None:
        """The known inode that these attributes are a hard link of. A directory has one name only.

        A deleted file whose id was given again is another file, and so is one of another kind.
        """
        file_id = self._id(attrs)
        other = self._by_file_id.get(file_id) or self._by_number.get(file_id)
        if other is None or other.file_id != file_id or other.deleted or other.kind != attrs.kind or attrs.is_dir:
            return None
        return other

    def _same(self, known: Inode, attrs: Attributes) -> bool:
        """Whether a known inode is what the server describes under its name; without ids nothing tells otherwise."""
        file_id = self._id(attrs)
        told = known.file_id > ROOT and file_id > ROOT
        return known.kind == attrs.kind and (not told or known.file_id == file_id)

    def is_another(self, inode: Inode, attrs: Attributes) -> bool:
        """Whether the server now describes another file than this inode: of another kind, or with another id."""
        return inode is not self.root and not self._same(inode, attrs)

    def _candidates(self, parent: Inode, name: str, file_id: int, snapshot: bool) -> Iterable[int]:
        """Numbers for this file, best first."""
        if file_id > ROOT and not snapshot:
            yield file_id
        path = "/".join([*self.components(parent), name])
        yield _hashed(f"{path}\0{file_id}" if file_id > ROOT else path)

    def _number(self, parent: Inode, name: str, file_id: int, snapshot: bool) -> int:
        """The best number that no other inode has."""
        for number in self._candidates(parent, name, file_id, snapshot):
            if number not in self._by_number:
                return number
        salt = 0
        while (number := _hashed(f"{parent.number}\0{name}\0{file_id}\0{salt}")) in self._by_number:
            salt += 1
        return number

    def link(self, inode: Inode, parent: Inode, name: str) -> None:
        """Give `inode` a further name, which becomes the one it is reached by."""
        made = Name(parent, self._key(name), name)
        if inode.names == (made,):
            return
        others = tuple(other for other in inode.names if other.place != made.place)
        if len(others) == len(inode.names):
            if parent.entries is None:
                parent.entries = {}
            parent.entries[made.key] = inode
            parent.children += 1
        inode.names = (*others, made)

    def unlink(self, parent: Inode, name: str) -> Inode | None:
        """Take a name away; the inode lives on while the kernel knows it."""
        key = self._key(name)
        inode = parent.entries.get(key) if parent.entries is not None else None
        if inode is not None:
            inode.names = tuple(other for other in inode.names if other.place != (parent.number, key))
            if inode.lookups and inode.deleted and inode.kind == stat.S_IFREG:
                self._last_places[inode] = parent.number, key
            self._leave(parent, key)
            self.drop_unused(inode)
            self.drop_unused(parent)
        return inode

    @staticmethod
    def _leave(directory: Inode, key: str) -> None:
        assert directory.entries is not None  # noqa: S101 - it has this one
        del directory.entries[key]
        if not directory.entries:
            directory.entries = None
        directory.children -= 1

    def rename(self, old_parent: Inode, old: str, new_parent: Inode, new: str) -> None:
        """Move a name; what had the new name before loses it."""
        inode = self.find(old_parent, old)
        if self.find(new_parent, new) is not inode:
            self.unlink(new_parent, new)
        if inode is None:
            return
        self.link(inode, new_parent, new)
        if (old_parent.number, self._key(old)) != (new_parent.number, self._key(new)):
            self.unlink(old_parent, old)

    # --- forgetting

    def forget(self, number: int, count: int) -> None:
        """The kernel gives back `count` lookups."""
        inode = self._by_number.get(number)
        if inode is not None:
            inode.lookups = max(inode.lookups - count, 0)
            self.drop_unused(inode)

    def close(self, inode: Inode) -> None:
        """A handle of it was closed."""
        inode.handles -= 1
        self.drop_unused(inode)

    def drop_unused(self, inode: Inode) -> None:
        """Drop an inode that nobody can name any more, and then perhaps its directories."""
        if inode.lookups or inode.handles or inode.children or inode is self.root:
            return
        self._by_number.pop(inode.number, None)
        if self._by_file_id.get(inode.file_id) is inode:
            del self._by_file_id[inode.file_id]
        names, inode.names = inode.names, ()
        for name in names:
            self._leave(name.directory, name.key)
            self.drop_unused(name.directory)


def _hashed(text: str) -> int:
    """A number above all real ones in practice, the same at every mount."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") | _MADE_UP
