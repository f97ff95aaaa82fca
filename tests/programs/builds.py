"""make, gcc, ld and ar: output in many small writes, memory-mapped libraries, and decisions by times."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.programs.outcome import Outcome, Steps, same
from tests.programs.place import Place, run

PARTS = 6
MAKEFILE = """parts := $(patsubst %.c,%.o,$(wildcard part*.c))
CFLAGS := -O1 -g -fPIC
program: main.o libparts.so libparts.a
\t$(CC) -o $@ main.o -L. -lparts -Wl,-rpath,'$$ORIGIN'
libparts.so: $(parts)
\t$(CC) -shared -o $@ $^
libparts.a: $(parts)
\t$(AR) rcs $@ $^
%.o: %.c parts.h
\t$(CC) $(CFLAGS) -c -o $@ $<
"""
MAIN = """#include <stdio.h>
#include "parts.h"
int main(int argc, char **argv)
{
    printf("%d\\n", TOTAL);
    fflush(stdout);
    return argc > 1 && getchar() == EOF;
}
"""


def builds(place: Place) -> Outcome:
    """A program of a few parts in a shared library, built, run, and built again after a change."""
    steps, root = Steps(), place.path
    _write_sources(root)
    with steps.step("make -j2"):
        run("make", "-j2", cwd=root)
        same(run(root / "program"), "15\n")
    with steps.step("nothing to do"):
        same(subprocess.run(["make", "-q"], cwd=root, check=False).returncode, 0)
    with steps.step("one part changed"):
        # No waiting: times of files made one after the other must differ as on a disk.
        _write_part(root, 3, 30)
        compiled = [line for line in run("make", cwd=root).splitlines() if " -c " in line]
        same([line.split()[-1] for line in compiled], ["part3.c"])
        same(run(root / "program"), "42\n")
    with steps.step("touch"):
        run("touch", root / "parts.h")
        same(len([line for line in run("make", cwd=root).splitlines() if " -c " in line]), PARTS + 1)
        same(subprocess.run(["make", "-q"], cwd=root, check=False).returncode, 0)
    with steps.step("strip, objcopy"):
        run("strip", root / "program")
        run("objcopy", "--strip-debug", root / "libparts.so")
        same(run(root / "program"), "42\n")
        same(sorted(run("ar", "t", root / "libparts.a").split()), [f"part{number}.o" for number in range(PARTS)])
    with steps.step("a running program is busy"):
        _replaced_while_it_runs(root)
    return steps.outcome


def _write_sources(root: Path) -> None:
    total = " + ".join(f"part{number}()" for number in range(PARTS))
    (root / "Makefile").write_text(MAKEFILE)
    (root / "main.c").write_text(MAIN.replace("TOTAL", total))
    (root / "parts.h").write_text("".join(f"int part{number}(void);\n" for number in range(PARTS)))
    for number in range(PARTS):
        _write_part(root, number, number)


def _write_part(root: Path, number: int, value: int) -> None:
    source = f'#include "parts.h"\nint part{number}(void) {{ return {value}; }}\n'
    (root / f"part{number}.c").write_text(source)


def _replaced_while_it_runs(root: Path) -> None:
    """It cannot be written, but another can take its name, and the one that runs goes on."""
    with subprocess.Popen([root / "program", "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        same(running.stdout.readline(), b"42\n")
        try:
            os.close(os.open(root / "program", os.O_WRONLY))
        except OSError as error:
            same(os.strerror(error.errno or 0), "Text file busy")
        else:
            raise AssertionError("a running program could be opened for writing")
        _write_part(root, 0, 100)
        run("make", cwd=root)
        same(run(root / "program"), "142\n")
        running.communicate(b"\n")
    same(running.returncode, 0)
