"""Floor 2: the engine without I/O. Bytes in, events out; no trio, no clock, no log."""
