"""What a program is told: from the status of a server, or an error of ours, to an errno.

Floor 4, and the only place where the two meet: one dict from NTSTATUS to errno, and a small one beside it for the
system calls to which a status means something else. No state of the file system, no retries and no second questions
to the server: who can find out more (is the target of that rename a directory?) does so before coming here.

What guides the choice: what Linux file systems answer, so that programs do the right thing; else cifs.ko's answer,
so that habits carry over. ENOSYS is never given: the kernel takes it as "never ask this mount again".
"""

from __future__ import annotations

import logging
import os
from errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    ECONNREFUSED,
    EDEADLK,
    EDQUOT,
    EEXIST,
    EFBIG,
    EHOSTDOWN,
    EHOSTUNREACH,
    EILSEQ,
    EINTR,
    EINVAL,
    EIO,
    EISDIR,
    ELOOP,
    EMLINK,
    ENAMETOOLONG,
    ENETUNREACH,
    ENFILE,
    ENODATA,
    ENOENT,
    ENOLCK,
    ENOMEDIUM,
    ENOSPC,
    ENOTDIR,
    ENOTEMPTY,
    ENXIO,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    EPIPE,
    ERANGE,
    EREMOTE,
    EREMOTEIO,
    EROFS,
    ETIMEDOUT,
    EUCLEAN,
    EUSERS,
    EXDEV,
)
from typing import Final

from smbfuse import ntstatus as nt
from smbfuse.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    ConnectionRefused,
    NotSupported,
    RemoteProtocolError,
    RequestTimeout,
    SmbfuseError,
    StatusError,
    WireError,
)

logger = logging.getLogger(__name__)

# The server does not know the command, the level or the file system's feature.
_UNSUPPORTED: Final = (
    nt.STATUS_NOT_IMPLEMENTED,
    nt.STATUS_NOT_SUPPORTED,
    nt.STATUS_INVALID_DEVICE_REQUEST,
    nt.STATUS_ILLEGAL_FUNCTION,
    nt.STATUS_INVALID_INFO_CLASS,
    nt.STATUS_INVALID_LEVEL,
    nt.STATUS_OS2_INVALID_LEVEL,
    nt.STATUS_SMB_BAD_COMMAND,
    nt.STATUS_SMB_NO_SUPPORT,
    nt.STATUS_CTL_FILE_NOT_SUPPORTED,
    nt.STATUS_EAS_NOT_SUPPORTED,
    nt.STATUS_OS2_ATOMIC_LOCKS_NOT_SUPPORTED,
    nt.STATUS_OS2_CANNOT_COPY,
    nt.STATUS_NOT_CAPABLE,
    nt.STATUS_FILE_SYSTEM_LIMITATION,
    nt.STATUS_IMPLEMENTATION_LIMIT,
    nt.STATUS_COMPRESSION_DISABLED,
    nt.STATUS_TRANSACTIONS_UNSUPPORTED_REMOTE,
)

