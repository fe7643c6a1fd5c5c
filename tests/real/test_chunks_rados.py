"""Chunks in a real Ceph against the contract, and what only RADOS promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from ostro.model.errors import Unavailable
from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.runtime.world import World
from ostro.services.object.chunks import ChunkStore
from ostro.services.object.chunks.verified import name_of
from ostro.testing.ceph import CephCluster, why_not
from ostro.testing.contracts.chunks import DATA, ChunkStoreContract, keep, marked, names

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ostro.runtime.ceph.connection import MOST_BYTES, Ceph, State, open_
from ostro.runtime.ceph.objects import Objects
from ostro.services.object.chunks.rados import RadosChunks

POOLS = Pools("c-images", "c-volumes", "c-objects")


@pytest.fixture
def config(ceph: CephCluster) -> Iterator[CephConfig]:
    """An empty pool and a user with the least privilege."""
    ceph.create_pool(POOLS.objects, "ostro")
    ceph.add_user("ostro-chunks", capabilities(POOLS))
    yield CephConfig(ceph.conf, "ostro-chunks", POOLS)
    ceph.remove_pool(POOLS.objects)


@pytest.fixture
async def connection(config: CephConfig) -> AsyncIterator[Ceph]:
    async with open_(World(), config) as connected:
        await connected.wait_connected(30)
        yield connected
        assert connected.budget.ops == 0


@pytest.fixture
def store(connection: Ceph) -> ChunkStore:
    return RadosChunks(connection)


class TestRadosChunks(ChunkStoreContract):
    async def damage(self, store: ChunkStore, chunk_id: str) -> None:
        assert isinstance(store, RadosChunks)
        await store.objects.put(chunk_id, b"?" + DATA[1:])


async def test_two_processes_do_not_take_each_others_chunks(connection: Ceph, store: ChunkStore) -> None:
    other = RadosChunks(connection)
    name = await keep(store, DATA)
    mark = await marked(store, name)
    await keep(other, DATA)
    assert not await store.delete(name, mark)
    assert b"".join(await other.read(name, len(DATA), 0, 5)) == DATA[:5]
    mark = await marked(store, name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.delete, name, mark)
        for _ in range(5):
            nursery.start_soon(keep, other, DATA)
    assert await names(store) == {name}


async def test_hints_are_bounded(connection: Ceph, store: ChunkStore) -> None:
    assert isinstance(store, RadosChunks)
    blobs = [bytes([number]) * (4 << 20) for number in range(12)]
    for blob in blobs:
        await keep(store, blob)
    for blob in blobs:
        store.hint(name_of(blob), len(blob), 0, len(blob))
    assert connection.budget.used_bytes <= MOST_BYTES
    for blob in blobs:
        assert b"".join(await store.read(name_of(blob), len(blob), 0, len(blob))) == blob


async def test_a_cluster_that_is_away_is_unavailable(
    ceph: CephCluster, connection: Ceph, store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await keep(store, DATA)
    ceph.freeze("osd.0")
    try:
        with trio.fail_after(40):
            await connection.wait_for(State.AWAY)
        store.hint(name, len(DATA), 0, len(DATA))
        with pytest.raises(Unavailable), trio.fail_after(1):
            await store.read(name, len(DATA), 0, len(DATA))
        with pytest.raises(Unavailable), trio.fail_after(1):
            await keep(store, b"another")
    finally:
        ceph.thaw("osd.0")
    with trio.fail_after(120):
        await connection.wait_for(State.UP)
    assert b"".join(await store.read(name, len(DATA), 0, len(DATA))) == DATA
    with trio.fail_after(40):
        while connection.budget.ops:
            await Objects(connection, POOLS.objects).size("a barrier")
