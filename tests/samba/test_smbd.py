"""The server fixture itself: it serves, it is private, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.samba.content import FILES, NEWER, OLDER, PRESENT_FILES, SNAPSHOT_FILES, write_files
from tests.samba.ports import PortClaim
from tests.samba.smbd import Share, SmbclientError, Smbd, User
from tests.support.processes import Process, eventually, processes, wait_gone

pytestmark = pytest.mark.samba

MakeSmbd = Callable[..., Smbd]


@pytest.fixture
def idle_client(samba: Smbd) -> Iterator[socket.socket]:
    """A connection that says nothing."""
    with socket.create_connection((samba.address, samba.port), timeout=10) as client:
        yield client


def marked(server: Smbd) -> list[Process]:
    mark = f"SMBFUSE_TEST_SMBD={server.directory}".encode()
    return [process for process in processes() if mark in process.environment()]


def family(server: Smbd) -> list[int]:
    return [process.pid for process in marked(server)]


def states(server: Smbd) -> set[str]:
    return {process.state for process in marked(server)}


def test_lists_its_shares(samba: Smbd) -> None:
    assert samba.list_shares() == ["share", "snaps", "readonly"]


def test_serves_every_name_and_content(samba: Smbd, tmp_path: Path) -> None:
    for number, (name, content) in enumerate(FILES.items()):
        local = tmp_path / str(number)
        samba.smbclient(f'get "{name.replace("/", chr(92))}" {local}')
        assert local.read_bytes() == content


def test_takes_files(samba: Smbd, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"up there")
    samba.smbclient(f"lcd {tmp_path}; mkdir taken; put up taken\\up")
    assert (samba.shares["share"].path / "taken/up").read_bytes() == b"up there"
    samba.smbclient("deltree taken")
    assert not (samba.shares["share"].path / "taken").exists()


def test_read_only_share_stays_as_it_is(samba: Smbd) -> None:
    assert "MEDIA_WRITE_PROTECTED" in samba.smbclient("mkdir new", share="readonly")
    assert not (samba.shares["readonly"].path / "new").exists()


def test_snapshots_are_listed_newest_first(samba: Smbd) -> None:
    listing = samba.smbclient("allinfo report.txt", share="snaps")
    assert OLDER in listing
    assert NEWER in listing
    assert listing.index(NEWER) < listing.index(OLDER)


def test_snapshots_hold_what_was(samba: Smbd, tmp_path: Path) -> None:
    for label, files in {**SNAPSHOT_FILES, "": PRESENT_FILES}.items():
        samba.smbclient(f"lcd {tmp_path}; get {label}\\report.txt got", share="snaps")
        assert (tmp_path / "got").read_bytes() == files["report.txt"]


def test_refuses_a_wrong_password(samba: Smbd) -> None:
    with pytest.raises(SmbclientError, match="LOGON_FAILURE"):
        samba.smbclient("ls", user=User(password="wrong"))


def test_speaks_no_smb2(samba: Smbd) -> None:
    with pytest.raises(SmbclientError):
        samba._run_client(["-m", "SMB3", "--option=client min protocol=SMB2", samba.unc(), "-c", "ls"], None)


def test_two_servers_run_side_by_side(samba: Smbd, make_smbd: MakeSmbd, tmp_path: Path) -> None:
    other = make_smbd([Share(name="other", path=tmp_path)])
    assert other.port != samba.port
    assert other.list_shares() == ["other"]
    other.stop()
    assert samba.list_shares() == ["share", "snaps", "readonly"]


def test_options_override_the_configuration(make_smbd: MakeSmbd, tmp_path: Path) -> None:
    server = make_smbd([Share(name="share", path=tmp_path)], options={"unix extensions": "no"})
    with pytest.raises(SmbclientError, match="doesn't support UNIX CIFS extensions"):
        server.smbclient("posix")


def test_each_client_has_a_process(samba: Smbd, idle_client: socket.socket) -> None:
    eventually(lambda: len(samba.pids()) == 1, 10, "a process serves the client")
    samba.drop_clients()
    assert idle_client.recv(1) == b""
    assert samba.pids() == []
    assert samba.list_shares()


def test_frozen_server_answers_when_thawed(samba: Smbd) -> None:
    samba.sigstop()
    try:
        eventually(lambda: states(samba) == {"T"}, 10, "all of the server is stopped")
    finally:
        samba.sigcont()
    assert samba.list_shares()


def test_killed_server_comes_back_on_its_port(make_smbd: MakeSmbd, tmp_path: Path) -> None:
    server = make_smbd([Share(name="share", path=tmp_path)])
    port = server.port
    with socket.create_connection((server.address, port), timeout=10):
        eventually(lambda: len(server.pids()) == 1, 10, "a process serves the client")
        server.kill()
        assert family(server) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.address, port), timeout=10)
    server.restart()
    assert server.port == port
    assert server.list_shares() == ["share"]


def test_stop_leaves_nothing(make_smbd: MakeSmbd, tmp_path: Path) -> None:
    server = make_smbd([Share(name="share", path=tmp_path)])
    server.list_shares()  # starts samba-dcerpcd, which makes itself a session of its own
    with socket.create_connection((server.address, server.port), timeout=10):
        eventually(lambda: len(server.pids()) == 1, 10, "a process serves the client")
        assert len(family(server)) > 3
        server.stop()
    assert family(server) == []
    assert not server.directory.exists()


def test_children_of_a_killed_parent_are_found(make_smbd: MakeSmbd, tmp_path: Path) -> None:
    server = make_smbd([Share(name="share", path=tmp_path)])
    assert server._smbd is not None
    with socket.create_connection((server.address, server.port), timeout=10):
        eventually(lambda: len(server.pids()) == 1, 10, "a process serves the client")
        os.kill(server._smbd.pid, signal.SIGKILL)
        server._smbd.wait(10)
        server.stop()
    assert wait_gone(family(server), 0) == set()


def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such role"):
        Smbd([Share(name="share", path=tmp_path)], options={"server role": "no such role"})


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = Smbd([Share(name="share", path=tmp_path)])
    server.configuration.unlink()
    try:
        with pytest.raises(RuntimeError, match="smbd ended with status 1"):
            server.start()
    finally:
        server.stop()


def test_users_with_passwords_of_their_own(make_smbd: MakeSmbd, tmp_path: Path) -> None:
    alice = User(name="alice", password="one 1", account="daemon")
    bob = User(name="bob", password="two 2", account="bin")
    write_files(tmp_path, {"f": b"content"})
    options = {"force user": "root", "valid users": "daemon"}
    server = make_smbd([Share(name="share", path=tmp_path, options=options)], users=[alice, bob])
    assert "f" in server.smbclient("ls", user=alice)
    with pytest.raises(SmbclientError, match="ACCESS_DENIED"):
        server.smbclient("ls", user=bob)


def test_claimed_ports_differ() -> None:
    claims = [PortClaim() for _ in range(50)]
    try:
        assert len({claim.port for claim in claims}) == len(claims)
    finally:
        for claim in claims:
            claim.release()
