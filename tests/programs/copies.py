"""Programs that carry whole trees: rsync, cp, tar, zip, mv, install."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.programs.outcome import Outcome, Steps, same
from tests.programs.place import Place, run
from tests.programs.trees import TIME_NS, Facts, facts, make_tree

MIB = 1 << 20
KEEP = ("-aHAX", "--omit-link-times")
"""Times of symbolic links have a step of their own, among those of `copies`: smbd does not keep them."""


def _source(place: Place) -> tuple[Path, Facts]:
    """A tree on the disk, and what a copy of it must look like."""
    root = place.local / "source"
    root.mkdir()
    make_tree(root, place.scale.files, unix=place.unix)
    return root, facts(root, unix=place.unix)


def rsync(place: Place) -> Outcome:
    """Onto the file system and back, then once more, when nothing may be left to do."""
    steps = Steps()
    source, wanted = _source(place)
    there, back = place.path / "there", place.local / "back"
    with steps.step("there"):
        run("rsync", *KEEP, "--checksum", f"{source}/", there)
        same(facts(there, unix=place.unix), wanted)
    with steps.step("nothing to do"):
        same(run("rsync", *KEEP, "--checksum", "-i", f"{source}/", there), "")
        same(run("rsync", *KEEP, "-i", f"{source}/", there), "")
    with steps.step("back"):
        run("rsync", *KEEP, "--checksum", f"{there}/", back)
        same(facts(back, unix=place.unix), wanted)
        same(run("rsync", *KEEP, "--checksum", "-i", f"{there}/", back), "")
    with steps.step("--inplace"):
        changed = source / "special" / "sparse"
        with changed.open("r+b") as file:
            file.seek(MIB)
            file.write(b"otherwise now")
        os.utime(changed, ns=(TIME_NS, TIME_NS * 2))
        run("rsync", *KEEP, "--inplace", "--no-whole-file", f"{source}/", there)
        same(facts(there, unix=place.unix), facts(source, unix=place.unix))
    with steps.step("--delete"):
        (source / "special" / "first").unlink()
        shutil.rmtree(source / "d1")
        # A time in the same second is the same for rsync.
        for directory in (source, source / "special"):
            os.utime(directory, ns=(TIME_NS, TIME_NS * 3))
        run("rsync", *KEEP, "--delete", f"{source}/", there)
        same(facts(there, unix=place.unix), facts(source, unix=place.unix))
    return steps.outcome


def copies(place: Place) -> Outcome:
    """cp, mv and install, within the file system and over its border."""
    steps = Steps()
    source, wanted = _source(place)
    there = place.path / "there"
    with steps.step("cp -a onto it"):
        run("cp", "-a", source, there)
        same(facts(there, unix=place.unix), wanted)
    with steps.step("cp -a within"):
        run("cp", "-a", there, place.path / "again")
        same(facts(place.path / "again", unix=place.unix), wanted)
    with steps.step("cp -a from it"):
        run("cp", "-a", there, place.local / "back")
        same(facts(place.local / "back", unix=place.unix), wanted)
    with steps.step("mv within"):
        (place.path / "deep" / "down").mkdir(parents=True)
        run("mv", place.path / "again", place.path / "deep" / "down" / "moved")
        same(facts(place.path / "deep" / "down" / "moved", unix=place.unix), wanted)
    with steps.step("mv from it and onto it"):
        run("mv", place.path / "deep", place.local / "deep")
        run("mv", place.local / "deep", place.path / "back again")
        same(facts(place.path / "back again" / "down" / "moved", unix=place.unix), wanted)
    if place.symlinks:
        with steps.step("times of symbolic links"):
            _dated_link(place)
    with steps.step("rm -r"):
        run("rm", "-r", place.path / "back again", there)
        same(os.listdir(place.path), [])
    _single_files(steps, place)
    return steps.outcome


def _dated_link(place: Place) -> None:
    (place.local / "link").symlink_to("nowhere")
    os.utime(place.local / "link", ns=(TIME_NS, TIME_NS), follow_symlinks=False)
    run("cp", "-a", place.local / "link", place.path)
    found = (place.path / "link").lstat().st_mtime_ns
    (place.path / "link").unlink()
    same(found, TIME_NS)


def _single_files(steps: Steps, place: Place) -> None:
    path, other = place.path / "one", place.path / "other"
    content = os.urandom(3 * MIB + 17)
    (place.local / "one").write_bytes(content)
    with steps.step("install"):
        run("install", "-D", "-m", "755", place.local / "one", place.path / "usr" / "bin" / "one")
        run("install", "-m", "555", "-b", place.local / "one", place.path / "usr" / "bin" / "one")
        same(sorted(os.listdir(place.path / "usr" / "bin")), ["one", "one~"])
        same((place.path / "usr" / "bin" / "one").read_bytes(), content)
        same((place.path / "usr" / "bin" / "one").stat().st_mode & 0o777, 0o555)
    with steps.step("dd, split, cat"):
        run("dd", f"if={place.local / 'one'}", f"of={path}", "bs=4099", "conv=fsync", "status=none")
        run("split", "-b", "100000", path, f"{path}.")
        run("sh", "-c", 'cat "$0".* >"$1"', path, other)
        same(other.read_bytes(), content)
    with steps.step("cp --sparse, truncate"):
        with path.open("wb") as file:
            file.truncate(20 * MIB)
        run("cp", "--sparse=always", path, other)
        run("truncate", "-s", "-5M", other)
        same((other.stat().st_size, other.read_bytes().strip(b"\0")), (15 * MIB, b""))
    with steps.step("sort -o itself"):
        path.write_text("".join(f"{number % 97} {number}\n" for number in range(20_000)))
        run("sort", "-n", "-o", path, path)
        run("sort", "-n", "-c", path)
    with steps.step("find, du, rm"):
        same(len(run("find", place.path, "-type", "f", "-newermt", "2020-01-01").splitlines()) > 30, True)
        run("du", "-s", place.path)
        run("find", place.path, "-mindepth", "1", "-delete")
        same(os.listdir(place.path), [])


def archives(place: Place) -> Outcome:
    """tar and zip, written to the file system and unpacked there."""
    steps = Steps()
    source, wanted = _source(place)
    _packed(steps, place, "tar", source, wanted, ("--xattrs", "--acls"))
    _packed(steps, place, "tar -S", source, wanted, ("--xattrs", "-S", "-z"))
    with steps.step("tar: append, update, delete"):
        (place.path / "more").write_text("appended")
        run("tar", "-rf", place.path / "tar.tar", "-C", place.path, "more")
        run("tar", "--delete", "-f", place.path / "tar.tar", "./special/first")
        names = run("tar", "-tf", place.path / "tar.tar", "--quoting-style=literal").splitlines()
        same(("more" in names, "./special/first" in names), (True, False))
    with steps.step("zip, unzip"):
        plain = _contents(source / "d0")
        run("zip", "-q", "-r", place.path / "it.zip", ".", cwd=source / "d0")
        run("unzip", "-q", place.path / "it.zip", "-d", place.path / "unzipped")
        same(_contents(place.path / "unzipped"), plain)
        run("unzip", "-q", "-o", place.path / "it.zip", "-d", place.path / "unzipped")
        run("zip", "-q", "-d", place.path / "it.zip", "*plain*")
        run("unzip", "-q", "-t", place.path / "it.zip")
    return steps.outcome


def _packed(steps: Steps, place: Place, name: str, source: Path, wanted: Facts, options: tuple[str, ...]) -> None:
    archive, unpacked = place.path / f"{name}.tar", place.path / f"{name} unpacked"
    unpacked.mkdir()
    with steps.step(f"{name}: unpack"):
        run("tar", *options, "-cf", archive, "--format=posix", "-C", source, ".")
        run("tar", *options, "-xpf", archive, "-C", unpacked)
        same(facts(unpacked, unix=place.unix), wanted)
    with steps.step(f"{name}: pack and compare"):
        run("tar", *options, "-cf", archive, "--format=posix", "-C", unpacked, ".")
        run("tar", "-df", archive, "-C", unpacked)
        (place.local / name).mkdir()
        run("tar", *options, "-xpf", archive, "-C", place.local / name)
        same(facts(place.local / name, unix=place.unix), wanted)


def _contents(root: Path) -> dict[str, tuple[object, ...]]:
    """What a zip file keeps: contents, and times to the second."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.read_bytes(), int(path.stat().st_mtime)) for path in files}
