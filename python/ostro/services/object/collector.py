"""Deletes chunks that nothing refers to, and never one that is being written or re-used.

The index counts references. A chunk whose count has fallen to zero is found by ``collect``; one that was written and never referred to by
the upload that wrote it, or, after a crash, by ``sweep_strays``. Each is condemned first (see ``pins``), then asked for in the index, then
deleted, so whatever a writer does at the same time, it finds the chunk whole or knows that it has to write it.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.services.object.chunks import PREFIXES, ChunkStore
from ostro.services.object.pins import Pins
from ostro.store.chunks import forget_free_chunk, list_free_chunks, list_unknown
from ostro.store.database import Database

log = structlog.get_logger()

FREE_AT_ONCE = 200
DELETES = Pool("object-delete", 2)


class Collector:
    """One per process and chunk store."""

    def __init__(self, world: World, db: Database, store: ChunkStore) -> None:
        self.world = world
        self.store = store
        self.pins = Pins()
        self._db = db

    async def collect(self) -> int:
        """Delete chunks whose last reference is gone, until none is left; how many there were."""
        deleted = 0
        while True:
            free = await self._db.read(list_free_chunks, FREE_AT_ONCE)
            done = sum([await self._drop(chunk_id) for chunk_id in free])
            deleted += done
            if not done:
                return deleted

    async def drop_unknown(self, chunk_ids: Sequence[str]) -> None:
        """Delete those that the index has never heard of: an upload wrote them and came to nothing."""
        unknown = await self._db.read(list_unknown, list(dict.fromkeys(chunk_ids)))
        for chunk_id in unknown:
            await self._drop(chunk_id)

    async def _drop(self, chunk_id: str) -> bool:
        """Delete the chunk if it is free and nobody wants it just now; whether it is gone."""
        with self.pins.condemn(chunk_id) as condemned:
            if not condemned or not await self._db.run(forget_free_chunk, chunk_id):
                return False
            self.world.faults.hit("object.chunk.forgotten")
            await self.world.threads.run(DELETES, self.store.delete, chunk_id)
            return True

    async def sweep_strays(self) -> int:
        """Delete what crashes left: drafts, and chunks that the index doesn't know; how many there were."""
        threads = self.world.threads
        found = await threads.run(DELETES, self.store.discard_drafts)
        for prefix in PREFIXES:
            present = await threads.run(DELETES, lambda p=prefix: list(self.store.list(p)))
            for chunk_id in await self._db.read(list_unknown, present):
                found += await self._drop(chunk_id)
        if found:
            log.info("stray chunks deleted", chunks=found)
        return found
