"""Files that hold no data: FIFOs, sockets, devices."""

from __future__ import annotations

import errno
import os
import socket
import stat

from tests.mount.posix import Place, check, fails, opened
from tests.mount.posix.actor import Actor

NODES = "device nodes, FIFOs, sockets"


@check("mknod of regular files")
def mknod_makes_regular_files(place: Place) -> None:
    os.mknod(place.path / "f", stat.S_IFREG | 0o644)
    assert (place.path / "f").stat().st_size == 0
    with fails(errno.EEXIST):
        os.mknod(place.path / "f", stat.S_IFREG | 0o644)
    assert os.listdir(place.path) == ["f"]


@check(NODES, nounix="EPERM", root=True)
def nodes_of_every_kind(place: Place) -> None:
    kinds = {
        stat.S_IFIFO | 0o640: 0,
        stat.S_IFSOCK | 0o600: 0,
        stat.S_IFCHR | 0o666: os.makedev(1, 3),
        stat.S_IFBLK | 0o660: os.makedev(7, 300),
    }
    path, before = place.path / "node", os.umask(0)
    try:
        for mode, device in kinds.items():
            os.mknod(path, mode, device)
            made = path.stat()
            assert (made.st_mode, made.st_rdev) == (mode, device)
            assert (place.behind / "node").stat().st_mode == mode
            with fails(errno.EEXIST):
                os.mknod(path, mode, device)
            with os.scandir(place.path) as entries:
                assert not any(entry.is_file() or entry.is_dir() for entry in entries)
            path.rename(place.path / "moved")
            (place.path / "moved").unlink()
    finally:
        os.umask(before)


@check(NODES, nounix="EPERM")
def a_fifo_leads_from_one_process_to_another(place: Place) -> None:
    fifo = place.path / "fifo"
    os.mkfifo(fifo)
    with fails(errno.ENXIO):
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    with Actor() as other:
        other.begin("read_file", fifo)
        with opened(fifo, os.O_WRONLY) as writing:
            assert os.write(writing, b"through") == 7
            with fails(errno.ESPIPE):
                os.lseek(writing, 0, os.SEEK_SET)
            with fails(errno.ESPIPE):
                os.pwrite(writing, b"x", 0)
        assert other.end() == b"through"


@check(NODES, nounix="EPERM")
def a_socket_is_bound_and_connected_to(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(place.path / "socket"))
        assert stat.S_ISSOCK((place.path / "socket").stat().st_mode)
        server.listen()
        client.connect(str(place.path / "socket"))
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"through")
            assert accepted.recv(10) == b"through"
    with socket.socket(socket.AF_UNIX) as again, fails(errno.EADDRINUSE):
        again.bind(str(place.path / "socket"))
    with fails(errno.ENXIO):
        os.open(place.path / "socket", os.O_RDONLY)
