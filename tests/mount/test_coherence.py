"""Machines see each other's changes: A is a mount, B another mount, smbclient, or a program on the server's disk."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount
from tests.support.processes import eventually

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

KINDS: dict[str, dict[str, object]] = {"unix": {}, "nounix": {"nounix": True}}
ROUNDS = int(os.environ.get("SMBFUSE_COHERENCE_ROUNDS", "150"))
"""Of the random test; the 10,000 of a long run take some ten minutes."""
LIFETIME = 1.0
SLACK = 4.0
"""Seconds beyond the lifetime that a loaded machine may take."""


class Rival:
    """B, in the terms of what it does to files of the share."""

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        raise NotImplementedError


@dataclass
class OnDirectory(Rival):
    """By system calls: on another mount, or on the server's own disk."""

    path: Path

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def rename(self, old: str, new: str) -> None:
        (self.path / old).rename(self.path / new)


@dataclass
class BySmbclient(Rival):
    """Samba's own client, a process for each change."""

    server: Smbd
    spool: Path

    def write(self, name: str, data: bytes) -> None:
        self.spool.write_bytes(data)
        self.server.smbclient(f'put "{self.spool}" "{name}"')

    def read(self, name: str) -> bytes:
        self.server.smbclient(f'get "{name}" "{self.spool}"')
        return self.spool.read_bytes()

    def remove(self, name: str) -> None:
        self.server.smbclient(f'rm "{name}"')

    def rename(self, old: str, new: str) -> None:
        self.server.smbclient(f'rename "{old}" "{new}" -f')


@dataclass
class Pair:
    """A, B, and where the share lies."""

    a: Path
    b: Rival
    behind: Path


@pytest.fixture(params=KINDS)
def options(request: pytest.FixtureRequest) -> dict[str, object]:
    return dict(KINDS[request.param])


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


@pytest.fixture(params=["mount", "smbclient", "disk"])
def pair(
    request: pytest.FixtureRequest,
    make_smbd: Callable[..., Smbd],
    mount: Callable[..., Mount],
    options: dict[str, object],
    share: Path,
    tmp_path: Path,
) -> Pair:
    # Only with kernel oplocks does smbd hear of programs on its own disk, and only without it grants level II.
    kernel = "yes" if request.param == "disk" else "no"
    server = make_smbd([Share(name="share", path=share)], options={"kernel oplocks": kernel})
    a = mount(server, "share", **options).path
    rivals: dict[str, Callable[[], Rival]] = {
        "mount": lambda: OnDirectory(mount(server, "share", **options).path),
        "smbclient": lambda: BySmbclient(server, tmp_path / "spool"),
        "disk": lambda: OnDirectory(share),
    }
    return Pair(a, rivals[request.param](), share)


def names(path: Path) -> list[str]:
    """What is in a directory, but for hidden names of files that the other machine still had open when they went."""
    return sorted(name for name in os.listdir(path) if not name.startswith(".smbfuse"))


def soon(condition: Callable[[], bool], what: str) -> None:
    """Within the time for which names and attributes may be served from cache."""
    eventually(condition, LIFETIME + SLACK, what)


def test_data_are_seen_by_the_next_open(pair: Pair) -> None:
    """Also within the second for which attributes are kept: shorter, longer and of the same size."""
    path = pair.a / "f"
    for content in (b"one", b"two", b"longer than that", b"short", b""):
        pair.b.write("f", content)
        assert path.read_bytes() == content
        assert path.read_bytes() == content


def test_data_are_seen_by_an_open_file(pair: Pair) -> None:
    pair.b.write("f", b"a" * 5000)
    with (pair.a / "f").open("rb", buffering=0) as file:
        assert file.read(10) == b"a" * 10
        for letter in (b"b", b"c", b"d"):
            if isinstance(pair.b, OnDirectory):
                with (pair.b.path / "f").open("r+b") as other:
                    other.write(letter * 5000)
            else:
                pair.b.write("f", letter * 5000)
            # Level II is broken after the write: the notice may take a moment.
            eventually(lambda letter=letter: os.pread(file.fileno(), 5000, 0) == letter * 5000, SLACK, "new data")  # type: ignore[misc]


