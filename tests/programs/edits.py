"""Programs that replace a file by its changed self: vim in each of its ways, sed, patch."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.programs.outcome import Outcome, Steps, same
from tests.programs.place import Place, run

BEFORE = "".join(f"line {number}\n" for number in range(3000))
AFTER = BEFORE.replace("line 7\n", "changed\n")
PATCH = """--- a/file
+++ b/file
@@ -6,5 +6,5 @@
 line 5
 line 6
-line 7
+changed
 line 8
 line 9
"""


def _vim(settings: str, path: Path) -> None:
    run(
        "vim.tiny",
        "-N",
        "-u",
        "NONE",
        "-i",
        "NONE",
        "-es",
        "-c",
        settings,
        "-c",
        "%s/^line 7$/changed/",
        "-c",
        "wq",
        path,
    )


def _sed(option: str, path: Path) -> None:
    run("sed", option, "s/^line 7$/changed/", path)


def _patch(path: Path) -> None:
    run("patch", "--quiet", "-b", path, text=PATCH)


EDITORS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "vim, backup copied": (partial(_vim, "set backup backupskip= backupcopy=yes"), ["file", "file~"]),
    "vim, backup renamed": (partial(_vim, "set backup backupskip= backupcopy=no"), ["file", "file~"]),
    "vim, backup removed": (partial(_vim, "set nobackup writebackup backupskip= backupcopy=auto"), ["file"]),
    "vim, no backup": (partial(_vim, "set nobackup nowritebackup"), ["file"]),
    "sed -i": (partial(_sed, "-i"), ["file"]),
    "sed -i with a suffix": (partial(_sed, "-i.old"), ["file", "file.old"]),
    "patch": (_patch, ["file", "file.orig"]),
}
"""What edits a file, and what then is in its directory."""


def edits(place: Place) -> Outcome:
    """Each editor gets a file in a directory of its own."""
    steps = Steps()
    for name, (edit, left) in EDITORS.items():
        with steps.step(name):
            _edited(place.path / name, edit, left, unix=place.unix)
    with steps.step("an editor that is killed"):
        _recovered(place.path / "killed")
    return steps.outcome


def _edited(directory: Path, edit: Callable[[Path], None], left: list[str], *, unix: bool) -> None:
    directory.mkdir()
    path = directory / "file"
    path.write_text(BEFORE)
    path.chmod(0o640 if unix else 0o755)
    mode = path.stat().st_mode
    edit(path)
    same(path.read_text(), AFTER)
    same(oct(path.stat().st_mode), oct(mode))
    same(sorted(os.listdir(directory)), left)
    for other in left[1:]:
        same((directory / other).read_text(), BEFORE)


def _recovered(directory: Path) -> None:
    """vim's swap file holds what was not yet saved."""
    directory.mkdir()
    path = directory / "file"
    path.write_text(BEFORE)
    vim = ("vim.tiny", "-N", "-u", "NONE", "-i", "NONE")
    # The shell that vim starts kills it: only the swap file is left.
    run(
        "sh",
        "-c",
        '"$@"; test $? = 137',
        "sh",
        *vim,
        "-es",
        "-c",
        "%s/^line 7$/changed/",
        "-c",
        "preserve",
        "-c",
        "!kill -9 $PPID",
        path,
    )
    same(path.read_text(), BEFORE)
    same(sorted(os.listdir(directory)), [".file.swp", "file"])
    run(*vim, "-es", "-r", "-c", "w!", "-c", "q!", path)
    same(path.read_text(), AFTER)
