"""A private Samba server: Debian's smbd, SMB1 only, on a loopback port, with all its state in a directory of
its own.

Several run beside each other and beside the machine's own Samba. Works as root and as an ordinary user; makes
no users on the machine: the server's users are mapped to existing accounts (`username map`). Used by tests,
bench and demo alike, so nothing of pytest is in here.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.samba.ports import PortClaim
from tests.support.processes import Process, end, eventually, processes, send, wait_gone

_GLOBAL = {
    "netbios name": "SMBFUSETEST",
    "workgroup": "WORKGROUP",
    "server role": "standalone server",
    "bind interfaces only": "yes",
    "disable netbios": "yes",
    "server min protocol": "LANMAN1",
    "server max protocol": "NT1",
    "map to guest": "Bad User",
    "guest account": "nobody",
    "disable spoolss": "yes",
    "load printers": "no",
    "printing": "bsd",
    "usershare max shares": "0",
    "kernel oplocks": "yes",
    "store dos attributes": "yes",
    "ea support": "yes",
    "map archive": "no",
    "max log size": "0",
}
_STATE_DIRECTORIES = ("private dir", "state directory", "cache directory", "lock directory", "pid directory")
_CLIENT = {
    "client min protocol": "CORE",
    "client max protocol": "NT1",
    "client ipc min protocol": "CORE",
    "client ipc max protocol": "NT1",
    "client use kerberos": "off",
    "name resolve order": "host",
}
_START_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A directory to serve. `options` are further lines of its section, and override the ones made here."""

    name: str
    path: Path
    read_only: bool = False
    guest_ok: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def section(self) -> dict[str, str]:
        return {
            "path": str(self.path),
            "read only": _yes(self.read_only),
            "guest ok": _yes(self.guest_ok),
            **self.options,
        }


