"""What several kinds of tests share: processes, real mounts, the log guard. No tests here."""
