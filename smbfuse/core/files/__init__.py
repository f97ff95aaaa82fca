"""Open files and their data: handles, oplocks, read-ahead, writes that wait, holes."""
