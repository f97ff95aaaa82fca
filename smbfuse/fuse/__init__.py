"""Floor 5: the kernel's side of the mount, by pyfuse3. No decisions about files here: those are `core/`'s.

Importing the package loads the native module, because that has to happen before anything imports pyfuse3; so any
module in here may simply say `import pyfuse3`.
"""

from smbfuse.fuse import native as native
