"""The guard around a request of the kernel's: whatever happens in there, one errno comes out.

OSError becomes FUSEError, a caller that leaves gets EINTR, and anything else is a bug that is logged and answered with
EIO, because an exception that pyfuse3 does not know would end the mount.

What may live here: that, for the requests of pyfuse3 (`operations.py`) and those of the native module (`extra.py`).
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from pyfuse3 import FUSEError

if TYPE_CHECKING:
    from smbfuse.fuse.interrupts import Operation

log: Final = logging.getLogger(__name__)

T = TypeVar("T")


async def guarded(name: str, operation: Operation, work: Awaitable[T]) -> T:
    """Do the work of the request `name`. One of the two places that may catch everything.

    Raises nothing but FUSEError.
    """
    with operation:
        try:
            return await work
        except OSError as exc:
            log.debug("%s: %s (%s)", name, exc, exc.__cause__)
            raise FUSEError(exc.errno or errno.EIO) from None
        except FUSEError:
            raise
        except trio.Cancelled:
            if operation.scope.cancel_called:
                raise
            # The mount ends. What is not answered would hold pages and directories locked, for which threads of ours
            # may be waiting in the kernel, and we could not end either.
            raise FUSEError(errno.ENOTCONN) from None
        except Exception:
            log.exception("a bug in smbfuse: %s failed", name)
            raise FUSEError(errno.EIO) from None
    raise FUSEError(errno.EINTR if operation.interrupted else errno.EIO)
