"""What the shares of tests and demo hold: made here, so that tests know it without looking.

Names stand for what a real share has: spaces, umlauts, CJK, an emoji (a surrogate pair in UTF-16), a
combining character.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tests.samba.smbd import Share, snapshots

FILES: dict[str, bytes] = {
    "hello.txt": b"Hello from an SMB1 server.\n",
    "empty": b"",
    "numbers.bin": bytes(range(256)) * 512,
    "two words.txt": b"A name with a space in it.\n",
    "Grüße.txt": "Grüße aus dem Jahr 1996\n".encode(),
    "日本語.txt": "日本語のファイル名\n".encode(),
    "🐧.txt": b"One character, two UTF-16 units.\n",
    "cafe\u0301.txt": b"The accent is a character of its own.\n",
    "docs/manual.txt": b"Read me first.\n",
    "docs/old/notes 1999.txt": b"The mill needs oil.\n",
}
"""Path below the share to content."""

OLDER = "@GMT-2023.03.04-05.06.07"
NEWER = "@GMT-2024.02.29-12.30.00"
SNAPSHOT_FILES: dict[str, dict[str, bytes]] = {
    OLDER: {"report.txt": b"first draft\n", "sub/dropped.txt": b"only in the older snapshot\n"},
    NEWER: {"report.txt": b"second draft\n", "sub/kept.txt": b"kept\n"},
}
"""Snapshot to path below it to content."""

PRESENT_FILES: dict[str, bytes] = {"report.txt": b"final version\n", "sub/kept.txt": b"kept\n"}
"""What a share with these snapshots holds now."""


def write_files(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_snapshots(directory: Path) -> None:
    """Make both dated snapshots below `directory`, with the times of files and directories of that date."""
    for label, files in SNAPSHOT_FILES.items():
        snapshot = directory / label
        write_files(snapshot, files)
        taken = snapshot_time(label)
        for path in (snapshot, *snapshot.rglob("*")):
            os.utime(path, (taken, taken))


def snapshot_time(label: str) -> int:
    """Seconds since 1970 of a label @GMT-…"""
    return calendar.timegm(time.strptime(label, "@GMT-%Y.%m.%d-%H.%M.%S"))


def standard_shares(root: Path) -> list[Share]:
    """Make and describe `share` (FILES), `snaps` (PRESENT_FILES and two snapshots), and `readonly` (FILES)."""
    for name, files in (("share", FILES), ("snaps", PRESENT_FILES), ("readonly", FILES)):
        write_files(root / name, files)
    write_snapshots(root / "snapshots")
    return [
        Share(name="share", path=root / "share"),
        Share(name="snaps", path=root / "snaps", options=snapshots(root / "snaps", root / "snapshots")),
        Share(name="readonly", path=root / "readonly", read_only=True),
    ]
