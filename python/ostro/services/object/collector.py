"""Deletes chunks that nothing refers to, and never one that is being written or re-used.

The index counts references. A chunk whose count has fallen to zero is found by ``collect``; one that was written and never referred to by
the upload that wrote it, or, after a crash, by ``sweep_strays``. Each is condemned first (see ``pins``), then asked for in the index, then
deleted, so whatever a writer does at the same time, it finds the chunk whole or knows that it has to write it.

Pins are one process's. Where several share the chunks, a chunk's mark stands in for the pins of the others: it is taken before the index is
asked, and the chunk is only deleted at that mark. A writer elsewhere that has marked the chunk before that, and hasn't committed yet, did so
less than ``grace_s`` ago, the longest that an upload may take; so a younger mark saves the chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import structlog

from ostro.runtime.world import World
from ostro.services.object.chunks import ChunkStore
from ostro.services.object.pins import Pins
from ostro.store.chunks import forget_free_chunk, list_free_chunks, list_unknown
from ostro.store.database import Database

log = structlog.get_logger()

FREE_AT_ONCE = 200


class Collector:
    """One per process and chunk store."""

    def __init__(self, world: World, db: Database, store: ChunkStore, grace_s: float = 0.0) -> None:
        self.world = world
        self.store = store
        self.pins = Pins()
        self._db = db
        self._grace_s = grace_s

    async def collect(self) -> int:
        """Delete chunks whose last reference is gone; how many there were."""
        deleted, after = 0, ""
        while free := await self._db.read(list_free_chunks, after, FREE_AT_ONCE):
            deleted += sum([await self._drop(chunk_id) for chunk_id in free])
            after = free[-1]
        return deleted

    async def drop_unknown(self, chunk_ids: Sequence[str]) -> None:
        """Delete those that the index has never heard of: an upload wrote them and came to nothing."""
        unknown = await self._db.read(list_unknown, list(dict.fromkeys(chunk_ids)))
        for chunk_id in unknown:
            await self._drop(chunk_id)

    async def _drop(self, chunk_id: str) -> bool:
        """Delete the chunk if it is free and nobody wants it just now; whether it is gone."""
        with self.pins.condemn(chunk_id) as condemned:
            if not condemned:
                return False
            mark = await self.store.mark(chunk_id)
            if mark is not None and mark.age_s < self._grace_s:
                return False
            if not await self._db.run(forget_free_chunk, chunk_id):
                return False
            self.world.faults.hit("object.chunk.forgotten")
            return mark is not None and await self.store.delete(chunk_id, mark)

    async def sweep_strays(self) -> int:
        """Delete what crashes left: drafts, and chunks that the index doesn't know; how many there were."""
        found = await self.store.discard_drafts()
        async with aclosing(self.store.pages()) as pages:
            async for present in pages:
                for chunk_id in await self._db.read(list_unknown, present):
                    found += await self._drop(chunk_id)
        if found:
            log.info("stray chunks deleted", chunks=found)
        return found
