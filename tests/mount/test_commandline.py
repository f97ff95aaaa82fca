"""The real command against real servers: what it mounts, how it ends, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.posix import fails
from tests.samba.content import FILES
from tests.samba.ports import PortClaim
from tests.samba.smbd import Share, Smbd, User
from tests.support.mount import PROGRAM, Mount, is_mounted, join_options, umount_command
from tests.support.processes import eventually, processes, wait_gone
from tests.support.strangers import FIRST_WORDS, Stranger
from tests.support.tap import Tap

pytestmark = [pytest.mark.samba, pytest.mark.fuse]
LIMIT = 15.0
"""Seconds in which a mount must succeed or fail."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mount(8) wants root, or an fstab of root's")


class Command:
    """Runs the command for one mountpoint; `end` sees to it that nothing of it is left."""

    def __init__(self, mountpoint: Path) -> None:
        self.path = mountpoint

    def run(
        self, source: str, *arguments: str, options: dict[str, object] | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """`smbfuse source mountpoint -o options arguments`, in the background unless told otherwise."""
        chosen = ["-o", join_options(options)] if options else []
        return self.execute(str(PROGRAM), source, str(self.path), *chosen, *arguments, environ=environ)

    def execute(
        self, *command: str, pass_fds: tuple[int, ...] = (), environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            pass_fds=pass_fds,
            env={**os.environ, **(environ or {})},
        )

    def daemons(self) -> list[int]:
        return [process.pid for process in processes() if str(self.path) in process.argv()]

    def umount(self, *command: str) -> None:
        """Unmount; the process must go by itself."""
        pids = self.daemons()
        assert pids
        done = self.execute(*(command or umount_command(self.path)))
        assert done.returncode == 0, done.stderr
        assert wait_gone(pids, 10) == set()
        assert not is_mounted(self.path)

    def end(self) -> None:
        pids = self.daemons()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_gone(pids, 10)
        while is_mounted(self.path):
            subprocess.run(umount_command(self.path, lazy=True), check=True, timeout=10)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "mnt").mkdir()
    made = Command(tmp_path / "mnt")
    yield made
    made.end()


def login(server: Smbd, **more: object) -> dict[str, object]:
    return {"port": server.port, "credentials": server.credentials(), **more}


