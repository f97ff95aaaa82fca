"""Where a file has data and where holes, and holes made in it, as the server has them. [MS-FSCC] 2.3.51, .83, .85.

A hole told where data are is data lost: programs that copy skip it. So whatever the server does not say clearly counts
as data: it does not know the question, its ranges are out of order, or are not of what was asked for. smbd 4.17 says
over SMB1 of every file that all of it is data, and makes no holes.
"""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, Final

from smbfuse.client.nttransact import query_allocated_ranges, set_sparse, set_zero_data
from smbfuse.core.errno_map import errno_of
from smbfuse.errors import RemoteProtocolError, StatusError, WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smbfuse.client.openfile import OpenFile, Span

_MAX_PARTS: Final = 64
"""Answers that are looked at for one run of data; a server that has not told its end by then is not asked again."""


class Holes:
    """What one server tells of holes and does with them. What it cannot do it is asked for once."""

    def __init__(self) -> None:
        self._tells = True
        self._makes: bool | None = None
        """None: not asked yet."""

    async def next_data(self, file: OpenFile, start: int, end: int) -> Span:
        """The first run of data in [start, end), which lies within the file; (end, end) where there is none."""
        run = None
        for _ in range(_MAX_PARTS):
            at = start if run is None else run[1]
            ranges, more = await self._ranges(file, at, end)
            for first, last in ranges:
                if run is not None and first > run[1]:
                    return run
                run = (first if run is None else run[0], last)
            if not more or run is None or run[1] >= end:
                return run or (end, end)
        return run[0] if run is not None else start, end

    async def _ranges(self, file: OpenFile, start: int, end: int) -> tuple[list[Span], bool]:
        """Runs of data in [start, end), and whether others may follow the last one."""
        everything = [(start, end)], False
        if not self._tells:
            return everything
        try:
            told, more = await query_allocated_ranges(file, start, end)
        except StatusError as exc:
            self._tells = errno_of(exc.status) != errno.EOPNOTSUPP
            return everything
        except (WireError, RemoteProtocolError):
            return everything
        ranges = [(each.file_offset, each.file_offset + each.length) for each in told]
        if not _plausible(ranges, start, end) or (more and not ranges):
            return everything
        return [(max(first, start), min(last, end)) for first, last in ranges], more

    async def check(self, file: OpenFile) -> None:
        """See whether the server makes holes at all; OSError(EOPNOTSUPP) if not. The file stays as it is.

        Zeroing nothing is a question that changes nothing. SET_SPARSE is none: smbd 4.17 takes it all the same.
        """
        if self._makes is None:
            try:
                await set_zero_data(file, 0, 0)
                self._makes = True
            except StatusError as exc:
                if errno_of(exc.status) != errno.EOPNOTSUPP:
                    raise
                self._makes = False
        if not self._makes:
            raise OSError(errno.EOPNOTSUPP, "the server makes no holes")

    async def punch(self, file: OpenFile, start: int, end: int, *, sparse: bool) -> None:
        """Make [start, end) a hole, after `check`. `sparse`: the file may have holes already.

        OSError(EOPNOTSUPP) on volumes without sparse files (FAT): they could only write zeroes.
        """
        if not sparse:
            try:
                await set_sparse(file)
            except StatusError as exc:
                self._makes = errno_of(exc.status) != errno.EOPNOTSUPP
                raise
        await set_zero_data(file, start, end)


def _plausible(ranges: list[Span], start: int, end: int) -> bool:
    """Whether these are ranges in order, none of them empty, and each with a part of what was asked for."""
    return all(0 <= first < last and first < end and last > start for first, last in ranges) and _in_order(ranges)


def _in_order(ranges: Iterable[Span]) -> bool:
    return all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))
