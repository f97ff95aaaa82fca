"""Connecting to a share, and what the server says of it then."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from smbfuse.client.tree import Tree
from smbfuse.errors import RemoteProtocolError, StatusError
from smbfuse.wire.const import CAP_UNIX, TREE_CONNECT_ANDX_EXTENDED_RESPONSE
from smbfuse.wire.setup import TreeConnectAndXRequest, TreeConnectExtendedResponse, TreeConnectResponse
from smbfuse.wire.text import upper_case
from smbfuse.wire.unixlevels import CifsUnixInfo

if TYPE_CHECKING:
    from smbfuse.client.session import Session
    from smbfuse.proto.events import Response

log: Final = logging.getLogger(__name__)


async def tree_connect(session: Session, share: str) -> Response:
    """SMB_COM_TREE_CONNECT_ANDX. [MS-CIFS] 2.2.4.55. StatusError (BAD_NETWORK_NAME, ...) as the server says it."""
    response = await session.connection.request(
        TreeConnectAndXRequest(
            flags=TREE_CONNECT_ANDX_EXTENDED_RESPONSE,
            path=upper_case(f"\\\\{session.settings.host}\\{share}"),
            service="?????",
        ),
        uid=session.uid,
        timeout=session.settings.connect_timeout,
    )
    response.check(share)
    return response


async def _unix_capabilities(tree: Tree) -> int:
    try:
        return (await tree.query_fs(CifsUnixInfo)).capabilities
    except StatusError as exc:
        log.debug("no UNIX extensions on this share: %s", exc)
        return 0


async def connect_tree(session: Session, share: str) -> Tree:
    """A disk share. As `tree_connect`."""
    response = await tree_connect(session, share)
    body = response.members[0][1]
    if isinstance(body, (TreeConnectExtendedResponse, TreeConnectResponse)):
        rights = body.maximal_share_access_rights if isinstance(body, TreeConnectExtendedResponse) else 0
        tree = Tree(session, response.header.tid, body.optional_support, body.native_file_system or "", rights)
        if session.limits.has(CAP_UNIX):
            tree.at.offers(await _unix_capabilities(tree))
        return tree
    raise RemoteProtocolError("the answer to TREE_CONNECT_ANDX has no known form")
