"""What the database adds up of ports."""

from __future__ import annotations

import random

import pytest

from ostro.store.database import Database, Tx
from ostro.store.limits import of_project
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS, list_wrong_port_sums, sum_ports
from ostro.testing.rows import blank_row, play


@pytest.mark.parametrize("seed", range(3))
async def test_sums_are_what_there_is_whatever_happens(db: Database, seed: int) -> None:
    """Ports come, change, go to another project and are deleted, many in a transaction; some transactions fail."""
    chance, living, made = random.Random(seed), list[str](), 0

    def step(tx: Tx) -> None:
        nonlocal made
        for _ in range(chance.randint(1, 8)):
            match chance.choice(("add", "add", "move", "remove", "touch")):
                case "add":
                    made += 1
                    id_ = f"{chance.randrange(4)}{made:04}"
                    project_id = chance.choice("pq")
                    port = blank_row(PORTS, id=id_, network_id="n", project_id=project_id, mac_address=f"02:{made:04}")
                    PORTS.insert(tx, port)
                    living.append(id_)
                case "move" if living:
                    PORTS.update(tx, chance.choice(living), project_id=chance.choice("pq"))
                case "remove" if living:
                    PORTS.delete(tx, living.pop(chance.randrange(len(living))))
                case _ if living:
                    PORTS.update(tx, chance.choice(living), name="touched")

    await db.run(lambda tx: NETWORKS.insert(tx, blank_row(NETWORKS, id="n")))
    async for _ in play(db, step, living):
        assert await db.read(list_wrong_port_sums) == []
    assert await db.read(sum_ports, of_project("p")) == await db.read(lambda tx: PORTS.count(tx, project_id="p")) > 0
