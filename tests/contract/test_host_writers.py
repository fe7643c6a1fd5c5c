"""Sixteen writers of one host at once, each with its own picture of it: nothing is lost, nothing is given twice. On both engines."""

from __future__ import annotations

import random

import pytest
import trio

from ostro.model.context import NOBODY, Context
from ostro.model.errors import NoCapacity
from ostro.model.registration import Inventory, Registration
from ostro.model.wishes import AskWish, Noun
from ostro.services.agents.hosts import register_host
from ostro.services.agents.joining import Speaker
from ostro.services.placement.claims import Owner, claim_host, release_claim
from ostro.services.placement.engine import HostRequest, PlacementEngine
from ostro.store.database import Database, Tx
from ostro.store.inventories import INVENTORIES, count_wrong_sums
from ostro.store.wishes import read_feed, set_wish

WRITERS = 16
EACH = 6
NOW_US = 1_700_000_000_000_000


@pytest.mark.parametrize("seed", [1, 2])
async def test_sixteen_writers_of_one_host(processes: Database, seed: int) -> None:
    db = processes
    inventory = Inventory(4, 8192, 100, "fake", 1, "{}")
    context = Context(NOBODY, "req", NOW_US, random.Random(seed))
    registration = Registration("a", "one", "127.0.0.1", inventory)
    made = await db.run(register_host, context, PlacementEngine(db), Speaker(), registration, "cloud")
    host_id = made.host_id
    held: dict[str, str] = {}
    refused: list[str] = []

    def write(tx: Tx, engine: PlacementEngine, id_: str) -> str:
        request = HostRequest({"VCPU": 1, "MEMORY_MB": 256})
        claim_host(tx, engine, request, Owner(id_, "p", "u"), seed=seed, now_us=NOW_US)
        set_wish(tx, host_id, Noun.ASK, id_, AskWish(id_, "flows"))
        return id_

    async def writer(number: int) -> None:
        rng = random.Random(f"{seed}/{number}")
        engine = PlacementEngine(db)
        mine: list[str] = []
        for turn in range(EACH):
            await engine.fresh()
            if mine and rng.random() < 0.3:
                gone = mine.pop()
                await db.run(release_claim, gone, NOW_US, engine)
                del held[gone]
                continue
            id_ = f"{number}-{turn}"
            try:
                held[id_] = await db.run(write, engine, id_)
                mine.append(id_)
            except NoCapacity:
                refused.append(id_)

    async with trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(writer, number)

    assert await db.read(count_wrong_sums) == 0
    rows = await db.read(lambda tx: INVENTORIES.list(tx, provider_id=host_id))
    used = {row.resource_class: row.used for row in rows}
    assert used["VCPU"] == len(held) and used["MEMORY_MB"] == 256 * len(held)
    capacity = next(
        int((row.total - row.reserved) * row.allocation_ratio) for row in rows if row.resource_class == "MEMORY_MB"
    )
    assert 256 * len(held) <= capacity
    assert refused, "more was asked for than there is"
    feed = await db.read(read_feed, host_id, 0, 1)
    assert feed is not None
    assert len({wish.generation for wish in feed.wishes}) == len(feed.wishes) == feed.revision - 1
    assert set(held) <= {wish.id for wish in feed.wishes} and not set(refused) & {wish.id for wish in feed.wishes}
