"""Tests of the status codes: the generated tables, their names, and how DOS errors fold into NTSTATUS."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse import ntstatus as nt

if TYPE_CHECKING:
    from types import ModuleType

GENERATOR = Path(__file__).parents[1] / "packaging" / "make_ntstatus.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_ntstatus", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_module_is_what_the_generator_writes(generator: ModuleType) -> None:
    module = generator.MODULE.read_text(encoding="utf-8")
    assert generator.updated(module, generator.TABLE.read_text(encoding="utf-8")) == module


def test_every_row_of_the_table_arrives(generator: ModuleType) -> None:
    rows = generator.read_table(generator.TABLE.read_text(encoding="utf-8"))
    assert 250 <= len(rows) <= 400
    for row in rows:
        assert getattr(nt, row.name) == row.value
        assert nt.status_name(row.value) == row.name
        for error_class, code, _ in row.dos:
            assert nt.from_dos_error(getattr(nt, error_class), code) == row.value


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("C0000001\tA\nC0000001\tB\n", "status listed twice: C0000001"),
        ("C0000001\tA\nC0000002\tA\n", "name listed twice: STATUS_A"),
        ("C0000001\tA\tERRDOS/1:x\nC0000002\tB\tERRDOS/1:y\n", "DOS error listed twice: ERRDOS/1"),
        ("C0000001\tA\tERRXYZ/1:x\n", "ERRXYZ/1:x"),
        ("C0000001\tA\tERRDOS/1\n", "ERRDOS/1"),
    ],
)
def test_generator_refuses_ambiguous_tables(generator: ModuleType, table: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        generator.read_table(table)


def test_generator_refuses_a_module_without_markers(generator: ModuleType) -> None:
    with pytest.raises(ValueError, match="markers"):
        generator.updated("nothing here", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [  # from [MS-ERREF] 2.3.1 and [MS-CIFS] 2.2.2.4
        ("SUCCESS", 0x00000000),
        ("PENDING", 0x00000103),
        ("NOTIFY_CLEANUP", 0x0000010B),
        ("NOTIFY_ENUM_DIR", 0x0000010C),
        ("BUFFER_OVERFLOW", 0x80000005),
        ("NO_MORE_FILES", 0x80000006),
        ("STOPPED_ON_SYMLINK", 0x8000002D),
        ("NO_SUCH_FILE", 0xC000000F),
        ("MORE_PROCESSING_REQUIRED", 0xC0000016),
        ("OBJECT_NAME_NOT_FOUND", 0xC0000034),
        ("DELETE_PENDING", 0xC0000056),
        ("DIRECTORY_NOT_EMPTY", 0xC0000101),
        ("USER_SESSION_DELETED", 0xC0000203),
        ("PATH_NOT_COVERED", 0xC0000257),
        ("SMB_BAD_UID", 0x005B0002),
        ("SMB_NO_SUPPORT", 0xFFFF0002),
    ],
)
def test_values_of_the_specification(name: str, value: int) -> None:
    assert getattr(nt, f"STATUS_{name}") == value


@pytest.mark.parametrize(
    ("error_class", "code", "status"),
    [
        (0, 0, nt.STATUS_SUCCESS),
        # what smbd sent in the captures, with and without NT status agreed
        (1, 1, nt.STATUS_NOT_IMPLEMENTED),
        (1, 2, nt.STATUS_NO_SUCH_FILE),
        (1, 3, nt.STATUS_OBJECT_PATH_NOT_FOUND),
        (1, 5, nt.STATUS_ACCESS_DENIED),
        (1, 18, nt.STATUS_NO_MORE_FILES),
        (1, 19, nt.STATUS_MEDIA_WRITE_PROTECTED),
        (1, 50, nt.STATUS_NOT_SUPPORTED),
        (1, 67, nt.STATUS_BAD_NETWORK_NAME),
        (1, 123, nt.STATUS_OBJECT_NAME_INVALID),
        (1, 145, nt.STATUS_DIRECTORY_NOT_EMPTY),
        (1, 173, nt.STATUS_OS2_CANCEL_VIOLATION),
        (1, 174, nt.STATUS_OS2_ATOMIC_LOCKS_NOT_SUPPORTED),
        (1, 183, nt.STATUS_OBJECT_NAME_COLLISION),
        (1, 267, nt.STATUS_NOT_A_DIRECTORY),
        (2, 22, nt.STATUS_SMB_BAD_COMMAND),
        (2, 91, nt.STATUS_SMB_BAD_UID),
        (2, 65535, nt.STATUS_SMB_NO_SUPPORT),
        (3, 31, nt.STATUS_UNSUCCESSFUL),
        (0x16, 0xC000, nt.STATUS_MORE_PROCESSING_REQUIRED),
        # and what older servers do
        (1, 33, nt.STATUS_FILE_LOCK_CONFLICT),
        (1, 80, nt.STATUS_OBJECT_NAME_COLLISION),
        (1, 234, nt.STATUS_BUFFER_OVERFLOW),
        (1, 282, nt.STATUS_EAS_NOT_SUPPORTED),
        (2, 5, nt.STATUS_SMB_BAD_TID),
        (3, 39, nt.STATUS_DISK_FULL),
    ],
)
def test_dos_errors_fold(error_class: int, code: int, status: int) -> None:
    assert nt.from_dos_error(error_class, code) == status


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (0xC0001234, "0xC0001234"),
        (0x00000042, "0x00000042"),
        (nt.from_dos_error(1, 1234), "DOS error ERRDOS/1234"),
        (nt.from_dos_error(2, 65000), "DOS error ERRSRV/65000"),
        (nt.from_dos_error(0xFF, 1), "DOS error ERRCMD/1"),
        (nt.from_dos_error(0x42, 7), "DOS error 0x42/7"),
    ],
)
def test_names_of_the_nameless(status: int, name: str) -> None:
    assert nt.status_name(status) == name


@given(pairs=st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65535)), min_size=2, max_size=2, unique=True))
def test_unknown_dos_errors_are_errors_and_stay_apart(pairs: list[tuple[int, int]]) -> None:
    unknown = [status for status in (nt.from_dos_error(*pair) for pair in pairs) if status >> 24 == 0xE0]
    assert len(set(unknown)) == len(unknown)
    for status in unknown:
        assert nt.is_error(status)
        assert nt.status_name(status).startswith("DOS error ")
        assert status & 1 << 29, "the bit that [MS-ERREF] keeps free of Microsoft's values"


def test_severities() -> None:
    assert not nt.is_error(nt.STATUS_SUCCESS)
    assert not nt.is_error(nt.STATUS_PENDING)
    assert not nt.is_error(nt.STATUS_NOTIFY_ENUM_DIR)
    assert not nt.is_error(nt.STATUS_OBJECT_NAME_EXISTS), "severity 1 informs"
    assert not nt.is_error(nt.STATUS_BUFFER_OVERFLOW)
    assert nt.is_warning(nt.STATUS_BUFFER_OVERFLOW)
    assert not nt.is_warning(nt.STATUS_ACCESS_DENIED)
    assert nt.is_error(nt.STATUS_ACCESS_DENIED)
    assert nt.is_error(nt.STATUS_SMB_BAD_UID), "a DOS error with the NT flag set, as Windows sends it"
    assert nt.is_error(nt.STATUS_SMB_NO_SUPPORT)
