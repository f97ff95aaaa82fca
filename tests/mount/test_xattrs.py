"""Extended attributes on real mounts: what programs do with them, and what the server then has."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.samba.content import NEWER, OLDER, write_snapshots
from tests.samba.smbd import Share, Smbd, snapshots
from tests.support.mount import Mount
from tests.support.processes import eventually
from tests.support.tap import Tap
from tests.support.told import await_watch

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

STREAM = "user.smb.stream."
LONG = 60_000
EVERYONE = "S-1-1-0"


with_unix = pytest.mark.parametrize("mounted", ["unix"], indirect=True)
without_unix = pytest.mark.parametrize("mounted", ["nounix"], indirect=True)
"""With POSIX paths a colon is part of a name, and reaches no stream."""


@dataclass
class Place:
    """A directory of a test, on the mount and behind it."""

    path: Path
    behind: Path
    unix: bool
    tap: Tap

    def file(self, name: str = "f", content: bytes = b"content") -> str:
        made = self.path / name
        made.write_bytes(content)
        return str(made)


def attributes(path: str | Path) -> dict[str, bytes]:
    """What a program that copies them all sees."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def failure(work: Callable[..., object], *arguments: object) -> str:
    """Name of the errno with which it fails, empty if it does not."""
    try:
        work(*arguments)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return ""


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Smbd]:
    """Shares with all that a file can have beside it; `acls` keeps security descriptors as they are set."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-xattrs-") as name:
        base = Path(name)
        for path in (base, base / "share", base / "plain", base / "acls"):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        write_snapshots(base / "snapshots")
        everything = snapshots(base / "share", base / "snapshots")
        everything["vfs objects"] += " streams_xattr"
        shares = [
            Share(name="share", path=base / "share", options=everything),
            Share(name="plain", path=base / "plain", options={"ea support": "no"}),
            Share(
                name="acls",
                path=base / "acls",
                options={"vfs objects": "acl_tdb", "acl_tdb:ignore system acls": "yes"},
            ),
        ]
        with Smbd(shares) as made:
            yield made


@pytest.fixture(scope="module", params=["unix", "nounix"])
def mounted(request: pytest.FixtureRequest, server: Smbd) -> Iterator[tuple[Mount, Tap, bool]]:
    with ExitStack() as stack:
        mountpoint = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-mnt-")))
        tap = stack.enter_context(Tap((server.address, server.port)))
        unix = request.param == "unix"
        made = Mount.of(server, "share", mountpoint, {"port": tap.port, "actimeo": 30, "nounix": not unix})
        await_watch(stack.enter_context(made).path)
        yield made, tap, unix


@pytest.fixture
def place(mounted: tuple[Mount, Tap, bool], server: Smbd, request: pytest.FixtureRequest) -> Iterator[Place]:
    live, tap, unix = mounted
    behind = server.shares["share"].path / f"{request.node.originalname}-{os.getpid()}"
    path = live.path / behind.name
    path.mkdir()
    try:
        yield Place(path, behind, unix, tap)
    finally:
        shutil.rmtree(behind)
        # The notice of that makes the mount ask for the root again: not in the middle of what the next test counts.
        eventually(lambda: not path.exists(), 30, "the mount hears of it")


# --- extended attributes


def test_set_get_list_remove(place: Place) -> None:
    for path in (place.file(), str(place.path)):
        assert os.listxattr(path) == []
        os.setxattr(path, "user.one", b"\0\xff binary")
        os.setxattr(path, "user.two", b"2")
        assert attributes(path) == {"user.one": b"\0\xff binary", "user.two": b"2"}
        os.setxattr(path, "user.one", b"new")
        os.removexattr(path, "user.two")
        assert attributes(path) == {"user.one": b"new"}
    behind = place.behind / "f"
    assert os.getxattr(behind, "user.one") == b"new"
    assert "user.two" not in os.listxattr(behind)


def test_what_is_not_there_and_what_cannot_be(place: Place) -> None:
    path = place.file()
    assert failure(os.getxattr, path, "user.none") == "ENODATA"
    assert failure(os.removexattr, path, "user.none") == "ENODATA"
    assert failure(os.setxattr, path, "user.none", b"1", os.XATTR_REPLACE) == "ENODATA"
    os.setxattr(path, "user.there", b"1", os.XATTR_CREATE)
    assert failure(os.setxattr, path, "user.there", b"2", os.XATTR_CREATE) == "EEXIST"
    assert failure(os.setxattr, path, "user.there", b"") == "ENOTSUP"
    assert failure(os.setxattr, path, "user.long", b"x" * 65_536) == "E2BIG"
    assert attributes(path) == {"user.there": b"1"}


def test_the_case_of_a_name_does_not_matter(place: Place) -> None:
    path = place.file()
    os.setxattr(path, "user.Mixed.Case", b"1")
    assert os.getxattr(path, "user.mixed.case") == b"1"
    os.setxattr(path, "user.MIXED.CASE", b"2")
    assert attributes(path) == {"user.Mixed.Case": b"2"}
    os.removexattr(path, "user.mixed.CASE")
    assert os.listxattr(path) == []


def test_changes_of_others_show_after_the_lifetime_and_ours_at_once(server: Smbd, mount: Callable[..., Mount]) -> None:
    one, two = mount(server, "share", actimeo=0), mount(server, "share", nounix=True, actimeo=0)
    (one.path / "seen").write_bytes(b"")
    for value in (b"1", b"22"):
        os.setxattr(one.path / "seen", "user.a", value)
        assert attributes(two.path / "seen") == attributes(one.path / "seen") == {"user.a": value}
    (one.path / "seen").unlink()


def test_names_that_windows_forbids(place: Place) -> None:
    """smbd refuses them by a status that looks like a warning, unless the client has POSIX names."""
    path = place.file()
    for char in '*?+,/:;<=>[]|"':
        assert failure(os.setxattr, path, f"user.a{char}b", b"1") == ("" if place.unix else "EINVAL")
    assert len(os.listxattr(path)) == (14 if place.unix else 0)


@pytest.mark.parametrize("seed", range(5))
def test_random_names_and_values(place: Place, seed: int) -> None:
    """Fifty attributes in all, set, changed and removed at random; a model tells what must be there."""
    chance = random.Random(seed)
    path, model = place.file(), dict[str, bytes]()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789._-~# äé日🐧"
    names = list({f"user.{i}{''.join(chance.choices(letters, k=chance.randint(1, 40)))}" for i in range(10)})
    for _ in range(25):
        name = chance.choice(names)
        if name in model and chance.random() < 0.3:
            os.removexattr(path, name)
            del model[name]
        else:
            model[name] = chance.randbytes(chance.randint(1, 200))
            os.setxattr(path, name, model[name])
        if chance.random() < 0.3:
            assert attributes(path) == model
    assert attributes(path) == model


def test_values_of_many_sizes(place: Place) -> None:
    path = place.file()
    for size in (1, 2, 255, 256, 1000, 3000):
        value = random.Random(size).randbytes(size)
        os.setxattr(path, "user.sized", value)
        assert os.getxattr(path, "user.sized") == value


@pytest.fixture
def roomy(make_smbd: Callable[..., Smbd]) -> Iterator[Smbd]:
    """A server on a file system whose attributes may be long, which ext4's are not."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-xattrs-", dir="/dev/shm") as name:
        share = Path(name) / "share"
        share.mkdir()
        try:
            os.setxattr(share, "user.long", b"x" * LONG)
        except OSError as exc:
            pytest.skip(f"no long attributes in /dev/shm: {exc}")
        os.removexattr(share, "user.long")
        Path(name).chmod(0o755)
        yield make_smbd([Share(name="share", path=share, options={"vfs objects": "streams_xattr"})])


