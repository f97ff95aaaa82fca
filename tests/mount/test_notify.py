"""The server tells of what other machines change: a mount that keeps names and attributes for long shows it at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually
from tests.support.told import told

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

LIFETIME = 40
"""Seconds for which names and attributes would be kept without notices."""
SOON = 10.0
"""Seconds that a loaded machine may take; 50 ms on an idle one."""


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """Where it lies on the server's disk, of which smbd does not hear."""
    path = tmp_path / "share"
    (path / "top" / "sub").mkdir(parents=True)
    return path


@pytest.fixture
def server(make_smbd: Callable[..., Smbd], share: Path) -> Smbd:
    return make_smbd([Share(name="share", path=share)])


@pytest.fixture(params=["unix", "nounix"])
def machines(request: pytest.FixtureRequest, server: Smbd, mount: Callable[..., Mount]) -> tuple[Path, Path]:
    """The same directory, three levels below the share's root, on the mount and on another machine's."""
    options: dict[str, object] = {} if request.param == "unix" else {"nounix": True}
    mounted = mount(server, "share", actimeo=LIFETIME, **options)
    mounted.guard.expect("connecting again$|connected again after")
    here = mounted.path
    other = mount(server, "share", **options)
    other.guard.expect("connecting again$|connected again after")
    there = other.path
    armed(here, there)
    return here / "top" / "sub", there / "top" / "sub"


def armed(here: Path, there: Path) -> None:
    """Have the server watch: a change is seen. Until then a listing hides it, and each try makes another name."""
    tries = iter(range(1000))

    def seen() -> bool:
        name = f"try{next(tries)}"
        assert name not in os.listdir(here)
        (there / name).touch()
        return eventually_true(lambda: name in os.listdir(here), 1.0)

    eventually(seen, SOON, "the server watches")


def eventually_true(condition: Callable[[], bool], seconds: float) -> bool:
    try:
        eventually(condition, seconds, "")
    except TimeoutError:
        return False
    return True


def soon(condition: Callable[[], bool], what: str) -> None:
    eventually(condition, SOON, what)


def test_a_name_appears(machines: tuple[Path, Path]) -> None:
    here, there = machines
    assert os.listdir(here) == []
    assert not (here / "new").exists()
    (there / "new").write_bytes(b"data")
    soon(lambda: (here / "new").exists(), "the name is found")
    assert (here / "new").read_bytes() == b"data"
    assert os.listdir(here) == ["new"]
    (there / "dir").mkdir()
    soon(lambda: (here / "dir").is_dir(), "the directory is found")


def test_a_name_disappears(machines: tuple[Path, Path]) -> None:
    here, there = machines
    (there / "file").touch()
    (there / "dir").mkdir()
    soon(lambda: sorted(os.listdir(here)) == ["dir", "file"], "both are listed")
    (here / "file").stat(), (here / "dir").stat()
    (there / "file").unlink()
    (there / "dir").rmdir()
    soon(lambda: not (here / "file").exists(), "the file is gone")
    soon(lambda: not (here / "dir").exists(), "the directory is gone")
    soon(lambda: os.listdir(here) == [], "nothing is listed")


def test_a_file_gets_another_name(machines: tuple[Path, Path]) -> None:
    here, there = machines
    (there / "old").write_bytes(b"x")
    soon(lambda: (here / "old").exists(), "the file is there")
    assert not (here / "new").exists()
    (there / "old").rename(there / "new")
    soon(lambda: (here / "new").exists() and not (here / "old").exists(), "the new name is there, the old one is not")
    (there / "new").rename(there.parent / "moved")
    soon(lambda: (here.parent / "moved").exists() and not (here / "new").exists(), "it is in another directory")


def test_a_file_is_replaced(machines: tuple[Path, Path]) -> None:
    here, there = machines
    (there / "file").write_bytes(b"old")
    soon(lambda: (here / "file").exists(), "the file is there")
    assert (here / "file").read_bytes() == b"old"
    for content in (b"other", b"again"):
        (there / "next").write_bytes(content)
        (there / "next").rename(there / "file")
        soon(lambda content=content: (here / "file").read_bytes() == content, "the new file is read")  # type: ignore[misc]


def test_attributes_change(machines: tuple[Path, Path]) -> None:
    """What a write does to size and time smbd 4.17 tells nobody, nor what a chmod by the UNIX extensions does."""
    here, there = machines
    unix = os.getxattr(here, "smb.path").startswith(b"/")
    (there / "file").write_bytes(b"data")
    soon(lambda: (here / "file").exists(), "the file is there")
    if not unix:
        (there / "file").chmod(0o444)
        soon(lambda: (here / "file").stat().st_mode & 0o222 == 0, "it is read-only")
        (there / "file").chmod(0o644)
        soon(lambda: (here / "file").stat().st_mode & 0o200 != 0, "it may be written")
    os.utime(there / "file", (10**9, 10**9))
    soon(lambda: (here / "file").stat().st_mtime == 10**9, "its time is the new one")
    os.truncate(there / "file", 3)
    soon(lambda: (here / "file").stat().st_size == 3, "it has shrunk")


