"""Negotiation and logon: who is let in, what is signed, and what is said of servers that are none."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from smbfuse import ntstatus as nt
from smbfuse.client.auth import authenticator
from smbfuse.client.session import open_session
from smbfuse.client.shares import connect_tree
from smbfuse.errors import (
    AuthenticationError,
    ConnectError,
    NotSupported,
    RemoteProtocolError,
    StatusError,
)
from smbfuse.settings import Credentials, Secret
from smbfuse.wire.codec import Body
from smbfuse.wire.const import (
    CAP_EXTENDED_SECURITY,
    CAP_UNICODE,
    FILE_ALL_ACCESS,
    SMB_COM_NEGOTIATE,
    SMB_COM_SESSION_SETUP_ANDX,
    SMB_FLAGS2_SMB_SECURITY_SIGNATURE,
    SMB_FLAGS2_SMB_SECURITY_SIGNATURE_REQUIRED,
    SMB_UNIQUE_FILE_NAME,
)
from smbfuse.wire.frame import RawBody, decode
from smbfuse.wire.setup import (
    NegotiateLanmanResponse,
    NegotiateNonExtendedResponse,
    NegotiateRefusal,
    SessionSetupExtendedResponse,
    SessionSetupResponse,
)
from tests import captures
from tests.client.support import PASSWORD, connected, logged_on, settings, tree_of
from tests.fakes import script
from tests.fakes.auth import OneUser, Step
from tests.fakes.exchange import Exchange, Reply
from tests.fakes.offer import CAPABILITIES, SECURITY, SIGNING_ENABLED, SIGNING_REQUIRED, Offer
from tests.fakes.server import FakeServer

ANONYMOUS = Credentials(anonymous=True)


def one_user() -> OneUser:
    return OneUser("tester", PASSWORD)


# --- signing policy, by the table of [MS-SMB] 3.2.4.2.4


@pytest.mark.parametrize(
    ("required", "security_mode", "signed"),
    [
        # Our policy: Enabled (the default) or Required. A server that is Disabled and one that is Declined look alike.
        pytest.param(False, SECURITY, False, id="enabled, disabled"),
        pytest.param(False, SIGNING_ENABLED, True, id="enabled, enabled"),
        pytest.param(False, SIGNING_REQUIRED, True, id="enabled, required"),
        pytest.param(True, SECURITY, None, id="required, disabled"),
        pytest.param(True, SIGNING_ENABLED, True, id="required, enabled"),
        pytest.param(True, SIGNING_REQUIRED, True, id="required, required"),
    ],
)
async def test_signing_policy(nursery: trio.Nursery, required: bool, security_mode: int, signed: bool | None) -> None:
    server = FakeServer(offer=Offer(security_mode=security_mode, acceptor=one_user))
    if signed is None:
        with pytest.raises(AuthenticationError, match="fake does not sign messages, but the option sign"):
            await logged_on(server, nursery, require_signing=required)
        assert server.tap.requests["SESSION_SETUP_ANDX"] == 0
        return
    seen: list[int] = []

    async def look(exchange: Exchange) -> None:
        seen.append(exchange.message.header.flags2)
        await exchange.answer()

    server.script.on(look, command=SMB_COM_SESSION_SETUP_ANDX)
    session = await logged_on(server, nursery, require_signing=required)
    await connect_tree(session, "share")
    assert (session.connection.engine.signer is not None) == signed == session.limits.signing
    assert server.last.wrong_signatures == 0
    assert {bool(flags2 & SMB_FLAGS2_SMB_SECURITY_SIGNATURE) for flags2 in seen} == {signed}
    assert {bool(flags2 & SMB_FLAGS2_SMB_SECURITY_SIGNATURE_REQUIRED) for flags2 in seen} == {required}


async def test_server_that_does_not_know_the_password_is_found_out(nursery: trio.Nursery) -> None:
    """It lets us in without asking, but cannot sign its last answer."""
    server = FakeServer(offer=Offer(security_mode=SIGNING_ENABLED))
    with pytest.raises(AuthenticationError, match="the signature of fake is wrong: it does not know the password"):
        await logged_on(server, nursery)


async def test_last_answer_of_the_logon_is_checked(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(security_mode=SIGNING_ENABLED, acceptor=one_user))
    server.script.on(script.changed(script.badly_signed), command=SMB_COM_SESSION_SETUP_ANDX)
    with pytest.raises(AuthenticationError, match="signature of fake is wrong"):
        await logged_on(server, nursery)


# --- who is let in


async def test_right_password(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(acceptor=one_user, native_os="Windows 5.1"))
    session = await logged_on(server, nursery)
    assert session.uid == server.last.uid != 0
    assert session.server_os == "Windows 5.1"


async def test_wrong_password(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(acceptor=one_user))
    with pytest.raises(StatusError) as caught:
        await logged_on(server, nursery, credentials=Credentials(username="tester", password=Secret("wrong")))
    assert caught.value.status == nt.STATUS_LOGON_FAILURE


@pytest.mark.parametrize("security_mode", [SECURITY, SIGNING_ENABLED])
async def test_anonymous(nursery: trio.Nursery, security_mode: int) -> None:
    server = FakeServer(offer=Offer(acceptor=one_user, security_mode=security_mode))
    tree = await tree_of(server, nursery, credentials=ANONYMOUS)
    assert not tree.session.limits.signing
    assert tree.session.connection.engine.signer is None


async def test_anonymous_cannot_sign(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(acceptor=one_user, security_mode=SIGNING_ENABLED))
    with pytest.raises(AuthenticationError, match="an anonymous logon has no key to sign with"):
        await logged_on(server, nursery, credentials=ANONYMOUS, require_signing=True)


async def test_guest_is_refused_unless_asked_for(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(guest=True))
    with pytest.raises(AuthenticationError, match="lets in a guest; if that is enough, use -o guest"):
        await logged_on(server, nursery)
    await logged_on(server, nursery, credentials=ANONYMOUS)


async def test_logon_that_ends_before_it_began(nursery: trio.Nursery) -> None:
    """Success at once, without a challenge: whoever answers has proved nothing and seen no proof."""

    class Hasty:
        def step(self, token: bytes) -> Step:
            return Step(b"", True)

    server = FakeServer(offer=Offer(acceptor=Hasty))
    with pytest.raises(AuthenticationError, match="ends the logon before it has seen who we are"):
        await logged_on(server, nursery)


async def test_logon_for_ever(nursery: trio.Nursery) -> None:
    server = FakeServer()

    async def more(exchange: Exchange) -> None:
        body = SessionSetupExtendedResponse(security_blob=b"more")
        await exchange.answer(Reply([body], nt.STATUS_MORE_PROCESSING_REQUIRED, uid=1))

    server.script.on(more, command=SMB_COM_SESSION_SETUP_ANDX)
    with pytest.raises(RemoteProtocolError, match="go on with the logon for ever"):
        await logged_on(server, nursery, credentials=ANONYMOUS)
    assert server.tap.requests["SESSION_SETUP_ANDX"] <= 10


@pytest.mark.parametrize("token", [b"", b"nonsense", b"NTLMSSP\0\x02\0\0\0", b"\xa1\x02\x30\x00"])
async def test_tokens_that_make_no_sense(nursery: trio.Nursery, token: bytes) -> None:
    server = FakeServer()

    async def nonsense(exchange: Exchange) -> None:
        body = SessionSetupExtendedResponse(security_blob=token)
        await exchange.answer(Reply([body], nt.STATUS_MORE_PROCESSING_REQUIRED, uid=1))

    server.script.on(nonsense, command=SMB_COM_SESSION_SETUP_ANDX)
    with pytest.raises(AuthenticationError, match="the server's logon token makes no sense"):
        await logged_on(server, nursery)


def recorded_tokens() -> list[bytes]:
    """The server's tokens of a recorded logon: SPNEGO's hints, the challenge, the end."""
    bodies = [decode(message.data).body for message in captures.messages("01-extsec-ntlmv2-ls") if message.from_server]
    return [body.security_blob for body in bodies[:3]]  # type: ignore[attr-defined] # negotiate and session setups


@given(data=st.data())
def test_any_token_is_taken_or_refused(data: st.DataObject) -> None:
    """Recorded tokens with bytes changed, cut out and cut off, in any place of the logon: never another exception."""
    tokens = recorded_tokens()
    which = data.draw(st.integers(0, 2))
    changed = bytearray(tokens[which])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=3))
    tokens[which] = bytes(changed)
    user = Credentials(username="alice", password=Secret("Wonderland1"))
    try:
        step = authenticator(user, "host", tokens[0])
        for token in tokens:
            step.step(token)
        assert step.session_key is None or len(step.session_key) == 16
    except AuthenticationError:
        return


async def test_answer_of_another_form_to_the_logon(nursery: trio.Nursery) -> None:
    server = FakeServer()

    async def other(exchange: Exchange) -> None:
        await exchange.answer(Reply([SessionSetupResponse()], 0))

    server.script.on(other, command=SMB_COM_SESSION_SETUP_ANDX)
    with pytest.raises(RemoteProtocolError, match="has not the form SessionSetupExtendedResponse"):
        await logged_on(server, nursery)


async def test_unique_file_names_are_told(nursery: trio.Nursery) -> None:
    assert not (await tree_of(FakeServer(), nursery)).unique_file_names
    promising = FakeServer(offer=Offer(optional_support=SMB_UNIQUE_FILE_NAME))
    assert (await tree_of(promising, nursery)).unique_file_names


@pytest.mark.parametrize(
    ("rights", "read_only"), [(0, False), (FILE_ALL_ACCESS, False), (0x001200A9, True), (0x001200AD, False)]
)
async def test_shares_for_reading_only_are_told(nursery: trio.Nursery, rights: int, read_only: bool) -> None:
    """0x001200A9 is what Windows says of a share that the user may only read; 0 is said by who does not know."""
    tree = await tree_of(FakeServer(offer=Offer(rights=rights)), nursery)
    assert tree.read_only is read_only


# --- negotiation


def answering(body: Body) -> Callable[[Exchange], Awaitable[None]]:
    async def action(exchange: Exchange) -> None:
        await exchange.answer(Reply([body]))

    return action


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (NegotiateRefusal(), "does not speak SMB1's NT LM 0.12 dialect"),
        (NegotiateRefusal(dialect_index=0), "a dialect of SMB1 that was not offered"),
        (
            NegotiateNonExtendedResponse(
                dialect_index=0,
                security_mode=3,
                max_mpx_count=2,
                max_buffer_size=4356,
                capabilities=4,
                challenge=bytes(8),
            ),
            "only logons without extended security",
        ),
        (
            NegotiateLanmanResponse(
                dialect_index=0, security_mode=3, max_buffer_size=4356, max_mpx_count=2, challenge=bytes(8)
            ),
            "a dialect of SMB1 that was not offered",
        ),
        (RawBody(), "a dialect of SMB1 that was not offered"),
    ],
)
async def test_servers_that_are_too_old(nursery: trio.Nursery, body: Body, text: str) -> None:
    server = FakeServer()
    server.script.on(answering(body), command=SMB_COM_NEGOTIATE)
    with pytest.raises(NotSupported, match=text):
        await logged_on(server, nursery)


async def test_server_without_unicode(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(capabilities=CAPABILITIES & ~CAP_UNICODE | CAP_EXTENDED_SECURITY))
    with pytest.raises(NotSupported, match="does not speak Unicode"):
        await logged_on(server, nursery)


async def test_absurd_limits_are_survived(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(max_mpx_count=0, max_buffer_size=0))
    session = await logged_on(server, nursery)
    assert session.limits.max_mpx_count == 1
    assert (await connect_tree(session, "share")).sizes.read > 0


# --- servers that are none

SMB2_ANSWER = b"\0\0\0\x41\xfeSMB" + b"\x40\0" + bytes(6) + b"\0\0\1\0\1" + bytes(50)


async def _say(stream: trio.SocketStream, what: bytes) -> None:
    await stream.send_all(what)
    await trio.sleep_forever()


async def _say_for_ever(stream: trio.SocketStream, what: bytes) -> None:
    while True:
        await stream.send_all(what)


async def _say_and_close(stream: trio.SocketStream, what: bytes) -> None:
    if what:
        await stream.receive_some()
        await stream.send_all(what)


NO_SERVERS = {
    "HTTP": (_say, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "SSH": (_say, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    "FTP": (_say_and_close, b"220 ready\r\n"),
    "noise": (_say, random.Random(4).randbytes(5000)),
    "closes at once": (_say_and_close, b""),
    "zeros for ever": (_say_for_ever, bytes(65536)),
    "keep-alives for ever": (_say_for_ever, b"\x85\0\0\0" * 10_000),
    "only SMB2": (_say_and_close, SMB2_ANSWER),
    "a frame that never ends": (_say, b"\0\xff\xff\xff\xffSMBr" + bytes(1000)),
    "says nothing": (_say, b""),
    "NBT: session refused": (_say_and_close, b"\x83\0\0\x01\x82"),
    "SMB1 garbage": (_say_and_close, b"\0\0\0\x40\xffSMB" + b"\x72" + random.Random(9).randbytes(59)),
}


@pytest.mark.parametrize("name", NO_SERVERS)
async def test_no_smb1_server(name: str, nursery: trio.Nursery) -> None:
    """One clear error, soon: within the connect timeout, which is short here for the silent ones."""
    behaviour, what = NO_SERVERS[name]

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await behaviour(stream, what)
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as servers:
        servers.start_soon(trio.serve_listeners, serve, listeners)
        with trio.fail_after(5), pytest.raises((ConnectError, NotSupported), match="SMB1") as caught:
            await open_session(settings(host="127.0.0.1", port=port, connect_timeout=0.5), nursery)
        assert "\n" not in str(caught.value)
        servers.cancel_scope.cancel()


async def test_silent_server_takes_no_longer_than_the_connect_timeout(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server = FakeServer()
    server.script.on(script.dropped)
    session = await connected(server, nursery)
    begun = trio.current_time()
    with pytest.raises(ConnectError, match="takes connections, but does not speak SMB1"):
        await session.negotiate()
    assert trio.current_time() - begun <= 10


async def test_failed_logon_leaves_nothing(nursery: trio.Nursery) -> None:
    server = FakeServer(offer=Offer(acceptor=one_user))
    port = await nursery.start(server.listen)
    before = len(nursery.child_tasks)
    wrong = Credentials(username="tester", password=Secret("wrong"))
    with pytest.raises(StatusError):
        await open_session(settings(host="127.0.0.1", port=port, credentials=wrong), nursery)
    with trio.fail_after(5):
        while len(nursery.child_tasks) > before:
            await trio.testing.wait_all_tasks_blocked()


# --- the secret


async def test_secret_is_nowhere(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    password = "hunter2-Swordfish"
    user = Credentials(username="tester", password=Secret(password))
    server = FakeServer(offer=Offer(security_mode=SIGNING_REQUIRED, acceptor=lambda: OneUser("tester", password)))
    session = await logged_on(server, nursery, credentials=user)
    failing = FakeServer(offer=Offer(acceptor=one_user))
    with pytest.raises(StatusError) as caught:
        await logged_on(failing, nursery, credentials=user)
    assert session.connection.engine.signer is not None
    texts = [record.getMessage() for record in caplog.records]
    texts += [repr(session.settings), repr(user), repr(user.password), str(user.password), repr(caught.value)]
    texts += [repr(dataclasses.asdict(session.limits)), repr(session.connection.engine)]
    for text in texts:
        for form in (password, password.encode("utf-16-le").hex(), password.encode().hex()):
            assert form not in text
