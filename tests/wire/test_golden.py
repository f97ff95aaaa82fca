"""A few messages of the captures, one field to a line, with the objects they are."""

from __future__ import annotations

import pytest

from smbfuse.wire import const, files, locking, setup, trans
from smbfuse.wire.chains import iter_entries
from smbfuse.wire.codec import Body
from smbfuse.wire.filelevels import FileNotify
from smbfuse.wire.findlevels import FileBothDirectoryInfo
from smbfuse.wire.frame import decode, encode
from smbfuse.wire.header import Header
from smbfuse.wire.text import OEM, UNICODE
from smbfuse.wire.trans2 import FindFirst2ResponseParameters


def golden(text: str) -> bytes:
    """The bytes of lines of `hex  name`."""
    return b"".join(bytes.fromhex(line.split("  ")[0]) for line in text.split("\n") if line)


def header(text: str) -> str:
    """Header lines: command, flags, flags2, tid, pid, uid, mid; the rest is zero."""
    command, flags, flags2, tid, pid, uid, mid = text.split()
    return f"""
ff534d42  protocol
{command}  command
00000000  status
{flags}  flags
{flags2}  flags2
0000  pid_high
0000000000000000  security_features
0000  reserved
{tid}  tid
{pid}  pid_low
{uid}  uid
{mid}  mid
"""


OPLOCK_BREAK = (  # 11a frame 32: sent by the server, yet a request
    header("24 00 0000 bd8c ffff 0000 ffff")
    + """
08  word_count
ff  andx_command
00  andx_reserved
0000  andx_offset
e12a  fid
02  lock_type: OPLOCK_RELEASE
01  new_oplock_level: to level II
00000000  timeout
0000  number_of_unlocks
0000  number_of_locks
0000  byte_count
"""
)

LOCK_64 = (  # 13a frame 31
    header("24 18 43c8 c3b1 efbe c74d 0700")
    + """
08  word_count
ff  andx_command
00  andx_reserved
0000  andx_offset
a3f7  fid
10  lock_type: LARGE_FILES
00  new_oplock_level
00000000  timeout
0000  number_of_unlocks
0200  number_of_locks
2800  byte_count
efbe  pid
0000  pad
0000000000000000  offset, high half first
0000000064000000  length
efbe  pid
0000  pad
0001000005000000  offset
000000000a000000  length
"""
)

NEGOTIATED = (  # 01 frame 6
    header("72 88 43c8 0000 feff 0000 0000")
    + """
11  word_count
0800  dialect_index
03  security_mode
3200  max_mpx_count
0100  max_number_vcs
04410000  max_buffer_size
00000100  max_raw_size
e1040000  session_key
fdf38080  capabilities
d8f89d6e4d79dd01  system_time
0000  server_time_zone
00  challenge_length
5a00  byte_count
63617073727631000000000000000000  server_guid
604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa32a3028a0261b24  security_blob, of negotiation
6e6f745f646566696e65645f696e5f5246433431373840706c656173655f69676e6f7265  not_defined_in_RFC4178@please_ignore
"""
)

PLAINTEXT_LOGON = (  # 03g frame 8
    header("73 18 43c0 0000 fa09 0000 0100")
    + """
0d  word_count
ff  andx_command
00  andx_reserved
0000  andx_offset
ffff  max_buffer_size
0200  max_mpx_count
fa09  vc_number
fe090000  session_key
0000  oem_password_length
1800  unicode_password_length
00000000  reserved
54c00000  capabilities
4d00  byte_count
00  pad that the length does not count
57006f006e006400650072006c0061006e00640031000000  unicode_password
61006c00690063006500  account_name
0000  terminator
43004100500047005200  primary_domain
4f005500500000005500  more of it, terminator, native_os
6e006900780000005300  more of it, terminator, native_lan_man
61006d00620061000000  more of it, terminator
"""
)

