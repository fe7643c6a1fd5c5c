"""The C library's allocator, told how to treat large buffers; Python's collector, told what not to look at.

Chunks of objects are some MiB each and live for as long as a disk needs. glibc learns from the first of them that such sizes are common and keeps
them in its arenas, of which threads have their own; what a few streams have once used is then never given back. With a fixed threshold
every large buffer is a mapping of its own, gone when it is freed: measured on one stream, 25 MiB at most instead of 40 to 90, and 6 MiB
afterwards. The price is a page fault for every 4 KiB of it.
"""

from __future__ import annotations

import ctypes
import gc

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


def keep_what_is_built() -> None:
    """What this process has built by now stays: the collector of cycles need not go through it again. Call it once all is started.

    A full collection goes through every object there is, half a million after the start of a control plane, while nobody else has the interpreter: 56
    to 95 ms were measured, about once in 200 servers created, in the middle of somebody's transaction.
    """
    gc.collect()
    gc.freeze()
