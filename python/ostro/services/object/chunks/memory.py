"""Chunks in memory, for simulations and tests. They can be damaged, and the disk can be full, on demand."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ostro._core import Hasher
from ostro.services.object.chunks import ChunkDamaged, ChunkMissing


class MemoryDraft:
    """See ``ChunkDraft``."""

    def __init__(self, store: MemoryChunks) -> None:
        self._store = store
        self._data = bytearray()
        self._open = True
        store.drafts += 1

    def write(self, data: memoryview) -> None:
        self._store.check_room(len(data))
        self._data += data

    def commit(self, chunk_id: str) -> None:
        assert self._open, "a draft is committed once"
        self._store.chunks[chunk_id] = bytes(self._data)
        self._end()

    def discard(self) -> None:
        if self._open:
            self._end()

    def _end(self) -> None:
        self._open = False
        self._store.drafts -= 1


class MemoryChunks:
    """See ``ChunkStore``."""

    def __init__(self, room_bytes: int = 1 << 30) -> None:
        self.chunks: dict[str, bytes] = {}
        self.drafts = 0
        self.room_bytes = room_bytes

    def check_room(self, more_bytes: int) -> None:
        """Raise what a full disk does."""
        if sum(map(len, self.chunks.values())) + more_bytes > self.room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    def begin(self) -> MemoryDraft:
        return MemoryDraft(self)

    def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> bytes:
        data = self.chunks.get(chunk_id)
        if data is None:
            raise ChunkMissing("A part of the object is missing.", detail=chunk_id)
        hasher = Hasher("blake3")
        hasher.update(data)
        if hasher.hexdigest("blake3") != chunk_id:
            raise ChunkDamaged("A part of the object is damaged.", detail=chunk_id)
        return data[start:end]

    def has(self, chunk_id: str) -> bool:
        return chunk_id in self.chunks

    def delete(self, chunk_id: str) -> None:
        self.chunks.pop(chunk_id, None)

    def list(self, prefix: str) -> Iterator[str]:
        return iter([chunk_id for chunk_id in self.chunks if chunk_id.startswith(prefix)])

    def discard_drafts(self) -> int:
        return 0
