"""Random damage to messages, to streams of them, to sessions and to mounts: `python -m tests.fuzz`, `make fuzz`."""
