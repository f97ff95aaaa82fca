"""Floor 4: the file system without FUSE. Methods named by system call that raise `OSError`; no pyfuse3 here."""