@pytest.mark.parametrize("options", [{}, {"nounix": True}], ids=["unix", "nounix"])
def test_values_that_fill_a_message(roomy: Smbd, mount: Callable[..., Mount], options: dict[str, object]) -> None:
    path = mount(roomy, "share", **options).path / "f"
    path.write_bytes(b"")
    value = random.Random(0).randbytes(LONG)
    os.setxattr(path, "user.long", value)
    assert attributes(path) == {"user.long": value}
    # Two of them are more than a list can hold. smbd then answers an empty one: that must not be taken for the truth.
    os.setxattr(path, "user.more", value[::-1])
    assert failure(os.listxattr, path) == "E2BIG"
    assert os.getxattr(path, "user.more") == value[::-1]
    assert failure(os.getxattr, path, "user.none") == "ENODATA"
    os.removexattr(path, "user.LONG")
    assert attributes(path) == {"user.more": value[::-1]}
    if options:
        os.setxattr(path, f"{STREAM}long", value)
        assert attributes(path) == {"user.more": value[::-1], f"{STREAM}long": value}


# --- what cifs.ko has too


def test_dos_attributes_and_creation_time(place: Place) -> None:
    path = place.file()
    os.setxattr(path, "user.cifs.dosattrib", struct.pack("<I", 0x22))
    os.setxattr(path, "user.cifs.creationtime", struct.pack("<Q", 130_000_000_000_000_000))
    assert struct.unpack("<I", os.getxattr(path, "user.cifs.dosattrib"))[0] == 0x22
    assert os.getxattr(path, "smb.attributes") == b"HIDDEN ARCHIVE"
    assert struct.unpack("<Q", os.getxattr(path, "user.cifs.creationtime"))[0] == 130_000_000_000_000_000
    os.setxattr(path, "user.cifs.dosattrib", bytes(4))
    assert os.getxattr(path, "smb.attributes") == b"NORMAL"
    assert failure(os.setxattr, path, "user.cifs.dosattrib", b"1") == "ERANGE"
    assert failure(os.removexattr, path, "user.cifs.creationtime") == "EPERM"
    assert os.listxattr(path) == []


