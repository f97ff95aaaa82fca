"""git: thousands of small files, renames over lock files, memory-mapped packs, and an index that trusts stat(2)."""

from __future__ import annotations

import random
from pathlib import Path

from tests.programs.outcome import Outcome, Steps, same
from tests.programs.place import Place, run

_QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
_WHO = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "gc.auto=0")


def git(repository: Path, *arguments: str | Path) -> str:
    # Whoever owns the share's files, git is to work on them.
    return run("git", "-c", f"safe.directory={repository}", *_WHO, *arguments, cwd=repository, env=_QUIET)


def _fill(root: Path, files: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(files):
        directory = root / f"dir {number % 20}"
        directory.mkdir(exist_ok=True)
        (directory / f"file {number}.txt").write_text(f"{seed} {number} {chance.random()}\n" * chance.randint(1, 60))


def _clean(repository: Path) -> None:
    """Nothing differs, by the files' times and sizes alone."""
    same(git(repository, "status", "--porcelain"), "")


def versions(place: Place) -> Outcome:
    """Every step works on what the one before it left."""
    steps, repository = Steps(), place.path / "repository"
    repository.mkdir()
    count = place.scale.files
    with steps.step("init"):
        git(repository, "init", "--quiet", "--initial-branch=main")
    with steps.step("add"):
        _fill(repository, count, 1)
        git(repository, "add", ".")
        same(len(git(repository, "ls-files").splitlines()), count)
    with steps.step("commit"):
        git(repository, "commit", "--quiet", "-m", "first")
        _clean(repository)
    with steps.step("branch"):
        git(repository, "checkout", "--quiet", "-b", "other")
        _fill(repository, count // 2, 2)
        git(repository, "rm", "--quiet", "-rf", "dir 3")
        git(repository, "mv", "dir 4", "moved")
        git(repository, "commit", "--quiet", "-a", "-m", "second")
        _clean(repository)
    with steps.step("checkout"):
        git(repository, "checkout", "--quiet", "main")
        _clean(repository)
        same(len(git(repository, "ls-files").splitlines()), count)
        git(repository, "checkout", "--quiet", "other")
        _clean(repository)
    _rewrite(steps, repository)
    _copy(steps, place, repository)
    return steps.outcome


def _rewrite(steps: Steps, repository: Path) -> None:
    with steps.step("merge, stash, rebase"):
        git(repository, "checkout", "--quiet", "-b", "third", "main")
        (repository / "new").write_text("on the third branch\n")
        git(repository, "add", "new")
        git(repository, "stash")
        _clean(repository)
        git(repository, "stash", "pop")
        git(repository, "commit", "--quiet", "-m", "third")
        git(repository, "rebase", "--quiet", "other")
        git(repository, "checkout", "--quiet", "main")
        git(repository, "merge", "--quiet", "--no-ff", "-m", "merged", "third")
        _clean(repository)
    with steps.step("gc"):
        git(repository, "gc", "--quiet", "--prune=now")
        same(len(list((repository / ".git/objects/pack").glob("*.pack"))), 1)
    with steps.step("fsck"):
        # What it has to say of an object it says with status 0.
        same(git(repository, "fsck", "--full", "--strict", "--no-progress"), "")
    with steps.step("worktree"):
        git(repository, "worktree", "add", "--quiet", "../worktree", "other")
        _clean(repository.with_name("worktree"))
        git(repository, "worktree", "remove", "../worktree")


def _copy(steps: Steps, place: Place, repository: Path) -> None:
    there, back = place.local / "clone", place.path / "clone"
    with steps.step("clone from here"):
        git(place.local, "-c", f"safe.directory={repository}/.git", "clone", "--quiet", "--no-local", repository, there)
        git(there, "fsck", "--full", "--no-progress")
    with steps.step("clone to here"):
        git(place.local, "clone", "--quiet", "--no-local", there, back)
        git(back, "fsck", "--full", "--no-progress")
        _clean(back)
    with steps.step("clone within, hard links"):
        git(place.path, "-c", f"safe.directory={back}/.git", "clone", "--quiet", "--local", back, place.path / "linked")
        _clean(place.path / "linked")
    with steps.step("fetch and push"):
        (back / "pushed").write_text("by a clone\n")
        git(back, "add", "pushed")
        git(back, "commit", "--quiet", "-m", "pushed")
        git(back, "push", "--quiet", "origin", "HEAD:refs/heads/pushed")
        git(there, "push", "--quiet", repository, "pushed")
        same(git(repository, "rev-parse", "pushed"), git(back, "rev-parse", "HEAD"))
