"""Bytes out: a body, or a part of one, piece by piece.

A large object is a list of extents: runs of inline bytes or of chunks. They are read in worker threads, one piece in memory at a time.
The segments of a large object made of others are looked up one after the other as the stream comes to them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

from ostro.runtime.threads import Pool, Threads
from ostro.services.object.chunks import ChunkStore
from ostro.services.object.objects import Found, decode_chunks
from ostro.store.objects import BodyKind

READS = Pool("object-read", 8)
PIECE_BYTES = 1 << 20
READ_MOST_S = 120.0


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes ``start`` up to ``end`` of a chunk (or, without a ``chunk_id``, of ``inline``) that has ``size_bytes``."""

    start: int
    end: int
    size_bytes: int
    chunk_id: str = ""
    inline: bytes = b""


def extents_of(found: Found, start: int, end: int) -> list[Extent]:
    """The extents of bytes ``start`` up to ``end`` of a plain object, in order."""
    size_bytes = found.stored.size_bytes
    assert 0 <= start <= end <= size_bytes, (start, end, size_bytes)
    if found.stored.kind is BodyKind.INLINE:
        return [Extent(start, end, size_bytes, inline=found.body)] if end > start else []
    return list(_cut(decode_chunks(found.body), start, end))


def _cut(chunks: Sequence[tuple[str, int]], start: int, end: int) -> Iterator[Extent]:
    at = 0
    for chunk_id, size_bytes in chunks:
        low, high = max(start - at, 0), min(end - at, size_bytes)
        if low < high:
            yield Extent(low, high, size_bytes, chunk_id)
        at += size_bytes
        if at >= end:
            return


async def read_extents(threads: Threads, store: ChunkStore, extents: Sequence[Extent]) -> AsyncGenerator[bytes, None]:
    """The bytes of the extents. Raises ChunkMissing, ChunkDamaged."""
    for extent in extents:
        if not extent.chunk_id:
            yield extent.inline[extent.start : extent.end]
            continue
        at = extent.start
        while at < extent.end:
            stop = min(at + PIECE_BYTES, extent.end)
            yield await threads.run(
                READS, store.read, extent.chunk_id, extent.size_bytes, at, stop, deadline_s=READ_MOST_S
            )
            at = stop