def test_the_read_only_attribute_shows_in_the_mode(place: Place) -> None:
    path = place.file()
    os.stat(path)
    os.setxattr(path, "user.cifs.dosattrib", struct.pack("<I", 1))
    if not place.unix:
        assert os.stat(path).st_mode & 0o222 == 0
    assert os.getxattr(path, "smb.attributes") == b"READONLY"


def aces(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("ACL:")]


def test_cifs_utils_read_and_change_the_access_list(place: Place) -> None:
    """Samba keeps it as POSIX permissions here, so what is set shows in the mode of the file behind."""
    path = place.file()
    os.chmod(place.behind / "f", 0o600)
    for raw in ([], ["-r"]):
        told = run("getcifsacl", *raw, path)
        assert "OWNER:S-1-" in told
        assert any(line.startswith(f"ACL:{EVERYONE}:") for line in aces(told))
    run("setcifsacl", "-M", f"ACL:{EVERYONE}:ALLOWED/0x0/READ", path)
    assert os.stat(place.behind / "f").st_mode & 0o007 == 0o005
    assert f"ACL:{EVERYONE}:ALLOWED/0x0/READ" in aces(run("getcifsacl", path))


def test_cifs_utils_on_a_server_that_keeps_descriptors(server: Smbd, mount: Callable[..., Mount]) -> None:
    for number, options in enumerate(({}, {"nounix": True})):
        path = mount(server, "acls", **options).path / f"f{number}"
        path.write_bytes(b"")
        before = aces(run("getcifsacl", "-r", path))
        added = "ACL:S-1-5-21-1-2-3-1001:0x0/0x0/0x1301bf"
        run("setcifsacl", "-a", added, path)
        assert aces(run("getcifsacl", "-r", path)) == [*before, added]
        run("setcifsacl", "-D", added, path)
        assert aces(run("getcifsacl", "-r", path)) == before
        run("setcifsacl", "-o", "S-1-5-32-544", path)
        run("setcifsacl", "-g", "S-1-5-32-545", path)
        told = run("getcifsacl", path).splitlines()
        assert {"OWNER:S-1-5-32-544", "GROUP:S-1-5-32-545"} <= set(told)


def test_the_audit_list_needs_a_privilege(server: Smbd, mount: Callable[..., Mount]) -> None:
    audit = f"ACL:{EVERYONE}:AUDIT/SA/FULL"
    path = mount(server, "acls").path / "audited"
    path.write_bytes(b"")
    assert failure(os.getxattr, path, "system.cifs_ntsd_full") == "EIO"  # on which getcifsacl does without
    rights = ("net", "-s", server.configuration, "sam", "rights")
    run(*rights, "grant", "Everyone", "SeSecurityPrivilege")
    try:
        path = mount(server, "acls").path / "audited"
        run("setcifsacl", "-U", "-a", audit, path)
        told = run("getcifsacl", path)
    finally:
        run(*rights, "revoke", "Everyone", "SeSecurityPrivilege")
    assert audit in aces(told.partition("SACL:")[2])


def many_aces(descriptor: bytes, count: int) -> bytes:
    """The descriptor with an access list of its own: `count` users who may read."""
    made = [
        struct.pack("<BBHIBB6sIIIII", 0, 0, 36, 0x12_0089, 1, 5, b"\0\0\0\0\0\5", 21, 1, 2, 3, i) for i in range(count)
    ]
    acl = struct.pack("<BBHHH", 2, 0, 8 + 36 * count, count, 0) + b"".join(made)
    return descriptor[:16] + struct.pack("<I", len(descriptor)) + descriptor[20:] + acl


