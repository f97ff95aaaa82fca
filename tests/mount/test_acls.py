"""POSIX ACLs on real mounts: what getfacl, setfacl and copying programs do, and what the server then has."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.posix import fails
from tests.samba.smbd import Share, Smbd, User
from tests.support.mount import Mount
from tests.support.processes import eventually
from tests.support.tap import Tap
from tests.support.told import await_watch

pytestmark = [
    pytest.mark.samba,
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the users of an ACL are to be played"),
]

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OWNER, GROUP, NAMED, STRANGER = 1000, 1000, 1001, 1002


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def acl(path: Path) -> list[str]:
    """The entries as getfacl shows them."""
    told = run("getfacl", "--absolute-names", "--numeric", "--omit-header", "--no-effective", path)
    return told.split()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


OPENS = """
import os, sys
path, user, group = sys.argv[1:]
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
for letter, flags in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
    try:
        os.close(os.open(path, flags))
    except PermissionError:
        continue
    print(letter, end="")
"""


def may(path: Path, user: int, group: int) -> str:
    """What a local user can do to a file: "r", "w", both or nothing."""
    return run(sys.executable, "-c", OPENS, path, str(user), str(group))


@pytest.fixture(scope="module")
def server() -> Iterator[Smbd]:
    with tempfile.TemporaryDirectory(prefix="smbfuse-acls-") as name:
        shares = [Share(name=label, path=Path(name) / label) for label in ("share", "ruled")]
        Path(name).chmod(0o755)
        for share in shares:
            share.path.mkdir()
            share.path.chmod(0o755)
        run("setfacl", "-m", f"u:{NAMED}:rwx", shares[1].path)
        with Smbd(shares) as made:
            yield made


@dataclass
class Place:
    """A directory of a test, on the mount and behind it."""

    path: Path
    behind: Path
    tap: Tap

    def file(self, name: str = "f") -> Path:
        (self.path / name).write_bytes(b"content")
        return self.path / name


@pytest.fixture(scope="module")
def mounted(server: Smbd) -> Iterator[tuple[Mount, Tap]]:
    with ExitStack() as stack:
        mountpoint = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-mnt-")))
        mountpoint.chmod(0o755)
        tap = stack.enter_context(Tap((server.address, server.port)))
        made = stack.enter_context(Mount.of(server, "share", mountpoint, {"acl": True, "port": tap.port}))
        await_watch(made.path)
        yield made, tap


@pytest.fixture
def place(mounted: tuple[Mount, Tap], server: Smbd, request: pytest.FixtureRequest) -> Place:
    live, tap = mounted
    (live.path / request.node.name).mkdir()
    return Place(live.path / request.node.name, server.shares["share"].path / request.node.name, tap)


# --- setting and getting


def test_what_setfacl_sets_is_at_the_server_and_comes_back(place: Place) -> None:
    for path in (place.file(), place.path):
        run("setfacl", "-m", f"u:{NAMED}:r,g:{GROUP}:rw", path)
        behind = place.behind.parent / path.relative_to(place.path.parent)
        assert acl(path) == acl(behind)
        assert {f"user:{NAMED}:r--", f"group:{GROUP}:rw-"} <= set(acl(path))
        assert os.listxattr(path) == [ACCESS]
    assert os.getxattr(place.path / "f", ACCESS) == os.getxattr(place.behind / "f", ACCESS)


def test_an_acl_that_says_what_the_mode_says_is_none(place: Place) -> None:
    path = place.file()
    with fails(errno.ENODATA):
        os.getxattr(path, ACCESS)
    run("setfacl", "-m", f"u:{NAMED}:r", path)
    run("setfacl", "-b", path)
    with fails(errno.ENODATA):
        os.getxattr(path, ACCESS)
    with fails(errno.ENODATA):
        os.removexattr(path, ACCESS)
    assert acl(path) == ["user::rw-", "group::r--", "other::r--"]
    assert os.listxattr(path) == []


def test_removing_gives_nobody_more(place: Place) -> None:
    path = place.file()
    run("setfacl", "-m", f"u:{NAMED}:rwx,g::rwx,m::r", path)
    os.removexattr(path, ACCESS)
    assert acl(path) == acl(place.behind / "f") == ["user::rw-", "group::r--", "other::r--"]


def test_the_mask_is_the_groups_part_of_the_mode_at_once(place: Place) -> None:
    path = place.file()
    run("setfacl", "-m", f"u:{NAMED}:rwx", path)
    assert mode(path) == 0o674
    path.chmod(0o640)
    assert mode(path) == 0o640
    assert {"mask::r--", f"user:{NAMED}:rwx", "other::---"} <= set(acl(path))
    run("setfacl", "-m", "m::rw", path)
    assert run("stat", "-c", "%a", path).strip() == "660"
    assert mode(place.behind / "f") == 0o660


def test_without_permission_checks_the_mode_is_right_at_once(server: Smbd, mount: Callable[..., Mount]) -> None:
    """Then the kernel does not know that an ACL changes the mode, and stat(1) asks for no more than that."""
    path = mount(server, "share", acl=True, noperm=True, actimeo=30).path / "unchecked"
    path.write_bytes(b"")
    assert run("stat", "-c", "%a", path).strip() == "644"
    run("setfacl", "-m", f"u:{NAMED}:rwx", path)
    assert run("stat", "-c", "%a", path).strip() == "674"


def test_what_others_set_shows_after_the_lifetime(place: Place) -> None:
    path = place.file()
    for right in ("r--", "rwx", "-w-"):
        run("setfacl", "-m", f"u:{NAMED}:{right}", place.behind / "f")
        wanted = f"user:{NAMED}:{right}"
        eventually(lambda wanted=wanted: wanted in acl(path), 10, f"{wanted} shows")  # type: ignore[misc] # bound now


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR], ids=["fifo", "socket", "device"])
def test_special_files(place: Place, kind: int) -> None:
    os.mknod(place.path / "node", kind | 0o644, os.makedev(1, 3))
    run("setfacl", "-m", f"u:{NAMED}:r", place.path / "node")
    assert f"user:{NAMED}:r--" in acl(place.behind / "node")


def test_only_directories_have_a_default(place: Place) -> None:
    path = place.file()
    with fails(errno.ENODATA):
        os.getxattr(path, DEFAULT)
    run("setfacl", "-d", "-m", f"u:{NAMED}:r", place.path)
    with fails(errno.EACCES):
        os.setxattr(path, DEFAULT, os.getxattr(place.path, DEFAULT))
    assert os.listxattr(place.path) == [DEFAULT]


def test_links_have_none(place: Place) -> None:
    link = place.path / "link"
    link.symlink_to("nowhere")
    assert os.listxattr(link, follow_symlinks=False) == []
    with fails(errno.EOPNOTSUPP):
        os.getxattr(link, ACCESS, follow_symlinks=False)


# --- inheriting


def test_a_default_acl_is_passed_on(place: Place) -> None:
    run("setfacl", "-d", "-m", f"u:{NAMED}:rwx", place.path)
    (place.path / "d").mkdir()
    for path in (place.file(), place.path / "d"):
        assert f"user:{NAMED}:rwx" in acl(path)
        assert acl(path) == acl(place.behind / path.name)
    assert f"default:user:{NAMED}:rwx" in acl(place.path / "d")
    run("setfacl", "-k", place.path)
    assert not any(entry.startswith("default") for entry in acl(place.path))
    assert not any(entry.startswith("user:1") for entry in acl(place.file("later")))


@pytest.mark.parametrize("option", ["acl", "noacl"])
def test_what_a_default_acl_keeps_from_others_stays_kept(
    server: Smbd, mount: Callable[..., Mount], option: str
) -> None:
    """Modes that smbd's `create mask` narrows are set once more; those that the directory narrows must not be."""
    path = mount(server, "share", **{option: True}).path / f"closed-{option}"
    path.mkdir()
    run("setfacl", "-d", "-m", "u::rwx,g::rx,o::---", server.shares["share"].path / path.name)
    (path / "f").write_bytes(b"")
    (path / "d").mkdir()
    os.mknod(path / "fifo", stat.S_IFIFO | 0o666)
    modes = {name: mode(path / name) for name in ("f", "d", "fifo")}
    assert modes == {"f": 0o640, "d": 0o750, "fifo": 0o640}
    assert modes == {name: mode(server.shares["share"].path / path.name / name) for name in modes}


