"""Other people's programs with small amounts, on mounts of all settings; `make programs` runs more, and longer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.programs.catalogue import PROGRAMS
from tests.programs.judge import judge
from tests.programs.outcome import Outcome
from tests.programs.place import SHORT
from tests.programs.stage import SETTINGS, Stage

pytestmark = [pytest.mark.samba, pytest.mark.fuse]

_BY_NAME = {program.name: program for program in PROGRAMS}
_SETTINGS = {setting.name: setting for setting in SETTINGS}
_FILES = ("git", "rsync", "copies", "archives", "editors", "make-gcc", "sqlite-journal", "sqlite-wal")
# What signing could break are requests, and the same ones carry all programs.
_TRIED = {
    "unix": ("tools", "sqlite-wal"),
    "unix-signed": _FILES,
    "nt": _FILES,
    "nt-signed": ("rsync", "sqlite-wal"),
    "nt-mfsymlinks": ("copies",),
}


@pytest.fixture(scope="module")
def stage_of() -> Iterator[Callable[[str], Stage]]:
    """The stage for a setting, made once."""
    with ExitStack() as stack:
        yield functools.cache(lambda setting: stack.enter_context(Stage.of(_SETTINGS[setting])))


@pytest.mark.parametrize(("setting", "name"), [(setting, name) for setting, names in _TRIED.items() for name in names])
def test_programs(stage_of: Callable[[str], Stage], setting: str, name: str) -> None:
    stage = stage_of(setting)
    outcome = stage.attempt(_BY_NAME[name], SHORT)
    assert outcome.ran > len(outcome.left_out)
    assert judge(name, stage.setting, outcome, Outcome()).failed.findings == {}