def test_a_descriptor_larger_than_a_message(server: Smbd, mount: Callable[..., Mount]) -> None:
    """Both ways in parts: smbd takes messages of 16,644 bytes."""
    path = mount(server, "acls").path / "large"
    path.write_bytes(b"")
    wanted = many_aces(os.getxattr(path, "system.cifs_acl"), 800)
    assert len(wanted) > 28_000
    os.setxattr(path, "system.cifs_acl", wanted)
    assert len(aces(run("getcifsacl", "-r", path))) == 800
    assert failure(os.setxattr, path, "system.cifs_acl", b"nonsense") == "EINVAL"


# --- streams


@without_unix
def test_streams(place: Place) -> None:
    for path in (place.file(), str(place.path)):
        assert failure(os.getxattr, path, f"{STREAM}Zone.Identifier") == "ENODATA"
        os.setxattr(path, f"{STREAM}Zone.Identifier", b"[ZoneTransfer]")
        os.setxattr(path, f"{STREAM}empty", b"")
        os.setxattr(path, f"{STREAM}odd:?name", b"mapped")
        os.setxattr(path, "user.beside", b"1")
        assert attributes(path) == {
            f"{STREAM}Zone.Identifier": b"[ZoneTransfer]",
            f"{STREAM}empty": b"",
            f"{STREAM}odd:?name": b"mapped",
            "user.beside": b"1",
        }
        os.setxattr(path, f"{STREAM}Zone.Identifier", b"short")
        assert os.getxattr(path, f"{STREAM}Zone.Identifier") == b"short"
        for name in ("empty", "odd:?name", "Zone.Identifier"):
            os.removexattr(path, STREAM + name)
        assert failure(os.removexattr, path, f"{STREAM}empty") == "ENODATA"
        assert attributes(path) == {"user.beside": b"1"}
    assert (place.path / "f").read_bytes() == b"content"


@without_unix
def test_a_stream_is_what_windows_programs_see(place: Place, server: Smbd) -> None:
    path = place.file()
    os.setxattr(path, f"{STREAM}note", b"for all")
    assert ":note:$DATA" in server.smbclient(f'allinfo "{place.behind.name}\\f"')


@without_unix
def test_a_new_stream_without_room_leaves_nothing(place: Place) -> None:
    path = place.file()
    # smbd keeps streams as attributes of its own file system, where this one and a byte more do not fit.
    assert failure(os.setxattr, path, f"{STREAM}large", b"x" * 65_536) != ""
    assert os.listxattr(path) == []


@with_unix
def test_with_posix_paths_there_are_no_streams(place: Place) -> None:
    path = place.file()
    assert failure(os.setxattr, path, f"{STREAM}a", b"1") == "ENOTSUP"
    assert failure(os.getxattr, path, f"{STREAM}a") == "ENOTSUP"
    assert os.listdir(place.behind) == ["f"]


# --- facts


def test_facts(place: Place) -> None:
    path = place.file()
    assert os.getxattr(path, "smb.fileid") == str((place.behind / "f").stat().st_ino).encode()
    separator = "/" if place.unix else "\\"
    assert os.getxattr(path, "smb.path").decode() == f"{separator}{place.behind.name}{separator}f"
    assert os.getxattr(place.path, "smb.snapshots").decode().split("\n") == [NEWER, OLDER]
    assert failure(os.getxattr, path, "smb.none") == "ENODATA"
    assert failure(os.setxattr, path, "smb.path", b"1") == "EPERM"
    if not place.unix:
        long = place.file("a name with more than 8.3")
        assert len(os.getxattr(long, "smb.shortname")) <= 12


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_when_it_was_made(place: Place, kind: str) -> None:
    path = place.file() if kind == "file" else str(place.path)
    os.setxattr(path, "user.cifs.creationtime", struct.pack("<Q", 130_000_000_000_000_007))
    assert os.getxattr(path, "smb.created") == b"2012-12-14T23:06:40.0000007Z"
    assert struct.unpack("<Q", os.getxattr(path, "user.cifs.creationtime"))[0] == 130_000_000_000_000_007


def test_whom_the_server_takes_us_for(place: Place) -> None:
    told = dict(word.split("=") for word in os.getxattr(place.path, "smb.whoami").decode().split())
    assert told["uid"] == str(os.geteuid())
    assert told["gid"] == str(os.getegid())
    assert str(os.getegid()) in told["groups"].split(",")
    assert told["guest"] == "no"


