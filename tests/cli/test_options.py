"""The option table and the parser made of it: what each text gives, and which line a mistake earns."""

from __future__ import annotations

import dataclasses
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.cli import options, values
from smbfuse.cli.options import NAMES, OPTIONS, Choices, Verdict, names_with, parse, supported
from smbfuse.cli.usage import help_text
from smbfuse.errors import UsageError
from tests.cli.outcomes import Line, outcome

CHOICES = [
    ("username=joe", {"username": "joe"}),
    ("user=joe,user", {"username": "joe"}),
    ("domain", {"domain": ""}),
    ("workgroup=W", {"domain": "W"}),
    ("guest", {"guest": True}),
    ("sec=NTLMSSPi", {"security": values.Security(anonymous=False, require_signing=True)}),
    ("sec=none", {"security": values.Security(anonymous=True, require_signing=False)}),
    ("sign", {"sign": True}),
    ("vers=NT1", {"dialect": "NT1"}),
    ("port=4450", {"port": 4450}),
    ("ip=[fe80::1]", {"address": "fe80::1"}),
    ("addr=10.0.0.7", {"address": "10.0.0.7"}),
    ("uid=root,gid=root", {"st_uid": 0, "st_gid": 0}),
    ("uid=1000", {"st_uid": 1000}),
    ("forceuid,forcegid,noforcegid", {"force_uid": True, "force_gid": False}),
    ("file_mode=0640,dmask=750", {"file_mode": 0o640, "dir_mode": 0o750}),
    ("ro,rw", {"read_only": False}),
    ("rw,ro", {"read_only": True}),
    ("noperm", {"permissions": False}),
    ("allow_other", {"allow_other": True}),
    ("linux", {"unix": True}),
    ("unix,noposix", {"unix": False}),
    ("actimeo=60", {"actimeo": 60.0}),
    ("actimeo=5,noac", {"actimeo": 0.0}),
    ("actimeo=0.5,,", {"actimeo": 0.5}),
    ("rsize=512,wsize=16777216", {"rsize": 512, "wsize": 16 << 20}),
    ("echo_interval=60,request_timeout=40", {"echo_interval": 60.0, "request_timeout": 40.0}),
    ("hard", {"hard": True}),
    ("hard,soft,retrans=0,reconnect_timeout=90", {"hard": False, "retrans": 0, "reconnect_timeout": 90.0}),
    ("prefixpath=a/b,unc=//a/b", {"prefixpath": "a/b", "unc": "//a/b"}),
    ("fsname=x=y", {"fsname": "x=y"}),
    ("nofail,debug", {"nofail": True, "debug": True}),
    ("allow_dev,allow_suid,nosuid,noatime", {"kernel_flags": {"dev": "dev", "suid": "nosuid", "atime": "noatime"}}),
    (
        "acl,dynperm,setuids,noserverino,nocase",
        {"acl": True, "dynperm": True, "setuids": True, "serverino": False, "nocase": True},
    ),
    (
        "acl,noacl,dynperm,nodynperm,setuids,nosetuids,ignorecase",
        {"acl": False, "dynperm": False, "setuids": False, "nocase": True},
    ),
    ("rw,user=x,exec,suid,dev,dev,suid", {"username": "x", "kernel_flags": {"exec": "exec"}}),  # as mount.fuse calls
]


@pytest.mark.parametrize(("text", "expected"), CHOICES)
def test_choice(text: str, expected: dict[str, object]) -> None:
    choices = dataclasses.replace(parse([text]), ignored=[])
    assert choices == Choices(**expected)  # type: ignore[arg-type]  # a table of mixed types


REFUSALS = [
    ("actimeo=61", "'actimeo=61' is more than 60 seconds, the ceiling"),
    ("actimeo=nan", "allowed: seconds from 0 to 60"),
    ("actimeo=-1", "allowed: seconds from 0 to 60"),
    ("vers=3.0", "'vers=3.0' is not SMB1"),
    ("sec=krb5", "needs Kerberos"),
    ("sec=ntlm", "is weak"),
    ("sec=lanman", "is weak"),
    ("sec=krb5p", "encryption, which SMB1 has not"),
    ("sec=best", "allowed: one of ntlmssp"),
    ("seal", "SMB1 has no encryption"),
    ("multiuser", "one mount serves one user"),
    ("snapshot=@GMT-2026.11.01-12.00.00", "MOUNTPOINT/@GMT-"),
    ("remount", "unmount, then mount"),
    ("uid=no-such-user-here", "is no user of this machine"),
    ("gid=4294967295", "allowed: a group's name or number"),
    ("file_mode=0988", "octal mode"),
    ("dir_mode=17777", "octal mode"),
    ("port=0", "port from 1 to 65535"),
    ("port=x", "port from 1 to 65535"),
    ("port=\u0664", "port from 1 to 65535"),
    ("ip=nas", "address in figures"),
    ("rsize=1", "bytes from 512"),
    ("uid", "'uid' needs a value"),
    ("ro=1", "'ro' takes no value"),
    ("usernane=joe", "did you mean 'username'?"),
    ("zzqqxx", "smbfuse --help lists all"),
    ("username=" + "x" * 5000, "is longer than"),
    ("credentials=", "the name of a file"),
    ("domain=\udcff", "is not UTF-8"),
    ("password_fd=x", "open file descriptor"),
    ("password_fd=987654", "cannot be read"),
]


