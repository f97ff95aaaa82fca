"""Times of writes that the server does not tell yet, with a server whose clock is hours away."""

from __future__ import annotations

import stat

from smbfuse.core.attrs import Attributes
from smbfuse.core.inodes import Inode
from smbfuse.core.writetimes import WriteTimes

HOURS_AGO = 10**18 - 7 * 3600 * 10**9


def attributes(mtime_ns: int) -> Attributes:
    return Attributes(stat.S_IFREG, 0, 0, mtime_ns, mtime_ns, mtime_ns)


def make() -> tuple[WriteTimes, Inode, list[int]]:
    clock = [HOURS_AGO]
    return WriteTimes(lambda: clock[0]), Inode(2, stat.S_IFREG), clock


def test_nothing_is_changed_without_a_write() -> None:
    times, inode, _ = make()
    said = attributes(1)
    assert times.corrected(inode, said) is said
    assert times.closing(inode) is None


def test_a_write_shows_in_the_clock_of_the_server_and_is_made_true() -> None:
    times, inode, clock = make()
    times.wrote(inode)
    clock[0] += 10**9
    assert times.corrected(inode, attributes(1)).mtime_ns == HOURS_AGO
    assert times.closing(inode) == HOURS_AGO
    assert len(times) == 0


def test_what_nobody_saw_costs_nothing() -> None:
    times, inode, _ = make()
    times.wrote(inode)
    assert times.closing(inode) is None


def test_the_server_has_the_last_word() -> None:
    times, inode, _ = make()
    times.wrote(inode)
    said = attributes(HOURS_AGO + 1)
    assert times.corrected(inode, said) is said
    assert times.closing(inode) is None


def test_a_time_set_before_the_write_does_not_stay() -> None:
    times, inode, _ = make()
    times.was_set(inode)
    assert times.corrected(inode, attributes(1)).mtime_ns == 1
    times.wrote(inode)
    assert times.closing(inode) == HOURS_AGO


def test_a_time_set_after_the_write_stays() -> None:
    times, inode, _ = make()
    times.wrote(inode)
    times.was_set(inode)
    assert times.corrected(inode, attributes(1)).mtime_ns == 1
    assert times.closing(inode) is None