def assert_refused(command: Command, done: subprocess.CompletedProcess[str], *texts: str) -> None:
    """One line that holds `texts`, a status that says no, and nothing left behind."""
    assert done.stderr.startswith("smbfuse: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    assert done.returncode not in (0, -signal.SIGABRT), done
    for text in texts:
        assert text in done.stderr
    assert not is_mounted(command.path)
    assert command.daemons() == []


# -- what cannot be mounted --------------------------------------------------------------------------------------------


def test_wrong_password(command: Command, samba: Smbd) -> None:
    done = command.run(samba.unc(), options={"port": samba.port, "user": "tester"}, PASSWD="wrong")
    assert_refused(command, done, "refuses user tester", "wrong name or password")


def test_wrong_password_in_the_foreground(command: Command, samba: Smbd) -> None:
    done = command.run(samba.unc(), "-f", options={"port": samba.port, "user": "tester"}, PASSWD="wrong")
    assert_refused(command, done, "wrong name or password")


def test_unknown_share(command: Command, samba: Smbd) -> None:
    assert_refused(command, command.run(samba.unc("nosuch"), options=login(samba)), "no share 'nosuch'")


def test_dead_port(command: Command) -> None:
    with PortClaim() as nobody:
        done = command.run("//127.0.0.1/share", options={"port": nobody.port, "guest": True})
    assert_refused(command, done, "refuses connections", str(nobody.port))


def test_unknown_host(command: Command) -> None:
    assert_refused(
        command, command.run("//no-such-host.invalid/share", options={"guest": True}), "no-such-host.invalid"
    )


WAITING = {"ssh", "http", "random bytes", "random message", "words cut short"}
"""Of the others the client has to wait for more, as of a server that says nothing."""


@pytest.mark.parametrize(
    ("words", "hangs_up"),
    [
        pytest.param(words, hangs_up, id=f"{name}{' and hangs up' * hangs_up}")
        for name, words in FIRST_WORDS.items()
        for hangs_up in (False, True)
        if hangs_up or name in WAITING
    ],
)
def test_no_smb_server(command: Command, words: bytes, hangs_up: bool) -> None:
    with Stranger(words, hangs_up=hangs_up) as stranger:
        done = command.run("//127.0.0.1/share", options={"port": stranger.port, "guest": True})
    assert_refused(command, done, "//127.0.0.1/share: ")


def test_a_server_that_says_nothing(command: Command) -> None:
    with Stranger(b"") as stranger:
        done = command.run("//127.0.0.1/share", options={"port": stranger.port, "guest": True})
    assert_refused(command, done, "//127.0.0.1/share: ")


def test_a_server_without_smb1(command: Command, make_smbd: Callable[..., Smbd], tmp_path: Path) -> None:
    options = {"server min protocol": "SMB2", "server max protocol": "SMB3"}
    server = make_smbd([Share(name="share", path=tmp_path)], options=options)
    assert_refused(command, command.run(server.unc(), options=login(server)), "SMB1")


def test_mountpoints_that_are_none(command: Command, samba: Smbd, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name, text in (("missing", "mkdir -p"), ("file", "not a directory"), ("file/x", "not a directory")):
        command.path = tmp_path / name
        assert_refused(command, command.run(samba.unc(), options=login(samba)), text)


def test_a_busy_mountpoint(command: Command, samba: Smbd) -> None:
    assert command.run(samba.unc(), options=login(samba)).returncode == 0
    done = command.run(samba.unc(), options=login(samba))
    assert done.returncode != 0
    assert "busy" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (command.path / "hello.txt").read_bytes() == FILES["hello.txt"]
    command.umount()


def test_a_directory_that_is_not_there(command: Command, samba: Smbd) -> None:
    done = command.run(f"{samba.unc()}/docs/nosuch", options=login(samba))
    assert_refused(command, done, "no directory 'docs/nosuch' on share 'share'")
    done = command.run(f"{samba.unc()}/hello.txt", options=login(samba))
    assert_refused(command, done, "is a file")


def test_insisting_on_unix_extensions(command: Command, make_smbd: Callable[..., Smbd], tmp_path: Path) -> None:
    server = make_smbd([Share(name="share", path=tmp_path)], options={"unix extensions": "no"})
    assert_refused(command, command.run(server.unc(), options=login(server, unix=True)), "UNIX extensions")


def test_insisting_on_signatures(command: Command, make_smbd: Callable[..., Smbd], tmp_path: Path) -> None:
    server = make_smbd([Share(name="share", path=tmp_path)], options={"server signing": "disabled"})
    assert_refused(command, command.run(server.unc(), options=login(server, sign=True)), "sign")


# -- what can, and how it ends -----------------------------------------------------------------------------------------


ODD = "größe"


@pytest.fixture
def odd(make_smbd: Callable[..., Smbd], tmp_path: Path) -> Smbd:
    """A server of which share, directory and user have letters that others write as two in upper case."""
    directory = tmp_path / "share" / ODD
    directory.mkdir(parents=True)
    (directory / "file").write_bytes(b"content")
    return make_smbd([Share(name=ODD, path=tmp_path / "share")], users=[User(name="groß")])


@pytest.mark.parametrize("domain", [{}, {"domain": "straße"}])
def test_names_beyond_ascii(command: Command, odd: Smbd, domain: dict[str, object]) -> None:
    done = command.run(f"{odd.unc(ODD)}/{ODD}", options=login(odd, fsname="für mich", **domain))
    assert done.returncode == 0, done.stderr
    assert (command.path / "file").read_bytes() == b"content"
    assert [source for point, source in _sources() if point == str(command.path)] == ["für mich"]
    command.umount()
    assert command.run(f"{odd.unc(ODD)}/{ODD}", options=login(odd)).returncode == 0
    assert [f"{odd.unc(ODD)}/{ODD}"] == [source for point, source in _sources() if point == str(command.path)]


def _sources() -> list[tuple[str, str]]:
    """Mountpoints and what is mounted there."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [(fields[1], fields[0].replace("\\040", " ")) for line in lines if (fields := line.split(" "))]


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_files(command: Command, samba: Smbd, closed: str) -> None:
    """As init scripts start programs."""
    words = [str(PROGRAM), samba.unc(), str(command.path), "-o", join_options(login(samba))]
    done = command.execute("sh", "-c", f"{shlex.join(words)} {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (command.path / "hello.txt").is_file()
    done = command.execute("sh", "-c", f"{PROGRAM} --version {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_before_the_mount_is_there(command: Command) -> None:
    with Stranger(b"") as stranger:
        words = [str(PROGRAM), "//127.0.0.1/share", str(command.path), "-f", "-o", f"port={stranger.port},guest"]
        program = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        eventually(lambda: bool(stranger.clients), LIMIT, "it is connected")
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=LIMIT)[1] == "smbfuse: interrupted, nothing is mounted\n"
        assert program.returncode == 8


def test_debugging_shows_the_dialogue(command: Command, samba: Smbd) -> None:
    done = command.run(samba.unc("nosuch"), "-d", options=login(samba))
    assert "> TREE_CONNECT_ANDX" in done.stderr
    assert "< TREE_CONNECT_ANDX: STATUS_BAD_NETWORK_NAME" in done.stderr


def test_share_and_mountpoint_in_the_wrong_order(command: Command) -> None:
    done = command.execute(str(PROGRAM), str(command.path), "//127.0.0.1/share")
    assert_refused(
        command, done, f"the share comes first, then the mountpoint: smbfuse //127.0.0.1/share {command.path}"
    )


def test_a_second_password_is_refused_and_not_shown(command: Command, samba: Smbd) -> None:
    done = command.run(samba.unc(), options={**login(samba), "password2": "secret"})
    assert_refused(command, done, "option 'password2' is not taken")
    assert "secret" not in done.stderr


def test_in_the_background(command: Command, samba: Smbd) -> None:
    done = command.run(samba.unc(), options=login(samba))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_mounted(command.path)
    assert (command.path / "hello.txt").read_bytes() == FILES["hello.txt"]
    command.umount()
    assert os.listdir(command.path) == []


def test_fusermount_ends_it(command: Command, samba: Smbd) -> None:
    assert command.run(samba.unc(), options=login(samba)).returncode == 0
    command.umount("fusermount3", "-u", str(command.path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it(command: Command, samba: Smbd, number: signal.Signals) -> None:
    for foreground in (True, False):
        arguments = ["-o", join_options(login(samba)), *(["-f"] if foreground else [])]
        process = subprocess.Popen([str(PROGRAM), samba.unc(), str(command.path), *arguments])
        if foreground:
            eventually(lambda: is_mounted(command.path), LIMIT, "it is mounted")
            (pid,) = command.daemons()
        else:
            assert process.wait(LIMIT) == 0
            (pid,) = command.daemons()
        assert (command.path / "hello.txt").exists()
        os.kill(pid, number)
        assert wait_gone([pid], 10) == set()
        assert process.wait(LIMIT) == 0
        assert not is_mounted(command.path)


def test_a_signal_while_files_are_open(command: Command, samba: Smbd) -> None:
    """The mount goes at once, the program finds its file gone."""
    assert command.run(samba.unc(), options=login(samba)).returncode == 0
    (pid,) = command.daemons()
    handle = os.open(command.path / "hello.txt", os.O_RDONLY)
    try:
        os.kill(pid, signal.SIGTERM)
        assert wait_gone([pid], 10) == set()
        with fails(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
            os.read(handle, 1)
    finally:
        with contextlib.suppress(OSError):  # which close has to say, too
            os.close(handle)
    assert not is_mounted(command.path)


def test_other_ways_to_name_a_share(command: Command, samba: Smbd) -> None:
    ways = {
        "//127.0.0.1/share/docs": "manual.txt",
        "//127.0.0.1/share/docs/": "manual.txt",
        r"\\127.0.0.1\share\docs\old": "notes 1999.txt",
        "//127.0.0.1/SHARE": "hello.txt",
        f"smb://tester@127.0.0.1:{samba.port}/share/docs": "manual.txt",
        "//localhost/share": "hello.txt",
    }
    for source, name in ways.items():
        done = command.run(source, options=login(samba))
        assert (source, done.returncode, done.stderr) == (source, 0, "")
        assert name in os.listdir(command.path)
        command.umount()


def test_below_a_directory_everything_works(command: Command, samba: Smbd) -> None:
    assert command.run(f"{samba.unc()}/docs/old", options=login(samba)).returncode == 0
    (command.path / "new").write_bytes(b"x")
    (command.path / "new").rename(command.path / "newer")
    assert (samba.shares["share"].path / "docs/old/newer").read_bytes() == b"x"
    (command.path / "newer").unlink()
    assert os.listdir(f"{command.path}/..") == os.listdir(command.path.parent)
    command.umount()


def test_over_ipv6(command: Command, samba: Smbd) -> None:
    with Tap((samba.address, samba.port), host="::1") as tap:
        done = command.run("//[::1]/share", options=login(samba, port=tap.port))
        assert (done.returncode, done.stderr) == (0, "")
        assert (command.path / "hello.txt").read_bytes() == FILES["hello.txt"]
        command.umount()


def test_an_address_of_its_own(command: Command, samba: Smbd) -> None:
    done = command.run("//nas.invalid/share", options=login(samba, ip="127.0.0.1"))
    assert (done.returncode, done.stderr) == (0, "")
    command.umount()


def test_mountpoints_of_all_kinds(command: Command, samba: Smbd, tmp_path: Path) -> None:
    (tmp_path / "with blank, comma").mkdir()
    (tmp_path / "ünï\\040code").mkdir()
    (tmp_path / "link").symlink_to("with blank, comma")
    for name in ("with blank, comma", "ünï\\040code", "link"):
        command.path = tmp_path / name
        done = command.run(samba.unc(), options=login(samba))
        assert (name, done.returncode, done.stderr) == (name, 0, "")
        assert "hello.txt" in os.listdir(command.path)
        pids = command.daemons()
        assert command.execute(*umount_command(command.path.resolve())).returncode == 0
        assert wait_gone(pids, 10) == set()


def test_a_relative_mountpoint(samba: Smbd, command: Command) -> None:
    done = subprocess.run(
        [str(PROGRAM), samba.unc(), "mnt", "-o", join_options(login(samba))],
        cwd=command.path.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "hello.txt" in os.listdir(command.path)
    (pid,) = [process.pid for process in processes() if samba.unc() in process.argv() and "mnt" in process.argv()]
    assert command.execute(*umount_command(command.path)).returncode == 0
    assert wait_gone([pid], 10) == set()


# -- options -----------------------------------------------------------------------------------------------------------


def test_read_only(mount: Callable[..., Mount], samba: Smbd) -> None:
    made = mount(samba, ro=True)
    for work in (
        lambda: (made.path / "new").write_bytes(b""),
        lambda: (made.path / "hello.txt").open("r+b"),
        lambda: (made.path / "hello.txt").unlink(),
        lambda: (made.path / "new").mkdir(),
        lambda: (made.path / "hello.txt").rename(made.path / "x"),
        lambda: os.truncate(made.path / "hello.txt", 0),
        lambda: (made.path / "hello.txt").chmod(0o600),
    ):
        with fails(errno.EROFS):
            work()
    assert (made.path / "hello.txt").read_bytes() == FILES["hello.txt"]


def test_a_share_that_may_only_be_read(mount: Callable[..., Mount], samba: Smbd) -> None:
    made = mount(samba, "readonly")
    with fails(errno.EACCES, errno.EROFS, errno.EPERM):
        (made.path / "new").write_bytes(b"")
    with fails(errno.EACCES, errno.EROFS, errno.EPERM):
        (made.path / "hello.txt").unlink()
    assert (made.path / "hello.txt").read_bytes() == FILES["hello.txt"]


def test_owners_and_modes(mount: Callable[..., Mount], samba: Smbd) -> None:
    made = mount(samba, nounix=True, uid=1234, gid=4321, file_mode="0640", dir_mode="0750")
    for name, mode in (("hello.txt", 0o100640), ("docs", 0o40750)):
        told = (made.path / name).stat()
        assert (told.st_uid, told.st_gid, told.st_mode) == (1234, 4321, mode)
    forced = mount(samba, uid=1234, forceuid=True, gid=4321, forcegid=True)
    told = (forced.path / "hello.txt").stat()
    assert (told.st_uid, told.st_gid) == (1234, 4321)


def test_small_requests(mount: Callable[..., Mount], samba: Smbd) -> None:
    made = mount(samba, rsize=4096, wsize=4096)
    assert (made.path / "numbers.bin").read_bytes() == FILES["numbers.bin"]
    (made.path / "written").write_bytes(FILES["numbers.bin"])
    assert (samba.shares["share"].path / "written").read_bytes() == FILES["numbers.bin"]
    (made.path / "written").unlink()


def test_the_table_of_mounts_shows_the_share(mount: Callable[..., Mount], samba: Smbd) -> None:
    made = mount(samba)
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if f" {made.path} " in line)
    assert line.split()[:1] == [samba.unc()]
    assert line.split()[2] == "fuse.smbfuse"
    assert {"nosuid", "nodev"} <= set(line.split()[3].split(","))


# -- who logs on -------------------------------------------------------------------------------------------------------

PASSWORDS = {
    "plain": "correct horse 1",
    "commas": "with,commas,",
    "quotes": "quotes\"'`$HOME\\",
    "unicode": "ünïcödé €",
    "blanks": " blanks around ",
    "signs": "=%&#;",
    "long": "x" * 100,
}


@pytest.fixture
def shared() -> Iterator[Share]:
    """A share that lets guests in; not in pytest's directories, which let nobody else in."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-shared-") as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "f").write_bytes(b"content")
        yield Share(name="share", path=path, guest_ok=True)


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS.keys())
def test_passwords_of_all_kinds(
    command: Command, make_smbd: Callable[..., Smbd], shared: Share, password: str, tmp_path: Path
) -> None:
    server = make_smbd([shared], users=[User(password=password)])
    common: dict[str, object] = {"port": server.port, "user": "tester"}
    reading, writing = os.pipe()
    os.write(writing, f"{password}\n".encode())
    os.close(writing)
    (tmp_path / "password").write_text(f"{password}\n")
    (tmp_path / "credentials").write_text(f"username=tester\npassword={password}\n")
    (tmp_path / "credentials").chmod(0o600)
    ways: list[tuple[dict[str, object], dict[str, str]]] = [
        (common, {"PASSWD": password}),
        (common, {"PASSWD_FD": str(reading)}),
        (common, {"PASSWD_FILE": str(tmp_path / "password")}),
        ({"port": server.port, "credentials": tmp_path / "credentials"}, {}),
        ({**common, "password": password}, {}),
    ]
    if "," in password:
        ways.pop()
    for options, environ in ways:
        fds = (reading,) if "PASSWD_FD" in environ else ()
        line = [str(PROGRAM), server.unc(), str(command.path), "-o", join_options(options)]
        done = command.execute(*line, pass_fds=fds, environ=environ)
        assert (options, environ, done.returncode, done.stderr) == (options, environ, 0, "")
        (pid,) = command.daemons()
        for name in ("cmdline", "environ"):
            assert password.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert (command.path / "f").read_bytes() == b"content"
        command.umount()
    os.close(reading)


@pytest.mark.parametrize("options", [{"guest": True}, {"sec": "none"}], ids=["guest", "none"])
def test_guests(
    shared: Share, make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], options: dict[str, object]
) -> None:
    made = mount(make_smbd([shared]), credentials=None, **options)
    assert (made.path / "f").read_bytes() == b"content"
    with fails(errno.EACCES, errno.EPERM):
        (made.path / "new").write_bytes(b"")