def test_a_guest_is_told_so(make_smbd: Callable[..., Smbd], mount: Callable[..., Mount]) -> None:
    with tempfile.TemporaryDirectory(prefix="smbfuse-xattrs-") as name:
        Path(name).chmod(0o755)
        server = make_smbd([Share(name="share", path=Path(name), guest_ok=True)])
        path = mount(server, credentials=None, guest=True).path
        assert os.getxattr(path, "smb.whoami").decode().split()[-1] == "guest=yes"


def test_file_flags_that_the_server_has_none_of(place: Place) -> None:
    path = place.file()
    assert failure(os.getxattr, path, "smb.flags") == "ENODATA"
    with place.tap.counted() as requests:
        assert failure(os.getxattr, path, "smb.flags") == "ENODATA"
    assert requests == ({"QUERY_PATH_INFORMATION": 1} if place.unix else {})


@with_unix
def test_links_and_special_files_have_facts(place: Place) -> None:
    (place.path / "link").symlink_to("nowhere")
    os.mkfifo(place.path / "fifo")
    for name in ("link", "fifo"):
        path, number = place.path / name, (place.behind / name).lstat().st_ino
        assert os.getxattr(path, "smb.fileid", follow_symlinks=False) == str(number).encode()
        assert os.getxattr(path, "smb.path", follow_symlinks=False).endswith(b"/" + name.encode())
        assert os.getxattr(path, "smb.created", follow_symlinks=False).endswith(b"Z")
        assert os.listxattr(path, follow_symlinks=False) == []


def test_directories_have_what_files_have(place: Place) -> None:
    path = str(place.path)
    assert os.getxattr(path, "smb.attributes") == b"DIRECTORY"
    os.setxattr(path, "user.cifs.dosattrib", struct.pack("<I", 0x12))
    assert os.getxattr(path, "smb.attributes") == b"HIDDEN DIRECTORY"
    assert os.stat(path).st_mode & 0o200
    run("setcifsacl", "-M", f"ACL:{EVERYONE}:ALLOWED/0x0/READ", path)
    assert f"ACL:{EVERYONE}:ALLOWED/0x0/READ" in aces(run("getcifsacl", path))
    assert os.getxattr(path, "smb.fileid") == str(place.behind.stat().st_ino).encode()


# --- sizes


libc = ctypes.CDLL(None, use_errno=True)


def test_buffers_that_are_too_small(place: Place) -> None:
    """A program asks for the size with none, then reads; both are system calls of their own."""
    path = place.file()
    os.setxattr(path, "user.sized", b"x" * 100)
    buffer = ctypes.create_string_buffer(200)
    for size, expected in ((0, 100), (99, -errno.ERANGE), (100, 100), (200, 100)):
        got = libc.getxattr(path.encode(), b"user.sized", buffer, size)
        assert (got if got >= 0 else -ctypes.get_errno()) == expected
    for size, expected in ((0, 11), (10, -errno.ERANGE), (11, 11)):
        got = libc.listxattr(path.encode(), buffer, size)
        assert (got if got >= 0 else -ctypes.get_errno()) == expected
    assert failure(os.setxattr, path, "user." + "n" * 251, b"1") == "ERANGE"


def test_the_mode_after_a_change_of_attributes_at_once(server: Smbd, mount: Callable[..., Mount]) -> None:
    """stat(1) asks for no more than it shows, and the kernel knows only that the change time is another."""
    path = mount(server, "share", nounix=True, actimeo=30).path / "moded"
    path.write_bytes(b"")
    assert run("stat", "-c", "%A", path).strip() == "-rwxr-xr-x"
    os.setxattr(path, "user.cifs.dosattrib", struct.pack("<I", 1))
    assert run("stat", "-c", "%A", path).strip() == "-r-xr-xr-x"
    path.unlink()


def test_a_snapshot_is_read_only(mounted: tuple[Mount, Tap, bool]) -> None:
    path = mounted[0].path / OLDER / "report.txt"
    assert os.listxattr(path) == []
    assert failure(os.setxattr, path, "user.a", b"1") == "EROFS"
    assert failure(os.setxattr, path, "system.cifs_acl", b"1") == "EROFS"
    assert len(os.getxattr(path, "system.cifs_acl")) > 20


# --- programs