def test_what_waits_at_a_is_seen_by_b(pair: Pair) -> None:
    """Nobody has closed or synchronized anything: the open of the other makes A send it."""
    with (pair.a / "f").open("wb", buffering=0) as file:
        for turn in range(20):
            file.write(b"%04d" % turn)
            assert pair.b.read("f") == b"".join(b"%04d" % number for number in range(turn + 1))


def test_names_and_times_are_seen_in_time(pair: Pair) -> None:
    a = pair.a
    assert os.listdir(a) == []
    pair.b.write("new", b"x")
    soon(lambda: os.listdir(a) == ["new"] and (a / "new").exists(), "the name is there")
    pair.b.rename("new", "other")
    soon(lambda: os.listdir(a) == ["other"] and not (a / "new").exists(), "the name has changed")
    pair.b.write("third", b"xyz")
    soon((a / "third").exists, "the third name is there")
    assert (a / "third").read_bytes() == b"xyz"
    pair.b.rename("third", "other")
    soon(lambda: os.listdir(a) == ["other"], "the third name is gone")
    assert (a / "other").read_bytes() == b"xyz"
    before = (a / "other").stat().st_mtime_ns
    pair.b.write("other", b"XYZ!")
    soon(lambda: (a / "other").stat().st_size == 4, "the size is seen")
    soon(lambda: (a / "other").stat().st_mtime_ns > before, "the time is seen")
    pair.b.remove("other")
    soon(lambda: os.listdir(a) == [] and not (a / "other").exists(), "the name is gone")


@pytest.mark.parametrize("pair", ["mount", "disk"], indirect=True)
@pytest.mark.parametrize("options", ["unix"], indirect=True)
def test_modes_are_seen_in_time(pair: Pair) -> None:
    assert isinstance(pair.b, OnDirectory)
    (pair.behind / "f").write_bytes(b"x")
    path = pair.a / "f"
    assert path.read_bytes() == b"x"
    for mode in (0o640, 0o755):
        (pair.b.path / "f").chmod(mode)
        soon(lambda mode=mode: path.stat().st_mode & 0o777 == mode, "the mode is seen")  # type: ignore[misc]


def test_what_another_deleted_is_made_anew(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], share: Path, options: dict[str, object]
) -> None:
    """The kernel believes in the name as long as we let it; an open that fails makes it look again."""
    a = mount(make_smbd([Share(name="share", path=share)]), "share", actimeo=30, **options).path
    for name in ("f", "g"):
        (share / name).write_bytes(b"old")
    assert [(a / name).stat().st_size for name in sorted(os.listdir(a))] == [3, 3]
    for name in ("f", "g"):
        (share / name).unlink()
    (a / "f").write_bytes(b"new file")
    assert (share / "f").read_bytes() == b"new file"
    with pytest.raises(FileNotFoundError):
        (a / "g").read_bytes()
    assert os.listdir(a) == ["f"]


def await_notices(here: Path, there: Path, name: str) -> None:
    """Return when the server has told the other machine of all that was done here: it tells in order."""
    assert not (there / name).exists()  # from here on only the server's word shows it
    (here / name).mkdir()
    soon((there / name).exists, "the other machine is told")
    (here / name).rmdir()


