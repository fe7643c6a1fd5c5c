"""Server rows, what is counted of them, and tombstones, on both engines."""

from __future__ import annotations

import random

import pytest

from ostro.model.wishes import KeyWish
from ostro.store.database import Database, Tx
from ostro.store.instance_actions import INSTANCE_ACTIONS, InstanceAction
from ostro.store.limits import of_project
from ostro.store.servers import (
    SERVER_STARTS,
    SERVERS,
    Fault,
    ServerStart,
    ask_user_data,
    count_by_host,
    forget_tombstones,
    list_group_members,
    list_wrong_sums,
    sum_servers,
)
from ostro.testing.rows import insert_row, play
from ostro.testing.servers import put_server


async def test_a_row_comes_back_as_it_was(db: Database) -> None:
    fault = Fault(500, "No valid host.", "", 7)
    made = await db.run(lambda tx: put_server(tx, metadata={"ü": "1"}, ports=["p2", "p1"], tags=["t"], fault=fault))
    assert await db.read(lambda tx: SERVERS.get(tx, "s")) == made


async def test_only_the_living_count(db: Database) -> None:
    await db.run(lambda tx: put_server(tx, id="a", group_id="g"))
    await db.run(lambda tx: put_server(tx, id="b", group_id="g", host_id="i", created_at_us=0))
    await db.run(lambda tx: put_server(tx, id="c", project_id="q", host_id=""))
    await db.run(lambda tx: put_server(tx, id="d", group_id="g", deleted_at_us=5))
    assert await db.read(count_by_host, ["h", "i"]) == {"h": 1, "i": 1}
    assert await db.read(count_by_host, ["h"]) == {"h": 1}
    assert await db.read(count_by_host, []) == {}
    assert await db.read(sum_servers, of_project("p")) == (2, 4, 128, 2)
    assert await db.read(sum_servers, of_project("nobody")) == (0, 0, 0, 0)
    assert await db.read(list_group_members, ["g", "x"]) == [("g", "b", "i"), ("g", "a", "h")]
    assert await db.read(list_group_members, []) == []


@pytest.mark.parametrize("seed", range(3))
async def test_sums_are_what_there_is_whatever_happens(db: Database, seed: int) -> None:
    """Servers come, grow and shrink, become tombstones and go, many in a transaction; some transactions fail."""
    chance, living, made = random.Random(seed), list[str](), 0

    def step(tx: Tx) -> None:
        nonlocal made
        for _ in range(chance.randint(1, 8)):
            sizes = {"vcpus": chance.randint(0, 8), "ram_mb": chance.randint(1, 4096), "disk_gb": chance.randint(0, 20)}
            match chance.choice(("add", "add", "resize", "end", "remove", "touch")):
                case "add":
                    made += 1
                    id_ = f"{chance.randrange(4)}{made:04}"
                    put_server(tx, id=id_, project_id=chance.choice("pq"), **sizes)
                    living.append(id_)
                case "resize" if living:
                    SERVERS.update(tx, chance.choice(living), **sizes)
                case "end" if living:
                    SERVERS.update(tx, living.pop(chance.randrange(len(living))), deleted_at_us=5, vcpus=1)
                case "remove" if living:
                    SERVERS.delete(tx, living.pop(chance.randrange(len(living))))
                case _ if living:
                    SERVERS.update(tx, chance.choice(living), name="touched")

    async for _ in play(db, step, living):
        assert await db.read(list_wrong_sums) == []
    rows = await db.read(lambda tx: SERVERS.list(tx, project_id="p", deleted_at_us=0))
    sums = (len(rows), sum(r.vcpus for r in rows), sum(r.ram_mb for r in rows), sum(r.disk_gb for r in rows))
    assert await db.read(sum_servers, of_project("p")) == sums


async def test_tombstones_are_forgotten_with_their_actions_and_in_turns(db: Database) -> None:
    for number in range(3):
        await db.run(put_server, id=f"s{number}", deleted_at_us=number + 1)
        action = InstanceAction(f"s{number}", "r", "delete", "u", "p", "", "h", None, "", 1, 1)
        await db.run(insert_row, INSTANCE_ACTIONS, action)
    await db.run(lambda tx: put_server(tx, id="living"))
    assert await db.run(forget_tombstones, 3, 1) == 1
    assert await db.run(forget_tombstones, 3, 10) == 1
    assert await db.run(forget_tombstones, 3, 10) == 0
    assert [s.id for s in await db.read(lambda tx: SERVERS.list(tx, order="id"))] == ["living", "s2"]
    assert [a.server_id for a in await db.read(lambda tx: INSTANCE_ACTIONS.list(tx))] == ["s2"]


async def test_user_data_of_servers_that_have_some(db: Database) -> None:
    keys = [KeyWish("mine", "ssh-ed25519 A")]
    for server_id, data in (("s", "aGk="), ("t", "")):
        await db.run(put_server, id=server_id)
        await db.run(insert_row, SERVER_STARTS, ServerStart(server_id, data, keys))
    assert await db.read(lambda tx: ask_user_data(tx, ["s", "t", "u"])()) == {"s": "aGk="}
    assert await db.read(lambda tx: ask_user_data(tx, [])()) == {}
    start = await db.read(lambda tx: SERVER_STARTS.find(tx, server_id="t"))
    assert start is not None and start.keys == keys
    await db.run(lambda tx: SERVERS.delete(tx, "t"))
    assert await db.read(lambda tx: SERVER_STARTS.find(tx, server_id="t")) is None
