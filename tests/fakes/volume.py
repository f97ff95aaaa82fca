"""The tree that the fake server serves: nodes in memory, found by paths as they stand on the wire.

No bytes and no messages here: what is refused is raised as Refusal with the status that smbd 4.17 gives for it.
"""

from __future__ import annotations

import fnmatch
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from smbfuse import ntstatus as nt
from smbfuse.wire.const import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_SPARSE_FILE,
)
from smbfuse.wire.text import ns_to_filetime

CLUSTER = 4096
_numbers = itertools.count(0x1_0000)


class Refusal(Exception):
    """The request fails with this NTSTATUS."""

    def __init__(self, status: int) -> None:
        super().__init__(nt.status_name(status))
        self.status = status


def now() -> int:
    """FILETIME of this moment."""
    return ns_to_filetime(time.time_ns())


@dataclass(eq=False)
class Node:
    """A file, or a directory if it has `children`. Times are FILETIMEs."""

    name: str
    parent: Node | None = None
    children: dict[str, Node] | None = None
    data: bytearray = field(default_factory=bytearray)
    attributes: int = 0
    created: int = field(default_factory=now)
    accessed: int = field(default_factory=now)
    written: int = field(default_factory=now)
    changed: int = field(default_factory=now)
    number: int = field(default_factory=lambda: next(_numbers))
    holes: set[int] = field(default_factory=set)
    """Clusters without storage, by their number; only a sparse file has any."""
    reserved: int = 0
    """Bytes that are to have storage, also behind the end."""
    delete_pending: bool = False
    read_only: bool = False
    """Part of a snapshot, or of a share that nobody may write to."""

    @property
    def is_dir(self) -> bool:
        return self.children is not None

    @property
    def dos(self) -> int:
        """ext_file_attributes."""
        return self.attributes | (FILE_ATTRIBUTE_DIRECTORY if self.is_dir else 0) or FILE_ATTRIBUTE_ARCHIVE

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def sparse(self) -> bool:
        return bool(self.attributes & FILE_ATTRIBUTE_SPARSE_FILE)

    @property
    def allocated(self) -> int:
        return (_clusters(max(len(self.data), self.reserved)) - len(self.holes)) * CLUSTER

    @property
    def path(self) -> str:
        r"""\sub\file, and \ for the root."""
        if self.parent is None:
            return "\\"
        return self.parent.path.rstrip("\\") + "\\" + self.name

    def touch(self) -> None:
        self.written = self.changed = now()

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if offset > len(self.data):
            self.truncate(offset)
        self.data[offset : offset + len(data)] = data
        self.holes.difference_update(range(offset // CLUSTER, _clusters(offset + len(data))))
        self.touch()

    def truncate(self, size: int) -> None:
        before = _clusters(len(self.data))
        if size < len(self.data):
            self.reserved = 0
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))
        self.holes = {cluster for cluster in self.holes if cluster < _clusters(size)}
        if self.sparse:
            self.holes.update(range(before, _clusters(size)))
        self.touch()

    def zero(self, start: int, end: int) -> None:
        """Zero bytes within the file; a sparse one gives back the storage of whole clusters."""
        at_end = end >= len(self.data)
        end = min(end, len(self.data))
        if start >= end:
            return
        self.data[start:end] = bytes(end - start)
        if self.sparse:
            self.holes.update(range(_clusters(start), _clusters(end) if at_end else end // CLUSTER))
        self.touch()

    def ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Runs of clusters with storage, as (first byte, one past the last), that have a part of [start, end)."""
        end = min(end, len(self.data))
        run: tuple[int, int] | None = None
        for cluster in range(start // CLUSTER, _clusters(end)):
            if cluster in self.holes:
                continue
            first = cluster * CLUSTER
            if run is not None and run[1] == first:
                run = run[0], first + CLUSTER
                continue
            if run is not None:
                yield run
            run = first, first + CLUSTER
        if run is not None:
            yield run

    def add(self, node: Node) -> Node:
        assert self.children is not None
        self.children[key(node.name)] = node
        node.parent = self
        self.touch()
        return node

    def walk(self) -> Iterator[Node]:
        yield self
        for child in list((self.children or {}).values()):
            yield from child.walk()


def _clusters(size: int) -> int:
    return -(-size // CLUSTER)


def key(name: str) -> str:
    """Names are compared without regard to case, as Windows does."""
    return name.upper()


def tree(files: Mapping[str, bytes]) -> Node:
    """A root that holds `files`: path with `/` to content; a path that ends in `/` is an empty directory."""
    root = Node("", children={})
    for path, content in files.items():
        *parents, name = path.rstrip("/").split("/")
        at = root
        for part in parents:
            at = (at.children or {}).get(key(part)) or at.add(Node(part, children={}))
        at.add(Node(name, children={}) if path.endswith("/") else Node(name, data=bytearray(content)))
    return root


def is_token(component: str) -> bool:
    return component.startswith("@GMT-") and len(component) == 24


class Volume:
    """A share's files, and their snapshots by @GMT token."""

    def __init__(self, files: Mapping[str, bytes], snapshots: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        self.root = tree(files)
        self.snapshots = {token: tree(content) for token, content in (snapshots or {}).items()}
        for root in self.snapshots.values():
            for node in root.walk():
                node.read_only = True

    def _split(self, path: str, reparse: bool) -> tuple[Node, list[str]]:
        parts = [part for part in path.split("\\") if part]
        if any(character in part for part in parts for character in '"<>|:/\0'):
            raise Refusal(nt.STATUS_OBJECT_NAME_INVALID)
        tokens = [part for part in parts if is_token(part)] if reparse else []
        if not tokens:
            return self.root, parts
        if tokens[0] not in self.snapshots:
            raise Refusal(nt.STATUS_OBJECT_NAME_NOT_FOUND)
        return self.snapshots[tokens[0]], [part for part in parts if part != tokens[0]]

    def locate(self, path: str, reparse: bool = False) -> tuple[Node, str, Node | None]:
        """(directory, name, node or None) of a path. The root is its own directory, under no name."""
        at, parts = self._split(path, reparse)
        if not parts:
            return at, "", at
        for part in parts[:-1]:
            found = (at.children or {}).get(key(part))
            if found is None or not found.is_dir:
                raise Refusal(nt.STATUS_OBJECT_PATH_NOT_FOUND)
            at = found
        assert at.children is not None
        return at, parts[-1], at.children.get(key(parts[-1]))

    def find(self, path: str, reparse: bool = False) -> Node:
        """The node at a path, or OBJECT_NAME_NOT_FOUND."""
        node = self.locate(path, reparse)[2]
        if node is None:
            raise Refusal(nt.STATUS_OBJECT_NAME_NOT_FOUND)
        if node.delete_pending:
            raise Refusal(nt.STATUS_DELETE_PENDING)
        return node

    def create(self, path: str, make: Callable[[str], Node], reparse: bool = False) -> Node:
        """Put what `make` makes of the name at a path that is free."""
        directory, name, node = self.locate(path, reparse)
        if node is not None:
            raise Refusal(nt.STATUS_OBJECT_NAME_COLLISION)
        if directory.read_only:
            raise Refusal(nt.STATUS_MEDIA_WRITE_PROTECTED)
        return directory.add(make(name))

    def remove(self, node: Node) -> None:
        """Take a node out of its directory."""
        if node.read_only:
            raise Refusal(nt.STATUS_MEDIA_WRITE_PROTECTED)
        if node.attributes & FILE_ATTRIBUTE_READONLY:
            raise Refusal(nt.STATUS_CANNOT_DELETE)
        if node.children:
            raise Refusal(nt.STATUS_DIRECTORY_NOT_EMPTY)
        self._detach(node)

    @staticmethod
    def _detach(node: Node) -> None:
        parent = node.parent
        if parent is None or parent.children is None or parent.children.get(key(node.name)) is not node:
            raise Refusal(nt.STATUS_ACCESS_DENIED)
        del parent.children[key(node.name)]
        parent.touch()

    def move(self, node: Node, directory: Node, name: str, *, replace: bool = False) -> None:
        """Rename. A target that is another file is replaced only if the request says so."""
        if node.read_only or directory.read_only:
            raise Refusal(nt.STATUS_MEDIA_WRITE_PROTECTED)
        assert directory.children is not None
        target = directory.children.get(key(name))
        if target is not None and target is not node:
            if not replace:
                raise Refusal(nt.STATUS_OBJECT_NAME_COLLISION)
            if target.is_dir:
                raise Refusal(nt.STATUS_ACCESS_DENIED)
            self.remove(target)
        if any(above is node for above in _upwards(directory)):
            raise Refusal(nt.STATUS_ACCESS_DENIED)
        self._detach(node)
        node.name = name
        directory.add(node)
        node.changed = now()

    def matches(self, pattern: str, reparse: bool = False) -> list[tuple[str, Node]]:
        """Names and nodes that a search pattern finds, `.` and `..` first where it is `*`."""
        self.find(pattern.rpartition("\\")[0], reparse)
        directory, mask, node = self.locate(pattern, reparse)
        if "*" not in mask and "?" not in mask:
            return [(node.name, node)] if node is not None and mask else []
        assert directory.children is not None
        dots = [(".", directory), ("..", directory.parent or directory)] if mask == "*" else []
        wanted = key(mask)
        return dots + [
            (child.name, child)
            for name, child in directory.children.items()
            if fnmatch.fnmatchcase(name, wanted.replace("[", "[[]"))
        ]


def _upwards(node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.parent
