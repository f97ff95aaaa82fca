"""A short run of each fuzzer, always the same one; the long ones are commands of their own."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz import messages, mounts, sessions, streams
from tests.fuzz.__main__ import TARGETS, arguments
from tests.fuzz.corpus import captured, found, save
from tests.fuzz.figures import Figures, memory
from tests.fuzz.mutation import Mutator

FOUND = sorted(found().items())


def test_damage_follows_from_the_seed_and_is_of_all_kinds() -> None:
    message = captured()[7]
    damaged = [Mutator(seed, captured())(message) for seed in range(300)]
    assert damaged == [Mutator(seed, captured())(message) for seed in range(300)]
    assert len(set(damaged)) > 250
    assert {len(one) > len(message) for one in damaged} == {True, False}
    assert all(one[:5] == message[:5] for one in damaged), "what is no SMB message at all is no challenge"


def test_the_saved_corpus_is_large_and_does_what_it_did() -> None:
    assert len(FOUND) > 200
    wrong = {does: result for does, raw in FOUND if (result := messages.outcome(raw)) != does}
    assert wrong == {}, "run: python -m tests.fuzz --only messages --save"
    random = Random(1)
    for _, raw in FOUND:
        messages.contents(raw, random)


def test_the_corpus_is_saved_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.corpus.FOUND", tmp_path / "found.jsonl.gz")
    save({"one": b"1", "two": b"2"})
    first = (tmp_path / "found.jsonl.gz").read_bytes()
    save({"two": b"2", "one": b"1"})
    assert (tmp_path / "found.jsonl.gz").read_bytes() == first


def test_damaged_messages() -> None:
    figures = Figures("messages")
    messages.run(4000, 1, figures)
    assert figures.done == 4000
    assert min(figures.outcomes["error"], figures.outcomes["message"]) > 400


def test_damaged_streams() -> None:
    figures = Figures("messages")
    streams.run(5000, 2, figures)
    assert {"Response", "Unsolicited", "Interim", "MorePartsFollow", "end"} <= set(figures.outcomes)


@pytest.mark.samba
def test_damaged_sessions() -> None:
    figures = Figures("sessions")
    sessions.Sessions(3).run(16, figures)
    assert figures.outcomes["operations done"] > 50
    assert figures.outcomes["changed"] > 5


@pytest.mark.samba
@pytest.mark.fuse
def test_damaged_mounts() -> None:
    figures = Figures("mounts")
    mounts.run(2, 4, figures)
    assert figures.done == 2
    assert figures.outcomes["programs fine"] > 0


def test_a_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes up but WireError ends a run, and says with which input."""

    def broken(_: bytes) -> str:
        raise IndexError("a bug")

    monkeypatch.setattr(messages, "outcome", broken)
    with pytest.raises(IndexError) as caught:
        messages.run(1, 1, Figures("messages"))
    assert caught.value.__notes__[0].startswith("input: ff534d42")


def test_memory_that_grows_is_seen() -> None:
    figures = Figures("steps")
    step = memory() // 100  # by which it doubles, however large this process is
    kept = [b"x" * step for _ in figures.counted(100)]
    assert len(kept) == 100
    assert figures.growth > 0.1
    assert "100 steps" in figures.line()


def test_arguments() -> None:
    assert arguments(["--only", "messages", "--count", "5"]).count == 5
    assert list(TARGETS) == ["messages", "streams", "sessions", "mounts"]
    with pytest.raises(SystemExit):
        arguments(["--only", "nothing"])
