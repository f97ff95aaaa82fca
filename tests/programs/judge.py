"""What a program's failures in a setting mean: shared with the disk, known, or a finding. No running, no printing."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.programs.known import reason
from tests.programs.outcome import LOST, Outcome
from tests.programs.stage import Setting


@dataclass(frozen=True, slots=True)
class Judgement:
    """Tests by name. In `known` with the reason, in the others with what was said."""

    shared: dict[str, str] = field(default_factory=dict)
    """The disk has this too."""
    known: dict[str, str] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.shared) + len(self.known) + len(self.findings)


@dataclass(frozen=True, slots=True)
class Result:
    """One program in one setting."""

    program: str
    setting: Setting
    outcome: Outcome
    failed: Judgement
    left_out: Judgement


def judge(program: str, setting: Setting, outcome: Outcome, disk: Outcome) -> Result:
    """`disk` is what became of the program there."""
    return Result(
        program,
        setting,
        outcome,
        _sorted_out(program, setting, outcome.failures, disk.failures),
        _sorted_out(program, setting, outcome.left_out, {**disk.left_out, **disk.failures}),
    )


def _sorted_out(program: str, setting: Setting, found: dict[str, str], on_disk: dict[str, str]) -> Judgement:
    judgement = Judgement()
    for test, text in found.items():
        if test in on_disk and test != LOST:  # which may be two different things
            judgement.shared[test] = text
        elif why := reason(setting, program, test, text):
            judgement.known[test] = why
        else:
            judgement.findings[test] = text
    return judgement
