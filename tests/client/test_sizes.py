"""How much one request carries, by what was negotiated; and how a long read or write is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.client.limits import Limits
from smbfuse.client.sizes import PAGE, TransferSizes, pieces
from smbfuse.wire.const import CAP_LARGE_READX, CAP_LARGE_WRITEX, CAP_UNIX, CIFS_UNIX_LARGE_READ_CAP
from tests.client.support import settings

LARGE = CAP_LARGE_READX | CAP_LARGE_WRITEX


def limits(capabilities: int, *, buffer: int = 16644, signing: bool = False) -> Limits:
    return Limits(capabilities, buffer, 50, signing)


@pytest.mark.parametrize(
    ("negotiated", "read", "write"),
    [
        pytest.param(limits(LARGE | CAP_UNIX), 1024 * 1024, 126_976, id="Samba"),
        pytest.param(limits(LARGE), 61_440, 65_536, id="Windows"),
        pytest.param(limits(LARGE | CAP_UNIX, signing=True), 126_976, 126_976, id="Samba, signed"),
        pytest.param(limits(LARGE, signing=True), 16_384, 16_384, id="signed: within MaxBufferSize"),
        pytest.param(limits(CAP_LARGE_READX), 61_440, 16_384, id="large reads only"),
        pytest.param(limits(0), 16_384, 16_384, id="neither"),
        pytest.param(limits(0, buffer=4356), 4096, 4096, id="a small server"),
        pytest.param(limits(0, buffer=1024), 960, 960, id="a tiny one"),
        pytest.param(limits(0, buffer=0), 512, 512, id="nonsense"),
    ],
)
def test_sizes(negotiated: Limits, read: int, write: int) -> None:
    assert TransferSizes.of(negotiated, settings(), CIFS_UNIX_LARGE_READ_CAP) == TransferSizes(read, write)


@pytest.mark.parametrize("signing", [False, True])
def test_samba_3_0_takes_less_than_two_high_bits(signing: bool) -> None:
    """It has no CIFS_UNIX_LARGE_READ_CAP."""
    assert TransferSizes.of(limits(LARGE | CAP_UNIX, signing=signing), settings()) == TransferSizes(126_976, 126_976)
    assert TransferSizes.of(limits(LARGE | CAP_UNIX), settings(rsize=10**9)).read == 126_976


@pytest.mark.parametrize(
    ("negotiated", "most"),
    [
        (limits(LARGE), TransferSizes(61_440, 65_536)),
        (limits(LARGE, signing=True), TransferSizes(61_440, 65_536)),
        (limits(LARGE | CAP_UNIX, signing=True), TransferSizes(126_976, 126_976)),
        (limits(0), TransferSizes(16_384, 16_384)),
    ],
)
def test_options_make_them_as_large_as_the_server_takes_at_all(negotiated: Limits, most: TransferSizes) -> None:
    assert TransferSizes.of(negotiated, settings(rsize=4000, wsize=5000)) == TransferSizes(4000, 5000)
    assert TransferSizes.of(negotiated, settings(rsize=10**9, wsize=10**9)) == most


@given(size=st.integers(0, 5_000_000), most=st.integers(512, 1_100_000))
def test_pieces_cover_all_once_and_are_as_few_as_can_be(size: int, most: int) -> None:
    cut = pieces(size, most)
    assert cut[0][0] == 0
    assert [start + length for start, length in cut][:-1] == [start for start, _ in cut][1:]
    assert sum(length for _, length in cut) == size
    assert all(0 < length <= most for _, length in cut) or size == 0
    assert len(cut) == max(-(-size // most), 1)


@given(size=st.integers(0, 5_000_000), most=st.integers(1, 300).map(lambda pages: pages * PAGE))
def test_pieces_begin_at_pages(size: int, most: int) -> None:
    assert all(start % PAGE == 0 for start, _ in pieces(size, most))
