"""What other people's programs have shown to be wrong once (tests/programs)."""

from __future__ import annotations

import errno
import os

from tests.mount.posix import Place, check, fails


@check("files too large are refused (EFBIG)", share="how large a file may be is the file system's own business")
def a_file_that_would_be_too_large_is_refused(place: Place) -> None:
    """stress-ng's fsize. The largest file of NTFS, and of smbd, has 64 KiB less than 16 TiB."""
    path = place.path / "f"
    with path.open("wb", buffering=0) as file:
        for offset in (0xFFF_FFFF_0000, 1 << 45, 1 << 62):
            with fails(errno.EFBIG):
                os.pwrite(file.fileno(), b"x", offset)
        assert os.fstat(file.fileno()).st_size == 0
        assert os.pwrite(file.fileno(), b"x", 0xFFF_FFFE_FFFF) == 1
        assert os.fstat(file.fileno()).st_size == 0xFFF_FFFF_0000
        file.truncate(1)
    assert path.read_bytes() == b"\0"
