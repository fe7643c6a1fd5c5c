"""The C library's allocator, told how to treat large buffers.

Chunks of objects are some MiB each and live for as long as a disk needs. glibc learns from the first of them that such sizes are common and keeps
them in its arenas, of which threads have their own; what a few streams have once used is then never given back. With a fixed threshold
every large buffer is a mapping of its own, gone when it is freed: measured on one stream, 25 MiB at most instead of 40 to 90, and 6 MiB
afterwards. The price is a page fault for every 4 KiB of it.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 2 << 20
TRIM_BYTES = 8 << 20


def map_large_buffers() -> bool:
    """Have buffers of ``LARGE_BYTES`` and more mapped by themselves in this process. False where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Setting one threshold ends the learning of both.
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, TRIM_BYTES))
