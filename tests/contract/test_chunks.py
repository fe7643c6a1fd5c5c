"""Chunk stores against the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.runtime.world import World
from ostro.services.object.chunks import ChunkStore
from ostro.services.object.chunks.local import LocalChunks
from ostro.services.object.chunks.memory import MemoryChunks
from ostro.testing.contracts.chunks import ChunkStoreContract


class TestLocalChunks(ChunkStoreContract):
    versions_re_use = False

    @pytest.fixture
    def store(self, tmp_path: Path) -> ChunkStore:
        return LocalChunks(World(), tmp_path / "chunks")

    async def damage(self, store: ChunkStore, chunk_id: str) -> None:
        assert isinstance(store, LocalChunks)
        with store.path(chunk_id).open("r+b") as file:
            file.write(b"?")

    async def test_drafts_of_another_process_are_discarded(self, tmp_path: Path) -> None:
        LocalChunks(World(), tmp_path / "chunks").begin()
        store = LocalChunks(World(), tmp_path / "chunks")
        assert await store.discard_drafts() == 1
        assert await store.discard_drafts() == 0


class TestMemoryChunks(ChunkStoreContract):
    @pytest.fixture
    def store(self) -> ChunkStore:
        return MemoryChunks()

    async def damage(self, store: ChunkStore, chunk_id: str) -> None:
        assert isinstance(store, MemoryChunks)
        store.chunks[chunk_id].data = b"?" + store.chunks[chunk_id].data[1:]
