"""The fake server's negotiation, logon, tree connects and echo."""

from __future__ import annotations

from smbfuse import ntstatus as nt
from smbfuse.proto.signing import Signer
from smbfuse.wire.codec import Body
from smbfuse.wire.const import (
    CAP_EXTENDED_SECURITY,
    NEGOTIATE_SECURITY_SIGNATURES_ENABLED,
    SMB_SETUP_GUEST,
    TREE_CONNECT_ANDX_EXTENDED_RESPONSE,
)
from smbfuse.wire.frame import RawBody
from smbfuse.wire.setup import (
    NO_DIALECT,
    EchoRequest,
    EchoResponse,
    LogoffAndXRequest,
    LogoffAndXResponse,
    NegotiateExtendedResponse,
    NegotiateNonExtendedResponse,
    NegotiateRefusal,
    NegotiateRequest,
    SessionSetupExtendedRequest,
    SessionSetupExtendedResponse,
    TreeConnectAndXRequest,
    TreeConnectExtendedResponse,
    TreeConnectResponse,
    TreeDisconnectRequest,
)
from tests.fakes.auth import Step
from tests.fakes.context import Context
from tests.fakes.offer import Offer
from tests.fakes.volume import Refusal, now


def negotiate(context: Context, request: NegotiateRequest) -> Body:
    if "NT LM 0.12" not in request.dialects:
        return NegotiateRefusal(dialect_index=NO_DIALECT)
    offer = context.connection.server.offer
    if not offer.capabilities & CAP_EXTENDED_SECURITY:
        return NegotiateNonExtendedResponse(
            dialect_index=request.dialects.index("NT LM 0.12"),
            security_mode=offer.security_mode,
            max_mpx_count=offer.max_mpx_count,
            max_buffer_size=offer.max_buffer_size,
            capabilities=offer.capabilities,
            system_time=now(),
            challenge=bytes(8),
        )
    return NegotiateExtendedResponse(
        dialect_index=request.dialects.index("NT LM 0.12"),
        security_mode=offer.security_mode,
        max_mpx_count=offer.max_mpx_count,
        max_buffer_size=offer.max_buffer_size,
        capabilities=offer.capabilities,
        system_time=now(),
    )


def session_setup(context: Context, request: SessionSetupExtendedRequest) -> Body:
    connection = context.connection
    if not isinstance(request, SessionSetupExtendedRequest):
        raise Refusal(nt.STATUS_NOT_SUPPORTED)
    connection.client_buffer = request.max_buffer_size
    connection.acceptor = connection.acceptor or connection.server.offer.acceptor()
    connection.uid = connection.uid or next(connection.new_ids)
    context.reply.uid = connection.uid
    step = connection.acceptor.step(request.security_blob)
    offer = connection.server.offer
    if not step.done:
        context.reply.status = nt.STATUS_MORE_PROCESSING_REQUIRED
        return _setup_answer(offer, step, done=False)
    connection.acceptor = None  # a session may be renewed
    signs = offer.security_mode & NEGOTIATE_SECURITY_SIGNATURES_ENABLED
    if step.session_key is not None and signs and connection.signer is None:
        connection.signer = Signer(step.session_key, next_number=2)
        context.exchange.number = 1
    return _setup_answer(offer, step, done=True)


def _setup_answer(offer: Offer, step: Step, *, done: bool) -> Body:
    return SessionSetupExtendedResponse(
        action=SMB_SETUP_GUEST if offer.guest and done else 0,
        security_blob=step.token,
        native_os=offer.native_os,
        native_lan_man="fake",
    )


def tree_connect(context: Context, request: TreeConnectAndXRequest) -> Body:
    connection = context.connection
    name = request.path.rpartition("\\")[2].upper()
    if name not in connection.server.shares:
        raise Refusal(nt.STATUS_BAD_NETWORK_NAME)
    tid = next(connection.new_ids)
    connection.trees[tid] = connection.server.shares[name]
    context.reply.tid = tid
    offer = connection.server.offer
    if not request.flags & TREE_CONNECT_ANDX_EXTENDED_RESPONSE:
        return TreeConnectResponse(
            optional_support=offer.optional_support, service="A:", native_file_system=offer.file_system
        )
    return TreeConnectExtendedResponse(
        optional_support=offer.optional_support,
        maximal_share_access_rights=offer.rights,
        service="A:",
        native_file_system=offer.file_system,
    )


def tree_disconnect(context: Context, request: TreeDisconnectRequest) -> Body:
    _ = context.share
    del context.connection.trees[context.exchange.message.header.tid]
    return RawBody()


def logoff(context: Context, request: LogoffAndXRequest) -> Body:
    context.connection.uid = 0
    return LogoffAndXResponse()


def echo(context: Context, request: EchoRequest) -> Body:
    return EchoResponse(sequence_number=1, data=request.data)
