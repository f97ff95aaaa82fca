"""Tests of the errno map: what programs see for each status, for each error of ours, and for what nobody knows."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import NamedTuple

import pytest

from smbfuse import errors
from smbfuse import ntstatus as nt
from smbfuse.core import errno_map
from smbfuse.core.errno_map import as_oserror, errno_of
from tests.support.logguard import LogGuard

OPERATIONS = frozenset(
    [
        "lookup",
        "getattr",
        "setattr",
        "open",
        "create",
        "read",
        "write",
        "flush",
        "fsync",
        "mkdir",
        "rmdir",
        "unlink",
        "rename",
        "readdir",
        "statfs",
        "symlink",
        "link",
        "readlink",
        "truncate",
        "getlk",
        "setlk",
        "flock",
        "getxattr",
        "lseek",
        "copy_file_range",
        "fallocate",
    ]
)
CAPTURED = Path(__file__).with_name("captured_errors.tsv")
MEANT_AS_EIO = {nt.STATUS_INVALID_HANDLE, nt.STATUS_UNSUCCESSFUL}
"""Of the statuses in the captures, those for which EIO is the answer and not the lack of one."""


class Captured(NamedTuple):
    """A refusal in the captures: the command, what it most often serves, and the status."""

    command: str
    operation: str
    status: int


def captured() -> list[Captured]:
    """The refusals of the list beside this file, with DOS errors folded as the wire layer does."""
    rows = [line.split("\t") for line in CAPTURED.read_text(encoding="ascii").splitlines() if line[0] != "#"]
    return [
        Captured(command, "" if operation == "-" else operation, _folded(kind, int(status, 16)))
        for command, operation, kind, status in rows
    ]


def _folded(kind: str, status: int) -> int:
    return status if kind == "nt" else nt.from_dos_error(status & 0xFF, status >> 16)


@pytest.fixture(autouse=True)
def _nobody_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errno_map, "_warned", set())


@pytest.mark.parametrize("refusal", captured(), ids=lambda c: f"{c.command}-{nt.status_name(c.status)}")
def test_captured_refusals_have_an_errno(refusal: Captured, caplog: pytest.LogCaptureFixture) -> None:
    number = errno_of(refusal.status, refusal.operation)
    assert (number == errno.EIO) == (refusal.status in MEANT_AS_EIO)
    assert not caplog.records


def test_the_list_of_captured_refusals_is_whole() -> None:
    assert len(captured()) >= 80
    assert {c.operation for c in captured()} - {""} <= OPERATIONS
    assert all(nt.is_error(c.status) or nt.is_warning(c.status) for c in captured())


@pytest.mark.parametrize(
    ("operation", "status", "number"),
    [
        ("rmdir", nt.STATUS_DIRECTORY_NOT_EMPTY, errno.ENOTEMPTY),
        ("rename", nt.STATUS_DIRECTORY_NOT_EMPTY, errno.ENOTEMPTY),
        ("rename", nt.STATUS_OBJECT_NAME_COLLISION, errno.EEXIST),
        ("rename", nt.STATUS_NOT_SAME_DEVICE, errno.EXDEV),
        ("mkdir", nt.STATUS_OBJECT_NAME_COLLISION, errno.EEXIST),
        ("mkdir", nt.STATUS_OBJECT_NAME_INVALID, errno.EINVAL),
        ("lookup", nt.STATUS_OBJECT_NAME_INVALID, errno.ENOENT),
        ("create", nt.STATUS_NAME_TOO_LONG, errno.ENAMETOOLONG),
        ("lookup", nt.STATUS_OBJECT_PATH_NOT_FOUND, errno.ENOENT),
        ("lookup", nt.STATUS_NOT_A_DIRECTORY, errno.ENOTDIR),
        ("open", nt.STATUS_FILE_IS_A_DIRECTORY, errno.EISDIR),
        ("unlink", nt.STATUS_FILE_IS_A_DIRECTORY, errno.EISDIR),
        ("unlink", nt.STATUS_CANNOT_DELETE, errno.EPERM),
        ("unlink", nt.STATUS_SHARING_VIOLATION, errno.EBUSY),
        ("lookup", nt.STATUS_DELETE_PENDING, errno.ENOENT),
        ("create", nt.STATUS_DELETE_PENDING, errno.EBUSY),
        ("open", nt.STATUS_ACCESS_DENIED, errno.EACCES),
        ("setattr", nt.STATUS_ACCESS_DENIED, errno.EPERM),
        ("read", nt.STATUS_FILE_LOCK_CONFLICT, errno.EACCES),
        ("setlk", nt.STATUS_FILE_LOCK_CONFLICT, errno.EAGAIN),
        ("write", nt.STATUS_DISK_FULL, errno.ENOSPC),
        ("write", nt.STATUS_QUOTA_EXCEEDED, errno.EDQUOT),
        ("write", nt.STATUS_MEDIA_WRITE_PROTECTED, errno.EROFS),
        ("link", nt.STATUS_TOO_MANY_LINKS, errno.EMLINK),
        ("link", nt.STATUS_NOT_SUPPORTED, errno.EPERM),
        ("symlink", nt.STATUS_OS2_INVALID_LEVEL, errno.EPERM),
        ("statfs", nt.STATUS_OS2_INVALID_LEVEL, errno.EOPNOTSUPP),
        ("readlink", nt.STATUS_NOT_A_REPARSE_POINT, errno.EINVAL),
        ("read", nt.STATUS_IO_TIMEOUT, errno.ETIMEDOUT),
        ("getxattr", nt.STATUS_PRIVILEGE_NOT_HELD, errno.EIO),
    ],
)
def test_what_each_system_call_answers(operation: str, status: int, number: int) -> None:
    assert errno_of(status, operation) == number


def test_exceptions_differ_from_the_rule_and_name_real_operations() -> None:
    for (operation, status), number in errno_map._EXCEPTIONS.items():
        assert operation in OPERATIONS
        assert errno_map._ERRNO[status] != number, f"{operation}, {nt.status_name(status)}: said twice"


def test_tables_hold_no_success_and_never_enosys() -> None:
    numbers = {*errno_map._ERRNO.values(), *errno_map._EXCEPTIONS.values(), *errno_map._ERRNO_OF_CLASS.values()}
    assert errno.ENOSYS not in numbers
    assert errno.ESTALE not in numbers
    assert all(number in errno.errorcode for number in numbers)
    assert nt.STATUS_SUCCESS not in errno_map._ERRNO


def test_unknown_statuses_are_eio_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    unknown = nt.from_dos_error(nt.ERRDOS, 1234)
    assert [errno_of(unknown, "read"), errno_of(unknown), errno_of(0xC0FFEE00)] == [errno.EIO] * 3
    assert [(record.levelno, record.message.split(":")[0]) for record in caplog.records] == [
        (logging.WARNING, "no errno known for DOS error ERRDOS/1234"),
        (logging.WARNING, "no errno known for 0xC0FFEE00"),
    ]


def test_a_server_cannot_fill_the_log_with_new_statuses(caplog: pytest.LogCaptureFixture) -> None:
    for status in range(0xC0FF0000, 0xC0FF0000 + 1000):
        assert errno_of(status) == errno.EIO
    assert len(caplog.records) == len(errno_map._warned) < 100


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.StatusError(nt.STATUS_OBJECT_NAME_NOT_FOUND, "OPEN"), errno.ENOENT),
        (errors.StatusError(nt.STATUS_DELETE_PENDING), errno.EBUSY),
        (errors.RequestTimeout("60 s"), errno.ETIMEDOUT),
        (errors.ConnectionLost("reset"), errno.EHOSTDOWN),
        (errors.ConnectError("refused"), errno.EHOSTDOWN),
        (errors.WireError("short"), errno.EIO),
        (errors.RemoteProtocolError("mid"), errno.EIO),
        (errors.LocalProtocolError("mid"), errno.EIO),
        (errors.NotSupported("links"), errno.EOPNOTSUPP),
        (errors.AuthenticationError("no"), errno.EACCES),
        (errors.SmbfuseError("?"), errno.EIO),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_ours(error: errors.SmbfuseError, number: int, log_guard: LogGuard) -> None:
    log_guard.expect("the server gave an answer that cannot be: (short|mid)")
    raised = as_oserror(error, "create", "a/b")
    assert raised.errno == number
    assert raised.filename == "a/b"
    assert str(raised).endswith(": 'a/b'")


def test_oserror_without_a_path_names_none() -> None:
    raised = as_oserror(errors.StatusError(nt.STATUS_NO_SUCH_FILE), "lookup")
    assert isinstance(raised, FileNotFoundError)
    assert raised.filename is None


def test_every_error_class_of_the_project_has_an_errno(log_guard: LogGuard) -> None:
    log_guard.expect("the server gave an answer that cannot be")

    def below(cls: type[errors.SmbfuseError]) -> list[type[errors.SmbfuseError]]:
        return [cls, *(found for child in cls.__subclasses__() for found in below(child))]

    for cls in below(errors.SmbfuseError):
        error = cls(nt.STATUS_ACCESS_DENIED) if cls is errors.StatusError else cls.__new__(cls)
        assert as_oserror(error, "read").errno in errno.errorcode
