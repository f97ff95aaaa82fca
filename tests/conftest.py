"""Fixtures for every kind of test: the real Samba server, real mounts, the log guard.

Tests that use the server or a mount get their markers from that. Where smbd or /dev/fuse is missing they are
skipped, with the reason; where both are there, nothing is.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import pytest

from tests.samba import smbd
from tests.samba.content import standard_shares
from tests.samba.smbd import Smbd
from tests.support.logguard import LogGuard
from tests.support.mount import Mount

# dev: quick; ci: the same examples in every run, and ten times as many. No time limits: machines are shared.
_TIMELESS: Any = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("dev", max_examples=50, **_TIMELESS)
hypothesis.settings.register_profile("ci", max_examples=500, derandomize=True, **_TIMELESS)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

_NEEDS = {"samba": {"samba", "make_smbd"}, "fuse": {"mount"}}
_MISSING = {
    "samba": None if smbd.available() else "smbd is not installed (make setup)",
    "fuse": None if os.path.exists("/dev/fuse") else "/dev/fuse is missing (modprobe fuse)",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write what the POSIX suite finds into man/smbfuse.1")


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that servers and mounts are taken down."""
    # Started in the background by a shell: the programs that we interrupt would inherit that they cannot be.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        for marker, fixtures in _NEEDS.items():
            if names & fixtures:
                item.add_marker(marker)
            if item.get_closest_marker(marker) and (reason := _MISSING[marker]):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def samba() -> Iterator[Smbd]:
    """The server with `standard_shares`, one for the whole run. Leave its files as they were.

    Its other accounts (a guest) are let in, too: pytest's directories are for their owner only.
    """
    with tempfile.TemporaryDirectory(prefix="smbfuse-samba-") as name:
        Path(name).chmod(0o755)
        with Smbd(standard_shares(Path(name))) as server:
            yield server


@pytest.fixture
def make_smbd() -> Iterator[Callable[..., Smbd]]:
    """Start further servers with the arguments of Smbd; they end with the test."""
    with ExitStack() as stack:

        def make(*args: Any, **kwargs: Any) -> Smbd:  # noqa: ANN401 - Smbd's own
            return stack.enter_context(Smbd(*args, **kwargs))

        yield make


@pytest.fixture(autouse=True)
def log_guard(request: pytest.FixtureRequest) -> Iterator[LogGuard]:
    """Fails a test that logs an unannounced warning. A test that takes `caplog` looks for itself."""
    guard = LogGuard()
    if "caplog" in request.fixturenames:
        yield guard
        return
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    yield guard
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    if unexpected := guard.unexpected_records(records):
        pytest.fail("unannounced in the log:\n" + "\n".join(unexpected))


@pytest.fixture
def mount(tmp_path: Path, log_guard: LogGuard) -> Iterator[Callable[..., Mount]]:
    """Mount a share of a server with the real command line: `mount(server, "share", actimeo=0, …)`.

    Arguments as for Mount.of. All mounts end with the test, and must end well: see Mount.
    """
    mounts: list[Mount] = []

    def make(server: Smbd, share: str | None = None, *, foreground: bool = True, **options: object) -> Mount:
        mountpoint = tmp_path / f"mnt{len(mounts)}"
        mountpoint.mkdir()
        made = Mount.of(server, share, mountpoint, options, foreground=foreground, guard=log_guard)
        made.start()
        mounts.append(made)
        return made

    with ExitStack() as stack:
        stack.callback(lambda: [print(made.report()) for made in mounts])
        yield make
        for made in mounts:
            stack.callback(made.finish)