def test_rsync_carries_them_both_ways(place: Place, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "sub"):
        if name != "sub":
            (source / name).write_bytes(name.encode())
        os.setxattr(source / name, "user.mime_type", b"text/plain")
        os.setxattr(source / name, "user.of." + name.replace("/", "."), name.encode())
    run("rsync", "-aX", f"{source}/", f"{place.path}/tree/")
    os.setxattr(place.path / "tree" / "a", "user.extra", b"to be removed")
    run("rsync", "-aX", f"{source}/", f"{place.path}/tree/")
    run("rsync", "-aX", f"{place.path}/tree/", f"{back}/")
    for name in ("a", "sub", "sub/b"):
        assert attributes(back / name) == attributes(place.path / "tree" / name) == attributes(source / name)


def test_cp_preserves_them(place: Place, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    os.setxattr(tmp_path / "f", "user.kept", b"yes")
    run("cp", "--preserve=xattr", tmp_path / "f", place.path / "there")
    run("cp", "--preserve=xattr", place.path / "there", tmp_path / "back")
    assert attributes(tmp_path / "back") == {"user.kept": b"yes"}


def test_what_the_kernel_and_ls_ask_costs_nothing(place: Place, tmp_path: Path) -> None:
    path = place.file()
    os.listdir(place.path)
    os.stat(path)
    run("ls", "-l", place.path)
    with place.tap.counted() as requests:
        assert path.rpartition("/")[2] in run("ls", "-l", place.path)
    assert requests == {}
    names = ("security.capability", "security.selinux", "system.posix_acl_access", "trusted.a", "system.smb3_acl")
    with open(path, "r+b", buffering=0) as file:
        with place.tap.counted() as requests:
            file.write(b"over")  # for which the kernel asks for security.capability; the data wait for the close
        assert requests == {}
        with place.tap.counted() as requests:
            assert [failure(os.getxattr, file.fileno(), name) for name in names] == ["ENOTSUP"] * len(names)
        assert requests == {}


@without_unix
def test_copying_into_the_mount_asks_for_none(place: Place, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 5000)
    os.stat(place.path.parent)  # the root, which has no name to search for, is asked for by path
    for options in ([], ["-a"]):
        with place.tap.counted() as requests:
            run("cp", *options, tmp_path / "f", place.path / f"copy{len(options)}")
        assert requests["WRITE_ANDX"] == 1
        assert not requests.keys() & {"QUERY_PATH_INFORMATION", "NT_TRANSACT", "QUERY_FS_INFORMATION"}


def test_one_question_answers_for_all_of_a_file(place: Place) -> None:
    path = place.file()
    for number in range(5):
        os.setxattr(path, f"user.n{number}", b"x")
    with place.tap.counted() as requests:
        assert len(attributes(path)) == 5
    assert requests["QUERY_PATH_INFORMATION"] == (2 if place.unix else 3)  # is there any, which, and the streams


# --- where there are none


def test_a_server_without_them(server: Smbd, mount: Callable[..., Mount]) -> None:
    for options in ({}, {"nounix": True}):
        path = mount(server, "plain", **options).path / "f"
        path.write_bytes(b"")
        assert os.listxattr(path) == []
        assert failure(os.getxattr, path, "user.a") == "ENODATA"
        assert failure(os.setxattr, path, "user.a", b"1") == "ENOTSUP"


def test_the_option_nouser_xattr(server: Smbd, mount: Callable[..., Mount]) -> None:
    path = mount(server, "share", nounix=True, nouser_xattr=True).path / "hidden"
    path.write_bytes(b"")
    assert failure(os.listxattr, path) == "ENOTSUP"
    for name in ("user.a", f"{STREAM}a"):
        assert failure(os.getxattr, path, name) == "ENOTSUP"
        assert failure(os.setxattr, path, name, b"1") == "ENOTSUP"
    assert len(os.getxattr(path, "user.cifs.dosattrib")) == 4
    path.unlink()


def test_a_mount_that_is_read_only(server: Smbd, mount: Callable[..., Mount]) -> None:
    (server.shares["share"].path / "ro").write_bytes(b"")
    path = mount(server, "share", ro=True).path / "ro"
    assert failure(os.setxattr, path, "user.a", b"1") == "EROFS"
    assert failure(os.removexattr, path, "user.a") == "EROFS"


@with_unix
def test_links_have_none(place: Place) -> None:
    link = place.path / "link"
    link.symlink_to("nowhere")
    assert os.listxattr(link, follow_symlinks=False) == []
