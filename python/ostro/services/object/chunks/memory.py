"""Chunks in memory, for simulations and tests. They can be damaged, and the disk can be full, on demand."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import trio

from ostro.services.object.chunks import ChunkDamaged, ChunkMissing, Mark
from ostro.services.object.chunks.verified import name_of


@dataclass
class MemoryChunk:
    """A chunk, its version, and when it was last written or re-used."""

    data: bytes
    version: int
    at_s: float


class MemoryChunks:
    """See ``ChunkStore``. A simulation overrides ``pause`` to let calls overtake each other."""

    piece_bytes = 1 << 20

    def __init__(self, room_bytes: int = 1 << 30) -> None:
        self.chunks: dict[str, MemoryChunk] = {}
        self.room_bytes = room_bytes
        self._versions = 0

    async def pause(self) -> None:
        """What every call begins with: others may come in between."""
        await trio.lowlevel.checkpoint()

    def check_room(self, more_bytes: int) -> None:
        """Raise what a full disk does."""
        if sum(len(chunk.data) for chunk in self.chunks.values()) + more_bytes > self.room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def keep(self, chunk_id: str, pieces: Sequence[bytes]) -> None:
        await self.pause()
        data = b"".join(pieces)
        self.check_room(len(data))
        self._versions += 1
        self.chunks[chunk_id] = MemoryChunk(data, self._versions, trio.current_time())

    async def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> list[bytes]:
        await self.pause()
        found = self.chunks.get(chunk_id)
        if found is None:
            raise ChunkMissing("A part of the object is missing.", detail=chunk_id)
        if name_of(found.data) != chunk_id:
            raise ChunkDamaged("A part of the object is damaged.", detail=chunk_id)
        return [found.data[start:end]]

    def hint(self, chunk_id: str, size_bytes: int, start: int, end: int, ahead: int = 1) -> None:
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
