"""smbfuse mounts SMB1/CIFS shares with FUSE. Importing the package costs nothing: only the version is here."""

__version__ = "0.1.0"
