"""Programs made to find faults: fio, which knows what it wrote, and stress-ng's file system class."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from tests.programs.outcome import Outcome, Steps
from tests.programs.place import Place, run
from tests.support.processes import end, processes

FIO_TIMEOUT = 900.0
PATIENCE = 120.0
"""Seconds that stress-ng may take to come to its end."""
FIO = {
    "buffered": ("--ioengine=psync", "--rw=randwrite", "--bsrange=512-131072", "--numjobs=3"),
    "unaligned": ("--ioengine=psync", "--rw=randrw", "--bs=4099", "--numjobs=3"),
    "asynchronous": ("--ioengine=libaio", "--iodepth=16", "--rw=randrw", "--bsrange=4k-64k", "--numjobs=2"),
    "direct": ("--ioengine=psync", "--direct=1", "--rw=randrw", "--bsrange=4k-256k", "--numjobs=2"),
    "direct, asynchronous": (
        "--ioengine=libaio",
        "--iodepth=8",
        "--direct=1",
        "--rw=randrw",
        "--bs=16k",
        "--numjobs=2",
    ),
    "mmap": ("--ioengine=mmap", "--rw=randwrite", "--bsrange=4k-64k", "--numjobs=2"),
    "synchronous": ("--ioengine=psync", "--sync=1", "--rw=randwrite", "--bsrange=512-8k", "--numjobs=1"),
    "fsync and overwrite": ("--ioengine=psync", "--fsync=32", "--overwrite=1", "--rw=randrw", "--bs=8k", "--numjobs=2"),
}
"""Options of each job; all verify by checksums what they wrote."""

# Those of the class that use no file in the directory they are given, but pipes, /proc or mounts of their own.
ELSEWHERE = frozenset({"bind-mount", "binderfs", "eventfd", "ioprio", "procfs"})

# fanotify marks every mount of the machine, and waits for those of others that are stuck: they are not to be there.
_ALONE: Final = """
while read -r _ path type _; do
    case $type:$path in fuse*:"$1") ;; fuse*) umount -l "$path" ;; esac
done </proc/mounts
shift
exec "$@"
"""

_FAIL = re.compile(r"^stress-ng: (?:fail|error): +\[\d+\] (?P<text>(?P<stressor>[\w-]+):.*)$", re.MULTILINE)
_SKIPPED = re.compile(r"^stress-ng: \w+: +\[\d+\] (?P<text>(?P<stressor>[\w-]+):.*skipping.*)$", re.MULTILINE)


def fio(place: Place) -> Outcome:
    """Random writes and reads; each job checks its own file at the end, and for reads among the writes at once."""
    steps = Steps()
    for name, options in FIO.items():
        directory = place.path / name
        directory.mkdir()
        with steps.step(name):
            # sync=1 waits for the disk with each write, so it gets less to do.
            size = place.scale.fio_bytes // (16 if "--sync=1" in options else 1)
            run(
                *("fio", "--name=job", f"--directory={directory}", f"--size={size}", "--randrepeat=1", "--thread"),
                *("--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--fallocate=none", "--group_reporting"),
                *options,
                timeout=FIO_TIMEOUT,
                cwd=place.local,  # where it leaves the state of its checks
            )
        run("rm", "-r", directory)
    return steps.outcome


def stressors() -> list[str]:
    """stress-ng's class of file systems, less those that have nothing to do with the directory."""
    # Listing them ends with a status of failure.
    listed = subprocess.run(["stress-ng", "--class", "filesystem?"], capture_output=True, text=True, check=False)
    return [name for name in listed.stdout.partition("stressors:")[2].split() if name not in ELSEWHERE]


def each_stressor(place: Place) -> Outcome:
    """One after the other, so that none hides behind another."""
    outcome = Outcome()
    for name in stressors():
        _stress(place, [name], place.scale.each_seconds, outcome)
    return outcome


def all_stressors(place: Place) -> Outcome:
    """All at once."""
    outcome = Outcome()
    _stress(place, stressors(), place.scale.stress_seconds, outcome)
    return outcome


def _stress(place: Place, names: list[str], seconds: int, outcome: Outcome) -> None:
    """Run stressors, and note what each complains of; some do that and end well all the same."""
    chosen = [word for name in names for word in (f"--{name}", "1")]
    command = ["nice", "stress-ng", *chosen, "--verify", "-t", str(seconds), "--temp-path", str(place.path)]
    status, output = ended(alone(command, place.path.parent), seconds + PATIENCE)
    failed = {found["stressor"]: found["text"] for found in _FAIL.finditer(output)}
    skipped = {found["stressor"]: found["text"] for found in _SKIPPED.finditer(output)}
    if status and not failed and not skipped:
        failed[names[0] if len(names) == 1 else "all of them"] = f"status {status}: {output[-400:]}"
    outcome.ran += len(names)
    outcome.failures |= failed
    outcome.left_out |= {name: text for name, text in skipped.items() if name not in failed}


def alone(command: list[str], root: Path) -> list[str]:
    """The same where no FUSE file system is mounted but the one at `root`; as it is for who may not unmount."""
    return ["unshare", "--mount", "sh", "-c", _ALONE, "sh", str(root), *command] if os.geteuid() == 0 else command


def ended(command: list[str], timeout: float) -> tuple[int | str, str]:
    """(status, output) of a program. One that takes more than `timeout` seconds is killed with all that it started."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            there = [one for one in processes() if one.session == process.pid]
            waiting = ", ".join(f"{one.name} {one.state} in {one.waits_in()}" for one in there)
            end(lambda: [one.pid for one in processes() if one.session == process.pid], polite=1.0)
            output, _ = process.communicate()
            return f"none after {timeout:g} s, {waiting}", output