def test_a_directory_that_is_open_shows_what_comes(machines: tuple[Path, Path]) -> None:
    here, there = machines
    for number in range(300):
        (there / f"f{number}").touch()
    soon(lambda: len(os.listdir(here)) == 300, "all are listed")
    with os.scandir(here) as entries:
        seen = {next(entries).name}
        (there / "late").touch()
        soon(lambda: (here / "late").exists(), "the name is found")
        seen |= {entry.name for entry in entries}
    assert "late" in seen
    assert len(seen) == 301


def test_a_program_stays_in_its_directory(machines: tuple[Path, Path]) -> None:
    """Notices about a directory that is there take it away from nobody."""
    here, there = machines
    (there / "work").mkdir()
    soon(lambda: (here / "work").is_dir(), "the directory is there")
    (here / "work" / "made").mkdir()
    inside = os.open(here / "work" / "made", os.O_RDONLY)
    try:
        (there / "work" / "made" / "file").touch()
        (there / "work" / "other").touch()
        soon(lambda: (here / "work" / "made" / "file").exists(), "the file is found")
        assert os.readlink(f"/proc/self/fd/{inside}") == str(here / "work" / "made")
    finally:
        os.close(inside)


def test_much_happens_at_once(machines: tuple[Path, Path]) -> None:
    """More than a notice can hold."""
    here, there = machines
    (there / "many").mkdir()
    soon(lambda: (here / "many").is_dir(), "the directory is there")
    assert os.listdir(here / "many") == []
    for number in range(1500):
        (there / "many" / f"{number:04}{'x' * 150}").touch()
    soon(lambda: len(os.listdir(here / "many")) == 1500, "all are listed")


def test_after_a_lost_connection_all_is_asked_anew(machines: tuple[Path, Path], server: Smbd, share: Path) -> None:
    """Nobody tells what happened meanwhile; what happens then is told again."""
    here, there = machines
    behind = share / "top" / "sub"
    for name in ("gone", "grown"):
        (there / name).touch()
    armed(here.parent, there.parent)  # so all is told that was done to them
    soon(lambda: sorted(os.listdir(here)) == ["gone", "grown"], "both are there")
    assert not (here / "new").exists()
    (behind / "new").touch()
    (behind / "gone").unlink()
    (behind / "grown").write_bytes(b"more")
    assert not (here / "new").exists()
    assert (here / "gone").exists()
    assert (here / "grown").stat().st_size == 0
    server.drop_clients()
    soon(lambda: (here / "new").exists(), "the new name is found")
    soon(lambda: not (here / "gone").exists(), "the other is missed")
    soon(lambda: (here / "grown").stat().st_size == 4, "the size is seen")
    armed(here, there)


def test_what_is_kept_is_told(machines: tuple[Path, Path]) -> None:
    here, there = machines
    before = told(here)
    assert before["kept for"] == f"{LIFETIME} s at most"
    assert before["directories watched"] == "1"
    (there / "new").touch()
    soon(lambda: int(told(here)["changes told"]) > int(before["changes told"]), "the change is counted")
    (here / "ours").mkdir()
    soon(lambda: told(here)["of these, our own names"] != before["of these, our own names"], "ours is known as ours")
    assert sorted(os.listdir(here)) == sorted(os.listdir(here)) == ["new", "ours"]
    assert int(told(here)["served, it is younger than actimeo"]) > 0


def test_names_of_ours_are_no_news_anywhere_above_them(machines: tuple[Path, Path]) -> None:
    """Servers join names by backslashes, which a name may hold on a server with POSIX paths."""
    here, _ = machines
    deep = here / "one" / "two"
    deep.mkdir(parents=True)
    made = [here.stat(), deep.parent.stat()]
    before = told(here)
    for number in range(60):
        (deep / f"d{number}").mkdir()
    soon(
        lambda: int(told(here)["of these, our own names"]) >= int(before["of these, our own names"]) + 60,
        "all are known as ours",
    )
    assert [here.stat(), deep.parent.stat()] == made
    # The other machine's changes, by which the watch was seen to begin, may still be told of.
    asked = [int(facts["asked, the server told of a change"]) for facts in (before, told(here))]
    assert asked[1] <= asked[0] + 3


def test_a_name_with_a_backslash_appears(machines: tuple[Path, Path]) -> None:
    here, there = machines
    if not os.getxattr(here, "smb.path").startswith(b"/"):
        (there / "a").mkdir()  # there a backslash has another place in the server's name
    assert not (here / "a\\b").exists()
    (there / "a\\b").touch()
    soon(lambda: (here / "a\\b").exists(), "the name is found")
    (there / "c").mkdir()
    soon(lambda: (here / "c").is_dir(), "the directory is found")
    assert not (here / "c" / "d").exists()
    (there / "c\\d").touch()  # told of in the same words as what follows, which is by far the likelier
    (there / "c" / "d").touch()
    soon(lambda: (here / "c" / "d").exists(), "what is in the directory is found")
