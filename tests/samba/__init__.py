"""A real Samba server for tests, bench and demo, and its own tests."""
