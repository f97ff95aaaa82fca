"""Other people's programs on a mount, beside the same on the local disk: `make programs`."""
