"""Continuous load on a mount while its network and server fail: what was confirmed must be there, once."""
