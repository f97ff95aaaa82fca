"""What a mount is told: plain values that the command line fills in and the floors below read.

Floor 0. No defaults are computed from the machine here (names of users, sizes, environment): `cli/` does that.
"""

from __future__ import annotations

from dataclasses import dataclass, field


class Secret:
    """A password that shows itself to nobody by accident: not in repr, str, logs, comparisons or pickles."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The password itself, for the one place that computes the answer to the server's challenge."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is never pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who logs on. `anonymous` means: no user at all (option guest or sec=none)."""

    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    domain: str = ""
    anonymous: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How to reach one share, and how to log on. Times in seconds."""

    host: str
    share: str
    address: str | None = None
    """IP address to connect to instead of looking `host` up (options ip=, addr=)."""
    port: int = 445
    credentials: Credentials = field(default_factory=Credentials)
    require_signing: bool = False
    """sec=ntlmsspi: the server must sign, or the mount fails. Otherwise the policy is *Enabled* of [MS-SMB]."""
    unix_extensions: bool | None = None
    """True: must be there; False: not used; None: used where the server has them."""
    connect_timeout: float = 10.0
    request_timeout: float = 60.0
    """Longer than the 35 s for which a server waits on another client's oplock ([MS-CIFS] 3.3.2.1)."""
    echo_interval: float = 10.0
    """A server that owes answers and is silent this long is sent an echo; twice this long, and it counts as dead."""
    hard: bool = False
    """Wait for a lost server for ever; else for `reconnect_timeout`, and then fail."""
    reconnect_timeout: float = 30.0
    """Seconds that operations wait for a lost connection to come back, counted from its loss."""
    retrans: int = 5
    """How often at least a request is sent again whose connection was lost before its answer came."""
    rsize: int | None = None
    """Bytes asked for in one READ_ANDX at most; None: what the negotiation allows."""
    wsize: int | None = None
    """Bytes sent in one WRITE_ANDX at most; None: what the negotiation allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings:
    """How the share looks on this machine. Modes are permission bits; `actimeo` is in seconds."""

    source: str
    """What the user typed as //server/share, for /proc/mounts."""
    mountpoint: str
    prefix: str = ""
    """Directory below the share that becomes the root, with `/` between components and none at the ends."""
    st_uid: int = 0
    st_gid: int = 0
    force_uid: bool = False
    """Show st_uid even where the UNIX extensions tell the owner."""
    force_gid: bool = False
    setuids: bool = False
    """What is made belongs to who makes it on this machine."""
    dynperm: bool = False
    """Modes and owners that the server cannot keep are remembered while the inode is known."""
    serverino: bool = True
    """Inode numbers are the server's where it has any; else they are made of paths."""
    file_mode: int = 0o755
    dir_mode: int = 0o755
    read_only: bool = False
    allow_other: bool = False
    default_permissions: bool = True
    actimeo: float = 1.0
    """Seconds for which attributes and names may be served from cache where the server promises nothing."""
    cache: str = "strict"
    """What of a file's data may be kept: "strict": what an oplock covers; "loose": all until the file is seen to have
    changed; "none": nothing."""
    user_xattr: bool = True
    """Show extended attributes and streams of the server as `user.` xattrs."""
    acl: bool | None = None
    """POSIX ACLs: True: on where the server has them; False: off; None: on where the mounted directory has one."""
    brl: bool = True
    """Whether byte-range locks go to the server; else they hold on this machine only."""
    mfsymlinks: bool = False
    """Files of the form of Minshall and French are symbolic links, and new links such files."""
    nocase: bool = False
    """Names are found in any case, also where the server tells cases apart."""
    reserved: str = "sfm"
    """How names with characters that Windows reserves go to the server: see `NameStyle.reserved`."""
    fuse_options: tuple[str, ...] = ()
    """Generic mount flags that are the kernel's business: nosuid, nodev, noexec, noatime, ..."""
    debug: bool = False
