"""The server works as an ordinary account: what root may do to any file, it may not."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.samba.smbd import Share, Smbd, User
from tests.support.mount import Mount

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

ACCOUNT = "daemon" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
"""One that every Debian has; one who is not root is ordinary himself."""


@pytest.fixture
def share() -> Iterator[Path]:
    """A directory of that account's; not pytest's, which let nobody else in."""
    with tempfile.TemporaryDirectory(prefix="smbfuse-accounts-") as directory:
        account = pwd.getpwnam(ACCOUNT)
        os.chown(directory, account.pw_uid, account.pw_gid)
        yield Path(directory)


@pytest.fixture(params=["unix", "nounix"])
def directory(
    request: pytest.FixtureRequest, share: Path, make_smbd: Callable[..., Smbd], mount: Callable[..., Mount]
) -> Path:
    """The share, mounted."""
    server = make_smbd([Share(name="share", path=share)], users=[User(account=ACCOUNT)])
    return mount(server, **{request.param: True}).path


@pytest.mark.parametrize("mode", [0o444, 0o555, 0o000])
def test_read_only_files_are_renamed(directory: Path, mode: int) -> None:
    """As git does with each pack: it is the directory that must be writable."""
    path, free, taken, below = directory / "file", directory / "free", directory / "taken", directory / "d" / "file"
    below.parent.mkdir()
    path.write_bytes(b"content")
    taken.write_bytes(b"old")
    for file in (path, taken):
        file.chmod(mode)
    path.rename(free)
    free.rename(taken)
    taken.rename(below)
    assert os.listdir(directory) == ["d"]
    below.chmod(0o644)
    assert below.read_bytes() == b"content"


@pytest.mark.skipif(os.geteuid() != 0, reason="files of two owners take root")
@pytest.mark.parametrize("command", ["printf x >> file", "printf x > file", "truncate -s 1 file"])
def test_who_writes_to_anothers_privileged_file_takes_the_privileges_from_it(
    share: Path, make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], command: str
) -> None:
    """The mount's user may write to it and may not change its mode: the server's kernel does that."""
    file = share / "file"
    file.write_bytes(b"")
    file.chmod(0o6777)
    server = make_smbd([Share(name="share", path=share)], users=[User(account=ACCOUNT)])
    path = mount(server, allow_other=True).path
    path.parent.chmod(0o755)
    assert (path / "file").stat().st_mode & 0o7777 == 0o6777
    subprocess.run(
        ["sh", "-c", command], cwd=path, check=True, user=ACCOUNT, group=ACCOUNT, extra_groups=[], timeout=60
    )
    assert file.read_bytes() == (b"\0" if "truncate" in command else b"x")
    assert file.stat().st_mode & 0o7777 == 0o777
    assert (path / "file").stat().st_mode & 0o7777 == 0o777
