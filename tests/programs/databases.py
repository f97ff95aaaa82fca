"""sqlite: two processes write at once, told apart by byte-range locks, and in WAL mode by shared memory in a file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.programs.outcome import Outcome, Steps, same
from tests.programs.place import COMMAND_TIMEOUT, CommandError, Place, run

WRITERS = 2
BUSY_SECONDS = 60.0


def database(mode: str, place: Place) -> Outcome:
    """`mode` is sqlite's journal mode."""
    steps, path = Steps(), place.path / "test.db"
    wanted = WRITERS * place.scale.transactions
    with steps.step("create"):
        same(sqlite(path, f"PRAGMA journal_mode={mode}; CREATE TABLE entries (writer, number, filling)"), mode)
    with steps.step("two writers at once"):
        _write_at_once(path, place.scale.transactions)
    with steps.step("integrity_check"):
        same(sqlite(path, "PRAGMA integrity_check"), "ok")
    with steps.step("count"):
        same(sqlite(path, "SELECT count(*) FROM entries"), str(wanted))
        distinct = "SELECT count(*) FROM (SELECT DISTINCT writer, number FROM entries)"
        same(sqlite(path, distinct), str(wanted))
    with steps.step("vacuum, backup"):
        sqlite(path, f"VACUUM; VACUUM INTO '{place.path / 'copy.db'}'")
        same(sqlite(place.path / "copy.db", "PRAGMA integrity_check; SELECT count(*) FROM entries"), f"ok\n{wanted}")
    with steps.step("nothing beside it is left"):
        same(sorted(found.name for found in place.path.iterdir()), ["copy.db", "test.db"])
    return steps.outcome


def sqlite(path: Path, commands: str) -> str:
    """Let the sqlite3 program do something."""
    return run("sqlite3", "-bail", "-cmd", f".timeout {BUSY_SECONDS * 1000:.0f}", path, commands).strip()


def _write_at_once(path: Path, transactions: int) -> None:
    command = (sys.executable, "-m", "tests.programs.databases", str(path), str(transactions))
    writers = [
        subprocess.Popen(["nice", *command, str(number)], stderr=subprocess.PIPE, text=True)
        for number in range(WRITERS)
    ]
    for writer in writers:
        complaint = writer.communicate(timeout=COMMAND_TIMEOUT)[1]
        if writer.returncode:
            raise CommandError(f"status {writer.returncode}: {complaint[-400:]}")


def write(path: str, transactions: int, writer: int) -> None:
    """One writer: a transaction for each entry."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    for number in range(transactions):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (writer, number, f"{writer} {number} " * 20))
        connection.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
