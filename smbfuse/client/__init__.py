"""Floor 3: one connection to a server, the session and tree on it, and the SMB operations, with trio."""