TREE_CONNECTED = (  # 01 frame 13
    header("75 88 03c8 91a0 d804 837a 0300")
    + """
07  word_count
ff  andx_command
00  andx_reserved
0000  andx_offset
2100  optional_support: SEARCH_BITS, EXTENDED_SIGNATURES
ff010000  maximal_share_access_rights
ff010000  guest_maximal_share_access_rights
0700  byte_count
49504300  service, ASCII
00  pad
0000  native_file_system
"""
)

OPEN = (  # 23a frame 28
    header("a2 18 43c8 0ba6 efbe 1588 0d00")
    + """
18  word_count
ff  andx_command
00  andx_reserved
0000  andx_offset
00  reserved
1200  name_length, without terminator
10000000  flags: EXTENDED_RESPONSE
00000000  root_directory_fid
9f011200  desired_access
0000000000000000  allocation_size
00000000  ext_file_attributes
07000000  share_access
01000000  create_disposition
00000000  create_options
02000000  impersonation_level
03  security_flags
1500  byte_count
00  pad
700072006f00620065002e006400610074000000  file_name
"""
)

READ = (  # 02 frame 41, without its signature
    header("2e 88 03c8 afa6 c705 1ea1 1100")
    + """
0c  word_count
ff  andx_command
00  andx_reserved
0000  andx_offset
ffff  available
0000  data_compaction_mode
0000  reserved1
1300  data_length
3c00  data_offset
0000  data_length_high
00000000  reserved2
00000000  reserved3
1400  byte_count
00  pad
48656c6c6f2c20534d423120776f726c642e0a  data
"""
)

NOTIFIED = (  # 12a frame 46
    header("a0 88 03c8 93af ee25 d1fb 0800")
    + """
12  word_count
000000  reserved1
18000000  total_parameter_count
00000000  total_data_count
18000000  parameter_count
48000000  parameter_offset
00000000  parameter_displacement
00000000  data_count
00000000  data_offset
00000000  data_displacement
00  setup_count
1900  byte_count
00  pad1
00000000  next_entry_offset
01000000  action: ADDED
0c000000  file_name_length
6e0031002e00740078007400  file_name
"""
)

FOUND = (  # 07c frame 29
    header("32 88 03c8 a499 6615 cdde 0b00")
    + """
0a  word_count
0a00  total_parameter_count
a800  total_data_count
0000  reserved1
0a00  parameter_count
3800  parameter_offset
0000  parameter_displacement
a800  data_count
4400  data_offset
0000  data_displacement
00  setup_count
00  reserved2
b500  byte_count
00  pad1
ffff  sid
0100  search_count
0100  end_of_search
0000  ea_error_offset
0000  last_name_offset
0000  pad2
a8000000  next_entry_offset, to the end of the data
00000000  file_index
00406d25eb53bf01  creation_time
00406d25eb53bf01  last_access_time
00406d25eb53bf01  last_write_time
00406d25eb53bf01  last_change_time
e803000000000000  end_of_file
0010000000000000  allocation_size
80000000  ext_file_attributes
4a000000  file_name_length
00000000  ea_size
00  short_name_length
00  reserved
000000000000000000000000000000000000000000000000  short_name
410020006c006f006e0067002000660069006c00650020006e0061006d00  file_name
650020007700690074006800200073007000610063006500  and more of it
73002e0064006f00630075006d0065006e007400  and its end
"""
)

