"""Fixtures of tests with real mounts; `mount`, `samba` and `make_smbd` come from tests/conftest.py."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mount import PROGRAM

pytest.register_assert_rewrite("tests.mount.posix")  # so that its failed checks show their values
from tests.mount.outcomes import Outcomes  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
HELPERS = (Path("/sbin/mount.smbfuse"), Path("/sbin/mount.fuse.smbfuse"))


@pytest.fixture(scope="session")
def outcomes() -> Outcomes:
    """What the POSIX suite found out in this run."""
    return Outcomes()


@pytest.fixture
def mount_helpers() -> Iterator[None]:
    """Make `mount -t smbfuse` and `mount -t fuse.smbfuse` run this checkout's program (needs root).

    mount(8) looks in /sbin only, so the links are put there by the make target that a user would call, for as long as
    the test runs. What was there before comes back. One test at a time on a machine has them.
    """
    with open("/run/lock/smbfuse-test-helpers", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = {path: path.readlink() for path in HELPERS if path.is_symlink()}
        make("install-links")
        try:
            assert all(path.resolve() == PROGRAM.resolve() for path in HELPERS)
            yield
        finally:
            make("uninstall-links")
            for path, target in before.items():
                path.symlink_to(target)


def make(target: str) -> None:
    # MAKEFLAGS of an outer make name a job server that we have no part in.
    subprocess.run(
        ["env", "-u", "MAKEFLAGS", "make", target], cwd=REPOSITORY, check=True, capture_output=True, timeout=60
    )
