"""What the fuzzers begin with: the captured messages, and inputs that were found to do something of their own.

`found.jsonl.gz` holds the shortest input for each outcome that was ever seen: a combination of bodies, or an error. A
run of `python -m tests.fuzz messages --save` adds what it finds.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

from tests import captures

FOUND = Path(__file__).with_name("found.jsonl.gz")
LONGEST = 2000
"""Bytes of a message to be changed; longer ones hold more data and nothing else."""


@cache
def captured(*, from_server: bool | None = None) -> tuple[bytes, ...]:
    """The captured messages, each once; of one direction if that is given."""
    seen = {
        message.data: None
        for name in captures.names()
        for message in captures.messages(name)
        if len(message.data) <= LONGEST and from_server in (None, message.from_server)
    }
    return tuple(seen)


@cache
def found() -> dict[str, bytes]:
    """The inputs that were found, by what they do."""
    if not FOUND.exists():
        return {}
    with gzip.open(FOUND, "rt") as lines:
        entries = [json.loads(line) for line in lines]
    return {entry["does"]: bytes.fromhex(entry["hex"]) for entry in entries}


def save(inputs: dict[str, bytes]) -> None:
    """Write them, the same bytes for the same inputs."""
    text = "".join(json.dumps({"does": does, "hex": data.hex()}) + "\n" for does, data in sorted(inputs.items()))
    with FOUND.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        packed.write(text.encode())
