"""The system calls, in groups; `filesystem.FileSystem` has them all."""
