"""The recorded messages in this directory; README.md says where they come from."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_HERE = Path(__file__).parent
_SUFFIX = ".jsonl.gz"


class Captured(NamedTuple):
    """One message of a capture."""

    name: str
    frame: int
    conn: int
    from_server: bool
    data: bytes

    def __str__(self) -> str:
        return f"{self.name}:{self.frame}"


def names() -> list[str]:
    """Names of all captures, those of opened sealed messages (`.plain`) too."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _HERE.glob("*" + _SUFFIX))


@cache
def messages(name: str) -> tuple[Captured, ...]:
    """The SMB messages of one capture in their order; sealed ones and session-service packets are left out."""
    with gzip.open(_HERE / (name + _SUFFIX), "rt") as lines:
        entries = [json.loads(line) for line in lines]
    return tuple(
        Captured(name, entry["frame"], entry["conn"], entry["dir"] == "S", bytes.fromhex(entry["hex"]))
        for entry in entries
        if entry["cmd"].startswith("0x")
    )


@cache
def keys() -> dict[str, Any]:
    """keys.json: what the signed captures were signed with."""
    loaded: dict[str, Any] = json.loads((_HERE / "keys.json").read_text())
    return loaded
