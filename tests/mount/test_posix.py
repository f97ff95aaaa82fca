"""The POSIX suite, on each kind of mount against each kind of server."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.mount.posix import CHECKS, Check, Place
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount

pytestmark = [pytest.mark.samba, pytest.mark.fuse]


@dataclass(frozen=True)
class Kind:
    """A mount's options, and the server's if it takes one of its own."""

    unix: bool = True
    options: Mapping[str, object] = field(default_factory=dict)
    server: Mapping[str, str] | None = None


KINDS = {
    "unix": Kind(),
    "nounix": Kind(unix=False, options={"nounix": True}),
    "uncached": Kind(options={"actimeo": 0}),
    "uncached-nounix": Kind(unix=False, options={"actimeo": 0, "nounix": True}),
    "signed": Kind(server={"server signing": "mandatory"}),
    "plain-server": Kind(unix=False, server={"unix extensions": "no"}),
}

WITH_UNIX = [name for name, kind in KINDS.items() if kind.unix]
AS_ROOT = os.geteuid() == 0
ANYWHERE = [check for check in CHECKS if check.applies(unix=False, root=AS_ROOT)]
UNIX_ONLY = [check for check in CHECKS if check.unix and check.applies(unix=True, root=AS_ROOT)]


def of(check: Check) -> str:
    return check.name


@dataclass
class Live:
    """A mount of one kind, and where its share lies."""

    mount: Mount
    share: Path
    kind: Kind
    seen: int = 0
    """Lines of the log that earlier tests have answered for."""

    @property
    def lifetime(self) -> float:
        return float(str(self.kind.options.get("actimeo", 1)))

    def new_trouble(self) -> list[str]:
        lines = self.mount.guard.unexpected_lines(self.mount.log())
        new, self.seen = lines[self.seen :], len(lines)
        return new


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest, samba: Smbd) -> Iterator[Live]:
    kind = KINDS[request.param]
    with ExitStack() as stack:
        # Not pytest's directories: those let nobody else in, and a check looks as another user.
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-posix-")))
        for path in (base, base / "mnt", base / "share"):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        server = samba
        if kind.server is not None:
            server = stack.enter_context(Smbd([Share(name="share", path=base / "share")], options=kind.server))
        mount = Mount.of(server, "share", base / "mnt", kind.options)
        mount.start()
        stack.callback(mount.umount)
        yield Live(mount, server.shares["share"].path, kind)


@pytest.fixture
def place(live: Live, request: pytest.FixtureRequest) -> Iterator[Place]:
    name = f"{request.node.callspec.params['check'].name}-{live.mount.pid}"
    behind = live.share / name
    path = live.mount.path / name
    path.mkdir()
    try:
        yield Place(path, behind, live.kind.unix, live.lifetime)
    finally:
        if len(os.listdir(behind)) < 500:
            shutil.rmtree(path, ignore_errors=True)  # by the mount, which is worth a test
        shutil.rmtree(behind, ignore_errors=True)
    trouble = live.new_trouble()
    assert not trouble, live.mount.log()[-20_000:]


@pytest.mark.parametrize("check", ANYWHERE, ids=of)
@pytest.mark.parametrize("live", KINDS, indirect=True, scope="module")
def test_posix(place: Place, check: Check) -> None:
    check.run(place)


@pytest.mark.parametrize("check", UNIX_ONLY, ids=of)
@pytest.mark.parametrize("live", WITH_UNIX, indirect=True, scope="module")
def test_with_unix_extensions(place: Place, check: Check) -> None:
    check.run(place)


def test_numbers_are_the_same_after_a_remount(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    share = tmp_path / "share"
    (share / "d").mkdir(parents=True)
    for number in range(20):
        (share / "d" / f"f{number}").write_bytes(b"")
    server = make_smbd([Share(name="share", path=share)])
    for options in ({}, {"nounix": True}):
        seen = []
        for _ in range(2):
            made = mount(server, **options)
            inside = sorted(made.path.rglob("*"), key=lambda path: -len(path.name))
            seen.append({path.relative_to(made.path): path.stat().st_ino for path in inside})
            made.umount()
        assert seen[0] == seen[1]
        assert len(set(seen[0].values())) == 21
