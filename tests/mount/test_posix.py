"""The POSIX suite: on the local disk, which proves it, and on each kind of mount against each kind of server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.outcomes import Outcomes
from tests.mount.posix import CHECKS, Check, Place, does_not_hold
from tests.mount.stage import KINDS, Stage, Theatre
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

CASES = [
    pytest.param(name, check, id=f"{name}-{check.name}")
    for name, kind in KINDS.items()
    for check in CHECKS
    if kind.runs(check)
]


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with Theatre() as made:
        yield made


@pytest.fixture
def stage(request: pytest.FixtureRequest, theatre: Theatre) -> Stage:
    # Not by pytest's own parametrized fixtures, which would sort the tests by check and begin each anew.
    return theatre.stage(request.param)


@pytest.fixture
def place(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Place]:
    name = request.node.callspec.params["check"].name
    path, behind = stage.path / name, stage.behind / name
    path.mkdir()
    path.chmod(0o755)
    try:
        yield Place(path, behind, stage.kind.unix, stage.lifetime, stage.elsewhere)
    finally:
        if len(os.listdir(behind)) < 500:
            shutil.rmtree(path, ignore_errors=True)  # by the mount, which is worth a test
        shutil.rmtree(behind, ignore_errors=True)
    eventually(lambda: not stage.left_behind(), 5, "files that were open when they lost their name are gone")
    assert not (trouble := stage.trouble()), trouble


@pytest.mark.parametrize(("stage", "check"), CASES, indirect=["stage"])
def test_posix(place: Place, stage: Stage, check: Check, outcomes: Outcomes, request: pytest.FixtureRequest) -> None:
    instead = stage.kind.expects(check)
    if instead:
        with does_not_hold(instead):
            check.run(place)
    else:
        check.run(place)
    outcomes.note(request.node.callspec.params["stage"], check, holds=not instead)


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
