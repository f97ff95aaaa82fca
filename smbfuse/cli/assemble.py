"""From choices to settings: what the options mean together, and with this machine's defaults filled in.

No network, no terminal. Defaults that ServerSettings and MountSettings have themselves are left to them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smbfuse.cli.unc import Unc, parse_path, parse_unc
from smbfuse.errors import UsageError
from smbfuse.settings import Credentials, MountSettings, ServerSettings

if TYPE_CHECKING:
    from smbfuse.cli.options import Choices


@dataclass(frozen=True, slots=True)
class Caller:
    """Who mounts, on this machine."""

    st_uid: int
    st_gid: int

    @classmethod
    def current(cls) -> Caller:
        """The real ids: files are to belong to the user, whoever lent him rights."""
        return cls(os.getuid(), os.getgid())

    @property
    def is_root(self) -> bool:
        """Root mounts by itself; others through fusermount3."""
        return self.st_uid == 0


def share_of(source: str, choices: Choices) -> Unc:
    """The share that is meant. Raises UsageError."""
    unc = parse_unc(source)
    if choices.unc is not None:
        other = parse_unc(choices.unc)
        if (other.host.lower(), other.share.lower()) != (unc.host.lower(), unc.share.lower()):
            raise UsageError(f"'{source}' and unc={choices.unc} differ: name the share once")
    return unc


def server_settings(unc: Unc, choices: Choices, credentials: Credentials) -> ServerSettings:
    """How to reach the share."""
    return ServerSettings(
        host=unc.host,
        share=unc.share,
        credentials=credentials,
        address=choices.address,
        require_signing=choices.sign or choices.security.require_signing,
        unix_extensions=choices.unix,
        hard=choices.hard,
        **_given(
            port=choices.port if choices.port is not None else unc.port,
            rsize=choices.rsize,
            wsize=choices.wsize,
            echo_interval=choices.echo_interval,
            request_timeout=choices.request_timeout,
            reconnect_timeout=choices.reconnect_timeout,
            retrans=choices.retrans,
        ),
    )


def mount_settings(source: str, mountpoint: str, unc: Unc, choices: Choices, caller: Caller) -> MountSettings:
    """How the share looks here. Raises UsageError."""
    prefix = unc.path if choices.prefixpath is None else parse_path(choices.prefixpath)
    return MountSettings(
        source=choices.fsname or source,
        mountpoint=mountpoint,
        prefix=prefix,
        st_uid=caller.st_uid if choices.st_uid is None else choices.st_uid,
        st_gid=caller.st_gid if choices.st_gid is None else choices.st_gid,
        force_uid=choices.force_uid,
        force_gid=choices.force_gid,
        read_only=choices.read_only,
        allow_other=allows_others(choices, caller),
        default_permissions=choices.permissions,
        user_xattr=choices.user_xattr,
        fuse_options=_fuse_options(choices, caller),
        debug=choices.debug,
        mfsymlinks=choices.mfsymlinks,
        nocase=choices.nocase,
        **_given(
            file_mode=_mode(choices.file_mode, choices.umask),
            dir_mode=_mode(choices.dir_mode, choices.umask),
            actimeo=choices.actimeo,
            acl=choices.acl,
            setuids=choices.setuids,
            dynperm=choices.dynperm,
            serverino=choices.serverino,
            brl=choices.brl,
            cache=choices.cache,
            reserved=choices.reserved,
        ),
    )


def _mode(given: int | None, umask: int | None) -> int | None:
    return 0o777 & ~umask if given is None and umask is not None else given


def _given(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - a mix of types that the settings declare
    """Those that were said; of the others the settings know the default."""
    return {name: value for name, value in values.items() if value is not None}


def allows_others(choices: Choices, caller: Caller) -> bool:
    """Root's mounts are for everybody unless it says otherwise: it mounts for others, from fstab."""
    if "allow_root" in choices.kernel_flags.values():
        return False  # libfuse takes one of the two
    return caller.is_root if choices.allow_other is None else choices.allow_other


def overruled(choices: Choices, caller: Caller) -> list[str]:
    """Warnings about what was asked for and cannot be had."""
    asked = {"suid", "dev"} & set(choices.kernel_flags.values())
    return [] if caller.is_root else [f"allow_{name} is for root only, and left out" for name in sorted(asked)]


def _fuse_options(choices: Choices, caller: Caller) -> tuple[str, ...]:
    """Flags for libfuse. fusermount3 takes suid and dev from nobody but root."""
    forbidden = set() if caller.is_root else {"suid", "dev"}
    return tuple(sorted(set(choices.kernel_flags.values()) - forbidden))