MESSAGES: dict[str, tuple[str, Body]] = {
    "oplock break": (
        OPLOCK_BREAK,
        locking.LockingAndXRequest(
            fid=0x2AE1, lock_type=const.LOCKING_ANDX_OPLOCK_RELEASE, new_oplock_level=const.BREAK_TO_LEVEL_II
        ),
    ),
    "two locks": (
        LOCK_64,
        locking.LockingAndXRequest(
            fid=0xF7A3,
            locks=(
                locking.LockingRange64(pid=0xBEEF, offset=0, length=100),
                locking.LockingRange64(pid=0xBEEF, offset=2**40 + 5, length=10),
            ),
        ),
    ),
    "negotiated": (
        NEGOTIATED,
        setup.NegotiateExtendedResponse(
            dialect_index=8,
            security_mode=const.NEGOTIATE_USER_SECURITY | const.NEGOTIATE_ENCRYPT_PASSWORDS,
            max_mpx_count=50,
            max_buffer_size=16644,
            session_key=1249,
            capabilities=0x8080_F3FD,
            system_time=134396937366272216,
            server_guid=b"capsrv1".ljust(16, b"\0"),
            security_blob=golden(NEGOTIATED)[85:],
        ),
    ),
    "plaintext logon": (
        PLAINTEXT_LOGON,
        setup.SessionSetupRequest(
            max_buffer_size=0xFFFF,
            max_mpx_count=2,
            vc_number=2554,
            session_key=2558,
            capabilities=0xC054,
            oem_password=b"",
            unicode_password=b"\0" + "Wonderland1".encode("utf-16-le") + b"\0",
            account_name="alice",
            primary_domain="CAPGROUP",
            native_os="Unix",
            native_lan_man="Samba",
        ),
    ),
    "tree connected": (
        TREE_CONNECTED,
        setup.TreeConnectExtendedResponse(
            optional_support=const.SMB_SUPPORT_SEARCH_BITS | const.SMB_EXTENDED_SIGNATURES,
            maximal_share_access_rights=0x1FF,
            guest_maximal_share_access_rights=0x1FF,
            service="IPC",
        ),
    ),
    "open": (
        OPEN,
        files.NtCreateAndXRequest(
            name_length=18,
            flags=const.NT_CREATE_REQUEST_EXTENDED_RESPONSE,
            desired_access=0x0012_019F,
            share_access=const.FILE_SHARE_READ | const.FILE_SHARE_WRITE | const.FILE_SHARE_DELETE,
            create_disposition=const.FILE_OPEN,
            security_flags=const.SMB_SECURITY_CONTEXT_TRACKING | const.SMB_SECURITY_EFFECTIVE_ONLY,
            file_name="probe.dat",
        ),
    ),
    "read": (READ, files.ReadAndXResponse(data=b"Hello, SMB1 world.\n")),
    "notified": (
        NOTIFIED,
        trans.NtTransactResponse(
            total_parameter_count=24, parameters=FileNotify(action=const.FILE_ACTION_ADDED, file_name="n1.txt").pack()
        ),
    ),
    "found": (
        FOUND,
        trans.Trans2Response(
            total_parameter_count=10,
            total_data_count=168,
            parameters=FindFirst2ResponseParameters(sid=0xFFFF, search_count=1, end_of_search=1).pack(),
            data=FileBothDirectoryInfo(
                next_entry_offset=168,
                creation_time=125911584000000000,
                last_access_time=125911584000000000,
                last_write_time=125911584000000000,
                last_change_time=125911584000000000,
                end_of_file=1000,
                allocation_size=4096,
                ext_file_attributes=const.FILE_ATTRIBUTE_NORMAL,
                file_name="A long file name with spaces.document",
            ).pack(),
        ),
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_golden_message(name: str) -> None:
    text, body = MESSAGES[name]
    raw = golden(text)
    message = decode(raw)
    assert message.body == body
    assert b"".join(map(bytes, encode(message.header, body))) == raw


def test_names_are_counted_for_the_caller() -> None:
    body = files.NtCreateAndXRequest(desired_access=1, share_access=7, create_disposition=1, file_name="probe.dat")
    assert body.pack()[6:8] == (18).to_bytes(2, "little")
    assert body.pack(OEM)[6:8] == (9).to_bytes(2, "little")


def test_totals_are_counted_for_the_caller() -> None:
    raw = trans.Trans2Request(max_parameter_count=10, max_data_count=100, setup=b"\1\0", parameters=b"abc").pack()
    assert raw[1:5] == b"\3\0\0\0"
    assert trans.Trans2Request.unpack(raw).subcommand == const.TRANS2_FIND_FIRST2


def test_payload_is_not_copied() -> None:
    """Neither way: a decoded payload is a slice of the buffer, an encoded one is the caller's own object."""
    raw = memoryview(golden(READ))
    body = decode(raw).body
    assert isinstance(body, files.ReadAndXResponse)
    assert isinstance(body.data, memoryview)
    assert body.data.obj is raw.obj
    data = bytes(100_000)
    first, second = encode(
        Header(command=const.SMB_COM_WRITE_ANDX), files.WriteAndXRequest(fid=1, offset_low=0, data=data)
    )
    assert second is data
    assert len(first) == 64
    assert first[-3:] == b"\xa1\x86\0"  # ByteCount modulo 65536, and a pad to a multiple of four
    written = decode(bytes(first) + data).body
    assert isinstance(written, files.WriteAndXRequest)
    assert len(written.data) == 100_000


def test_payload_inside_a_chain() -> None:
    """WRITE_ANDX then CLOSE: the payload is put where it belongs."""
    chain = [files.WriteAndXRequest(fid=1, offset_low=0, data=b"abcde"), files.CloseRequest(fid=0xFFFF)]
    (raw,) = encode(Header(command=const.SMB_COM_WRITE_ANDX), *chain)
    members = [body for _, body in decode(raw).members]
    assert isinstance(members[0], files.WriteAndXRequest)
    assert bytes(members[0].data) == b"abcde"
    assert members[1] == chain[1]


@pytest.mark.parametrize(
    ("flags2", "capabilities", "length", "extended"),
    [
        (const.SMB_FLAGS2_EXTENDED_SECURITY, const.CAP_EXTENDED_SECURITY, 0, True),
        (0, const.CAP_EXTENDED_SECURITY, 0, True),
        (const.SMB_FLAGS2_EXTENDED_SECURITY, 0, 0, True),
        (const.SMB_FLAGS2_EXTENDED_SECURITY, const.CAP_EXTENDED_SECURITY, 8, False),
        (0, 0, 0, False),
        (0, 0, 8, False),
    ],
)
def test_form_of_a_negotiate_response(flags2: int, capabilities: int, length: int, extended: bool) -> None:
    """A server that sets one bit only, or both beside a challenge, is understood by what it sends."""
    block = b"c" * length + bytes(24)
    words = bytes(19) + capabilities.to_bytes(4, "little") + bytes(10) + bytes([length])
    head = Header(command=const.SMB_COM_NEGOTIATE, flags=const.SMB_FLAGS_REPLY, flags2=flags2).pack()
    body = decode(head + bytes([17]) + words + len(block).to_bytes(2, "little") + block).body
    assert isinstance(body, setup.NegotiateExtendedResponse) is extended
    assert isinstance(body, setup.NegotiateNonExtendedResponse) is not extended


def test_secrets_stay_out_of_reprs() -> None:
    logon = MESSAGES["plaintext logon"][1]
    extended = setup.SessionSetupExtendedRequest(
        max_buffer_size=1, max_mpx_count=1, capabilities=0, security_blob=b"secret"
    )
    lanman = setup.SessionSetupLanmanRequest(max_buffer_size=1, max_mpx_count=1, password=b"secret")
    share = setup.TreeConnectAndXRequest(password=b"secret", path="\\\\server\\share")
    for body in (logon, extended, lanman, share):
        assert "secret" not in repr(body)
        assert "password=" not in repr(body)
        assert "W\\x00o" not in repr(body)


def test_strings_that_servers_leave_out() -> None:
    """None: the block ended before it; the empty string: there was a terminator (capture 19a, 10b)."""
    nothing = bytes([3, 0xFF]) + bytes(5) + b"\0\0"
    body = setup.SessionSetupResponse.unpack(nothing, text=UNICODE)
    assert (body.native_os, body.native_lan_man, body.primary_domain) == (None, None, None)
    assert body.pack() == nothing


def test_entries_of_an_empty_answer() -> None:
    assert list(iter_entries(FileBothDirectoryInfo, b"")) == []
