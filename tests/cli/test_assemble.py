"""From a command line to the settings that the floors below read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from smbfuse.cli.arguments import Action, parse_command
from smbfuse.cli.assemble import Caller, mount_settings, server_settings, share_of
from smbfuse.cli.mounthelper import is_helper, parse_helper
from smbfuse.cli.options import parse
from smbfuse.errors import UsageError
from smbfuse.settings import Credentials, MountSettings, ServerSettings

ROOT, USER = Caller(0, 0), Caller(1000, 100)


def settings(options: str, caller: Caller = ROOT, source: str = "//nas/data/a") -> tuple[ServerSettings, MountSettings]:
    choices = parse([options])
    unc = share_of(source, choices)
    return server_settings(unc, choices, Credentials()), mount_settings(source, "/m", unc, choices, caller)


def differences(found: object, expected: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(found, name) for name, value in expected.items() if getattr(found, name) != value}


SERVERS: list[tuple[str, dict[str, Any]]] = [
    ("", {"host": "nas", "share": "data", "port": 445, "address": None, "require_signing": False, "rsize": None}),
    ("", {"unix_extensions": None, "request_timeout": 60.0, "echo_interval": 10.0}),
    ("port=139,ip=10.0.0.7", {"port": 139, "address": "10.0.0.7"}),
    ("sec=ntlmv2i", {"require_signing": True}),
    ("sign,sec=ntlmssp", {"require_signing": True}),
    ("nounix,rsize=4096,wsize=8192", {"unix_extensions": False, "rsize": 4096, "wsize": 8192}),
    ("posix,echo_interval=30,request_timeout=45", {"unix_extensions": True, "echo_interval": 30.0}),
]


@pytest.mark.parametrize(("options", "expected"), SERVERS)
def test_server(options: str, expected: dict[str, Any]) -> None:
    assert differences(settings(options)[0], expected) == {}


MOUNTS: list[tuple[str, Caller, dict[str, Any]]] = [
    ("", ROOT, {"source": "//nas/data/a", "prefix": "a", "allow_other": True, "default_permissions": True}),
    ("", USER, {"allow_other": False, "st_uid": 1000, "st_gid": 100, "file_mode": 0o755, "actimeo": 1.0}),
    ("noallow_other", ROOT, {"allow_other": False}),
    ("allow_root", ROOT, {"allow_other": False, "fuse_options": ("allow_root",)}),
    ("allow_other,noperm", USER, {"allow_other": True, "default_permissions": False}),
    ("prefixpath=/b\\c/", ROOT, {"prefix": "b/c"}),
    ("uid=5,gid=6,forceuid,file_mode=0600", ROOT, {"st_uid": 5, "st_gid": 6, "force_uid": True, "file_mode": 0o600}),
    ("noac,ro,debug,fsname=x", ROOT, {"actimeo": 0.0, "read_only": True, "debug": True, "source": "x"}),
    ("rw,guest,dev,suid", ROOT, {"fuse_options": ()}),
    ("allow_suid,noexec,allow_dev", ROOT, {"fuse_options": ("dev", "noexec", "suid")}),
    ("allow_suid,noexec,allow_dev", USER, {"fuse_options": ("noexec",)}),
]


@pytest.mark.parametrize(("options", "caller", "expected"), MOUNTS)
def test_mount(options: str, caller: Caller, expected: dict[str, Any]) -> None:
    assert differences(settings(options, caller)[1], expected) == {}


def test_port_of_the_url_counts_less_than_the_option() -> None:
    assert settings("", source="smb://nas:4450/data")[0].port == 4450
    assert settings("port=1", source="smb://nas:4450/data")[0].port == 1


def test_unc_option_must_name_the_same_share() -> None:
    assert settings("unc=\\\\NAS\\Data")[0].share == "data"
    with pytest.raises(UsageError, match="differ: name the share once"):
        settings("unc=//nas/other")


def test_switches() -> None:
    found = parse_command(["-v", "//a/b", "-o", "ro", "/m", "-fs", "-o", "rw"])
    assert (found.source, found.mountpoint, found.options) == ("//a/b", "/m", ("ro", "rw"))
    assert (found.foreground, found.verbose, found.sloppy, found.debug) == (True, True, True, False)


def test_rest_means_the_same_when_read_again() -> None:
    found = parse_command(["-d", "--", "-share", "/m"])
    assert parse_command(found.rest) == found


@pytest.mark.parametrize("name", ["mount.smbfuse", "/sbin/mount.fuse.smbfuse", "mount.fuse3"])
def test_f_is_fake_for_helpers(name: str) -> None:
    assert is_helper(name)
    found = parse_helper(["//a/b", "/m", "-sfnv", "-o", "ro"])
    assert (found.action, found.foreground, found.sloppy) == (Action.CHECK, False, True)
    assert not is_helper("/usr/bin/smbfuse")