_ERRNO: Final = {
    # What is not there.
    nt.STATUS_NO_SUCH_FILE: ENOENT,
    nt.STATUS_OBJECT_NAME_NOT_FOUND: ENOENT,
    # of a prefix that is a file, too: the kernel has walked it and knows ENOTDIR itself
    nt.STATUS_OBJECT_PATH_NOT_FOUND: ENOENT,
    nt.STATUS_OBJECT_PATH_INVALID: ENOENT,
    nt.STATUS_OBJECT_PATH_SYNTAX_BAD: ENOENT,
    nt.STATUS_NO_MORE_FILES: ENOENT,
    nt.STATUS_NOT_FOUND: ENOENT,  # Samba: no such DFS referral
    nt.STATUS_FILE_DELETED: ENOENT,
    nt.STATUS_OBJECT_NO_LONGER_EXISTS: ENOENT,
    nt.STATUS_DELETE_PENDING: ENOENT,  # unlinked while open elsewhere: by POSIX such a file has no name left
    nt.STATUS_NO_MORE_ENTRIES: ENOENT,
    nt.STATUS_NO_SUCH_DEVICE: ENXIO,
    nt.STATUS_DEVICE_DOES_NOT_EXIST: ENXIO,
    nt.STATUS_NO_MEDIA_IN_DEVICE: ENOMEDIUM,
    nt.STATUS_NO_MEDIA: ENOMEDIUM,
    nt.STATUS_UNRECOGNIZED_MEDIA: ENOMEDIUM,
    nt.STATUS_NONEXISTENT_EA_ENTRY: ENODATA,
    nt.STATUS_NO_EAS_ON_FILE: ENODATA,
    nt.STATUS_NO_MORE_EAS: ENODATA,
    nt.STATUS_END_OF_FILE: ENODATA,
    # What is there already, or in the way.
    nt.STATUS_OBJECT_NAME_COLLISION: EEXIST,
    nt.STATUS_OBJECT_NAME_EXISTS: EEXIST,
    nt.STATUS_DIRECTORY_NOT_EMPTY: ENOTEMPTY,
    nt.STATUS_NOT_A_DIRECTORY: ENOTDIR,
    nt.STATUS_FILE_IS_A_DIRECTORY: EISDIR,
    nt.STATUS_SHARING_VIOLATION: EBUSY,  # as cifs.ko; ETXTBSY would tell of a running program, which this need not be
    nt.STATUS_USER_MAPPED_FILE: EBUSY,
    nt.STATUS_FILES_OPEN: EBUSY,
    nt.STATUS_CONNECTION_IN_USE: EBUSY,
    nt.STATUS_DEVICE_BUSY: EBUSY,
    nt.STATUS_RESOURCE_IN_USE: EBUSY,
    nt.STATUS_FILE_CHECKED_OUT: EBUSY,
    nt.STATUS_OPLOCK_NOT_GRANTED: EBUSY,
    nt.STATUS_CANNOT_BREAK_OPLOCK: EBUSY,
    # a read or write across a mandatory lock; EAGAIN makes programs think of O_NONBLOCK
    nt.STATUS_FILE_LOCK_CONFLICT: EACCES,
    nt.STATUS_LOCK_NOT_GRANTED: EACCES,
    nt.STATUS_RANGE_NOT_LOCKED: ENOLCK,
    nt.STATUS_OS2_CANCEL_VIOLATION: ENOLCK,
    nt.STATUS_INVALID_LOCK_RANGE: EINVAL,
    nt.STATUS_POSSIBLE_DEADLOCK: EDEADLK,
    # Who may not.
    nt.STATUS_ACCESS_DENIED: EACCES,
    nt.STATUS_OS2_INVALID_ACCESS: EACCES,
    nt.STATUS_INVALID_LOCK_SEQUENCE: EACCES,
    nt.STATUS_NETWORK_ACCESS_DENIED: EACCES,
    nt.STATUS_OS2_EA_ACCESS_DENIED: EACCES,
    nt.STATUS_CANT_OPEN_ANONYMOUS: EACCES,
    nt.STATUS_NETWORK_OPEN_RESTRICTION: EACCES,
    nt.STATUS_CONTENT_BLOCKED: EACCES,
    nt.STATUS_VIRUS_INFECTED: EACCES,  # it exists and is not given out; a reason that fits better has no errno
    nt.STATUS_VIRUS_DELETED: EACCES,
    nt.STATUS_FILE_ENCRYPTED: EACCES,
    nt.STATUS_ENCRYPTION_FAILED: EACCES,
    nt.STATUS_DECRYPTION_FAILED: EACCES,
    nt.STATUS_NO_USER_KEYS: EACCES,
    nt.STATUS_CHECKOUT_REQUIRED: EACCES,
    nt.STATUS_CANNOT_DELETE: EPERM,  # the read-only attribute, not a permission: as unlink(2) of an immutable file
    nt.STATUS_PRIVILEGE_NOT_HELD: EPERM,
    nt.STATUS_INVALID_OWNER: EPERM,
    nt.STATUS_MEDIA_WRITE_PROTECTED: EROFS,  # Samba's share with `read only = yes`
    nt.STATUS_LOGON_FAILURE: EACCES,
    nt.STATUS_WRONG_PASSWORD: EACCES,
    nt.STATUS_NO_SUCH_USER: EACCES,
    nt.STATUS_NO_SUCH_LOGON_SESSION: EACCES,
    nt.STATUS_ACCOUNT_RESTRICTION: EACCES,
    nt.STATUS_ACCOUNT_DISABLED: EACCES,
    nt.STATUS_ACCOUNT_EXPIRED: EACCES,  # cifs.ko says EKEYEXPIRED: a text about keys, where no key is
    nt.STATUS_ACCOUNT_LOCKED_OUT: EACCES,
    nt.STATUS_PASSWORD_EXPIRED: EACCES,
    nt.STATUS_PASSWORD_MUST_CHANGE: EACCES,
    nt.STATUS_PASSWORD_RESTRICTION: EACCES,
    nt.STATUS_INVALID_LOGON_HOURS: EACCES,
    nt.STATUS_LOGIN_TIME_RESTRICTION: EACCES,
    nt.STATUS_INVALID_WORKSTATION: EACCES,
    nt.STATUS_LOGIN_WKSTA_RESTRICTION: EACCES,
    nt.STATUS_LOGON_TYPE_NOT_GRANTED: EACCES,
    nt.STATUS_LOGON_NOT_GRANTED: EACCES,
    nt.STATUS_TRUST_FAILURE: EACCES,
    nt.STATUS_TRUSTED_DOMAIN_FAILURE: EACCES,
    nt.STATUS_TRUSTED_RELATIONSHIP_FAILURE: EACCES,
    nt.STATUS_NO_LOGON_SERVERS: EACCES,
    nt.STATUS_NTLM_BLOCKED: EACCES,
    nt.STATUS_DOWNGRADE_DETECTED: EACCES,
    # What the caller, or a name, has wrong.
    nt.STATUS_INVALID_PARAMETER: EINVAL,
    nt.STATUS_INVALID_PARAMETER_MIX: EINVAL,
    nt.STATUS_INVALID_PARAMETER_1: EINVAL,
    nt.STATUS_INVALID_PARAMETER_2: EINVAL,
    nt.STATUS_INVALID_PARAMETER_3: EINVAL,
    nt.STATUS_INVALID_PARAMETER_4: EINVAL,
    nt.STATUS_INVALID_PARAMETER_5: EINVAL,
    nt.STATUS_INVALID_PARAMETER_6: EINVAL,
    nt.STATUS_OS2_NEGATIVE_SEEK: EINVAL,
    nt.STATUS_OBJECT_NAME_INVALID: EINVAL,  # creating it: as vfat and ntfs3 answer; looking for it: see below
    nt.STATUS_NO_UNICODE_TRANSLATION: EILSEQ,
    nt.STATUS_UNMAPPABLE_CHARACTER: EILSEQ,
    nt.STATUS_ILLEGAL_CHARACTER: EILSEQ,
    nt.STATUS_UNDEFINED_CHARACTER: EILSEQ,
    nt.STATUS_NAME_TOO_LONG: ENAMETOOLONG,
    nt.STATUS_NOT_SAME_DEVICE: EXDEV,
    nt.STATUS_TOO_MANY_LINKS: EMLINK,
    nt.STATUS_FILE_TOO_LARGE: EFBIG,
    nt.STATUS_BEYOND_VDL: EINVAL,
    nt.STATUS_NOT_A_REPARSE_POINT: EINVAL,  # readlink(2) of what is no link
    nt.STATUS_IO_REPARSE_DATA_INVALID: EINVAL,
    nt.STATUS_IO_REPARSE_TAG_INVALID: EINVAL,
    nt.STATUS_STOPPED_ON_SYMLINK: ELOOP,  # a link that nobody could follow any further
    nt.STATUS_IO_REPARSE_TAG_NOT_HANDLED: EOPNOTSUPP,
    nt.STATUS_INVALID_EA_NAME: EINVAL,
    nt.STATUS_INVALID_EA_FLAG: EINVAL,
    nt.STATUS_EA_LIST_INCONSISTENT: EINVAL,
    nt.STATUS_EA_TOO_LARGE: ENOSPC,  # setxattr(2) knows no better one for "values do not fit this file"
    nt.STATUS_OS2_EAS_DIDNT_FIT: ERANGE,
    nt.STATUS_BUFFER_TOO_SMALL: ERANGE,
    nt.STATUS_BUFFER_OVERFLOW: EOVERFLOW,
    nt.STATUS_INVALID_SECURITY_DESCR: EINVAL,
    nt.STATUS_INVALID_ACL: EINVAL,
    nt.STATUS_INVALID_SID: EINVAL,
    nt.STATUS_NONE_MAPPED: EINVAL,
    nt.STATUS_CANNOT_MAKE: EACCES,
    # What is used up.
    nt.STATUS_DISK_FULL: ENOSPC,
    nt.STATUS_ALLOTTED_SPACE_EXCEEDED: ENOSPC,
    nt.STATUS_PRINT_QUEUE_FULL: ENOSPC,
    nt.STATUS_NO_SPOOL_SPACE: ENOSPC,
    nt.STATUS_QUOTA_EXCEEDED: EDQUOT,
    nt.STATUS_DISK_QUOTA_EXCEEDED: EDQUOT,
    # the server's table: EMFILE would blame the program, which may have but one open
    nt.STATUS_TOO_MANY_OPENED_FILES: ENFILE,
    nt.STATUS_OS2_NO_MORE_SIDS: ENFILE,
    # as cifs.ko: the server is short, ENOMEM would send people to look at this machine
    nt.STATUS_INSUFF_SERVER_RESOURCES: EREMOTEIO,
    nt.STATUS_INSUFFICIENT_RESOURCES: EREMOTEIO,
    nt.STATUS_NO_MEMORY: EREMOTEIO,
    nt.STATUS_REMOTE_RESOURCES: EREMOTEIO,
    nt.STATUS_TOO_MANY_COMMANDS: EREMOTEIO,
    nt.STATUS_TOO_MANY_SESSIONS: EUSERS,
    nt.STATUS_TOO_MANY_NAMES: EUSERS,
    nt.STATUS_REMOTE_SESSION_LIMIT: EUSERS,
    nt.STATUS_CONNECTION_COUNT_LIMIT: EUSERS,
    nt.STATUS_REQUEST_NOT_ACCEPTED: EUSERS,  # Windows at its limit of connected clients
    # What cannot be reached.
    nt.STATUS_BAD_NETWORK_NAME: ENXIO,
    nt.STATUS_NETWORK_NAME_DELETED: ENXIO,  # the share was withdrawn, and reconnecting did not bring it back
    nt.STATUS_SMB_BAD_TID: ENXIO,
    nt.STATUS_BAD_DEVICE_TYPE: ENXIO,  # a printer or a pipe where a disk was asked for
    nt.STATUS_SHARE_UNAVAILABLE: ENXIO,
    nt.STATUS_VOLUME_DISMOUNTED: ENXIO,
    nt.STATUS_PATH_NOT_COVERED: EREMOTE,  # a DFS link: the files lie on another server
    nt.STATUS_DFS_EXIT_PATH_FOUND: EREMOTE,
    nt.STATUS_DFS_UNAVAILABLE: EHOSTUNREACH,
    nt.STATUS_BAD_NETWORK_PATH: EHOSTUNREACH,
    nt.STATUS_HOST_UNREACHABLE: EHOSTUNREACH,
    nt.STATUS_NETWORK_UNREACHABLE: ENETUNREACH,
    nt.STATUS_CONNECTION_REFUSED: ECONNREFUSED,
    nt.STATUS_HOST_DOWN: EHOSTDOWN,
    nt.STATUS_USER_SESSION_DELETED: EHOSTDOWN,  # as a lost connection: it was ours, and it is gone
    nt.STATUS_SMB_BAD_UID: EHOSTDOWN,
    nt.STATUS_NETWORK_SESSION_EXPIRED: EHOSTDOWN,
    nt.STATUS_CONNECTION_DISCONNECTED: EHOSTDOWN,
    nt.STATUS_CONNECTION_RESET: EHOSTDOWN,
    nt.STATUS_CONNECTION_ABORTED: EHOSTDOWN,
    nt.STATUS_CONNECTION_INVALID: EHOSTDOWN,
    nt.STATUS_VIRTUAL_CIRCUIT_CLOSED: EHOSTDOWN,
    nt.STATUS_LOCAL_DISCONNECT: EHOSTDOWN,
    nt.STATUS_REMOTE_DISCONNECT: EHOSTDOWN,
    nt.STATUS_GRACEFUL_DISCONNECT: EHOSTDOWN,
    nt.STATUS_SERVER_UNAVAILABLE: EHOSTDOWN,
    nt.STATUS_SHARING_PAUSED: EHOSTDOWN,
    nt.STATUS_REDIRECTOR_PAUSED: EHOSTDOWN,
    nt.STATUS_SYSTEM_SHUTDOWN: EHOSTDOWN,
    nt.STATUS_SHUTDOWN_IN_PROGRESS: EHOSTDOWN,
    nt.STATUS_SERVER_SHUTDOWN_IN_PROGRESS: EHOSTDOWN,
    nt.STATUS_IO_TIMEOUT: ETIMEDOUT,
    nt.STATUS_LINK_TIMEOUT: ETIMEDOUT,
    nt.STATUS_TRANSACTION_TIMED_OUT: ETIMEDOUT,
    nt.STATUS_TIMEOUT: ETIMEDOUT,
    nt.STATUS_RETRY: EBUSY,  # EAGAIN, from a file, is an answer that programs poll on
    nt.STATUS_NETWORK_BUSY: EBUSY,
    nt.STATUS_CANCELLED: EINTR,  # only our NT_CANCEL makes a server say so
    nt.STATUS_REQUEST_CANCELED: EINTR,
    nt.STATUS_PIPE_DISCONNECTED: EPIPE,
    nt.STATUS_PIPE_CLOSING: EPIPE,
    nt.STATUS_PIPE_BROKEN: EPIPE,
    nt.STATUS_PIPE_EMPTY: EAGAIN,
    nt.STATUS_INVALID_PIPE_STATE: EPIPE,
    nt.STATUS_PIPE_BUSY: EBUSY,
    nt.STATUS_PIPE_NOT_AVAILABLE: EBUSY,
    nt.STATUS_INSTANCE_NOT_AVAILABLE: EBUSY,
    # What is broken. Listed, so that nobody is warned of an unknown status.
    nt.STATUS_UNSUCCESSFUL: EIO,
    nt.STATUS_INTERNAL_ERROR: EIO,
    nt.STATUS_UNEXPECTED_IO_ERROR: EIO,
    nt.STATUS_UNEXPECTED_NETWORK_ERROR: EIO,
    nt.STATUS_INVALID_NETWORK_RESPONSE: EIO,
    nt.STATUS_INVALID_SMB: EIO,
    nt.STATUS_INFO_LENGTH_MISMATCH: EIO,
    nt.STATUS_INVALID_HANDLE: EIO,  # the server lost its FID; EBADF would accuse the program, whose descriptor is sound
    nt.STATUS_SMB_BAD_FID: EIO,
    nt.STATUS_FILE_CLOSED: EIO,
    nt.STATUS_FILE_FORCED_CLOSED: EIO,
    nt.STATUS_HANDLE_NO_LONGER_VALID: EIO,
    nt.STATUS_FILE_INVALID: EIO,
    nt.STATUS_LOST_WRITEBEHIND_DATA: EIO,
    nt.STATUS_NET_WRITE_FAULT: EIO,
    nt.STATUS_DATA_ERROR: EIO,
    nt.STATUS_CRC_ERROR: EIO,
    nt.STATUS_DEVICE_DATA_ERROR: EIO,
    nt.STATUS_IO_DEVICE_ERROR: EIO,
    nt.STATUS_DISK_OPERATION_FAILED: EIO,
    nt.STATUS_NONEXISTENT_SECTOR: EIO,
    nt.STATUS_WRONG_VOLUME: EIO,
    nt.STATUS_DEVICE_NOT_READY: EIO,
    nt.STATUS_DEVICE_OFF_LINE: EIO,
    nt.STATUS_DEVICE_NOT_CONNECTED: EIO,
    nt.STATUS_DEVICE_REMOVED: EIO,
    nt.STATUS_INVALID_DEVICE_STATE: EIO,
    nt.STATUS_FILE_IS_OFFLINE: EIO,
    nt.STATUS_FILE_NOT_AVAILABLE: EIO,
    nt.STATUS_EA_CORRUPT_ERROR: EIO,
    nt.STATUS_FILE_CORRUPT_ERROR: EUCLEAN,  # as Linux file systems call it
    nt.STATUS_DISK_CORRUPT_ERROR: EUCLEAN,
    nt.STATUS_BAD_CLUSTERS: EUCLEAN,
    nt.STATUS_VOLUME_DIRTY: EUCLEAN,
    **dict.fromkeys(_UNSUPPORTED, EOPNOTSUPP),
}