@pytest.mark.parametrize(("text", "line"), REFUSALS)
def test_refusal_is_one_line_that_says_what_is_allowed(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse([text])
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", sorted(options.SECRETS))
def test_no_line_shows_a_password_or_a_part_of_it(name: str) -> None:
    for text in (f"{name}=geheim,nochmehr", f"{name}={'geheim' * 200}", f"{name}\x20=geheim", f"x{name}=geheim"):
        with pytest.raises(UsageError) as caught:
            parse([text])
        assert "geheim" not in str(caught.value)
        assert "nochmehr" not in str(caught.value)


def test_comma_in_password_gets_a_hint() -> None:
    with pytest.raises(UsageError, match=r"holds a comma.*credentials=FILE"):
        parse(["password=a,b"])
    # the form that hiding.py makes of it
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(UsageError, match="holds a comma"):
        parse([f"password_fd={reading},b"])
    os.close(reading)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_row_of_the_table_does_what_its_verdict_says(option: options.Option) -> None:
    fields = {field.name for field in dataclasses.fields(Choices)}
    assert option.text or option.verdict is Verdict.IGNORE
    match option.verdict:
        case Verdict.SUPPORT:
            assert option.field in fields
        case Verdict.REJECT:
            with pytest.raises(UsageError, match=f"option '{option.name}' "):
                parse([f"{option.name}=1"])
        case Verdict.WARN:
            assert parse([option.name]).warnings == [f"option '{option.name}' {option.text}"]
        case Verdict.IGNORE:
            assert parse([option.name]) == Choices(ignored=[option.name])


def test_no_working_name_stands_in_two_rows() -> None:
    names = [name for option in supported() for name in option.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", ["iocharset=utf8", "subtype=smbfuse"])
def test_no_warning_where_what_is_asked_happens_anyway(text: str) -> None:
    assert parse([text]).warnings == []


def test_comments_of_others_are_passed_over() -> None:
    text = "_netdev,nofail,noauto,user,users,x-systemd.automount,x-systemd.idle-timeout=10min,comment=a b,defaults"
    assert parse([text]).nofail
    assert parse([text]).warnings == []


def test_sloppy_passes_over_unknown_names_but_not_bad_values() -> None:
    assert parse(["zzqqxx=1"], sloppy=True).ignored == ["zzqqxx"]
    assert parse(["zzqqxx,sloppy"]).ignored == ["zzqqxx"]
    with pytest.raises(UsageError):
        parse(["port=x"], sloppy=True)


def test_help_names_every_option() -> None:
    text = help_text()
    assert [name for name in NAMES if name not in text] == []
    assert all(option.text in text for option in supported())
    assert "password2" in names_with(Verdict.REJECT)
    assert max(map(len, text.splitlines())) < 100


SAFE_NAMES = sorted(NAMES - {"password_fd"})  # which would read whatever descriptors pytest has

words = st.text(st.characters(blacklist_characters=","), max_size=20)
tokens = st.one_of(
    words.filter(lambda text: not text.startswith("password_fd")),
    st.builds("{}={}".format, st.sampled_from(SAFE_NAMES), words),
    st.builds("{}={}".format, st.sampled_from(SAFE_NAMES), st.integers() | st.floats()),
    st.sampled_from(SAFE_NAMES),
)


@given(st.lists(tokens), st.booleans())
def test_any_text_gives_choices_or_usage_error(parts: list[str], sloppy: bool) -> None:
    said = outcome(lambda: parse([",".join(parts)], sloppy=sloppy))
    if isinstance(said, Line):
        assert said.isprintable()
    else:
        assert said.actimeo is None or 0 <= said.actimeo <= values.ACTIMEO_CEILING
