"""The bounds of the object service, as ``/info`` announces them."""

from __future__ import annotations

FILE_MOST_BYTES = 5_368_709_122
OBJECT_NAME_MOST_BYTES = 1024
CONTAINER_NAME_MOST_BYTES = 256
META_NAME_MOST_BYTES = 128
META_VALUE_MOST_BYTES = 256
META_MOST = 90
META_OVERALL_MOST_BYTES = 4096
HEADER_MOST_BYTES = 8192
LISTING_MOST = 10_000
SEGMENTS_MOST = 1000
MANIFEST_MOST_BYTES = 8 << 20

INLINE_MOST_BYTES = 16 << 10
"""Bodies up to this size live in the index: a file of its own would cost more than it holds."""
CHUNK_BYTES = 4 << 20
"""Large enough for disks, small enough to verify before the first byte is sent."""
PIECE_BYTES = 1 << 20
"""A chunk is held in pieces of this size: what is larger than a processor's cache, or than what an allocator keeps, costs twice as much."""
POLICY = "Policy-0"
"""There is one storage policy."""
