"""What the kernel keeps of files and can be made to forget.

The floor above fills this in; without a mount there is nothing to forget. The kernel waits for its own requests about
the same file meanwhile, so nothing here may be awaited while such a request is being answered, but for attributes.
"""

from __future__ import annotations

from collections.abc import Sequence


class Kernel:
    """By inode numbers; one that the kernel does not know (any more) is no error."""

    async def forget_data(self, number: int) -> None:
        """Drop the file's pages, and its attributes with them. Changes by mmap that are not written yet come first."""

    async def forget_attributes(self, number: int) -> None:
        """Ask for the attributes again when they are wanted next. In the order of the calls."""

    async def forget_names(self, names: Sequence[tuple[int, bytes]]) -> None:
        """Ask for these names again when they are wanted next, also where there were none: (directory, name) each."""

    async def forget_attributes_of(self, numbers: Sequence[int]) -> None:
        """As `forget_attributes`, for many at once."""
