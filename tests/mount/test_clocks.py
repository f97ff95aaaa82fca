"""A server whose clock is hours away from ours: what is "now" on its files is for it to say."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.mount.posix import Place
from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

HOURS = {"ahead": 3 * 3600.0, "behind": -5 * 3600.0}
LONG_AGO = 10**18
NEAR = 5.0
"""Seconds that a test may take between two times that it takes for the same."""


@pytest.fixture(scope="module", params=HOURS)
def server(request: pytest.FixtureRequest) -> Iterator[Smbd]:
    with tempfile.TemporaryDirectory(prefix="smbfuse-clocks-") as name:
        share = Path(name) / "share"
        share.mkdir()
        for path in (share.parent, share):
            path.chmod(0o755)
        with Smbd([Share(name="share", path=share)], clock_ahead=HOURS[request.param]) as made:
            yield made


@pytest.fixture(scope="module", params=["unix", "nounix"])
def mounted(request: pytest.FixtureRequest, server: Smbd) -> Iterator[Mount]:
    with ExitStack() as stack:
        mountpoint = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-mnt-")))
        yield stack.enter_context(Mount.of(server, "share", mountpoint, {"nounix": request.param == "nounix"}))


@pytest.fixture
def place(mounted: Mount, server: Smbd, request: pytest.FixtureRequest) -> Place:
    name = request.node.name
    (mounted.path / name).mkdir()
    return Place(mounted.path / name, server.shares["share"].path / name, "nounix" not in name, 1)


Now = Callable[[float], bool]


@pytest.fixture
def is_now(server: Smbd) -> Now:
    """Whether this is about the time that the server's clock shows."""
    return lambda seconds: abs(seconds - time.time() - server.clock_ahead) < NEAR


def old(path: Path) -> Path:
    path.touch()
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


def test_what_is_written_has_the_servers_time(place: Place, is_now: Now) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    assert is_now(path.stat().st_mtime)
    assert is_now(place.path.stat().st_mtime)
    assert abs((place.behind / "f").stat().st_mtime - time.time()) < NEAR  # so the server has a clock of its own


def test_touch_says_now_as_the_server_would(place: Place, is_now: Now) -> None:
    path = old(place.path / "f")
    os.utime(path)
    assert is_now(path.stat().st_mtime)
    assert is_now(path.stat().st_atime)
    (place.path / "later").write_bytes(b"x")
    assert path.stat().st_mtime_ns <= (place.path / "later").stat().st_mtime_ns


def test_touch_of_one_time_leaves_the_other(place: Place, is_now: Now) -> None:
    path = old(place.path / "f")
    subprocess.run(["touch", "-m", path], check=True)
    assert is_now(path.stat().st_mtime)
    assert path.stat().st_atime_ns == LONG_AGO
    path = old(place.path / "g")
    subprocess.run(["touch", "-a", path], check=True)
    assert is_now(path.stat().st_atime)
    assert path.stat().st_mtime_ns == LONG_AGO


def test_touch_of_an_open_file(place: Place, is_now: Now) -> None:
    path = old(place.path / "f")
    with path.open("r+b") as file:
        os.utime(file.fileno())
        assert is_now(os.fstat(file.fileno()).st_mtime)
    assert is_now(path.stat().st_mtime)


def open_truncated(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def ftruncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(0)


@pytest.mark.parametrize("how", [open_truncated, truncate, ftruncate])
@pytest.mark.parametrize("content", [b"", b"content"], ids=["empty", "filled"])
def test_truncating_dates_a_file(place: Place, is_now: Now, how: Callable[[Path], None], content: bytes) -> None:
    """Also one that was empty: `> stamp` is a touch."""
    path = place.path / "f"
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    how(path)
    assert path.stat().st_size == 0
    assert is_now(path.stat().st_mtime)


def test_times_that_a_program_names_are_kept(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    mine = time.time_ns() // 100 * 100
    os.utime(path, ns=(mine, mine))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (mine, mine)


MAKEFILE = """
result: source stamp
	cat source > result
stamp:
	> stamp
"""


def test_make_builds_what_is_older_and_nothing_else(place: Place) -> None:
    (place.path / "Makefile").write_text(MAKEFILE)
    (place.path / "source").write_text("one")
    command = ["env", "-u", "MAKEFLAGS", "make", "-s", "-C", str(place.path)]  # an outer make's are not for this one

    def built() -> bool:
        before = (place.path / "result").stat().st_mtime_ns if (place.path / "result").exists() else 0
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return (place.path / "result").stat().st_mtime_ns != before

    assert built()
    assert not built()
    for dated in ("source", "stamp"):
        subprocess.run(["touch", place.path / dated], check=True)
        assert built(), dated
        assert not built(), dated


def test_rsync_finds_nothing_to_do_the_second_time(place: Place, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    command = ["rsync", "-rti", f"{tmp_path}/", f"{place.path}/"]
    assert "a" in subprocess.check_output(command, text=True)
    assert subprocess.check_output(command, text=True) == ""


@pytest.fixture
def set_clock(server: Smbd) -> Iterator[Callable[[float], None]]:
    """Set the server's clock, by so many seconds, for a test."""
    before = server.clock_ahead
    yield lambda seconds: server.set_clock(server.clock_ahead + seconds)
    server.set_clock(before)


@pytest.mark.parametrize("way", [1, -1], ids=["forward", "back"])
def test_a_clock_that_is_set_is_heeded_from_the_next_new_file_on(
    place: Place, is_now: Now, set_clock: Callable[[float], None], way: int
) -> None:
    path = old(place.path / "f")
    set_clock(way * 7200)
    (place.path / "new").touch()
    path.touch()
    assert is_now(path.stat().st_mtime)


def test_a_new_file_is_not_touched_before_it_was_made(place: Place, set_clock: Callable[[float], None]) -> None:
    """As if the server's answer about its time had been late by that much."""
    set_clock(0.5)
    path = place.path / "f"
    with path.open("xb") as file:
        made = os.fstat(file.fileno()).st_ctime_ns
    path.touch()
    assert made <= path.stat().st_mtime_ns
