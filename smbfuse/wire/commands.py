"""Imports every module that declares bodies, so that decoding knows them all."""

from smbfuse.wire import files

__all__ = ["files"]
