"""The contract of `ostro.services.object.chunks.ChunkStore`.

A subclass gives the fixture ``store``, empty, and says how to damage a chunk.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from ostro.services.object.chunks import ChunkDamaged, ChunkMissing, ChunkStore, Mark
from ostro.services.object.chunks.verified import name_of
from ostro.services.object.limits import PIECE_BYTES

DATA = bytes(range(256)) * 9000
"""2.2 MiB."""


async def keep(store: ChunkStore, data: bytes) -> str:
    """Have a chunk; its name."""
    pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
    await store.keep(name_of(data), pieces)
    return name_of(data)


async def names(store: ChunkStore) -> set[str]:
    """Every chunk."""
    return {name async for page in store.pages() for name in page}


async def marked(store: ChunkStore, chunk_id: str) -> Mark:
    """The mark of a chunk that is there."""
    mark = await store.mark(chunk_id)
    assert mark is not None
    return mark


class ChunkStoreContract:
    """What every chunk store must do."""

    async def damage(self, store: ChunkStore, chunk_id: str) -> None:
        """Change a byte of the chunk behind the store's back."""
        raise NotImplementedError

    async def test_a_chunk_is_kept_and_read(self, store: ChunkStore) -> None:
        assert await names(store) == set()
        assert await store.mark(name_of(DATA)) is None
        name = await keep(store, DATA)
        size = len(DATA)
        for start, end in ((0, size), (0, 1), (1000, 300_000), (size - 1, size), (0, size)):
            store.hint(name, size, start, end)
            assert b"".join(await store.read(name, size, start, end)) == DATA[start:end]
        assert await names(store) == {name}

    async def test_a_small_chunk(self, store: ChunkStore) -> None:
        name = await keep(store, b"x")
        assert b"".join(await store.read(name, 1, 0, 1)) == b"x"

    async def test_chunks_of_any_length(self, store: ChunkStore) -> None:
        for length in (4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 4 << 20):
            data = (DATA * 2)[:length]
            name = await keep(store, data)
            assert b"".join(await store.read(name, length, 0, length)) == data

    async def test_a_chunk_that_is_not_there_is_missing(self, store: ChunkStore) -> None:
        with pytest.raises(ChunkMissing):
            await store.read(name_of(DATA), len(DATA), 0, 10)

    async def test_writing_a_chunk_again_changes_nothing(self, store: ChunkStore) -> None:
        name = await keep(store, DATA)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(keep, store, DATA)
        assert await names(store) == {name}
        assert b"".join(await store.read(name, len(DATA), 0, len(DATA))) == DATA

    async def test_deleting(self, store: ChunkStore) -> None:
        name = await keep(store, DATA)
        other = await keep(store, b"another")
        mark = await marked(store, name)
        assert mark.age_s < 60
        assert await store.delete(name, mark)
        assert await names(store) == {other}
        assert await store.mark(name) is None
        with pytest.raises(ChunkMissing):
            await store.read(name, len(DATA), 0, 10)
        await keep(store, DATA)
        assert b"".join(await store.read(name, len(DATA), 0, 10)) == DATA[:10]

    async def test_a_chunk_that_was_re_used_is_not_deleted_by_an_older_mark(self, store: ChunkStore) -> None:
        name = await keep(store, DATA)
        mark = await marked(store, name)
        await keep(store, DATA)
        assert not await store.delete(name, mark)
        mark = await marked(store, name)
        assert await store.delete(name, mark)
        await keep(store, DATA)
        await store.delete(name, mark)
        assert await names(store) == {name}

    async def test_damage_is_told_and_never_served_and_healed_by_the_next_writer(self, store: ChunkStore) -> None:
        name = await keep(store, DATA)
        await self.damage(store, name)
        with pytest.raises(ChunkDamaged):
            await store.read(name, len(DATA), 0, len(DATA))
        await keep(store, DATA)
        assert b"".join(await store.read(name, len(DATA), 0, len(DATA))) == DATA

    async def test_a_part_of_a_damaged_chunk_is_not_served_either(self, store: ChunkStore) -> None:
        name = await keep(store, DATA)
        await self.damage(store, name)
        with pytest.raises(ChunkDamaged):
            await store.read(name, len(DATA), len(DATA) - 10, len(DATA))

    @pytest.mark.parametrize("part", [(0, 1), (0, len(DATA)), (len(DATA) - 1, len(DATA))])
    async def test_damage_is_told_of_a_chunk_that_was_read_well_before(
        self, store: ChunkStore, part: tuple[int, int]
    ) -> None:
        name = await keep(store, DATA)
        for _twice in range(2):
            assert b"".join(await store.read(name, len(DATA), 0, len(DATA))) == DATA
        await self.damage(store, name)
        with pytest.raises(ChunkDamaged):
            await store.read(name, len(DATA), *part)

    async def test_damage_of_a_small_chunk_that_was_read_well_before(self, store: ChunkStore) -> None:
        name = await keep(store, DATA[:1000])
        assert b"".join(await store.read(name, 1000, 0, 1000)) == DATA[:1000]
        await self.damage(store, name)
        with pytest.raises(ChunkDamaged):
            await store.read(name, 1000, 0, 1000)

    async def test_a_part_that_was_read_well_before_is_never_served_wrong(self, store: ChunkStore) -> None:
        name = await keep(store, DATA)
        assert b"".join(await store.read(name, len(DATA), 0, 5)) == DATA[:5]
        await self.damage(store, name)
        with suppress(ChunkDamaged):  # It may be in memory still.
            assert b"".join(await store.read(name, len(DATA), 0, 5)) == DATA[:5]

    async def test_nothing_is_half_written(self, store: ChunkStore) -> None:
        await keep(store, DATA)
        assert await store.discard_drafts() == 0
        assert await names(store) == {name_of(DATA)}