# --- programs


def test_cp_carries_them(place: Place, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    run("setfacl", "-m", f"u:{NAMED}:rw", tmp_path / "d" / "f")
    run("setfacl", "-m", f"g:{GROUP}:rx,d:u:{NAMED}:r", tmp_path / "d")
    run("cp", "-a", tmp_path / "d", place.path / "there")
    run("cp", "-a", place.path / "there", tmp_path / "back")
    for name in ("", "f"):
        assert acl(tmp_path / "back" / name) == acl(place.path / "there" / name) == acl(tmp_path / "d" / name)


def test_rsync_carries_them_both_ways_and_then_has_nothing_to_do(place: Place, tmp_path: Path) -> None:
    source, there, back = tmp_path / "source", place.path / "there", tmp_path / "back"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "plain"):
        (source / name).write_bytes(name.encode())
    run("setfacl", "-m", f"u:{NAMED}:rw", source / "a")
    run("setfacl", "-m", f"g:{GROUP}:r", source / "sub" / "b")
    run("setfacl", "-d", "-m", f"u:{NAMED}:rwx", source / "sub")
    run("rsync", "-aA", f"{source}/", f"{there}/")
    run("rsync", "-aA", f"{there}/", f"{back}/")
    for name in ("", "a", "sub", "sub/b", "plain"):
        assert acl(back / name) == acl(there / name) == acl(source / name)
    assert run("rsync", "-aAi", f"{source}/", f"{there}/") == ""
    run("setfacl", "-x", f"u:{NAMED}", source / "a")
    assert run("rsync", "-aAi", f"{source}/", f"{there}/").split()[1] == "a"
    assert acl(there / "a") == acl(source / "a")


# --- who may what


