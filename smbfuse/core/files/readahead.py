"""Read-ahead: what a program that reads a file from front to back will want next is asked for before it does.

The kernel reads ahead too, but by one or two requests: on a link with a long way that leaves the wire idle most of the
time. Here a file's readers are told apart by their places (several may be at work at once), and before each that goes
on where it was a window of blocks is kept under way. It grows as long as the reader waits and comes on faster for it:
then it is the way that takes the time. What is more would only queue, and what programs wait for behind it. A reader
that jumps costs a comparison and nothing else.

Blocks are used only under the promise that they were asked for under: an oplock held by the same FID ever since, and no
change of ours in between (Inode.version). What is in a snapshot never changes. Bounds: `WINDOW` for a reader, `LIMIT`
for the mount; requests leave places in MaxMpxCount to those that a program waits for (client/window.py).
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from smbfuse.core.files.oplocks import keeps_reads
from smbfuse.errors import SmbfuseError

if TYPE_CHECKING:
    from smbfuse.client.openfile import OpenFile
    from smbfuse.core.cache.inodes import Inode
    from smbfuse.core.files.opens import SharedOpen
    from smbfuse.core.settle import Settler
    from smbfuse.wire.codec import Buffer

log: Final = logging.getLogger(__name__)

FIRST_WINDOW: Final = 2 << 20
"""Bytes that are kept ahead of a reader once it has read half as many."""
WINDOW: Final = 16 << 20
"""Bytes ahead of one reader at most."""
LIMIT: Final = 64 << 20
"""Bytes of all files, under way ones included."""
READERS: Final = 8
"""Readers of one file that are told apart."""
MEASURED: Final = 2
"""Windows that a reader has to pass before it is looked at how fast that went."""
WORTH: Final = 1.2
"""How many times faster a reader must have become when its window grew, for that to have been right."""
FADING: Final = 0.98
"""What remains of an old rate each time, so that it is tried again now and then."""
PAUSE: Final = 1.0
"""Seconds without reading after which a reader's blocks go when memory is short."""


@dataclass(slots=True, eq=False)
class Block:
    """Bytes of a file that were asked for."""

    start: int
    size: int
    left: int
    """Bytes that nobody has taken yet."""
    data: Buffer | None = None
    """None as long as they are under way, and where they cannot be had: then who wants them asks for himself."""
    done: trio.Event = field(default_factory=trio.Event)
    dropped: bool = False

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(slots=True, eq=False)
class Reader:
    """Who reads a file from some place on."""

    position: int
    """Where it goes on, if it goes on."""
    run: int
    """Bytes read without a gap."""
    used: float
    blocks: deque[Block] = field(default_factory=deque)
    """In the order of the file, each beginning where the one before ends."""
    window: int = FIRST_WINDOW
    rate: float = 0.0
    """Bytes per second that it has come to, while it waited for blocks."""
    grown: bool = False
    """Whether the window grew when that was measured last,"""
    measured_at: float = 0.0
    """at this time"""
    measured_run: int = 0
    """and at this point of its run."""

    @property
    def ahead(self) -> int:
        """Up to where everything was asked for."""
        return self.blocks[-1].end if self.blocks else self.position

    def at(self, offset: int) -> bool:
        """Whether to read at `offset` is to go on. The kernel's requests may overtake each other."""
        return offset == self.position or (bool(self.blocks) and self.blocks[0].start <= offset < self.ahead)


@dataclass(slots=True, eq=False)
class _File:
    """An inode's readers, under one promise."""

    inode: Inode
    fid: OpenFile
    version: int
    readers: list[Reader] = field(default_factory=list)
    """The one that read last at the end."""

    def holds(self, share: SharedOpen) -> bool:
        """Whether what was read ahead may still be used."""
        if share.file is not self.fid or self.inode.version != self.version:
            return False
        return keeps_reads(self.fid) or self.inode.snapshot