def snapshots(share: Path, kept_in: Path) -> dict[str, str]:
    """Options of a share whose dated snapshots are the directories `kept_in`/@GMT-…"""
    return {
        "vfs objects": "shadow_copy2",
        "shadow:snapdir": str(kept_in),
        # Without it the module takes paths from the mount point that the share happens to lie on.
        "shadow:basedir": str(share),
        "shadow:format": "@GMT-%Y.%m.%d-%H.%M.%S",
        "shadow:sort": "desc",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of the server. `account`: the one on this machine that it works as; None: the one that runs the
    server.

    Samba keeps one password for each account, so two users with passwords of their own need two accounts (as root:
    `daemon`, `bin`, …, which exist on every Debian).
    """

    name: str = "tester"
    password: str = "correct horse 1"
    account: str | None = None


class SmbclientError(RuntimeError):
    """smbclient failed. The text is its output."""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _render(sections: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for name, options in sections.items():
        lines += [f"[{name}]", *(f"    {key} = {value}" for key, value in options.items()), ""]
    return "\n".join(lines)


class Smbd:
    """One smbd. `start` returns when it serves, `stop` when nothing of it is left; also a context manager.

    `options` override lines of [global], for example `{"server signing": "mandatory"}`. Each wait has a
    deadline and raises TimeoutError; a server that does not start raises RuntimeError with its log.
    `clock_ahead` is by how many seconds its clock differs from ours: what it serves has times of that clock, the files
    on its disk have those of ours. Only one that is not ours (not 0) may be set later.
    """

    def __init__(
        self,
        shares: Iterable[Share],
        *,
        users: Iterable[User] = (User(),),
        options: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        log_level: int | str = 1,
        clock_ahead: float = 0,
    ) -> None:
        self.shares = {share.name: share for share in shares}
        self.users = tuple(users)
        self.address = address
        # Not pytest's tmp_path: paths of Unix sockets below it must stay under 108 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="smbfuse-smbd-"))
        # Accounts other than ours reach what is served from here, but not `private`.
        self.directory.chmod(0o755)
        self._clock = _clock(self.directory / "clock") if clock_ahead else []
        self.set_clock(clock_ahead)
        self._claim = PortClaim(address)
        self.port = self._claim.port
        self._smbd: subprocess.Popen[bytes] | None = None
        # Marks everything that smbd starts, samba-dcerpcd's sessions too, as this server's.
        self._mark = f"SMBFUSE_TEST_SMBD={self.directory}"
        try:
            self._write_configuration({"log level": str(log_level), **(options or {})})
            self._check_configuration()
            for user in self.users:
                self.set_password(user)
        except BaseException:
            self._discard()
            raise

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        """smbd's own log; `log()` has also what it wrote to its standard output."""
        return self.directory / "log.smbd"

    def log(self) -> str:
        """All that the server said so far."""
        files = (self.directory / "output", self.log_path)
        return "".join(path.read_text(errors="replace") for path in files if path.exists())

    @property
    def configuration(self) -> Path:
        return self.directory / "smb.conf"

    def credentials(self, user: User | None = None) -> Path:
        """A credentials file as mount.cifs and smbclient read it, of the first user if none is named."""
        user = user or self.users[0]
        path = self._private / f"credentials.{user.name}"
        path.touch(mode=0o600)
        path.write_text(f"username={user.name}\npassword={user.password}\n")
        return path

    def unc(self, share: str | None = None) -> str:
        """//address/share, of the first share if none is named."""
        return f"//{self.address}/{share or next(iter(self.shares))}"

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start smbd and wait until it accepts connections, and nobody is connected."""
        self._start()
        try:
            # The probe's own child must not be taken for one that serves a client.
            eventually(lambda: not self.pids(), _START_TIMEOUT, "smbd is done with our first connection")
        except BaseException:
            self._end()
            raise

    def _start(self) -> None:
        # A killed smbd leaves its pid file, and the next one refuses to start where the number is in use again.
        (self._private / "smbd.pid").unlink(missing_ok=True)
        with (self.directory / "output").open("ab") as output:
            # No new session for it: smbd -F makes its own (which pids() and stop() rely on), and cannot if it has one.
            self._smbd = subprocess.Popen(
                ["smbd", "-F", "-s", str(self.configuration), "-l", str(self.directory)],
                executable=_program("smbd"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(self._mark, *self._clock),
            )
        try:
            eventually(self._accepts, _START_TIMEOUT, f"smbd serves port {self.port}")
        except BaseException:
            self._end()
            raise

    def _accepts(self) -> bool:
        assert self._smbd is not None
        if self._smbd.poll() is not None:
            raise RuntimeError(f"smbd ended with status {self._smbd.returncode}:\n{self.log()}")
        with socket.socket() as probe:
            probe.settimeout(_START_TIMEOUT)
            return probe.connect_ex((self.address, self.port)) == 0

    def set_clock(self, ahead: float) -> None:
        """From now on its clock differs from ours by so many seconds."""
        self.clock_ahead = ahead
        if self._clock:
            new = self.directory / "clock.new"
            new.write_text(f"{ahead:+f}\n")
            new.replace(self.directory / "clock")  # it is read at any time

    def kill(self) -> None:
        """SIGKILL to all of it at once, as a power cut: clients get no farewell. `restart` brings it back."""
        for process in self._family():
            send(process.pid, signal.SIGKILL)
        self._end()

    def restart(self) -> None:
        """End it if it runs, and start it again on the same port with the same state.

        Clients that were connected may be there again when this returns.
        """
        self._end()
        self._start()

    def stop(self) -> None:
        """End all of it and remove its directory. May be called again."""
        self._end()
        self._discard()

    def _end(self) -> None:
        end(lambda: [process.pid for process in self._family()])
        if self._smbd is not None:
            self._smbd.wait(5)
            self._smbd = None

    def _discard(self) -> None:
        self._claim.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- its processes -------------------------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """Processes that serve a client each."""
        # notifyd and cleanupd, the other children, give themselves names.
        parent = self._smbd.pid if self._smbd else None
        return [process.pid for process in self._family() if process.parent == parent and process.name == "smbd"]

    def sigstop(self) -> None:
        """Freeze the server: connections stay, nothing is answered."""
        for process in self._family():
            send(process.pid, signal.SIGSTOP)

    def sigcont(self) -> None:
        for process in self._family():
            send(process.pid, signal.SIGCONT)

    def drop_clients(self) -> None:
        """Kill what serves clients now: they lose their connections and can connect again at once."""
        pids = self.pids()
        for pid in pids:
            send(pid, signal.SIGKILL)
        if left := wait_gone(pids, 5):
            raise TimeoutError(f"processes that do not end: {sorted(left)}")

    def _family(self) -> list[Process]:
        """All processes of this server: of smbd's session, or bearing the mark (samba-dcerpcd and its workers)."""
        session = self._smbd.pid if self._smbd else None
        mark = self._mark.encode()
        return [
            process
            for process in processes()
            if process.pid == session or process.session == session or mark in process.environment()
        ]

    # -- configuration -------------------------------------------------------------------------------------------------

    @property
    def _private(self) -> Path:
        return self.directory / "private"

    def _write_configuration(self, options: Mapping[str, str]) -> None:
        (self._private / "ncalrpc").mkdir(parents=True)
        self._private.chmod(0o700)
        names = "".join(f"!{_account(user)} = {user.name}\n" for user in self.users)
        (self.directory / "users.map").write_text(names)
        state = {key: str(self._private) for key in _STATE_DIRECTORIES}
        server = {
            **_GLOBAL,
            **state,
            "ncalrpc dir": str(self._private / "ncalrpc"),
            "passdb backend": f"tdbsam:{self._private}/passdb.tdb",
            "username map": str(self.directory / "users.map"),
            "log file": str(self.log_path),
            # The /8 is needed: without it smbd panics on loopback addresses other than 127.0.0.1.
            "interfaces": f"{self.address}/8",
            "smb ports": str(self.port),
            **({} if os.geteuid() == 0 else {"guest account": _own_account()}),
            **options,
        }
        sections = {"global": server, **{name: share.section() for name, share in self.shares.items()}}
        self.configuration.write_text(_render(sections))
        self._client_configuration.write_text(_render({"global": {**_CLIENT, **state}}))

    def _check_configuration(self) -> None:
        """Raise RuntimeError where Samba does not take the configuration.

        Before anything else uses it: Samba's tools go on with defaults then, which are the machine's own databases.
        """
        _run("testparm", "-s", str(self.configuration))

    def set_password(self, user: User) -> None:
        """Set the password of the account that `user` is mapped to; who is logged on stays so.

        It goes through a pipe, never through argv.
        """
        # pdbedit, as smbpasswd -a insists on root.
        command = ("pdbedit", "-s", str(self.configuration), "-a", "-t", "-u", _account(user))
        _run(*command, text=f"{user.password}\n{user.password}\n")

    # -- its own client ------------------------------------------------------------------------------------------------

    @property
    def _client_configuration(self) -> Path:
        return self.directory / "client.conf"

    def smbclient(
        self, commands: str, share: str | None = None, user: User | None = None, *, port: int | None = None
    ) -> str:
        """Run smbclient's `commands` (separated by ;) over SMB1, and return what it printed.

        `port` is that of a proxy in front of us. Raises SmbclientError where smbclient's exit status tells of a failure
        (of `mkdir`, for one, it does not).
        """
        return self._run_client([self.unc(share), "-c", commands], user, port)

    def requests(self) -> int:
        """How many messages clients have sent so far, by smbd's own account, which may be a second late.

        For servers with the option `smbd profiling level`.
        """
        output = _run("smbstatus", "-s", str(self.configuration), "--profile")
        found = re.search(r"^request_count:\s*(\d+)$", output, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no count of requests in what smbstatus says:\n{output}")
        return int(found[1])

    def list_shares(self, user: User | None = None) -> list[str]:
        """Names of the shares that the server lists, disks only."""
        lines = self._run_client(["-g", "-L", f"//{self.address}"], user).splitlines()
        return [line.split("|")[1] for line in lines if line.startswith("Disk|")]

    def _run_client(self, arguments: list[str], user: User | None, port: int | None = None) -> str:
        common = ["-s", str(self._client_configuration), "-p", str(port or self.port), "-m", "NT1"]
        who = ["-A", str(self.credentials(user))]
        done = subprocess.run(
            ["smbclient", *common, *who, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            env=_environment(),
        )
        output = done.stdout.decode(errors="surrogateescape")
        if done.returncode:
            raise SmbclientError(f"{arguments}: {output}")
        return output


def available() -> bool:
    """Is Samba's server on this machine?"""
    with contextlib.suppress(FileNotFoundError):
        return bool(_program("smbd"))
    return False


def _program(name: str) -> str:
    """Where it is; Debian keeps servers in /usr/sbin, which is not on a user's PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        raise FileNotFoundError(f"{name} is not installed (Debian: apt-get install samba)")
    return found


def _run(program: str, *arguments: str, text: str = "") -> str:
    """The output of one of Samba's tools, with `text` for its input. Raises RuntimeError with it where that fails."""
    done = subprocess.run(
        [_program(program), *arguments],
        input=text,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        env=_environment(),
    )
    if done.returncode:
        raise RuntimeError(f"{program} ended with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def _clock(ahead: Path) -> list[str]:
    """Environment in which a program's time, of files too, differs by what that file says. Waits keep their length."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise FileNotFoundError("libfaketime is not installed (Debian: apt-get install faketime)")
    told = [f"FAKETIME_TIMESTAMP_FILE={ahead}", "FAKETIME_NO_CACHE=1"]
    return [f"LD_PRELOAD={library}", *told, "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKE_UTIME=1"]


def _environment(*entries: str) -> dict[str, str]:
    """Ours, in a fixed time zone and with names in UTF-8, plus `entries` NAME=VALUE."""
    extra = dict(entry.split("=", 1) for entry in entries)
    return {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8", **extra}


def _own_account() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _account(user: User) -> str:
    return user.account or _own_account()
