"""The forms in which people write shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.cli.unc import Unc, parse_path, parse_unc
from smbfuse.errors import UsageError
from tests.cli.outcomes import Line, outcome

FORMS = [
    ("//srv/share", Unc(host="srv", share="share")),
    ("//srv/share/", Unc(host="srv", share="share")),
    ("//srv/share//a/b//", Unc(host="srv", share="share", path="a/b")),
    (r"\\srv\share\sub dir", Unc(host="srv", share="share", path="sub dir")),
    (r"\srv\share", Unc(host="srv", share="share")),
    (r"\\srv/share", Unc(host="srv", share="share")),
    ("//srv/my share", Unc(host="srv", share="my share")),
    ("//srv/C$/100%25", Unc(host="srv", share="C$", path="100%25")),
    ("//192.0.2.7/s", Unc(host="192.0.2.7", share="s")),
    ("//[2001:db8::1]/s", Unc(host="2001:db8::1", share="s")),
    ("//2001:db8::1/s/x", Unc(host="2001:db8::1", share="s", path="x")),
    ("//fe80::1%eth0/s", Unc(host="fe80::1%eth0", share="s")),
    ("smb://srv/share", Unc(host="srv", share="share")),
    ("SMB://joe@srv:4450/s", Unc(host="srv", share="s", user="joe", port=4450)),
    ("smb://DOM;joe@srv/s", Unc(host="srv", share="s", user=r"DOM\joe")),
    ("smb://@srv/s", Unc(host="srv", share="s")),
    ("smb://joe@REALM@srv/s", Unc(host="srv", share="s", user="joe@REALM")),
    ("cifs://[::1]:139/a%20b/d%C3%A9/", Unc(host="::1", share="a b", path="dé", port=139)),
    ("//srv/s/文書/👍", Unc(host="srv", share="s", path="文書/👍")),
    ("//srv/s/@GMT-2026.11.01-12.00.00", Unc(host="srv", share="s", path="@GMT-2026.11.01-12.00.00")),
]


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_form(text: str, expected: Unc) -> None:
    assert parse_unc(text) == expected


REFUSALS = [
    ("", "write //server/share"),
    ("srv", "write //server/share"),
    ("srv/share", "write //srv/share"),
    ("/srv/share", "write //srv/share"),
    ("./srv/share", "is not the name of a share"),
    ("//", "names no server"),
    ("///share", "names no server"),
    ("//srv", "no share; write //srv/SHARE"),
    ("//srv/", "no share"),
    ("smb://srv", "no share"),
    ("//srv/s/../t", "'.' and '..'"),
    ("//srv/./t", "share's name"),
    ("//srv/..", "share's name"),
    ("smb://srv/s/%2e%2E/x", "'.' and '..'"),
    ("smb://srv/s%2Ft", "can hold a slash"),
    ("smb://srv/s%5Ct", "can hold a slash"),
    ("smb://srv/s%00", "control characters"),
    ("smb://srv/s%FF", "UTF-8"),
    ("smb://srv/s?x=1", "%3F"),
    ("smb://srv/s#1", "%23"),
    ("smb://srv:x/s", "neither a server's name nor an address"),
    ("smb://srv:0/s", "from 1 to 65535"),
    ("smb://srv:/s", "from 1 to 65535"),
    ("smb://srv:99999/s", "from 1 to 65535"),
    ("http://srv/s", "only smb:// and cifs://"),
    ("//srv:4450/s", "-o port=4450"),
    ("//joe@srv/s", "-o username=NAME"),
    ("//[srv]/s", "neither a server's name nor an address"),
    ("//[::1/s", "neither a server's name nor an address"),
    ("//a b/s", "cannot be a server's name"),
    ("//../s", "cannot be a server's name"),
    (f"//{'h' * 256}/s", "cannot be a server's name"),
    (f"//srv/{'s' * 257}", "cannot be a share's name"),
    ("//srv/s\n", "not printable"),
    ("//srv/\udcff", "not printable"),
    (r"\srvdata", "the shell has taken backslashes away"),
    ("srv:/data/dir", "write //srv/data/dir"),
    ("smb:/srv/data", "write smb://srv/data"),
    ("cifs:srv/data", "write cifs://srv/data"),
    ("", "the share's name is empty"),
    ("//h..x/data", "'h..x' cannot be a server's name"),
    (f"//{'x' * 64}/data", "cannot be a server's name"),
]


@pytest.mark.parametrize(("text", "line"), REFUSALS)
def test_refusal(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_unc(text)
    assert line in str(caught.value)


def test_password_in_url_is_refused_unseen() -> None:
    with pytest.raises(UsageError, match="credentials=FILE") as caught:
        parse_unc("smb://joe:geheim@srv/s")
    assert "geheim" not in str(caught.value)


def test_prefixpath() -> None:
    assert parse_path(r"\a\b/") == "a/b"
    assert parse_path("/") == ""
    with pytest.raises(UsageError):
        parse_path("a/../b")
    with pytest.raises(UsageError, match="is empty"):
        parse_path("")


def test_display_puts_ipv6_in_brackets() -> None:
    assert parse_unc("//[::1]/s/x").display == "//[::1]/s"


pieces = st.sampled_from(
    ["/", "\\", "//", "smb://", "cifs://", "@", ":", "%", "%2f", "[", "]", "..", "::1", "srv", ";"]
)


@given(st.lists(pieces | st.text(max_size=5), max_size=12).map("".join))
def test_any_text_gives_a_share_or_usage_error(text: str) -> None:
    unc = outcome(lambda: parse_unc(text))
    if isinstance(unc, Line):
        assert "\n" not in unc
        return
    assert unc.host
    assert unc.share
    assert {"", ".", ".."}.isdisjoint([unc.share, *(unc.path.split("/") if unc.path else [])])
    assert "/" not in unc.share + unc.host
    # what is shown leads back to the same share
    assert parse_unc(f"{unc.display}/{unc.path}") == Unc(host=unc.host, share=unc.share, path=unc.path)