_EXCEPTIONS: Final = {
    # chmod and chown by one who is not the owner: EPERM by POSIX, and what `cp -p` forgives.
    ("setattr", nt.STATUS_ACCESS_DENIED): EPERM,
    # A name that the server cannot store does not exist; scripts that test for `a:b` expect no more than that.
    **{
        (operation, nt.STATUS_OBJECT_NAME_INVALID): ENOENT
        for operation in ("lookup", "getattr", "open", "readlink", "readdir", "unlink", "rmdir")
    },
    # Unlinked, but open on another machine, and so the name is still taken. EEXIST would be a lie that programs
    # with O_EXCL believe and answer by unlinking what lookup says is not there.
    **{(operation, nt.STATUS_DELETE_PENDING): EBUSY for operation in ("create", "mkdir", "symlink", "link", "rename")},
    # [MS-FSA] 2.1.5.3: of a write only the size is refused so, past 16 TiB less 64 KiB. smbd 4.17 does the same.
    ("write", nt.STATUS_INVALID_PARAMETER): EFBIG,
    # fcntl(2): the answer by which a program knows that another holds the lock.
    ("setlk", nt.STATUS_FILE_LOCK_CONFLICT): EAGAIN,
    ("setlk", nt.STATUS_LOCK_NOT_GRANTED): EAGAIN,
    **{
        (operation, status): ENOLCK
        for operation in ("getlk", "setlk", "flock")
        for status in (*_UNSUPPORTED, nt.STATUS_INSUFFICIENT_RESOURCES, nt.STATUS_NO_MEMORY)
    },
    # The kernel has looked at the numbers; what a server cannot take then is the size of the file.
    ("fallocate", nt.STATUS_INVALID_PARAMETER): EFBIG,
    # An audit list that may not be read: getcifsacl takes EIO, cifs.ko's answer, for a sign to ask for the rest alone.
    ("getxattr", nt.STATUS_PRIVILEGE_NOT_HELD): EIO,
    # link(2) and symlink(2) have EPERM for a file system without links: the answer on which programs copy.
    **{(operation, status): EPERM for operation in ("link", "symlink") for status in _UNSUPPORTED},
}

