"""Floor 4: the file system without FUSE. Methods named by system call that raise `OSError`; no pyfuse3 here.

It has floors of its own, from the ground: server, cache, files (and locks beside them), calls.
"""
