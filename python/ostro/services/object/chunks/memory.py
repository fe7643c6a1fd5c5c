"""Chunks in memory, for simulations and tests. They can be damaged, and the disk can be full, on demand."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import trio

from ostro._core import Hasher
from ostro.services.object.chunks import ChunkDamaged, ChunkMissing, Mark


@dataclass
class MemoryChunk:
    """A chunk, its version, and when it was last written or re-used."""

    data: bytes
    version: int
    at_s: float


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

    async def commit(self, chunk_id: str) -> None:
        assert self._open, "a draft is committed once"
        await self._store.pause()
        self._store.take_in(chunk_id, bytes(self._data))
        self.discard()

    def discard(self) -> None:
        if self._open:
            self._open = False
            self._store.drafts -= 1


class MemoryChunks:
    """See ``ChunkStore``. A simulation overrides ``pause`` to let calls overtake each other."""

    piece_bytes = 1 << 20

    def __init__(self, room_bytes: int = 1 << 30) -> None:
        self.chunks: dict[str, MemoryChunk] = {}
        self.drafts = 0
        self.room_bytes = room_bytes
        self._versions = 0

    async def pause(self) -> None:
        """What every call begins with: others may come in between."""
        await trio.lowlevel.checkpoint()

    def check_room(self, more_bytes: int) -> None:
        """Raise what a full disk does."""
        if sum(len(chunk.data) for chunk in self.chunks.values()) + more_bytes > self.room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    def begin(self) -> MemoryDraft:
        return MemoryDraft(self)

    def take_in(self, chunk_id: str, data: bytes) -> None:
        """Keep the chunk, or note that it is used again."""
        self._versions += 1
        self.chunks[chunk_id] = MemoryChunk(data, self._versions, trio.current_time())

    async def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> bytes:
        await self.pause()
        found = self.chunks.get(chunk_id)
        if found is None:
            raise ChunkMissing("A part of the object is missing.", detail=chunk_id)
        hasher = Hasher("blake3")
        hasher.update(found.data)
        if hasher.hexdigest("blake3") != chunk_id:
            raise ChunkDamaged("A part of the object is damaged.", detail=chunk_id)
        return found.data[start:end]

    def hint(self, chunk_id: str, size_bytes: int, start: int, end: int) -> None:
        """It is in memory already."""

    async def mark(self, chunk_id: str) -> Mark | None:
        await self.pause()
        found = self.chunks.get(chunk_id)
        return None if found is None else Mark(found.version, trio.current_time() - found.at_s)

    async def delete(self, chunk_id: str, mark: Mark) -> bool:
        await self.pause()
        found = self.chunks.get(chunk_id)
        if found is not None and found.version != mark.version:
            return False
        self.chunks.pop(chunk_id, None)
        return True

    async def pages(self) -> AsyncGenerator[list[str], None]:
        await self.pause()
        yield list(self.chunks)

    async def discard_drafts(self) -> int:
        await self.pause()
        return 0
