"""What the project promises first: whole trees go in and come back, by the tools that people use."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.samba.smbd import Share, Smbd
from tests.support.mount import Mount

LIMIT = 120.0
FILES = 500
LARGE = (20 << 20, 5 << 20, (1 << 20) + 1, 65_537)
NAMES = (
    "plain{}",
    "with blanks {}  in it",
    "日本語のファイル{}",
    "🐧{}🎉",
    "cafe\u0301 {}",
    "Grüße {}.TXT",
    ".hidden{}",
    "{} quotes ' \" and * stars?",
    "{:x<200}",
)
DIRECTORIES = ("", "docs", "docs/old stuff", "写真", "🗂/deep/er", "cafe\u0301", "d" * 200)


@dataclass(frozen=True)
class Tree:
    """500 files, their digests in a file for sha256sum, and times that are not now."""

    path: Path
    sums: Path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    base = tmp_path_factory.mktemp("tree")
    root = base / "tree"
    numbers = random.Random(2)
    lines = []
    for directory in DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        size = LARGE[number] if number < len(LARGE) else min(int(numbers.expovariate(1 / 6000)), 300_000) * (number > 9)
        path = root / DIRECTORIES[number % len(DIRECTORIES)] / NAMES[number % len(NAMES)].format(number)
        content = numbers.randbytes(size)
        path.write_bytes(content)
        path.chmod(numbers.choice((0o644, 0o600, 0o755, 0o444)))
        time_ns = numbers.randrange(10**15, 17 * 10**15) * 100
        os.utime(path, ns=(time_ns, time_ns))
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {path.relative_to(root)}\n")
    (base / "sums").write_text("".join(lines))
    return Tree(root, base / "sums")


@pytest.fixture(params=["unix", "nounix"])
def share(request: pytest.FixtureRequest, mount: Callable[..., Mount], samba: Smbd) -> Iterator[Path]:
    """A directory of its own on a mount."""
    made = mount(samba, **({"nounix": True} if request.param == "nounix" else {}))
    directory = made.path / f"trees-{made.pid}"
    directory.mkdir()
    yield directory
    shutil.rmtree(samba.shares["share"].path / directory.name, ignore_errors=True)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that must go well. Raises AssertionError with its output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LIMIT,
        env={**os.environ, "LC_ALL": "C.UTF-8", **GIT},
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


GIT = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def times(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_copied_in_read_back_and_removed(share: Path, tree: Tree) -> None:
    run("cp", "-a", tree.path, share / "copy")
    run("diff", "-r", tree.path, share / "copy")
    run("sha256sum", "--quiet", "-c", tree.sums, cwd=share / "copy")
    assert times(share / "copy") == times(tree.path)
    run("rsync", "-a", f"{tree.path}/", share / "sync")
    run("diff", "-r", tree.path, share / "sync")
    assert times(share / "sync") == times(tree.path)
    again = run("rsync", "-ai", f"{tree.path}/", share / "sync")
    assert [line for line in again.splitlines() if line.startswith(">")] == []  # nothing is sent twice
    for name in ("copy", "sync"):
        run("rm", "-r", "-f", share / name)
    assert os.listdir(share) == []


def test_eight_processes_at_once(share: Path, tree: Tree) -> None:
    def work(number: int) -> None:
        mine = share / f"process {number}"
        run("cp", "-a", tree.path / "docs/old stuff", mine)
        run("diff", "-r", tree.path / "docs/old stuff", mine)
        run("cp", "-r", mine, f"{mine} again")
        run("diff", "-r", tree.path / "docs/old stuff", f"{mine} again")
        run("rm", "-r", "-f", mine)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sorted(os.listdir(share)) == [f"process {number} again" for number in range(8)]


def test_eight_processes_read_one_large_file(share: Path, tree: Tree) -> None:
    (share / "large").write_bytes(content := (tree.path / "plain0").read_bytes())
    assert len(content) == 20 << 20
    with ThreadPoolExecutor(8) as pool:
        sums = set(pool.map(lambda _: run("sha256sum", share / "large"), range(8)))
    assert sums == {f"{hashlib.sha256(content).hexdigest()}  {share / 'large'}\n"}


def test_tar(share: Path, tree: Tree) -> None:
    run("tar", "--format=posix", "-cf", share / "archive.tar", "-C", tree.path, "docs")
    (share / "out").mkdir()
    run("tar", "-xf", share / "archive.tar", "-C", share / "out")
    run("diff", "-r", tree.path / "docs", share / "out" / "docs")
    assert times(share / "out" / "docs") == times(tree.path / "docs")


def test_an_editors_save(share: Path) -> None:
    """Write beside, fsync, rename over, fsync the directory; and the other way: keep the old one as a backup."""
    document = share / "document.odt"
    document.write_text("version 0")
    for number in range(1, 20):
        with open(document) as reading:  # somebody looks at the old one
            reading.read(1)
        temporary = share / f".~{document.name}{number % 2 or ''}"
        with temporary.open("w") as file:
            file.write(f"version {number}")
            file.flush()
            os.fsync(file.fileno())
        if number % 3 == 0:
            document.rename(share / "document.odt~")
        temporary.rename(document)
        handle = os.open(share, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)
        assert document.read_text() == f"version {number}"
    assert sorted(os.listdir(share)) == ["document.odt", "document.odt~"]
    assert (share / "document.odt~").read_text() == "version 17"


def test_two_mounts_of_one_share_agree(
    make_smbd: Callable[..., Smbd], mount: Callable[..., Mount], tmp_path: Path
) -> None:
    """Each writes what the other reads, right after close, with the names known to both."""
    (tmp_path / "served").mkdir()
    server = make_smbd([Share(name="share", path=tmp_path / "served")])
    first, second = mount(server).path / "f", mount(server, nounix=True).path / "f"
    for number in range(10):
        writing, reading = (first, second) if number % 2 else (second, first)
        writing.write_bytes(b"%d" % number * 1000)
        assert reading.read_bytes() == b"%d" % number * 1000
