"""Where name and password come from, in which order, and what is wrong with a credentials file."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.cli import credentials
from smbfuse.cli.credentials import ask, gather, password_from_environment, read_file, split_username
from smbfuse.cli.options import parse
from smbfuse.errors import UsageError
from smbfuse.settings import Credentials, Secret
from tests.cli.outcomes import outcome

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(data: bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "credentials"
        path.write_bytes(data)
        path.chmod(mode)
        return path

    return make


def never(prompt: str) -> Secret:
    raise AssertionError(f"asked: {prompt}")


def who(
    options: str,
    environ: dict[str, str] | None = None,
    asker: Callable[[str], Secret] = never,
    url_user: str | None = None,
) -> tuple[str, str, str, bool]:
    """Name, password, domain, anonymous."""
    found = gather(parse([options]), "srv", environ or {}, url_user=url_user, asker=asker)
    return found.username, found.password.reveal(), found.domain, found.anonymous


FILES = [
    (b"username=joe\npassword=secret\ndomain=W\n", ("joe", "secret", "W")),
    (b"username=joe\r\npassword=secret\r\n", ("joe", "secret", None)),
    (b"  \tUSER=joe\n  PassWord= a, b=c #d \nDOM=", ("joe", " a, b=c #d ", "")),
    (b"\xef\xbb\xbfusername=joe\n\n# no\n;no\npass=\nworkgroup=W", ("joe", "", "W")),
    (b"username=a\nusername=b\n", ("b", None, None)),
    ("username=jürgen\npassword=п@роль\n".encode(), ("jürgen", "п@роль", None)),
    (b"", (None, None, None)),
]


@pytest.mark.parametrize(("data", "expected"), FILES)
def test_file(write: Write, data: bytes, expected: tuple[str | None, ...]) -> None:
    found = read_file(str(write(data)))
    assert (found.username, found.password and found.password.reveal(), found.domain) == expected
    assert found.warnings == []


def test_file_open_to_everybody_is_warned_about(write: Write) -> None:
    path = write(b"username=joe\n")
    path.chmod(0o644)
    assert read_file(str(path)).warnings == [f"credentials file {path} is open to everybody: type chmod 600 {path}"]


def test_strange_key_is_warned_about_by_line_but_not_shown(write: Write) -> None:
    (warning,) = read_file(str(write(b"username=joe\npsswrd=geheim\n"))).warnings
    assert "line 2 is passed over" in warning
    assert "geheim" not in warning


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"username=joe\ngeheim\n", "line 2: there is no '='"),
        (b"\npassword=" + b"geheim" * 100, "line 2: the password is longer than 512"),
        (b"username=\xff\n", "line 1: the username is not UTF-8"),
        (b"password=geheim\0\n", "line 1: the password holds a NUL"),
        (b"x" * 70000, "larger than 64 KiB"),
    ],
)
def test_bad_file(write: Write, data: bytes, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_file(str(write(data)))
    assert line in str(caught.value)
    assert "geheim" not in str(caught.value).partition(", line")[2]


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory; create it"):
        read_file(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="Is a directory"):
        read_file(str(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    assert read_file(str(tmp_path / "fifo")).username is None


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"user", b"pass", b"dom", b"=", b"\n", b"\0", b"\xff", b" ", b"#"])).map(b"".join)
)
def test_any_file_gives_contents_or_usage_error(data: bytes) -> None:
    said = outcome(lambda: credentials._parse_file("file", data, credentials.FileContents()))
    assert said is None or said.isprintable()


@pytest.mark.parametrize(
    ("text", "name", "domain", "password"),
    [
        ("joe", "joe", None, None),
        ("DOM/joe", "joe", "DOM", None),
        ("DOM\\joe", "joe", "DOM", None),
        ("joe@REALM", "joe@REALM", None, None),
        ("joe%pw%x", "joe", None, "pw%x"),
        ("DOM\\joe%a/b", "joe", "DOM", "a/b"),
        ("joe%", "joe", None, ""),
    ],
)
def test_username_forms(text: str, name: str, domain: str | None, password: str | None) -> None:
    found = split_username(text)
    assert (found.name, found.domain, found.password and found.password.reveal()) == (name, domain, password)


def test_option_beats_file_beats_environment(write: Write) -> None:
    path = write(b"username=filed\npassword=fp\ndomain=FD\n")
    environ = {"USER": "env", "PASSWD": "ep"}
    assert who(f"user=joe,pass=op,dom=OD,credentials={path}", environ) == ("joe", "op", "OD", False)
    assert who(f"credentials={path}", environ) == ("filed", "fp", "FD", False)
    assert who(f"credentials={path}", environ, url_user="url") == ("url", "fp", "FD", False)
    assert who("ro", environ) == ("env", "ep", "", False)
    assert who("user=D\\joe,domain=X", environ) == ("joe", "ep", "X", False)
    assert who("pass=", environ) == ("env", "", "", False)


def test_anonymous() -> None:
    assert who("guest") == ("", "", "", True)
    assert who("sec=none,user=joe") == ("", "", "", True)
    assert who("guest,user=joe,pass=x") == ("joe", "", "", False)


@pytest.mark.parametrize("options", ["username=", "username=%x", "username=W/"])
def test_a_user_has_a_name(options: str) -> None:
    with pytest.raises(UsageError, match="name is empty"):
        who(options, asker=lambda _: Secret("x"))


def test_warnings_come_before_the_question(write: Write) -> None:
    """And before the line that says that nobody can be asked."""
    lines: list[str] = []

    def asked(prompt: str) -> Secret:
        assert "line 2 is passed over" in lines[0]
        return Secret("x")

    path = write(b"username=joe\npasword=x\n")
    gather(parse([f"credentials={path}"]), "srv", {}, asker=asked, warn=lines.append)
    assert len(lines) == 1


def test_what_the_terminal_sends_may_be_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def latin1(prompt: str) -> str:
        return b"gr\xfc\xdf".decode()

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", latin1)
    with pytest.raises(UsageError, match="the password is not UTF-8"):
        ask("Password: ")


def test_asks_only_when_nothing_was_given() -> None:
    prompts: list[str] = []

    def asker(prompt: str) -> Secret:
        prompts.append(prompt)
        return Secret("typed")

    assert who("user=D/joe", {}, asker) == ("joe", "typed", "D", False)
    assert who("", {"USER": "u%p"}, asker) == ("u%p", "typed", "", False)
    assert prompts == ["Password for D\\joe on srv: ", "Password for u%p on srv: "]


def test_no_terminal_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as null:
        monkeypatch.setattr("sys.stdin", null)
        with pytest.raises(UsageError, match="no terminal to ask on: use -o credentials=FILE"):
            credentials.ask("?")


def test_password_from_descriptor_and_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"from fd\nmore")  # the writer keeps it open: nobody may wait for its end
    file = tmp_path / "password"
    file.write_bytes(b"from file\r\n")
    environ = {"PASSWD_FILE": str(file)}
    found = password_from_environment(environ)
    assert found is not None
    assert found.reveal() == "from file"
    found = password_from_environment(environ | {"PASSWD_FD": str(reading)})
    assert found is not None
    assert found.reveal() == "from fd"
    found = password_from_environment(environ | {"PASSWD_FD": "0", "PASSWD": ""})
    assert found is not None
    assert found.reveal() == ""
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"PASSWD_FD": "geheim"}, "PASSWD_FD must be the number"),
        ({"PASSWD_FD": "98765"}, "PASSWD_FD cannot be read"),
        ({"PASSWD_FILE": "/nonexistent/x"}, "PASSWD_FILE cannot be read: /nonexistent/x: No such file"),
        ({"PASSWD": "x" * 513}, "longer than 512"),
        ({"PASSWD": "\udcff"}, "not UTF-8"),
    ],
)
def test_bad_environment(environ: dict[str, str], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        password_from_environment(environ)


def test_name_too_long_or_undecodable() -> None:
    with pytest.raises(UsageError, match="longer than 256"):
        who("pass=x", {"USER": "u" * 257})
    with pytest.raises(UsageError, match="not UTF-8"):
        who("pass=x", {"USER": "\udc80"})


def test_no_repr_shows_a_password(write: Write) -> None:
    path = write(b"password=geheim\n")
    found = gather(parse([f"credentials={path}"]), "srv", {"USER": "u"}, asker=never)
    assert isinstance(found, Credentials)
    assert found.password.reveal() == "geheim"
    assert "geheim" not in repr((found, read_file(str(path)), parse(["password=geheim"]), split_username("a%geheim")))
    assert not stat.S_IMODE(path.stat().st_mode) & 0o077
