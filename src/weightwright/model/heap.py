"""Memory that was freed and that the allocator keeps."""

import ctypes
import sys

_EVERY_BYTES = 64 << 20


class Trimmer:
    """Gives freed memory back to the system while layers are packed.

    glibc keeps what each matrix on its way took, in holes that the next may not fit into: measured on a model of
    1.5B parameters, up to 1 GB. More often than every 64 MB costs more time than memory is won.
    """

    def __init__(self) -> None:
        found = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        self._trim = found  # other allocators have none
        self._since_bytes = 0

    def packed(self, size_bytes: int) -> None:
        """A layer of so many bytes was made."""
        self._since_bytes += size_bytes
        if self._since_bytes >= _EVERY_BYTES and self._trim is not None:
            self._trim(0)
            self._since_bytes = 0
