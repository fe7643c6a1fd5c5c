"""Bytes out: a body, or a part of one, piece by piece.

A large object is a list of extents: runs of inline bytes or of chunks. They are read one piece after the other.
The segments of a large object made of others are looked up one after the other as the stream comes to them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace

from ostro.services.object.chunks import ChunkStore
from ostro.services.object.objects import Found, decode_chunks
from ostro.store.objects import BodyKind

AHEAD_MOST = 3
"""So many chunks may be fetched while one is being sent."""


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


async def read_extents(store: ChunkStore, extents: Sequence[Extent]) -> AsyncGenerator[bytes, None]:
    """The bytes of the extents. While one piece is being sent the store knows of the next ones. Raises ChunkMissing, ChunkDamaged."""
    pieces = list(_pieces(extents, store.piece_bytes))
    for at, piece in enumerate(pieces):
        if not piece.chunk_id:
            yield piece.inline[piece.start : piece.end]
            continue
        parts = await store.read(piece.chunk_id, piece.size_bytes, piece.start, piece.end)
        for ahead, then in enumerate(pieces[at + 1 : at + 1 + AHEAD_MOST], 1):
            if then.chunk_id:
                store.hint(then.chunk_id, then.size_bytes, then.start, then.end, ahead)
        parts.reverse()
        while parts:
            yield parts.pop()


def _pieces(extents: Sequence[Extent], most_bytes: int) -> Iterator[Extent]:
    """The extents, cut so that none is larger than ``most_bytes``."""
    for extent in extents:
        for start in range(extent.start, extent.end, most_bytes):
            yield replace(extent, start=start, end=min(start + most_bytes, extent.end))
