"""`python -m smbfuse` is the same as the command `smbfuse`."""

import sys

from smbfuse.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
