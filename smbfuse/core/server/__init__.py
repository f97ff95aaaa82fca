"""The file system as the server has it: files by path or FID, in information levels or the UNIX extensions."""
