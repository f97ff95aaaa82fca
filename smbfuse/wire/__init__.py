"""Floor 1: bytes to typed messages and back. No state, no clock, no I/O, no log.

`frame` has decode and encode. Bodies are declared in `setup`, `files`, `locking` and `trans`; what transactions carry
in `trans2` and, by information level, in `findlevels`, `filelevels`, `fslevels`, `unixlevels` (tables: `infolevels`).
Each structure is declared once, as annotations; `codec.py` makes its encoder and decoder. Offsets, pads, WordCount,
ByteCount and AndX chains are computed in `codec.py` and `frame.py` and nowhere else.
"""
