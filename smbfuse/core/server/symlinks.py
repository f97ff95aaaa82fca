"""Minshall-French symlinks: files of exactly 1067 bytes that say where they lead, for servers without any links.

cifs.ko and macOS read and write the same. Such a file can only be known by its content, so each file of that size is
read once for every state of it that a listing or a query shows. Here are format, reading and writing; that a link has
no content to be opened the kernel sees to.
"""

from __future__ import annotations

import errno
import hashlib
import re
import stat
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from smbfuse.core.server.attrs import ANYBODY
from smbfuse.core.server.backend import Creation, child
from smbfuse.core.server.names import as_text, to_kernel
from smbfuse.core.server.nt import NtBackend
from smbfuse.core.server.unix import UnixBackend
from smbfuse.errors import ConnectionLost, StatusError

if TYPE_CHECKING:
    from smbfuse.client.tree import ServerPath
    from smbfuse.core.server.attrs import Attributes, Owner
    from smbfuse.core.server.backend import Pages

    Page = list[tuple[str, Attributes]]

SIZE: Final = 1067
MAX_TARGET: Final = 1024
_HEADER: Final = re.compile(rb"XSym\n(\d{4})\n([0-9a-f]{32})\n")
_REMEMBERED: Final = 4096


def encode(target: bytes) -> bytes:
    """The content of a link. OSError(ENAMETOOLONG) if the target does not fit."""
    if len(target) > MAX_TARGET:
        raise OSError(errno.ENAMETOOLONG, f"such a link leads {MAX_TARGET} bytes far at most")
    digest = hashlib.md5(target, usedforsecurity=False).hexdigest()
    return (b"XSym\n%04d\n%b\n%b\n" % (len(target), digest.encode(), target))[:SIZE].ljust(SIZE)


def decode(content: bytes) -> bytes | None:
    """The target, None if this is an ordinary file."""
    found = _HEADER.match(content) if len(content) == SIZE else None
    if found is None or not 0 < int(found[1]) <= MAX_TARGET:
        return None
    target = content[found.end() : found.end() + int(found[1])]
    whole = hashlib.md5(target, usedforsecurity=False).hexdigest().encode() == found[2]
    return target if whole and b"\0" not in target else None


class MfSymlinks(NtBackend):
    """A server whose files of this form are links."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - those of the class that it stands in front of
        super().__init__(*args)
        self._targets: OrderedDict[tuple[str, int, int], bytes | None] = OrderedDict()
        """(path, file id, time of writing) to what the file says; the ones longest unused go first."""

    async def stat(self, path: ServerPath) -> Attributes:
        return await self._seen(path, await super().stat(path))

    def list(self, path: ServerPath) -> Pages:
        return _SeenPages(self, path, super().list(path))

    async def seen(self, directory: ServerPath, page: Page) -> Page:
        """A page of a listing in which links are links; all that are in it are read at once."""
        links: dict[int, Attributes] = {}

        async def look(index: int, path: ServerPath, attrs: Attributes) -> None:
            links[index] = await self._seen(path, attrs)

        async with trio.open_nursery() as nursery:
            for index, (name, attrs) in enumerate(page):
                if _may_be(attrs):
                    nursery.start_soon(look, index, child(directory, self.style.to_server(name), self.style), attrs)
        return [(name, links.get(index, attrs)) for index, (name, attrs) in enumerate(page)]

    async def _seen(self, path: ServerPath, attrs: Attributes) -> Attributes:
        if not _may_be(attrs):
            return attrs
        key = (path.text, attrs.file_id, attrs.mtime_ns)
        if key not in self._targets:
            try:
                self._targets[key] = await self._read(path)
            except StatusError:
                return attrs  # for whoever opens it to see
        self._targets.move_to_end(key)
        while len(self._targets) > _REMEMBERED:
            self._targets.popitem(last=False)
        target = self._targets[key]
        return attrs if target is None else replace(attrs, kind=stat.S_IFLNK, size=len(target), permissions=0o777)

    async def _read(self, path: ServerPath) -> bytes | None:
        async def by_own() -> bytes | None:
            file, _ = await self.open(path, read=True, write=False)
            try:
                return decode(bytes(await file.read(0, SIZE + 1)))
            finally:
                file.close_soon()

        return await self.tree.persist(by_own)

    async def read_link(self, path: ServerPath) -> str:
        target = await self._read(path) if _may_be(await super().stat(path)) else None
        return await super().read_link(path) if target is None else as_text(target)

    async def make_symlink(self, path: ServerPath, target: str, owner: Owner = ANYBODY) -> None:
        content = encode(to_kernel(target))
        file, _ = await self.create(path, False, True, Creation(permissions=0o644, exclusive=True, owner=owner))
        written = False
        try:
            try:
                await file.write(0, content)
            except ConnectionLost:
                await self.tree.persist(partial(self._fill, path, content))
            written = True
        finally:
            await file.close()
            if not written:
                await self.undo(partial(self.unlink, path))

    async def _fill(self, path: ServerPath, content: bytes) -> None:
        """Write a link whose FID was lost before."""
        file, _ = await self.open(path, read=False, write=True)
        try:
            await file.write(0, content)
        finally:
            await file.close()


class UnixMfSymlinks(MfSymlinks, UnixBackend):
    """With the UNIX extensions too, for the sake of others who look at the same share without them."""


class _SeenPages:
    def __init__(self, backend: MfSymlinks, directory: ServerPath, pages: Pages) -> None:
        self._backend = backend
        self._directory = directory
        self._pages = pages

    async def next_page(self) -> Page:
        return await self._backend.seen(self._directory, await self._pages.next_page())

    async def close(self) -> None:
        await self._pages.close()


def _may_be(attrs: Attributes) -> bool:
    return attrs.kind == stat.S_IFREG and attrs.size == SIZE


def with_mfsymlinks(backend: NtBackend) -> NtBackend:
    """The same server, its links included."""
    if isinstance(backend, UnixBackend):
        return UnixMfSymlinks(backend.tree, backend.capabilities)
    return MfSymlinks(backend.tree)
