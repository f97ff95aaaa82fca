"""What the fake server does with each command: one table."""

from __future__ import annotations

from smbfuse.wire import const
from tests.fakes import file_commands, setup_commands
from tests.fakes.context import Handler
from tests.fakes.fsctls import nt_transact
from tests.fakes.trans2_commands import transaction2

HANDLERS: dict[int, Handler] = {
    const.SMB_COM_NEGOTIATE: setup_commands.negotiate,
    const.SMB_COM_SESSION_SETUP_ANDX: setup_commands.session_setup,
    const.SMB_COM_LOGOFF_ANDX: setup_commands.logoff,
    const.SMB_COM_TREE_CONNECT_ANDX: setup_commands.tree_connect,
    const.SMB_COM_TREE_DISCONNECT: setup_commands.tree_disconnect,
    const.SMB_COM_ECHO: setup_commands.echo,
    const.SMB_COM_NT_CREATE_ANDX: file_commands.nt_create,
    const.SMB_COM_READ_ANDX: file_commands.read,
    const.SMB_COM_WRITE_ANDX: file_commands.write,
    const.SMB_COM_CLOSE: file_commands.close,
    const.SMB_COM_FLUSH: file_commands.flush,
    const.SMB_COM_LOCKING_ANDX: file_commands.locking,
    const.SMB_COM_DELETE: file_commands.delete,
    const.SMB_COM_CREATE_DIRECTORY: file_commands.create_directory,
    const.SMB_COM_DELETE_DIRECTORY: file_commands.delete_directory,
    const.SMB_COM_CHECK_DIRECTORY: file_commands.check_directory,
    const.SMB_COM_RENAME: file_commands.rename,
    const.SMB_COM_FIND_CLOSE2: file_commands.find_close,
    const.SMB_COM_TRANSACTION2: transaction2,
    const.SMB_COM_NT_TRANSACT: nt_transact,
}
