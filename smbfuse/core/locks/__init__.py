"""Byte-range locks: who holds what here, and what of it is held at the server."""