class ReadAhead:
    """What is read ahead on one mount. `read_size` is what one request can bring."""

    def __init__(self, settler: Settler, read_size: Callable[[], int], limit: int = LIMIT) -> None:
        self._settler = settler
        self._read_size = read_size
        self._limit = limit
        self._files: dict[Inode, _File] = {}
        self._busy: OrderedDict[Reader, None] = OrderedDict()
        """Readers with blocks, the one that has not read for longest first."""
        self.held = 0
        """Bytes of all blocks, under way ones and dropped ones that are under way still included."""

    def __contains__(self, inode: Inode) -> bool:
        """Whether anything is known of its readers."""
        return inode in self._files

    async def read(
        self, inode: Inode, share: SharedOpen, offset: int, size: int, read: Callable[[], Awaitable[Buffer]]
    ) -> Buffer:
        """What `read()` gives, which reads `size` bytes at `offset` by the share. It may have been asked for already.

        Only under an oplock or of a snapshot.
        """
        file = self._file(inode, share)
        reader = self._reader(file, offset, size)
        if reader is None:
            return await read()
        end = offset + size
        self._go_on(inode, share, reader, offset, end)
        wanted = [block for block in reader.blocks if block.start < end and block.end > offset]
        for block in wanted:
            if not block.done.is_set():
                await block.done.wait()
                self._consider(reader)
        found = _cut(wanted, offset, end) if file.holds(share) else None
        self._take(reader, wanted, offset, end)
        return await read() if found is None else found

    def put(self, inode: Inode, fid: OpenFile, data: Buffer, size: int) -> None:
        """Keep what was read from the start of a file when it was opened. Fewer than `size` bytes: it ends there."""
        self.forget(inode)
        if data and self._has_room(size):
            block = Block(0, size, len(data), data)
            block.done.set()
            now = trio.current_time()
            reader = Reader(0, 0, now, deque([block]), measured_at=now)
            self._files[inode] = _File(inode, fid, inode.version, [reader])
            self._busy[reader] = None
            self.held += size

    def forget(self, inode: Inode) -> None:
        """Nothing that was read of it is to be used again."""
        file = self._files.pop(inode, None)
        if file is not None:
            for reader in file.readers:
                self._drop(reader)

    # --- who reads

    def _file(self, inode: Inode, share: SharedOpen) -> _File:
        file = self._files.get(inode)
        if file is not None:
            if file.holds(share):
                return file
            self.forget(inode)
        file = self._files[inode] = _File(inode, share.file, inode.version)
        return file

    def _reader(self, file: _File, offset: int, size: int) -> Reader | None:
        """Who goes on at `offset`; None if it is somebody new, who is noted."""
        readers = file.readers
        for index in range(len(readers) - 1, -1, -1):
            if readers[index].at(offset):
                readers.append(readers.pop(index))
                return readers[-1]
        if len(readers) == READERS:
            self._drop(readers.pop(0))
        now = trio.current_time()
        readers.append(Reader(offset + size, size, now, measured_at=now))
        return None

    # --- blocks

    def _go_on(self, inode: Inode, share: SharedOpen, reader: Reader, start: int, end: int) -> None:
        """Ask for what the reader wants now, as far as that was not done, and for what it will want next."""
        reader.used = trio.current_time()
        if end > reader.position:
            reader.run += end - max(start, reader.position)
            reader.position = end
        if reader.ahead < end:
            self._ask(share, reader, end - reader.ahead, ahead=False)
        known = inode.attrs
        last = known.size if known is not None else end
        window = min(reader.window, 2 * reader.run, self._limit // max(len(self._busy), 1))
        until = min(end + window, last)
        most = self._read_size()
        unit = most if 2 * reader.run >= most else reader.run
        while reader.ahead < until:
            size = min(unit, last - reader.ahead)
            if reader.ahead + size > until or not self._has_room(size):
                break
            self._ask(share, reader, size, ahead=True)

    def _ask(self, share: SharedOpen, reader: Reader, size: int, *, ahead: bool) -> None:
        block = Block(reader.ahead, size, size)
        reader.blocks.append(block)
        self.held += size
        self._busy[reader] = None
        self._busy.move_to_end(reader)
        self._settler.soon(partial(self._fetch, share, reader, block, ahead))

    async def _fetch(self, share: SharedOpen, reader: Reader, block: Block, ahead: bool) -> None:
        try:
            block.data = await share.use(lambda file: file.read(block.start, block.size, ahead=ahead))
        except (SmbfuseError, OSError) as exc:
            # Who wants these bytes asks for them himself, and gets the error that holds then.
            log.debug("reading %d bytes at %d ahead failed: %s", block.size, block.start, exc)
        finally:
            block.done.set()
            if block.dropped:
                self.held -= block.size

    def _consider(self, reader: Reader) -> None:
        """The reader had to wait: does it come on so much faster since its window grew that it is to grow again?"""
        passed, now = reader.run - reader.measured_run, trio.current_time()
        if passed < MEASURED * reader.window:
            return
        rate = passed / max(now - reader.measured_at, 1e-9)
        if rate > WORTH * reader.rate and reader.window < WINDOW:
            reader.window *= 2
            reader.rate, reader.grown = rate, True
        else:
            if reader.grown and rate < WORTH * reader.rate:
                reader.window //= 2
            reader.rate, reader.grown = max(rate, FADING * reader.rate), False
        reader.measured_run, reader.measured_at = reader.run, now

    def _take(self, reader: Reader, wanted: list[Block], start: int, end: int) -> None:
        """The bytes go to the kernel, which keeps them. What was passed over goes, too, when it is far behind."""
        for block in wanted:
            block.left -= min(end, block.end) - max(start, block.start)
        blocks = reader.blocks
        while blocks and (blocks[0].left <= 0 or blocks[0].end + FIRST_WINDOW < reader.position):
            self._let_go(blocks.popleft())
        if not blocks:
            self._busy.pop(reader, None)

    def _has_room(self, size: int) -> bool:
        """Whether there is memory for a block; readers that have not read for a while give theirs."""
        while self.held + size > self._limit:
            oldest = next(iter(self._busy), None)
            if oldest is None or trio.current_time() - oldest.used < PAUSE:
                return False
            self._drop(oldest)
        return True

    def _drop(self, reader: Reader) -> None:
        while reader.blocks:
            self._let_go(reader.blocks.popleft())
        self._busy.pop(reader, None)

    def _let_go(self, block: Block) -> None:
        if block.done.is_set():
            self.held -= block.size
        else:
            block.dropped = True


def _cut(blocks: list[Block], start: int, end: int) -> Buffer | None:
    """The bytes from `start` to `end`, fewer where the file ends; None if some are not to be had."""
    found: list[Buffer] = []
    for block in blocks:
        data = block.data
        if data is None or block.start > start:
            return None
        first, last = start - block.start, min(end - block.start, len(data))
        found.append(data if first == 0 and last == len(data) else memoryview(data)[first:last])
        start = block.end
        if len(data) < block.size:
            break  # the end of the file
    else:
        if start < end:
            return None
    return found[0] if len(found) == 1 else b"".join(found)
