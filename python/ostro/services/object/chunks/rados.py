"""Chunks as objects in RADOS, each under its own name.

A chunk is one RADOS object, created exclusively by one operation, so it is there whole or not at all.
Writing one that is there *touches* it, which raises its version: the collector deletes by version, so it can't take a chunk that was re-used since it
looked, by whatever process. RADOS never uses a version twice, also not for an object that was deleted and made anew.

Reading is by asynchronous operations. A chunk is fetched whole and hashed before a byte of it is served, each time, also for a part of it; chunks that
were read in part are kept in memory for a while, for the next part. ``hint`` begins to fetch the next ones while this one is being sent. A chunk that turns out damaged is fetched once more (it may have been damaged on the way;
what a disk returns wrong, the OSD itself notices and reads from a replica) and is then an error; the next writing of the same bytes replaces it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence

import structlog

from ostro.model.errors import NotFound
from ostro.runtime.ceph.connection import Ceph
from ostro.runtime.ceph.objects import Objects, Reading
from ostro.runtime.threads import Pool
from ostro.services.object.chunks import ChunkDamaged, ChunkMissing, Mark, is_chunk_id
from ostro.services.object.chunks.verified import name_of
from ostro.services.object.limits import CHUNK_BYTES, PIECE_BYTES

log = structlog.get_logger()

HASHES = Pool("chunk-verify", 4)
AHEAD_MOST_BYTES = 32 << 20
"""What is being fetched because of hints, all readers together."""
PARTS_MOST_BYTES = 16 << 20
"""Of chunks that were read in part, all together."""
INLINE_HASH_BYTES = 1 << 20
"""Hashing as much takes 0.16 ms; a hop to a worker thread and back takes as much of the trio thread's time while that is busy."""


class RadosChunks:
    """See ``ChunkStore``."""

    piece_bytes = CHUNK_BYTES
    """A chunk at once: it has to be read whole to be verified."""

    def __init__(self, ceph: Ceph) -> None:
        self._ceph = ceph
        self.objects = Objects(ceph, ceph.config.pools.objects)
        self._parts: OrderedDict[str, bytes] = OrderedDict()
        self._damaged: set[str] = set()
        self._ahead: OrderedDict[str, list[Reading]] = OrderedDict()

    async def keep(self, chunk_id: str, pieces: Sequence[bytes]) -> None:
        if chunk_id in self._damaged:
            await self.objects.put(chunk_id, b"".join(pieces))
            self._damaged.discard(chunk_id)
            return
        while not await self.objects.create(chunk_id, *pieces):
            if await self.objects.touch(chunk_id):
                return

    async def read(self, chunk_id: str, size_bytes: int, start: int, end: int) -> list[bytes]:
        ahead = self._ahead.pop(chunk_id, None)
        known = self._parts.get(chunk_id)
        if known is not None:
            self._parts.move_to_end(chunk_id)
            return [known[start:end]]
        pieces = await self._fetch(chunk_id, ahead or self._begin(chunk_id, size_bytes))
        if not await self._is_right(chunk_id, pieces):
            log.error(
                "a chunk was read damaged, reading it again", chunk=chunk_id, pool=self._ceph.config.pools.objects
            )
            pieces = await self._fetch(chunk_id, self._begin(chunk_id, size_bytes))
            if not await self._is_right(chunk_id, pieces):
                self._damaged.add(chunk_id)
                raise ChunkDamaged("A part of the object is damaged.", detail=f"{chunk_id} has other bytes")
        if end - start == size_bytes:
            return pieces
        whole = b"".join(pieces)
        self._keep_for_parts(chunk_id, whole)
        return [whole[start:end]]

    def _keep_for_parts(self, chunk_id: str, whole: bytes) -> None:
        self._parts[chunk_id] = whole
        while sum(map(len, self._parts.values())) > PARTS_MOST_BYTES:
            self._parts.popitem(last=False)

    def hint(self, chunk_id: str, size_bytes: int, start: int, end: int, ahead: int = 1) -> None:
        if start or end != size_bytes or chunk_id in self._ahead or chunk_id in self._parts:
            return
        while self._ahead and self._ahead_bytes + size_bytes > AHEAD_MOST_BYTES:
            if ahead > 1:
                return
            # The oldest was hinted at for a reader that has gone away, or a slow one.
            self._ahead.popitem(last=False)
        self._ahead[chunk_id] = self._begin(chunk_id, size_bytes)

    @property
    def _ahead_bytes(self) -> int:
        return sum(reading.length for readings in self._ahead.values() for reading in readings)

    def _begin(self, chunk_id: str, size_bytes: int) -> list[Reading]:
        """Begin to read, by the piece: at once where that can be done without waiting."""
        return [
            self.objects.begin_read(chunk_id, min(PIECE_BYTES, size_bytes - offset), offset)
            for offset in range(0, size_bytes, PIECE_BYTES)
        ]

    async def _fetch(self, chunk_id: str, readings: list[Reading]) -> list[bytes]:
        try:
            return [await reading.wait() for reading in readings]
        except NotFound as error:
            raise ChunkMissing("A part of the object is missing.", detail=chunk_id) from error

    async def _is_right(self, chunk_id: str, pieces: list[bytes]) -> bool:
        if sum(map(len, pieces)) <= INLINE_HASH_BYTES:
            return name_of(*pieces) == chunk_id
        return await self._ceph.world.threads.run(HASHES, name_of, *pieces) == chunk_id

    async def mark(self, chunk_id: str) -> Mark | None:
        found = await self.objects.stat(chunk_id)
        return None if found is None else Mark(found.version, found.age_s)

    async def delete(self, chunk_id: str, mark: Mark) -> bool:
        self._parts.pop(chunk_id, None)
        self._damaged.discard(chunk_id)
        return await self.objects.remove_version(chunk_id, mark.version)

    async def pages(self) -> AsyncGenerator[list[str], None]:
        async for names in self.objects.pages():
            yield [name for name in names if is_chunk_id(name)]

    async def discard_drafts(self) -> int:
        return 0