def test_nobody_is_made_a_guest_unasked(command: Command, make_smbd: Callable[..., Smbd], shared: Share) -> None:
    server = make_smbd([shared])  # which maps unknown users to guests
    done = command.run(server.unc(), options={"port": server.port, "user": "unknown"}, PASSWD="x")
    assert_refused(command, done, "guest")


# -- mount(8) ----------------------------------------------------------------------------------------------------------


@as_root
@pytest.mark.usefixtures("mount_helpers")
@pytest.mark.parametrize("kind", ["smbfuse", "fuse.smbfuse"])
def test_mount_of_a_type(command: Command, samba: Smbd, kind: str) -> None:
    options = join_options(login(samba, noexec=True))
    done = command.execute("mount", "-t", kind, samba.unc(), str(command.path), "-o", options)
    assert (done.returncode, done.stderr) == (0, "")
    assert (command.path / "hello.txt").read_bytes() == FILES["hello.txt"]
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if f" {command.path} " in line)
    assert "noexec" in line
    command.umount()


@as_root
@pytest.mark.usefixtures("mount_helpers")
@pytest.mark.parametrize("kind", ["smbfuse", "fuse.smbfuse"])
def test_fstab(command: Command, samba: Smbd, tmp_path: Path, kind: str) -> None:
    options = join_options(login(samba)) + ",_netdev,nofail,noauto,user,x-systemd.automount,uid=0"
    source = f"{samba.unc()}/docs"
    (tmp_path / "fstab").write_text(f"{source}  {command.path}  {kind}  {options}  0  0\n")
    done = command.execute("mount", "-T", str(tmp_path / "fstab"), str(command.path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "manual.txt" in os.listdir(command.path)
    command.umount()


@as_root
@pytest.mark.usefixtures("mount_helpers")
def test_mount_says_what_is_wrong(command: Command, samba: Smbd) -> None:
    options = join_options(login(samba))
    done = command.execute("mount", "-t", "smbfuse", samba.unc("nosuch"), str(command.path), "-o", options)
    assert "no share 'nosuch'" in done.stderr
    assert done.returncode == 32
    assert not is_mounted(command.path)
    done = command.execute("mount", "-f", "-t", "smbfuse", samba.unc(), str(command.path), "-o", options)
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_mounted(command.path)
