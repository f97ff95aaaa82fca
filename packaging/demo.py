"""`make demo`: a real SMB1 server on loopback, mounted with the real command line, and a short tour of it.

Server and mount are those of the tests (tests/samba, tests/support), so nothing is told twice. Whatever happens, Ctrl-C
and SIGTERM included, the mount, the server and the directory they live in are gone at the end.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.samba.content import FILES, NEWER, OLDER, PRESENT_FILES, write_files, write_snapshots
from tests.samba.smbd import Share, Smbd, snapshots
from tests.support.interruptible import interruptible
from tests.support.mount import Mount, umount_command


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def show(command: str) -> None:
    """Print a shell command and run it: what is seen is what was done."""
    print(f"$ {command}", flush=True)
    # Else ls would show names that are not ASCII as escapes, on a machine without a locale of its own.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(["bash", "-c", command], check=True, timeout=60, stdin=subprocess.DEVNULL, env=environment)


def start_server(root: Path, stack: ExitStack) -> Smbd:
    share, kept = root / "server", root / "server-snapshots"
    write_files(share, {**FILES, **PRESENT_FILES})
    write_snapshots(kept)
    server = stack.enter_context(Smbd([Share(name="demo", path=share, options=snapshots(share, kept))]))
    say(f"A private smbd serves //{server.address}/demo on port {server.port}: SMB1 only, user and password needed.")
    return server


def mount(server: Smbd, mountpoint: Path, stack: ExitStack) -> Mount:
    mountpoint.mkdir()
    mounted = Mount.of(server, "demo", mountpoint, foreground=False)
    say("Mount it. The command returns when the mount is live.")
    print(f"$ {shlex.join(mounted.argv)}", flush=True)
    stack.enter_context(mounted)
    return mounted


def tour(server: Smbd, mounted: Mount) -> None:
    here, there = shlex.quote(str(mounted.path)), shlex.quote(str(server.shares["demo"].path))
    say("Look around and read.")
    show(f"ls -l {here}")
    show(f"cat {here}/hello.txt {here}/Grüße.txt {here}/日本語.txt")
    say("Write, and read back: here, and from the server's own disk.")
    show(f"echo 'written through the mount' > {here}/new.txt")
    show(f"cat {here}/new.txt {there}/new.txt")
    say(f"The share as it was, at {OLDER} and {NEWER}.")
    show(f"ls -l {here}/{OLDER} {here}/{NEWER}")
    show(f"cat {here}/{OLDER}/report.txt {here}/{NEWER}/report.txt {here}/report.txt")
    say("Room on the server.")
    show(f"df -h {here}")


def linger(mounted: Mount) -> None:
    """Stay until Ctrl-C or SIGTERM, or until somebody unmounts by hand."""
    say("Stays mounted until Ctrl-C. In another terminal:")
    print(f"  ls -la {mounted.path}\n  {shlex.join(umount_command(mounted.path))}", flush=True)
    while mounted.is_mounted():
        time.sleep(0.5)
    say("Unmounted by hand.")


def explain(mounted: Mount) -> None:
    say("To try it by hand: `make demo KEEP=1` stays mounted until Ctrl-C. Or mount a server of your own:")
    print("  mkdir -p /tmp/share")
    print(f"  {mounted.argv[0]} //SERVER/SHARE /tmp/share -o username=NAME")
    print(f"  {shlex.join(umount_command(Path('/tmp/share')))}", flush=True)


def demo(*, keep: bool) -> None:
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smbfuse-demo-")))
        server = start_server(root, stack)
        mounted = mount(server, root / "mnt", stack)
        tour(server, mounted)
        if keep:
            linger(mounted)
        else:
            explain(mounted)
        say("Unmount, and end the server.")
    print("Done: nothing is left behind.", flush=True)


def main() -> int:
    keep = os.environ.get("KEEP", "") not in ("", "0")
    try:
        with interruptible():
            demo(keep=keep)
    except KeyboardInterrupt:
        print("\nInterrupted: unmounted, server ended.", flush=True)
        return 0 if keep else 130
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"\nThe demo failed (and was cleaned up):\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
