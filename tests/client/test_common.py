"""The same tests over the fake server and over smbd, so that neither the client nor the fake drifts from a real one."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from smbfuse import ntstatus as nt
from smbfuse.client.session import open_session
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import ServerPath
from smbfuse.errors import StatusError
from smbfuse.wire.const import (
    DELETE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
    FILE_CREATE,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OPENED,
    FILE_OVERWRITE_IF,
    FILE_OVERWRITTEN,
)
from smbfuse.wire.filelevels import (
    FileAllInfo,
    FileBasicInfo,
    FileDispositionInfo,
    FileEndOfFileInfo,
    FileInternalInfo,
    FileRenameInformation,
    FileStandardInfo,
)
from smbfuse.wire.files import CloseRequest, NtCreateAndXRequest, ReadAndXRequest, ReadAndXResponse
from smbfuse.wire.findlevels import (
    FileBothDirectoryInfo,
    FileIdBothDirectoryInfo,
    FileIdFullDirectoryInfo,
)
from smbfuse.wire.fslevels import FsAttributeInfo, FsSizeInfo
from smbfuse.wire.text import ns_to_filetime
from tests.client.conftest import Place, Scratch
from tests.client.support import READ_WRITE, assert_idle, opened
from tests.samba.content import FILES, NEWER, OLDER, PRESENT_FILES, SNAPSHOT_FILES


async def status_of(work: object) -> int:
    """The status with which the server refuses it."""
    with pytest.raises(StatusError) as caught:
        await work  # type: ignore[misc] # each call's own coroutine
    return caught.value.status


# --- opening


async def test_create_tells_what_was_done(scratch: Scratch) -> None:
    for disposition, done in (
        (FILE_CREATE, FILE_CREATED),
        (FILE_OPEN, FILE_OPENED),
        (FILE_OPEN_IF, FILE_OPENED),
        (FILE_OVERWRITE_IF, FILE_OVERWRITTEN),
    ):
        file, answer = await scratch.tree.create(scratch.path("new"), access=READ_WRITE, disposition=disposition)
        assert answer.create_disposition == done
        assert not answer.directory
        await file.close()
    assert_idle(scratch.tree)


async def test_open_of_what_is_not_there(scratch: Scratch) -> None:
    opening = scratch.tree.create(scratch.path("missing"), access=READ_WRITE, disposition=FILE_OPEN)
    assert await status_of(opening) == nt.STATUS_OBJECT_NAME_NOT_FOUND
    opening = scratch.tree.create(scratch.path("missing\\below"), access=READ_WRITE, disposition=FILE_OPEN)
    assert await status_of(opening) == nt.STATUS_OBJECT_PATH_NOT_FOUND


async def test_create_of_what_is_there(scratch: Scratch) -> None:
    scratch.put("there")
    opening = scratch.tree.create(scratch.path("there"), access=READ_WRITE, disposition=FILE_CREATE)
    assert await status_of(opening) == nt.STATUS_OBJECT_NAME_COLLISION


async def test_directories_are_no_files(scratch: Scratch) -> None:
    scratch.put("file")
    await scratch.tree.create_directory(scratch.path("directory"))
    opening = scratch.tree.create(
        scratch.path("directory"), access=READ_WRITE, disposition=FILE_OPEN, options=FILE_NON_DIRECTORY_FILE
    )
    assert await status_of(opening) == nt.STATUS_FILE_IS_A_DIRECTORY
    opening = scratch.tree.create(
        scratch.path("file"), access=READ_WRITE, disposition=FILE_OPEN, options=FILE_DIRECTORY_FILE
    )
    assert await status_of(opening) == nt.STATUS_NOT_A_DIRECTORY


async def test_overwriting_empties(scratch: Scratch) -> None:
    scratch.put("file", content=b"something")
    file = await opened(scratch.tree, scratch.path("file").text, disposition=FILE_OVERWRITE_IF)
    assert bytes(await file.read(0, 100)) == b""
    await file.close()
    assert scratch.content("file") == b""


async def test_names_of_every_kind(scratch: Scratch) -> None:
    names = ["two words.txt", "Grüße.txt", "日本語.txt", "🐧.txt", "cafe\u0301.txt", "x" * 200]
    for name in names:
        await (await opened(scratch.tree, scratch.path(name).text)).close()
    search = scratch.tree.search(scratch.path("*"), FileIdFullDirectoryInfo)
    found = [entry.file_name for entry in await search.next_page()]
    assert sorted(found) == sorted([*names, ".", ".."])


async def test_fid_is_gone_after_close(scratch: Scratch) -> None:
    file = await opened(scratch.tree, scratch.path("file").text)
    await file.close()
    assert await status_of(file.read(0, 10)) in (nt.STATUS_INVALID_HANDLE, nt.STATUS_SMB_BAD_FID)


async def test_open_read_and_close_in_one_message(scratch: Scratch) -> None:
    scratch.put("file", content=b"chained")
    path = scratch.path("file")
    response = await scratch.tree.request(
        NtCreateAndXRequest(
            desired_access=READ_WRITE, share_access=7, create_disposition=FILE_OPEN, file_name=path.text
        ),
        ReadAndXRequest(fid=0xFFFF, offset_low=0, max_count_low=100),
        CloseRequest(fid=0xFFFF),
    )
    response.check()
    assert bytes(response.body(ReadAndXResponse, 1).data) == b"chained"
    assert_idle(scratch.tree)


# --- data


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 60000, 61440, 65535, 65536, 131072, 300_001])
async def test_data_comes_back(scratch: Scratch, size: int) -> None:
    data = random.Random(size).randbytes(size)
    file = await opened(scratch.tree, scratch.path("file").text)
    await file.write(0, data)
    assert bytes(await file.read(0, size + 10)) == data
    assert bytes(await file.read(size, 10)) == b""
    await file.flush()
    await file.close()
    assert scratch.content("file") == data


async def test_pieces_anywhere(scratch: Scratch) -> None:
    generator = random.Random(7)
    whole = bytearray(200_000)
    file = await opened(scratch.tree, scratch.path("file").text)
    await file.write(0, whole)
    for _ in range(10):
        start, piece = generator.randrange(150_000), generator.randbytes(generator.randrange(1, 50_000))
        whole[start : start + len(piece)] = piece
        await file.write(start, piece)
        start, size = generator.randrange(200_000), generator.randrange(100_000)
        assert bytes(await file.read(start, size)) == bytes(whole[start : start + size])
    await file.close()
    assert scratch.content("file") == bytes(whole)


async def test_two_hundred_at_once(scratch: Scratch) -> None:
    content = random.Random(1).randbytes(200 * 1000)
    scratch.put("file", content=content)
    file = await opened(scratch.tree, scratch.path("file").text)
    found: dict[int, bytes] = {}

    async def one(index: int) -> None:
        found[index] = bytes(await file.read(index * 1000, 1000))

    async with trio.open_nursery() as nursery:
        for index in range(200):
            nursery.start_soon(one, index)
    assert b"".join(found[index] for index in range(200)) == content
    await file.close()
    assert_idle(scratch.tree)


# --- searching


async def test_search_finds_three_thousand_once(scratch: Scratch) -> None:
    names = [f"file number {index:05}.dat" for index in range(3000)]
    scratch.put(*names)
    levels: list[type[Any]] = [FileBothDirectoryInfo, FileIdFullDirectoryInfo, FileIdBothDirectoryInfo]
    for level in levels:
        search = scratch.tree.search(scratch.path("*"), level)
        found: list[str] = []
        while page := await search.next_page():
            found += [entry.file_name for entry in page]
        assert sorted(found) == sorted([".", "..", *names])
    assert_idle(scratch.tree)


async def test_search_closed_early_can_be_begun_again(scratch: Scratch) -> None:
    scratch.put(*(f"a rather long file name to fill pages {index:05}" for index in range(800)))
    for _ in range(3):
        search = scratch.tree.search(scratch.path("*"), FileIdFullDirectoryInfo)
        assert await search.next_page()
        await search.close()
        assert await search.next_page() == []
    assert_idle(scratch.tree)


async def test_search_for_what_is_not_there(scratch: Scratch) -> None:
    search = scratch.tree.search(scratch.path("missing"), FileIdFullDirectoryInfo)
    assert await search.next_page() == []
    search = scratch.tree.search(scratch.path("missing\\*"), FileIdFullDirectoryInfo)
    assert await status_of(search.next_page()) == nt.STATUS_OBJECT_NAME_NOT_FOUND
    search = scratch.tree.search(scratch.path("missing\\sub\\*"), FileIdFullDirectoryInfo)
    assert await status_of(search.next_page()) == nt.STATUS_OBJECT_PATH_NOT_FOUND


async def test_search_tells_what_the_questions_tell(scratch: Scratch) -> None:
    scratch.put("file", content=b"x" * 5000)
    (entry,) = await scratch.tree.search(scratch.path("file"), FileIdFullDirectoryInfo).next_page()
    info = await scratch.tree.query_path(scratch.path("file"), FileAllInfo)
    assert entry.end_of_file == info.end_of_file == 5000
    assert entry.last_write_time == info.last_write_time
    assert entry.ext_file_attributes == info.ext_file_attributes
    internal = await scratch.tree.query_path(scratch.path("file"), FileInternalInfo)
    assert entry.file_id == internal.index_number


# --- metadata


async def test_questions_by_path_and_by_fid_agree(scratch: Scratch) -> None:
    scratch.put("file", content=b"12345")
    file = await opened(scratch.tree, scratch.path("file").text)
    for level in (FileAllInfo, FileStandardInfo, FileInternalInfo, FileBasicInfo):
        assert await scratch.tree.query_path(scratch.path("file"), level) == await scratch.tree.query_file(file, level)
    standard = await scratch.tree.query_file(file, FileStandardInfo)
    assert (standard.end_of_file, standard.number_of_links, standard.directory) == (5, 1, 0)
    await file.close()


async def test_root_is_a_directory(scratch: Scratch) -> None:
    info = await scratch.tree.query_path(ServerPath("\\"), FileAllInfo)
    assert info.ext_file_attributes & FILE_ATTRIBUTE_DIRECTORY
    assert info.directory


async def test_times_and_attributes_can_be_set(scratch: Scratch) -> None:
    scratch.put("file")
    written = ns_to_filetime(981_173_106_123_456_700)
    await scratch.tree.set_path(
        scratch.path("file"), FileBasicInfo(last_write_time=written, ext_file_attributes=FILE_ATTRIBUTE_READONLY)
    )
    info = await scratch.tree.query_path(scratch.path("file"), FileBasicInfo)
    assert info.last_write_time == written
    assert info.ext_file_attributes & FILE_ATTRIBUTE_READONLY
    opening = scratch.tree.create(scratch.path("file"), access=READ_WRITE, disposition=FILE_OPEN)
    assert await status_of(opening) == nt.STATUS_ACCESS_DENIED
    assert await status_of(scratch.tree.delete(scratch.path("file"))) == nt.STATUS_CANNOT_DELETE
    before = info.last_write_time
    await scratch.tree.set_path(scratch.path("file"), FileBasicInfo(ext_file_attributes=0x80))
    info = await scratch.tree.query_path(scratch.path("file"), FileBasicInfo)
    assert info.last_write_time == before
    assert not info.ext_file_attributes & FILE_ATTRIBUTE_READONLY


async def test_size_can_be_set(scratch: Scratch) -> None:
    scratch.put("file", content=b"0123456789")
    file = await opened(scratch.tree, scratch.path("file").text)
    await scratch.tree.set_file(file, FileEndOfFileInfo(end_of_file=4))
    await scratch.tree.set_file(file, FileEndOfFileInfo(end_of_file=6))
    assert bytes(await file.read(0, 100)) == b"0123\0\0"
    await file.close()


async def test_file_system_tells_its_size(scratch: Scratch) -> None:
    size = await scratch.tree.query_fs(FsSizeInfo)
    assert size.total_allocation_units >= size.available_allocation_units > 0
    assert size.bytes_per_sector * size.sectors_per_allocation_unit >= 512
    assert (await scratch.tree.query_fs(FsAttributeInfo)).max_file_name_length == 255


async def test_unknown_level(scratch: Scratch) -> None:
    class Unknown(FileStandardInfo):
        LEVEL = 0x0777

    assert await status_of(scratch.tree.query_path(scratch.path(), Unknown)) == nt.STATUS_INVALID_LEVEL


# --- names


async def test_directories_come_and_go(scratch: Scratch) -> None:
    await scratch.tree.create_directory(scratch.path("sub"))
    again = scratch.tree.create_directory(scratch.path("sub"))
    assert await status_of(again) == nt.STATUS_OBJECT_NAME_COLLISION
    await scratch.tree.create_directory(scratch.path("sub\\below"))
    assert await status_of(scratch.tree.delete_directory(scratch.path("sub"))) == nt.STATUS_DIRECTORY_NOT_EMPTY
    await scratch.tree.delete_directory(scratch.path("sub\\below"))
    await scratch.tree.delete_directory(scratch.path("sub"))
    gone = scratch.tree.delete_directory(scratch.path("sub"))
    assert await status_of(gone) == nt.STATUS_OBJECT_NAME_NOT_FOUND
    scratch.put("file")
    assert await status_of(scratch.tree.delete_directory(scratch.path("file"))) == nt.STATUS_NOT_A_DIRECTORY


async def test_files_are_deleted(scratch: Scratch) -> None:
    scratch.put("file")
    await scratch.tree.delete(scratch.path("file"))
    assert await status_of(scratch.tree.delete(scratch.path("file"))) == nt.STATUS_OBJECT_NAME_NOT_FOUND
    await scratch.tree.create_directory(scratch.path("sub"))
    assert await status_of(scratch.tree.delete(scratch.path("sub"))) == nt.STATUS_FILE_IS_A_DIRECTORY


@pytest.mark.parametrize("how", ["option", "disposition"])
async def test_deleted_with_the_last_close(scratch: Scratch, how: str) -> None:
    options = FILE_DELETE_ON_CLOSE if how == "option" else 0
    file, _ = await scratch.tree.create(
        scratch.path("file"), access=READ_WRITE | DELETE, disposition=FILE_CREATE, options=options
    )
    if how == "disposition":
        await scratch.tree.set_file(file, FileDispositionInfo(delete_pending=1))
    await file.close()
    asking = scratch.tree.query_path(scratch.path("file"), FileBasicInfo)
    assert await status_of(asking) == nt.STATUS_OBJECT_NAME_NOT_FOUND


async def test_rename(scratch: Scratch) -> None:
    scratch.put("old", "other", content=b"content")
    await scratch.tree.rename(scratch.path("old"), scratch.path("new"))
    assert scratch.content("new") == b"content"
    renaming = scratch.tree.rename(scratch.path("new"), scratch.path("other"))
    assert await status_of(renaming) == nt.STATUS_OBJECT_NAME_COLLISION
    renaming = scratch.tree.rename(scratch.path("old"), scratch.path("newer"))
    assert await status_of(renaming) == nt.STATUS_OBJECT_NAME_NOT_FOUND
    await scratch.tree.create_directory(scratch.path("sub"))
    await scratch.tree.rename(scratch.path("new"), scratch.path("sub\\moved"))
    assert scratch.content("sub/moved") == b"content"


async def test_rename_over_what_is_there(scratch: Scratch) -> None:
    scratch.put("new", content=b"new")
    scratch.put("old", content=b"old")
    keep = FileRenameInformation(replace_if_exists=0, file_name="old")
    assert await status_of(scratch.tree.set_path(scratch.path("new"), keep)) == nt.STATUS_OBJECT_NAME_COLLISION
    replace = FileRenameInformation(replace_if_exists=1, file_name="old")
    await scratch.tree.set_path(scratch.path("new"), replace)
    assert scratch.content("old") == b"new"
    separated = FileRenameInformation(replace_if_exists=1, file_name="sub/old")
    assert await status_of(scratch.tree.set_path(scratch.path("old"), separated)) == nt.STATUS_NOT_SUPPORTED


# --- shares and snapshots


async def test_share_that_is_not_there(scratch: Scratch) -> None:
    connecting = connect_tree(scratch.tree.session, "no-such-share")
    assert await status_of(connecting) == nt.STATUS_BAD_NETWORK_NAME


async def test_share_left(scratch: Scratch) -> None:
    other = await connect_tree(scratch.tree.session, "share")
    await other.disconnect()
    asking = other.query_path(ServerPath("\\"), FileBasicInfo)
    assert await status_of(asking) in (nt.STATUS_SMB_BAD_TID, nt.STATUS_NETWORK_NAME_DELETED)


async def test_standard_files_are_there(place: Place) -> None:
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await open_session(place.settings(), nursery), "share")
        for path, content in FILES.items():
            file = await opened(tree, "\\" + path.replace("/", "\\"), access=1, disposition=FILE_OPEN)
            assert bytes(await file.read(0, len(content) + 1)) == content
            await file.close()
        await tree.session.log_off()
        nursery.cancel_scope.cancel()


async def test_snapshots_are_seen_with_the_flag_only(place: Place) -> None:
    async with trio.open_nursery() as nursery:
        tree = await connect_tree(await open_session(place.settings("snaps"), nursery), "snaps")

        async def content(path: str, snapshot: bool) -> bytes:
            file, _ = await tree.create(ServerPath(path, snapshot), access=1, disposition=FILE_OPEN)
            data = bytes(await file.read(0, 100))
            await file.close()
            return data

        assert await content("\\report.txt", False) == PRESENT_FILES["report.txt"]
        for token in (OLDER, NEWER):
            assert await content(f"\\{token}\\report.txt", True) == SNAPSHOT_FILES[token]["report.txt"]
        search = tree.search(ServerPath(f"\\{OLDER}\\sub\\*", True), FileIdFullDirectoryInfo)
        assert {entry.file_name for entry in await search.next_page()} == {".", "..", "dropped.txt"}
        plain = content(f"\\{OLDER}\\report.txt", False)
        assert await status_of(plain) == nt.STATUS_OBJECT_PATH_NOT_FOUND
        nursery.cancel_scope.cancel()


async def test_echo(scratch: Scratch) -> None:
    await scratch.tree.session.connection.echo()
    assert_idle(scratch.tree)
