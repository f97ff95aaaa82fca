"""The one table of mount options. Parsing `-o`, --help and the test of the man pages are all derived from it.

Names and meanings are mount.cifs's. What becomes of an option stands in its verdict; an option that this version lacks
is refused where ignoring it would lie about security or data, and warned about or ignored elsewhere. No option is
looked at here for what it means to the server: assemble.py makes settings of the choices.
"""

from __future__ import annotations

import difflib
import enum
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from smbfuse.cli import values
from smbfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smbfuse.settings import Secret


@dataclass(slots=True)
class Choices:
    """What the options say. None: nothing was said."""

    username: str | None = None
    password: Secret | None = None
    credentials: str | None = None
    domain: str | None = None
    guest: bool = False
    security: values.Security = values.SECURITY["ntlmssp"]
    sign: bool = False
    dialect: str = "1.0"
    unc: str | None = None
    prefixpath: str | None = None
    port: int | None = None
    address: str | None = None
    unix: bool | None = None
    st_uid: int | None = None
    st_gid: int | None = None
    force_uid: bool = False
    force_gid: bool = False
    file_mode: int | None = None
    dir_mode: int | None = None
    setuids: bool | None = None
    dynperm: bool | None = None
    serverino: bool | None = None
    permissions: bool = True
    user_xattr: bool = True
    read_only: bool = False
    allow_other: bool | None = None
    actimeo: float | None = None
    acl: bool | None = None
    brl: bool | None = None
    cache: str | None = None
    rsize: int | None = None
    wsize: int | None = None
    echo_interval: float | None = None
    request_timeout: float | None = None
    hard: bool = False
    reconnect_timeout: float | None = None
    retrans: int | None = None
    mfsymlinks: bool = False
    nocase: bool = False
    reserved: str | None = None
    umask: int | None = None
    fsname: str | None = None
    nofail: bool = False
    sloppy: bool = False
    debug: bool = False
    kernel_flags: dict[str, str] = field(default_factory=dict)
    """Slot -> flag, so that the last one of `suid,nosuid` wins."""
    warnings: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


