"""Imports every module that declares bodies, so that decoding knows them all."""

from smbfuse.wire import files, locking, setup, trans

__all__ = ["files", "locking", "setup", "trans"]