def test_local_users_may_what_the_acl_says(place: Place) -> None:
    """The mode alone would let the owning group in, of which it shows the mask."""
    path = place.file()
    os.chown(path, OWNER, GROUP)
    path.chmod(0o600)
    run("setfacl", "-m", f"u:{NAMED}:rw", path)
    assert mode(path) == 0o660
    assert may(path, OWNER, STRANGER) == "rw"
    assert may(path, NAMED, STRANGER) == "rw"
    assert may(path, STRANGER, GROUP) == ""
    assert may(path, STRANGER, STRANGER) == ""
    run("setfacl", "-m", f"u:{NAMED}:r", path)
    assert may(path, NAMED, STRANGER) == "r"


def test_an_acl_that_shuts_somebody_out(place: Place) -> None:
    path = place.file()
    run("setfacl", "-m", f"u:{STRANGER}:-", path)
    assert may(path, NAMED, NAMED) == "r"
    assert may(path, STRANGER, NAMED) == ""


@pytest.fixture
def others(make_smbd: Callable[..., Smbd]) -> Iterator[Smbd]:
    """A server whose user owns nothing of what it serves."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-acls-") as name:
        share = Share(name="share", path=Path(name))
        share.path.chmod(0o755)
        (share.path / "d").mkdir()
        for path in (share.path / "f", share.path / "d" / "g"):
            path.write_bytes(b"content")
            path.chmod(0o640)
        run("setfacl", "-R", "-m", "u:daemon:rX", share.path / "f", share.path / "d")
        yield make_smbd([share], users=[User(account="daemon")])


def test_who_owns_nothing_sees_the_acls_and_may_what_they_say(others: Smbd) -> None:
    """smbd tells the ACL of a path to its owner only."""
    behind = others.shares["share"].path
    os.mkfifo(behind / "p")
    with tempfile.TemporaryDirectory(prefix="smbfuse-mnt-") as name:
        path = Path(name)
        path.chmod(0o755)
        with Mount.of(others, "share", path, {"acl": True}):
            for label in ("f", "d", "d/g", "p"):
                assert acl(path / label) == acl(behind / label)
            daemon = pwd.getpwnam("daemon")
            assert may(path / "d" / "g", daemon.pw_uid, daemon.pw_gid) == "r"
            assert may(path / "f", STRANGER, STRANGER) == ""
            with fails(errno.EACCES, errno.EPERM):
                os.removexattr(path / "f", ACCESS)


def test_who_owns_nothing_can_mount_and_make_files(others: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(others).path
    open_to_all = others.shares["share"].path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    os.close(os.open(path / "open" / "f", os.O_CREAT | os.O_WRONLY, 0o755))
    assert mode(path / "open" / "f") == 0o755


# --- what it costs


def test_they_are_asked_for_once_while_files_stay_as_they_are(place: Place) -> None:
    for number in range(20):
        (place.behind / f"f{number}").write_bytes(b"")
    time.sleep(2.5)  # until their change times are no longer young

    def ask() -> None:
        assert "+" not in run("ls", "-ln", place.path)

    ask()
    with place.tap.counted() as again:
        ask()
    assert again == {}
    time.sleep(1.1)  # until what was told of them is stale
    with place.tap.counted() as later:
        ask()
    assert later["FIND_FIRST2"] == 1
    assert sum(later.values()) <= 3  # for the mount's root and the directory itself


# --- on and off


@pytest.mark.parametrize("options", [{}, {"noacl": True}, {"nounix": True}], ids=["default", "noacl", "nounix"])
def test_where_they_are_off(
    server: Smbd, mount: Callable[..., Mount], options: dict[str, object], request: pytest.FixtureRequest
) -> None:
    made = mount(server, "share", **options)
    path = made.path / request.node.name
    path.write_bytes(b"")
    value = b"\2\0\0\0" + b"".join(tag + b"\0\4\0\xff\xff\xff\xff" for tag in (b"\1", b"\4", b" "))
    for name in (ACCESS, DEFAULT):
        with fails(errno.EOPNOTSUPP):
            os.getxattr(made.path, name)
        with fails(errno.EOPNOTSUPP):
            os.setxattr(made.path, name, value)


def test_a_root_with_an_acl_turns_them_on(server: Smbd, mount: Callable[..., Mount]) -> None:
    made = mount(server, "ruled")
    assert f"user:{NAMED}:rwx" in acl(made.path)
    (made.path / "f").write_bytes(b"")
    run("setfacl", "-m", f"u:{NAMED}:r", made.path / "f")
    assert f"user:{NAMED}:r--" in acl(made.path / "f")
    with fails(errno.EOPNOTSUPP):
        os.getxattr(mount(server, "ruled", noacl=True).path, ACCESS)


def test_who_wants_what_the_server_has_not_is_told(server: Smbd, mount: Callable[..., Mount]) -> None:
    made = mount(server, "share", acl=True, nounix=True)
    made.guard.expect("there are no POSIX ACLs: the server does not offer them")
    assert "no POSIX ACLs" in made.log()
    with fails(errno.EOPNOTSUPP):
        os.getxattr(made.path, ACCESS)