class Verdict(enum.Enum):
    """What becomes of an option."""

    SUPPORT = "works"
    IGNORE = "accepted without effect"
    WARN = "accepted without effect, with a warning"
    REJECT = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A row of the table: the name, its aliases, and what becomes of it."""

    names: tuple[str, ...]
    verdict: Verdict
    text: str
    """SUPPORT: one line of help. WARN, REJECT: why, as the second half of a sentence."""
    value: values.Value | None = None
    """SUPPORT: the kind of the value; None for a flag."""
    field: str = ""
    """SUPPORT: the attribute of Choices that is set."""
    sets: object = True
    """What a flag sets it to, or an option with an optional value when none is given."""
    bare: bool = False
    """Has a value, but may come without it."""
    slot: str = ""
    """Of a flag for the kernel: the choice that it is one side of."""
    silent: frozenset[str] = frozenset()
    """WARN: values that ask for what happens anyway, and need no warning."""

    @property
    def name(self) -> str:
        """The name that messages use."""
        return self.names[0]

    @property
    def synopsis(self) -> str:
        """Names as help shows them: `uid=USER`."""
        suffix = f"={self.value.metavar}" if self.value else ""
        return ", ".join(f"{name}{suffix}" for name in self.names)


def _option(names: str, value: values.Value, target: str, text: str, *, bare: bool = False) -> Option:
    return Option(
        names=tuple(names.split()),
        verdict=Verdict.SUPPORT,
        text=text,
        value=value,
        field=target,
        bare=bare,
        sets="",
    )


def _flag(names: str, target: str, text: str, sets: object = True) -> Option:
    return Option(names=tuple(names.split()), verdict=Verdict.SUPPORT, text=text, field=target, sets=sets)


def _kernel(slot: str, **flags: str) -> Iterator[Option]:
    for name, text in flags.items():
        yield Option(names=(name,), verdict=Verdict.SUPPORT, text=text, field="kernel_flags", slot=slot, sets=name)


def _permission(flag: str, name: str, text: str) -> Option:
    """A flag for the kernel that goes by a name of ours."""
    return Option(names=(name,), verdict=Verdict.SUPPORT, text=text, field="kernel_flags", slot=flag, sets=flag)


def _ignore(names: str, text: str = "") -> Option:
    return Option(names=tuple(names.split()), verdict=Verdict.IGNORE, text=text)


def _warn(names: str, why: str, silent: str = "") -> Option:
    return Option(names=tuple(names.split()), verdict=Verdict.WARN, text=why, silent=frozenset(silent.split()))


def _reject(names: str, why: str) -> Option:
    return Option(names=tuple(names.split()), verdict=Verdict.REJECT, text=why)


_LATER: Final = "is not there yet"

OPTIONS: Final[tuple[Option, ...]] = (
    # who logs on
    _option("username user", values.USERNAME, "username", "user to log on as; DOMAIN/NAME, NAME@REALM work"),
    _option("password pass", values.PASSWORD, "password", "password (credentials= is the better place)"),
    _option("password_fd", values.PASSWORD_FD, "password", "read the password from this file descriptor"),
    _option("credentials cred", values.FILE, "credentials", "file with username=, password=, domain= lines"),
    _option("domain dom workgroup", values.DOMAIN, "domain", "domain or workgroup of the user", bare=True),
    _flag("guest", "guest", "no password is asked for; without username= no user either"),
    _option("sec", values.SECURITY_FLAVOUR, "security", "how to log on: ntlmssp (default), ntlmv2, none; i: sign"),
    _flag("sign", "sign", "the server must sign its messages, or the mount fails"),
    _option("vers ver", values.DIALECT, "dialect", "protocol version: 1.0, the only one there is here"),
    # where the share is
    _option("port", values.PORT, "port", "TCP port of the server (default 445)"),
    _option("ip addr", values.ADDRESS, "address", "address to connect to, instead of looking the name up"),
    _option("prefixpath", values.SUBDIRECTORY, "prefixpath", "directory of the share to mount"),
    _option("unc", values.TEXT, "unc", "the share once more; refused when it differs from the first argument"),
    # how it looks here
    _option("uid", values.USER, "st_uid", "owner of the files (default: who mounts)"),
    _option("gid", values.GROUP, "st_gid", "group of the files (default: that of who mounts)"),
    _flag("forceuid", "force_uid", "show that owner even if the server tells another"),
    _flag("noforceuid", "force_uid", "undo forceuid", sets=False),
    _flag("forcegid", "force_gid", "show that group even if the server tells another"),
    _flag("noforcegid", "force_gid", "undo forcegid", sets=False),
    _option("file_mode fmask", values.MODE, "file_mode", "mode of files, octal, if the server tells none"),
    _option("dir_mode dmask dirm dirmode", values.MODE, "dir_mode", "mode of directories, octal, likewise"),
    _option("umask", values.MODE, "umask", "permissions that file_mode and dir_mode lack, if they are not given"),
    _flag("dynperm", "dynperm", "remember modes and owners here if the server cannot keep them"),
    _flag("nodynperm", "dynperm", "do not (default)", sets=False),
    _flag("setuids", "setuids", "what is made belongs to who makes it here"),
    _flag("nosetuids", "setuids", "it belongs to whom the server says (default)", sets=False),
    _flag("serverino", "serverino", "inode numbers are the server's, if it has any (default)"),
    _flag("noserverino", "serverino", "inode numbers are made of paths", sets=False),
    _flag("mfsymlinks", "mfsymlinks", "symbolic links as cifs.ko writes them for servers without any"),
    _flag("nomfsymlinks", "mfsymlinks", "such links are files (default)", sets=False),
    _flag("nocase ignorecase", "nocase", "find names in any case; without UNIX extensions that is so anyway"),
    _flag("mapposix nomapchars", "reserved", "map reserved characters to U+F001 to U+F029 (default)", sets="sfm"),
    _flag("mapchars", "reserved", "map reserved characters as Services for UNIX: U+F000 + character", sets="sfu"),
    _flag("nomapposix", "reserved", "refuse names with reserved characters", sets="refused"),
    _flag("perm default_permissions", "permissions", "this machine checks owner and mode, too (default)"),
    _flag("noperm", "permissions", "only the server checks permissions", sets=False),
    _flag("allow_other", "allow_other", "let other users in (default for root)"),
    _flag("noallow_other", "allow_other", "let only the mounting user in, also when that is root", sets=False),
    _flag("user_xattr", "user_xattr", "extended attributes and streams of the server as user.NAME (default)"),
    _flag("nouser_xattr", "user_xattr", "hide them", sets=False),
    _flag("acl", "acl", "POSIX ACLs, with UNIX extensions (default: if the share has one itself)"),
    _flag("noacl", "acl", "no POSIX ACLs", sets=False),
    _flag("unix posix linux", "unix", "UNIX extensions: fail if the server has none"),
    _flag("nounix noposix nolinux", "unix", "do not use UNIX extensions", sets=False),
    _option("fsname", values.TEXT, "fsname", "device name in /proc/mounts (default: the share)"),
    # how it behaves
    _flag("ro", "read_only", "read-only"),
    _flag("rw", "read_only", "read and write (default)", sets=False),
    _option("actimeo", values.ACTIMEO, "actimeo", "keep attributes and names this long (default 1, at most 60)"),
    _flag("noac", "actimeo", "the same as actimeo=0", sets=0.0),
    _option("cache", values.CACHE, "cache", "what to keep of data: strict (what an oplock covers), loose, none"),
    _flag("brl", "brl", "byte-range locks keep other machines out as well (default)"),
    _flag("nobrl nolock", "brl", "byte-range locks hold on this machine only", sets=False),
    _option("rsize", values.IO_SIZE, "rsize", "most bytes in one read request (default: as negotiated)"),
    _option("wsize", values.IO_SIZE, "wsize", "most bytes in one write request (default: as negotiated)"),
    _option("echo_interval", values.ECHO, "echo_interval", "ask a silent server after this long (default 10)"),
    _option(
        "request_timeout",
        values.REQUEST_TIMEOUT,
        "request_timeout",
        "an operation without an answer fails after this long (default 60)",
    ),
    _flag("soft nohard", "hard", "operations fail when a lost server stays away (default)", sets=False),
    _flag("hard nosoft", "hard", "they wait for it, for ever if need be; a signal ends that"),
    _option(
        "reconnect_timeout",
        values.RECONNECT_TIMEOUT,
        "reconnect_timeout",
        "with soft, wait this long for a lost server (default 30)",
    ),
    _option("retrans", values.RETRANS, "retrans", "with soft, send again so often what a lost server had (default 5)"),
    _flag("nofail", "nofail", "exit 0 when the server cannot be reached"),
    _flag("sloppy", "sloppy", "pass over unknown options, as -s does"),
    _flag("debug", "debug", "log each request, stay in the foreground, as -d does"),
    # the kernel's business. suid and dev do nothing: mount(8) adds both to user=NAME, and mount.fuse to everything,
    # so they are no wish of anybody's; and a stranger on the way to an SMB1 server could make files of either kind.
    _permission("suid", "allow_suid", "honour set-user-id bits: only if you trust server and network"),
    *_kernel("suid", nosuid="ignore set-user-id bits (default)"),
    _permission("dev", "allow_dev", "honour device nodes: only if you trust server and network"),
    *_kernel("dev", nodev="ignore device nodes (default)"),
    _ignore("suid dev"),
    *_kernel("exec", exec="programs may be run (default)", noexec="programs may not be run"),
    *_kernel("atime", atime="undo noatime", noatime="reading leaves access times alone"),
    *_kernel("sync", sync="each write waits", **{"async": "undo sync"}),
    *_kernel("dirsync", dirsync="changes of directories wait"),
    *_kernel("allow_root", allow_root="let root in as well, and nobody else"),
    *_kernel("auto_unmount", auto_unmount="unmount when smbfuse dies"),
    # mount(8) and systemd, not us
    _ignore("_netdev auto noauto nouser users owner group defaults user comment uhelper helper"),
    _ignore("relatime norelatime strictatime nostrictatime diratime nodiratime lazytime nolazytime iversion"),
    _ignore("noiversion silent loud nonempty"),
    # what happens anyway, or has no meaning here
    _ignore("nodomainauto nosfu"),
    _ignore("mand nomand rwpidforward nosharesock noblocksend noautotune tcpnodelay notcpnodelay"),
    _ignore("closetimeo strictsync nostrictsync nolease locallease handlecache nohandlecache max_cached_dirs"),
    _ignore("bsize rasize max_credits intr nointr nodfs handletimeout resilienthandles"),
    _ignore("noresilienthandles persistenthandles nopersistenthandles multichannel nomultichannel"),
    _ignore("max_channels compress min_enc_offload esize rootfs noposixpaths posixpaths nosparse"),
    # what later versions bring, harmless to be without
    _warn("iocharset", "has no effect: names are always UTF-8 here", silent="utf8 utf-8 UTF-8"),
    _warn("ignore_signature signloosely", "has no effect: signatures are always checked"),
    _warn("domainauto", f"{_LATER}: give domain= if the server wants one"),
    _warn("cruid", "has no effect: it belongs to Kerberos"),
    _warn("cifsacl", f"{_LATER}: modes are those of file_mode= and dir_mode="),
    _warn("backupuid backupgid", f"{_LATER}: files are opened with ordinary rights"),
    _warn("netbiosname servern servernetbiosname", f"{_LATER}: smbfuse connects by TCP without NetBIOS"),
    _warn("sfu", f"{_LATER}: device nodes and links of SFU show as files"),
    _warn("forcemandatorylock forcemand", "has no effect: the server's POSIX locks are used where it has them"),
    _warn("acregmax acdirmax", "has no effect: use actimeo="),
    _warn("fsc", "has no effect: nothing is cached on disk"),
    _warn("nodelete", f"{_LATER}: others may delete open files"),
    _warn("subtype", "has no effect: the type in /proc/mounts is fuse.smbfuse", silent="smbfuse"),
    _warn("max_read", "has no effect: use rsize="),
    # what would be a lie to pass over
    _reject("seal", "cannot be had: SMB1 has no encryption; use an SMB3 server, or a tunnel"),
    _reject("multiuser", f"{_LATER}: one mount serves one user of the server; mount once for each"),
    _reject("idsfromsid setuidfromacl modefromsid modesid", f"{_LATER}: use uid=, gid=, file_mode=, dir_mode="),
    _reject("srcaddr", f"{_LATER}: connections leave from the address that the kernel picks"),
    _reject("snapshot", f"{_LATER}: look into MOUNTPOINT/@GMT-YYYY.MM.DD-HH.MM.SS instead"),
    _reject("rdma witness", "cannot be had: SMB1 has no such thing"),
    _reject("sep", "is not known any more: password= cannot hold a comma, a credentials file can"),
    _reject("target path source", "is not taken: name the share in the first argument, //server/share/dir"),
    _reject("password2", "is not taken: SMB1 sessions have one password"),
    _reject("remount", "cannot be done: unmount, then mount with the new options"),
    _reject("kernel_cache auto_cache", "is not taken: use actimeo="),
    _reject("entry_timeout attr_timeout negative_timeout ac_attr_timeout", "is not taken: use actimeo="),
)

UNWANTED_SECRETS: Final = frozenset({"password2"})
SECRETS: Final = frozenset({"password", "pass"}) | UNWANTED_SECRETS
"""Options whose value nobody may see; the first are refused."""

PREFIXES_IGNORED: Final = ("x-", "X-")
"""Comments for mount(8), systemd and others."""


def _index() -> dict[tuple[str, bool], Option]:
    """(name, has a value) -> option. Those without effect are taken either way, unless a row claims one."""
    index: dict[tuple[str, bool], Option] = {}
    for option in OPTIONS:
        shapes = {option.value is not None}
        if option.bare or option.verdict is not Verdict.SUPPORT:
            shapes = {True, False}
        for key in itertools.product(option.names, shapes):
            index.setdefault(key, option)
    return index


_INDEX: Final = _index()
NAMES: Final = frozenset(name for name, _ in _INDEX)


def supported() -> list[Option]:
    """The options that work, in the order of the table."""
    return [option for option in OPTIONS if option.verdict is Verdict.SUPPORT]


def names_with(verdict: Verdict) -> list[str]:
    """All names with this verdict that have no other use, sorted."""
    working = {name for option in supported() for name in option.names}
    names = {name for option in OPTIONS if option.verdict is verdict for name in option.names}
    return sorted(names - working)


def split(texts: Iterable[str]) -> list[str]:
    """The single options of several `-o` arguments, in order."""
    return [token for text in texts for token in text.split(",") if token]


def parse(texts: Iterable[str], *, sloppy: bool = False) -> Choices:
    """Read the arguments of `-o`. The last one of an option given twice wins.

    Raises UsageError with one line that names the option, the value and what is allowed, but never a secret.
    """
    tokens = split(texts)
    choices = Choices(sloppy=sloppy or "sloppy" in tokens)
    for previous, token in itertools.pairwise(["", *tokens]):
        name, equals, text = token.partition("=")
        option = _INDEX.get((name, bool(equals)))
        if option is not None:
            _apply(choices, option, name, text if equals else None)
        elif name.startswith(PREFIXES_IGNORED):
            choices.ignored.append(name)
        elif name in NAMES or not choices.sloppy:
            raise UsageError(_unknown(name, bool(equals), after_secret=_is_secret(previous)))
        else:
            choices.ignored.append(name)
    return choices


def _is_secret(token: str) -> bool:
    return token.partition("=")[0] in SECRETS | {"password_fd"}  # which hiding.py puts in their place


def _unknown(name: str, has_value: bool, *, after_secret: bool) -> str:
    """The line about an option that is not in the table in this form. Its value is not shown: who knows what it is."""
    if name in NAMES:
        return f"option '{name}' takes no value" if has_value else f"option '{name}' needs a value: {name}=..."
    if after_secret:
        return (
            "the option after the password is unknown: if the password holds a comma, it cannot be given in "
            "password=; put it into a file and use credentials=FILE"
        )
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "smbfuse --help lists all"
    return f"unknown option '{_shown(name)}': {hint}"


def _shown(text: str, limit: int = 60) -> str:
    """The text in one printable line."""
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= limit else f"{clean[:limit]}..."


def _apply(choices: Choices, option: Option, name: str, text: str | None) -> None:
    match option.verdict:
        case Verdict.REJECT:
            raise UsageError(f"option '{name}' {option.text}")
        case Verdict.WARN if text not in option.silent:
            choices.warnings.append(f"option '{name}' {option.text}")
        case Verdict.IGNORE | Verdict.WARN:
            choices.ignored.append(name)
        case Verdict.SUPPORT if option.slot:
            choices.kernel_flags[option.slot] = str(option.sets)
        case Verdict.SUPPORT:
            setattr(choices, option.field, _value_of(option, name, text))


def _value_of(option: Option, name: str, text: str | None) -> object:
    if text is None or option.value is None:
        return option.sets
    try:
        return option.value.parse(text)
    except ValueError as error:
        raise UsageError(_refusal(name, text, option.value, error)) from None


def _refusal(name: str, text: str, value: values.Value, error: ValueError) -> str:
    shown = f"option '{name}'" if name in SECRETS else f"option '{name}={_shown(text)}'"
    said = str(error) if isinstance(error, values.Refusal) else "is not valid"
    return f"{shown} {said}; allowed: {value.allowed}"
