"""Inode numbers: equal means the same file, and nothing else."""

from __future__ import annotations

import stat

from smbfuse.core.cache.inodes import ROOT, Inode, InodeTable
from smbfuse.core.server.attrs import Attributes


def table(*, server_numbers: bool = True) -> InodeTable:
    return InodeTable(Inode(ROOT, stat.S_IFDIR), str, server_numbers=server_numbers)


def described(file_id: int, kind: int = stat.S_IFREG, nlink: int = 1) -> Attributes:
    return Attributes(kind=kind, size=0, allocated=0, atime_ns=0, mtime_ns=0, ctime_ns=0, file_id=file_id, nlink=nlink)


def known(inodes: InodeTable, name: str, file_id: int, kind: int = stat.S_IFREG, nlink: int = 1) -> Inode:
    inode = inodes.enter(inodes.root, name, described(file_id, kind, nlink))
    inode.lookups += 1
    return inode


def test_the_servers_id_is_the_number() -> None:
    assert known(table(), "a", 4711).number == 4711


def test_names_of_one_file_are_one_inode() -> None:
    inodes = table()
    assert known(inodes, "a", 4711) is known(inodes, "b", 4711, nlink=2)
    assert inodes.find(inodes.root, "a") is inodes.find(inodes.root, "b")


def test_a_file_with_one_name_has_lost_those_that_were_known() -> None:
    """Others renamed it, or deleted it and its id was given again: to reach it by an old name would hit another."""
    inodes = table()
    inode = known(inodes, "old", 4711)
    assert inodes.is_by_another_name(inodes.root, "new", described(4711))
    assert known(inodes, "new", 4711) is inode
    assert inodes.components(inode) == ["new"]
    assert inodes.find(inodes.root, "old") is None
    inodes.unlink(inodes.root, "new")
    assert inode.deleted


def test_a_new_file_is_none_that_was_known() -> None:
    inodes = table()
    gone = known(inodes, "old", 4711)
    new = described(4711)
    new.new = True
    made = inodes.enter(inodes.root, "new", new)
    assert made is not gone
    assert made.number != gone.number
    assert gone.deleted
    assert known(inodes, "again", 4711, nlink=2) is made


def test_a_name_that_others_removed_is_known_to_be_gone_by_the_count() -> None:
    inodes = table()
    inode = known(inodes, "a", 4711)
    known(inodes, "b", 4711, nlink=2)
    assert not inodes.is_by_another_name(inodes.root, "a", described(4711))
    known(inodes, "a", 4711, nlink=1)
    assert inodes.components(inode) == ["a"]
    assert inodes.find(inodes.root, "b") is None


def test_names_of_one_file_are_one_inode_also_where_its_id_was_used_before() -> None:
    inodes = table()
    gone = known(inodes, "old", 4711)
    inodes.unlink(inodes.root, "old")  # the kernel has not forgotten it yet
    first, second = known(inodes, "first", 4711), known(inodes, "second", 4711, nlink=2)
    assert first is second
    assert first.number != gone.number
    inodes.forget(gone.number, 1)
    assert known(inodes, "third", 4711) is first


def test_directories_never_share() -> None:
    inodes = table()
    assert known(inodes, "a", 4711, stat.S_IFDIR) is not known(inodes, "b", 4711, stat.S_IFDIR)


def test_without_ids_a_name_that_was_left_is_another_file() -> None:
    inodes = table()
    moved = known(inodes, "a", 0)
    inodes.rename(inodes.root, "a", inodes.root, "b")
    assert known(inodes, "a", 0) is not moved
    assert known(inodes, "b", 0) is moved


def test_a_snapshot_of_a_file_is_not_the_file() -> None:
    inodes = table()
    present = known(inodes, "a", 4711)
    token = inodes.enter(inodes.root, "@GMT-2026.11.01-12.00.00", described(4710, stat.S_IFDIR))
    past = inodes.enter(token, "a", described(4711))
    assert past.number != present.number
    assert past.snapshot


def test_the_number_is_the_same_after_everything_was_forgotten() -> None:
    inodes = table()
    before = known(inodes, "a", 0).number
    inodes.forget(before, 1)
    assert len(inodes) == 1
    assert known(inodes, "a", 0).number == before


def test_ids_may_be_left_out_of_account() -> None:
    inodes = table(server_numbers=False)
    first, second = known(inodes, "a", 4711), known(inodes, "b", 4711)
    assert first is not second
    assert 4711 not in (first.number, second.number)
    assert known(inodes, "a", 4712) is first
    assert not inodes.is_another(first, described(4713))
    assert known(table(server_numbers=False), "a", 1).number == first.number
