"""Small tools of every day, each with a habit of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.programs.outcome import Outcome, Steps, same
from tests.programs.place import Place, run

TEXT = "".join(f"line {number}\n" for number in range(20_000))
THEN = 1_000_000_000
"""Seconds since 1970."""


def tools(place: Place) -> Outcome:
    """Each step has a directory of its own, and a text in it that was written long ago."""
    steps = Steps()
    for number, (name, step) in enumerate(TOOLS.items()):
        with steps.step(name):
            directory = place.path / str(number)
            directory.mkdir()
            (directory / "file").write_text(TEXT)
            os.utime(directory / "file", (THEN, THEN))
            step(directory)
            run("rm", "-r", directory)
    return steps.outcome


def _compress(directory: Path) -> None:
    """They give the new file the times, mode and owner of the old one, which they then delete."""
    before = (directory / "file").stat()
    run("gzip", directory / "file")
    same(os.listdir(directory), ["file.gz"])
    run("gunzip", directory / "file.gz")
    after = (directory / "file").stat()
    same((directory / "file").read_text(), TEXT)
    same((after.st_mode, after.st_uid, after.st_mtime), (before.st_mode, before.st_uid, before.st_mtime))


def _shred(directory: Path) -> None:
    """Writes over the file, with fdatasync, and renames it letter by letter."""
    run("shred", "-u", "-n", "2", directory / "file")
    same(os.listdir(directory), [])


def _perl(directory: Path) -> None:
    """Unlinks the file while it reads it, and makes another of that name."""
    run("perl", "-i", "-pe", "s/^line/row/", directory / "file")
    same((directory / "file").read_text(), TEXT.replace("line", "row"))


def _flock(directory: Path) -> None:
    file = directory / "file"
    run("flock", file, "sh", "-c", '! flock -n "$0" true && ! flock -n -s "$0" true', file)
    run("flock", "-s", file, "flock", "-s", "-n", file, "true")


def _tail(directory: Path) -> None:
    """Follows what another process appends; it is told by inotify."""
    log = directory / "log"
    log.touch()
    follow = 'tail -n +1 -f "$0" | head -n 3 >"$0.seen" & for i in 1 2 3; do echo $i >>"$0"; done; wait'
    run("timeout", "20", "sh", "-c", follow, log)
    same((directory / "log.seen").read_text(), "1\n2\n3\n")


def _image(directory: Path) -> None:
    """A disk image: written here and there, and full of holes."""
    image = directory / "image"
    run("truncate", "-s", "32M", image)
    run("/sbin/mkfs.ext4", "-q", "-F", image)
    run("/sbin/debugfs", "-w", "-R", f"write {directory / 'file'} inside", image)
    run("/sbin/e2fsck", "-f", "-n", image)
    same(run("/sbin/debugfs", "-R", "cat inside", image), TEXT)


def _python(directory: Path) -> None:
    """A virtual environment, scripts run by their first line, and modules compiled by two processes."""
    run(sys.executable, "-m", "venv", "--without-pip", "--copies", directory / "venv")
    script = directory / "script"
    script.write_text(f"#!{directory / 'venv' / 'bin' / 'python'}\nimport module\nprint(module.__cached__)\n")
    script.chmod(0o755)
    for number in range(20):
        (directory / f"module{number}.py").write_text(f"number = {number}\n")
    (directory / "module.py").write_text("import module7\n")
    run(sys.executable, "-m", "compileall", "-q", "-j", "2", directory, "-x", "venv")
    same(run(script).strip().endswith(".pyc"), True)
    same(len(os.listdir(directory / "__pycache__")), 21)


TOOLS = {
    "gzip": _compress,
    "shred": _shred,
    "perl -i": _perl,
    "flock": _flock,
    "tail -f": _tail,
    "mkfs.ext4, e2fsck": _image,
    "venv, compileall": _python,
}