_ERRNO_OF_CLASS: Final[dict[type, int]] = {
    RequestTimeout: ETIMEDOUT,
    # cifs.ko's answer for `soft`, and plain to read. ENOTCONN is what a mount whose process died answers: it would
    # make people unmount one that recovers by itself.
    ConnectionLost: EHOSTDOWN,
    ConnectionRefused: EACCES,
    ConnectError: EHOSTDOWN,
    NotSupported: EOPNOTSUPP,
    AuthenticationError: EACCES,
    SmbfuseError: EIO,
}

# What was warned of, once each. The server chooses it: hence the bound.
_warned: set[str] = set()
_MAX_WARNED: Final = 64


def _warn(text: str) -> None:
    if text not in _warned and len(_warned) < _MAX_WARNED:
        _warned.add(text)
        logger.warning("%s", text)


def _unknown(status: int) -> int:
    _warn(f"no errno known for {nt.status_name(status)}: programs see EIO")
    return EIO


def errno_of(status: int, operation: str = "") -> int:
    """The errno for a status with which a server refused `operation`.

    Operations are named by their system calls, as the core's methods: lookup, getattr, setattr, open, create, read,
    write, flush, fsync, mkdir, rmdir, unlink, rename, readdir, statfs, symlink, link, readlink, truncate, getlk,
    setlk, flock, getxattr, lseek, copy_file_range, fallocate.
    A status without a place in the tables gives EIO and is logged, once each.
    """
    special = _EXCEPTIONS.get((operation, status))
    return special or _ERRNO.get(status) or _unknown(status)


def as_oserror(error: SmbfuseError, operation: str, path: str = "") -> OSError:
    """The OSError to raise (`from error`) for an error of ours during `operation` on `path`."""
    if isinstance(error, StatusError):
        number = errno_of(error.status, operation)
    else:
        if isinstance(error, (RemoteProtocolError, WireError)):
            _warn(f"the server gave an answer that cannot be: {error}")
        number = next(_ERRNO_OF_CLASS[base] for base in type(error).__mro__ if base in _ERRNO_OF_CLASS)
    return OSError(number, os.strerror(number), *([path] if path else []))