@pytest.mark.parametrize("actimeo", [0, 30], ids=["asked", "told"])
def test_random_changes(
    make_smbd: Callable[..., Smbd],
    mount: Callable[..., Mount],
    share: Path,
    options: dict[str, object],
    actimeo: int,
) -> None:
    """Each side does something in turn, and what the other sees is what a plain model says: data always at once.

    Names and sizes likewise if they are asked for each time; else names, and which files they stand for, as soon as the
    server has told of them: each turn waits for that.
    """
    server = make_smbd([Share(name="share", path=share)], options={"kernel oplocks": "no"})
    share = share / "files"
    share.mkdir()
    (share.parent / "marks").mkdir()
    sides = [mount(server, "share", actimeo=actimeo, **options).path / "files" for _ in range(2)]
    model: dict[str, bytes] = {}
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    kept: dict[tuple[int, str], int] = {}  # files that a side has open for reading and writing
    late: set[str] = set()  # files of which somebody has written to such a one: stat(2) makes nobody send it

    def close(name: str) -> None:
        for side in range(2):
            if (descriptor := kept.pop((side, name), None)) is not None:
                os.close(descriptor)

    for turn in range(ROUNDS):
        side, name = dice.randrange(2), f"f{dice.randrange(4)}"
        path = sides[side] / name
        match dice.randrange(8):
            case 0 | 1:
                model[name] = dice.randbytes(dice.choice([0, 10, 5000, 200_000]))
                path.write_bytes(model[name])
            case 2 if name in model:
                more = dice.randbytes(dice.choice([1, 100, 9000]))
                with path.open("ab") as file:
                    file.write(more)
                model[name] += more
            case 3 if name in model:
                close(name)
                path.unlink()
                del model[name]
            case 4 if name in model:
                other = f"f{dice.randrange(4)}"
                close(name)
                close(other)
                path.rename(sides[side] / other)
                model[other] = model.pop(name)
            case 5 if name in model and (side, name) not in kept:
                kept[side, name] = os.open(path, os.O_RDWR)
            case 6 if (side, name) in kept:
                patch = dice.randbytes(dice.choice([1, 100, 9000]))
                at = dice.randrange(len(model[name]) + 1)
                os.pwrite(kept[side, name], patch, at)
                model[name] = model[name][:at] + patch + model[name][at + len(patch) :]
                late.add(name)
            case 7:
                close(name)
        watcher = sides[dice.randrange(2)]
        if actimeo:
            await_notices(sides[side].parent / "marks", sides[1 - side].parent / "marks", f"mark{turn}")
            soon(lambda watcher=watcher: names(watcher) == sorted(model), f"the names of turn {turn}")  # type: ignore[misc]
        assert names(watcher) == sorted(model), f"turn {turn}"
        if model:
            looked = dice.choice(sorted(model))
            if looked in late and not actimeo:
                soon(lambda at=watcher / looked: at.stat().st_size == len(model[at.name]), f"its size in turn {turn}")  # type: ignore[misc]
            elif not actimeo:
                assert (watcher / looked).stat().st_size == len(model[looked]), f"turn {turn}: {looked}"
            late.discard(looked)
            assert (watcher / looked).read_bytes() == model[looked], f"turn {turn}: {looked}"
    for name in list(model):
        close(name)
    assert {path.name: path.read_bytes() for path in share.iterdir()} == model


WRITER = """
import fcntl, os, sys
path, tag, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
slots = os.open(path + ".slots", os.O_RDWR | os.O_CREAT)
for number in range(count):
    fcntl.lockf(log, fcntl.LOCK_EX)
    os.write(log, b"%s %06d\\n" % (tag.encode(), number))
    fcntl.lockf(log, fcntl.LOCK_UN)
    os.pwrite(slots, b"%s %06d\\n" % (tag.encode(), number), 4096 * int(tag))
"""


def test_two_machines_append_and_overwrite_at_once(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], share: Path, options: dict[str, object]
) -> None:
    server = make_smbd([Share(name="share", path=share)], options={"kernel oplocks": "no"})
    count = max(ROUNDS // 3, 20)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(mount(server, "share", **options).path / "log"), str(tag), str(count)]
        )
        for tag in range(2)
    ]
    assert [writer.wait(60 + count) for writer in writers] == [0, 0]
    lines = (share / "log").read_bytes().splitlines()
    for tag in (b"0", b"1"):
        assert [line for line in lines if line.startswith(tag)] == [
            b"%s %06d" % (tag, number) for number in range(count)
        ]
    slots = (share / "log.slots").read_bytes()
    for number in range(2):
        assert slots[4096 * number :].startswith(b"%d %06d\n" % (number, count - 1))
