"""Processes on two machines, and one on the server itself, lock at random; a model of POSIX says what must come of it.

What is written to bytes that nobody else has locked must be what is read there under the next lock, on any machine.
`SMBFUSE_LOCK_STEPS=20000` makes it longer, `SMBFUSE_LOCK_SEED` another one.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.samba.smbd import Smbd
from tests.support.locker import Locker
from tests.support.lockmodel import CELLS, Cells, Held, Mode, Owner, Queue, Waiter
from tests.support.mount import Mount
from tests.support.processes import eventually

STEPS = int(os.environ.get("SMBFUSE_LOCK_STEPS", "400"))
SEED = int(os.environ.get("SMBFUSE_LOCK_SEED", "4711"))
SOON = 10.0
CELL = 4096
"""Bytes of a cell: a page, which is what the kernel reads at least, and a mandatory lock keeps it from all of that."""
FAR = 5 << 30
KINDS = {Mode.NONE: fcntl.F_UNLCK, Mode.SHARED: fcntl.F_RDLCK, Mode.EXCLUSIVE: fcntl.F_WRLCK}
FLOCKS = {Mode.NONE: fcntl.LOCK_UN, Mode.SHARED: fcntl.LOCK_SH, Mode.EXCLUSIVE: fcntl.LOCK_EX}
WHOLE = range(CELLS)
PAIRS = {"unix-unix": 0, "nounix-nounix": FAR, "unix-nounix": 0}
"""The two machines, and where in the file the locks are."""


@dataclass(eq=False)
class Program:
    """A process with the file open as `f` and `g`."""

    name: str
    machine: str
    """Empty for the server itself."""
    kind: str
    """`unix` or `nounix`, whether the machine uses the UNIX extensions; empty for the server itself."""
    path: Path
    locker: Locker = field(default_factory=Locker)

    def start(self) -> None:
        for name in "fg":
            assert self.locker("open", name, str(self.path), os.O_RDWR) is None

    def end(self) -> None:
        self.locker.close()

    @property
    def owner(self) -> Owner:
        return self.name, "process"

    @property
    def description(self) -> Owner:
        """The owner of the locks of the open file description `g`."""
        return self.name, "description"

    @property
    def owners(self) -> tuple[Owner, ...]:
        return self.owner, self.description


class Play:
    """The programs, the model, and the steps that both take."""

    def __init__(self, programs: list[Program], base: int) -> None:
        self.programs = {program.name: program for program in programs}
        self.chance = random.Random(SEED)
        self.base = base
        self.kinds = {program.kind for program in programs}
        self.fcntl = Held()
        self.flock = Held()
        self.queue = Queue(self.fcntl)
        self.content = ["0"] * CELLS
        self.told: list[str] = []
        """What was done so far."""

    # --- choosing

    def step(self) -> None:
        waiting = [waiter.owner[0] for waiter in self.queue.waiters]
        program = self.chance.choice([one for one in self.programs.values() if one.name not in waiting])
        steps: dict[Callable[[Program], None], int] = {
            self.lock: 8,
            self.unlock: 4,
            self.test: 3,
            self.lock_description: 2,
            self.lock_file: 2,
            self.write: 4,
            self.read: 4,
            self.reopen: 1,
            self.wait: 3 if len(waiting) < len(self.programs) - 2 else 0,
        }
        self.chance.choices(list(steps), list(steps.values()))[0](program)
        if waiting and self.chance.random() < 0.1:
            self.interrupt(self.programs[self.chance.choice(waiting)])
        if self.chance.random() < 0.005:
            self.kill(self.chance.choice(list(self.programs.values())))
        self.settle()

    def some_cells(self) -> Cells:
        start = self.chance.randrange(CELLS)
        return range(start, self.chance.randint(start + 1, CELLS))

    def some_mode(self) -> Mode:
        return self.chance.choice([Mode.SHARED, Mode.EXCLUSIVE])

    def bytes_of(self, program: Program, cells: Cells) -> tuple[int, int]:
        """Start and length as fcntl(2) has them. The last cell has no end; on the server it has, or flock is met."""
        start, endless = self.base + cells.start * CELL, cells.stop == CELLS and bool(program.machine)
        return start, 0 if endless else len(cells) * CELL

    def ask(self, program: Program, *command: object) -> Any:  # noqa: ANN401 - whatever the command gives
        self.told.append(f"{program.name}: {command}")
        answer = program.locker(*command)
        self.told[-1] += f" -> {answer}"
        return answer

    # --- steps

    def lock(self, program: Program) -> None:
        self._try(program, "lock", "f", self.fcntl, program.owner)

    def lock_description(self, program: Program) -> None:
        self._try(program, "ofd", "g", self.fcntl, program.description)

    def _try(self, program: Program, command: str, file: str, held: Held, owner: Owner) -> None:
        cells, mode = self.some_cells(), self.some_mode()
        if not self._promised(program, cells, mode):
            return
        rivals = held.in_the_way(owner, cells, mode)
        asked = (command, file, KINDS[mode], *self.bytes_of(program, cells))
        answer = self.ask(program, *asked)
        if answer == "EAGAIN" and not rivals and self._tried_in_vain(program, cells):
            eventually(lambda: self.ask(program, *asked) is None, SOON, "the other has given up")
            answer = None
        assert answer == ("EAGAIN" if rivals else None), rivals
        if not rivals:
            held.set(owner, cells, mode)

    def _promised(self, program: Program, cells: Cells, mode: Mode) -> bool:
        """Whether it is to work: a shared lock made exclusive without UNIX extensions is lost if others share it.

        That is: others than machines without them, which see to that.
        """
        if program.kind == "":
            return "nounix" not in self.kinds or mode == Mode.EXCLUSIVE
        shared = any(self._ours(program)[cell] == Mode.SHARED for cell in cells)
        return program.kind == "unix" or "unix" not in self.kinds or mode == Mode.SHARED or not shared

    def _tried_in_vain(self, program: Program, cells: Cells) -> bool:
        """Whether another machine just tries to make a shared lock exclusive, and locks it in parts for that."""
        return any(
            other.kind == "nounix" and other.machine != program.machine and set(cells) & set(waiter.cells)
            for waiter in self.queue.waiters
            if Mode.SHARED in self._ours(other := self.programs[waiter.owner[0]])
        )

    def _ours(self, program: Program) -> list[Mode]:
        """What the program's machine has, cell by cell."""
        rows = [self.fcntl.of(owner) for one in self._neighbours(program) for owner in one.owners]
        return [max(column) for column in zip(*rows, strict=True)]

    def unlock(self, program: Program) -> None:
        cells = self.chance.choice([self.some_cells(), WHOLE])
        owner, command, file = self.chance.choice([(program.owner, "lock", "f"), (program.description, "ofd", "g")])
        assert self.ask(program, command, file, KINDS[Mode.NONE], *self.bytes_of(program, cells)) is None
        self.fcntl.set(owner, cells, Mode.NONE)

    def lock_file(self, program: Program) -> None:
        """flock(2). On the server's disk it is no business of the server's."""
        if not program.machine:
            return
        mode = self.chance.choice(list(Mode))
        if mode != Mode.SHARED and self.flock.of(program.owner)[0] != mode:
            self.flock.drop(program.owner)  # an upgrade is not atomic
        rivals = self.flock.in_the_way(program.owner, WHOLE, mode)
        answer = self.ask(program, "flock", "f", FLOCKS[mode] | fcntl.LOCK_NB)
        assert answer == ("EAGAIN" if rivals else None), rivals
        if not rivals:
            self.flock.set(program.owner, WHOLE, mode)

    def test(self, program: Program) -> None:
        cells, mode = self.some_cells(), self.some_mode()
        rivals = self.fcntl.in_the_way(program.owner, cells, mode)
        answer = self.ask(program, "test", "f", KINDS[mode], *self.bytes_of(program, cells))
        if answer == [fcntl.F_UNLCK]:
            assert not any(self._surely_seen(program, rival, cells) for rival in rivals), rivals
            return
        assert rivals or self._tried_in_vain(program, cells)
        pids = {one.locker.process.pid for one in self.programs.values() if one.machine == program.machine}
        assert answer[-1] in pids | {0, -1}

    def _surely_seen(self, program: Program, rival: Owner, cells: Cells) -> bool:
        """Shared locks of other machines are not seen beside our own shared ones, without UNIX extensions."""
        if self.programs[rival[0]].machine == program.machine:
            return True
        ours, theirs = self._ours(program), self.fcntl.of(rival)
        return any(theirs[cell] and not ours[cell] for cell in cells)

    def _neighbours(self, program: Program) -> list[Program]:
        return [one for one in self.programs.values() if one.machine == program.machine]

    def write(self, program: Program) -> None:
        """Where no other machine has a lock; one's own machine may."""
        cell = self.chance.randrange(CELLS)
        others = [one for one in self.programs.values() if one.machine != program.machine]
        if any(self.fcntl.of(owner)[cell] for one in others for owner in one.owners):
            return
        if not self._promised(program, range(cell, cell + 1), Mode.EXCLUSIVE):
            return
        text = self.chance.choice("abcdefghijklmnopqrstuvwxyz")
        assert self.ask(program, "write", "f", self.base + cell * CELL, text) == 1
        self.content[cell] = text

    def read(self, program: Program) -> None:
        """Where the program has a lock: else it may see something older."""
        locked = [cell for cell in WHOLE if any(self.fcntl.of(owner)[cell] for owner in program.owners)]
        if locked:
            cell = self.chance.choice(locked)
            assert self.ask(program, "read", "f", self.base + cell * CELL, 1) == self.content[cell]

    def reopen(self, program: Program) -> None:
        """Any close ends what the process has locked; what the description has goes before, as nobody waits for it."""
        assert self.ask(program, "ofd", "g", fcntl.F_UNLCK, 0, 0) is None
        assert self.ask(program, "close", "g") is None
        self._gone(program)
        assert self.ask(program, "open", "g", str(program.path), os.O_RDWR) is None

    def _gone(self, program: Program) -> None:
        for owner in program.owners:
            self.fcntl.drop(owner)

    # --- waiting

    def wait(self, program: Program) -> None:
        if not program.machine and "nounix" in self.kinds:
            return  # the kernel gives it what a machine lets go of for a moment, to have it exclusively
        new = Waiter(program.owner, self.some_cells(), self.some_mode())
        if self.queue.would_block_for_ever(new) or not self._promised(program, new.cells, new.mode):
            return
        self.told.append(f"{program.name}: waits for {new.mode!r} of {new.cells}")
        program.locker.ask("wait", "f", KINDS[new.mode], *self.bytes_of(program, new.cells))
        self.queue.waiters.append(new)
        eventually(lambda: program.locker.answered() or program.locker.blocked(), SOON, "it is in the queue")

    def interrupt(self, program: Program) -> None:
        """One that cannot have its lock yet leaves."""
        waiter = self._waiter(program)
        if waiter is None or waiter in self.queue.ready():
            return
        self.told.append(f"{program.name}: is interrupted")
        eventually(program.locker.blocked, SOON, "it waits")
        program.locker.interrupt()
        assert program.locker.answer() == "EINTR"
        self.queue.waiters.remove(waiter)

    def kill(self, program: Program) -> None:
        """Its locks go, though not at once: exit(2) does not wait for the last close of what was open."""
        if self._shares(program):
            return
        self.told.append(f"{program.name}: is killed")
        waiter, held = self._waiter(program), [self.fcntl.of(owner) for owner in program.owners]
        program.locker.close()
        if waiter is not None:
            self.queue.waiters.remove(waiter)
        self._gone(program)
        self.flock.drop(program.owner)
        program.locker = Locker()
        program.start()
        self.settle()
        for cell in WHOLE:
            if any(modes[cell] for modes in held):
                self._await_free(program, cell)
        if program.machine and not self.flock.in_the_way(program.owner, WHOLE, Mode.EXCLUSIVE):
            eventually(lambda: program.locker("flock", "f", fcntl.LOCK_EX | fcntl.LOCK_NB) is None, SOON, "free")
            assert program.locker("flock", "f", fcntl.LOCK_UN) is None

    def _shares(self, program: Program) -> bool:
        """Whether it has locks that others have, too: of these nobody could tell that they are gone."""
        in_fcntl = any(
            self.fcntl.in_the_way(owner, range(cell, cell + 1), Mode.EXCLUSIVE)
            for owner in program.owners
            for cell in WHOLE
            if self.fcntl.of(owner)[cell]
        )
        return in_fcntl or bool(
            self.flock.of(program.owner)[0] and self.flock.in_the_way(program.owner, WHOLE, Mode.EXCLUSIVE)
        )

    def _await_free(self, program: Program, cell: int) -> None:
        """Unless a waiter has it by now."""
        cells = range(cell, cell + 1)
        if not self.fcntl.in_the_way(program.owner, cells, Mode.EXCLUSIVE):
            where = self.bytes_of(program, cells)
            eventually(lambda: program.locker("lock", "f", fcntl.F_WRLCK, *where) is None, SOON, "it is free")
            assert program.locker("lock", "f", fcntl.F_UNLCK, *where) is None

    def _waiter(self, program: Program) -> Waiter | None:
        return next((waiter for waiter in self.queue.waiters if waiter.owner == program.owner), None)

    def settle(self) -> None:
        """Who can have what it waits for has it before anybody goes on; the others wait."""
        while ready := list(self.queue.ready()):
            eventually(lambda: any(map(self._answered, ready)), SOON, "a waiter has its lock")
            for waiter in filter(self._answered, ready):
                assert self._locker(waiter).answer() is None
                assert not self.fcntl.in_the_way(waiter.owner, waiter.cells, waiter.mode)
                self.fcntl.set(waiter.owner, waiter.cells, waiter.mode)
                self.queue.waiters.remove(waiter)
                self.told.append(f"{waiter.owner[0]}: has it")
        assert not any(map(self._answered, self.queue.waiters)), "has what it cannot have"

    def _locker(self, waiter: Waiter) -> Locker:
        return self.programs[waiter.owner[0]].locker

    def _answered(self, waiter: Waiter) -> bool:
        return self._locker(waiter).answered()

    def state(self) -> str:
        """What the model holds."""
        rows = [f"{owner}: {''.join(mode.name[0] for mode in modes)}" for owner, modes in self.fcntl.modes.items()]
        return "\n".join([*rows, *map(str, self.queue.waiters)])

    def end(self) -> None:
        """Everybody gives back what it has; nobody is left waiting."""
        for program in [*self.programs.values(), *self.programs.values()]:
            if self._waiter(program) is None:
                self.reopen(program)
                self.settle()
        assert not self.queue.waiters


@pytest.fixture
def directory(samba: Smbd, tmp_path: Path) -> Iterator[Path]:
    path = samba.shares["share"].path / tmp_path.name
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("pair", PAIRS)
def test_locks_at_random(samba: Smbd, mount: Callable[..., Mount], directory: Path, pair: str) -> None:
    base = PAIRS[pair]
    with (directory / "file").open("wb") as file:
        file.truncate(base)
        file.seek(base)
        file.write(b"".join(b"0" * CELL for _ in WHOLE))
    programs = [Program("e", "", "", directory / "file")]
    for machine, names, kind in zip(("one", "other"), ("ab", "cd"), pair.split("-"), strict=True):
        place = mount(samba, "share", **{kind: True}).path / directory.name
        programs += [Program(name, machine, kind, place / "file") for name in names]
    with ExitStack() as stack:
        for program in programs:
            stack.callback(program.end)
            program.start()
        play = Play(programs, base)
        try:
            for _ in range(STEPS):
                play.step()
            play.end()
        except BaseException:
            print("\n".join([*play.told[-100:], play.state()]))
            raise
