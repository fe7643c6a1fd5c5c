"""How much is said to how many hosts when one port changes: at a thousand hosts, only those of its network hear of it, and not much."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from ostro.model.context import Actor, Context
from ostro.model.wishes import AddressPair
from ostro.services.network.binding import RequestedNic, allocate_nics
from ostro.services.network.networks import NetworkSpec, create_networks
from ostro.services.network.port_changes import update_port
from ostro.services.network.subnets import SubnetSpec, create_subnets
from ostro.store.database import Database, Tx
from ostro.store.hosts import HOSTS
from ostro.store.ports import Port
from ostro.store.wishes import read_feed
from ostro.testing.networking import new_host

ADMIN = Actor("root", "root", "default", "Default", roles=frozenset({"admin", "member", "reader"}), project_id="admins")
HOSTS_IN_ALL = 1000
OF_THE_NETWORK = ("id-h0", "id-h1", "id-h2")
OF_ANOTHER = tuple(f"id-h{number}" for number in range(3, 23))
MOST_BYTES = 2048
"""One wish for each host of the network, with its frame."""
RNG = random.Random(5)


async def do(db: Database, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await db.run(lambda tx: fn(tx, Context(ADMIN, "req", 1_000_000, RNG), *args, **kwargs))


def add_hosts(tx: Tx) -> None:
    for number in range(HOSTS_IN_ALL):
        HOSTS.insert(tx, new_host(f"h{number}", f"127.0.{number // 250}.{number % 250 + 1}"))


async def boot_on(db: Database, hosts: tuple[str, ...], cidr: str) -> list[Port]:
    """A network with one port on each host."""
    [network] = await do(db, create_networks, [NetworkSpec(name="net")])
    await do(db, create_subnets, [SubnetSpec(network.id, cidr)])
    ports: list[Port] = []
    for host_id in hosts:
        server = {"server_id": f"s-{host_id}-{cidr}", "hostname": "s", "project_id": "admins", "host_id": host_id}
        ports += await do(db, allocate_nics, nics=[RequestedNic(network_id=network.id)], **server)
    return ports


def read_revisions(tx: Tx) -> dict[str, int]:
    return {host.id: host.revision for host in HOSTS.list(tx)}


async def said_since(db: Database, before: dict[str, int]) -> dict[str, int]:
    """Bytes of the feed's answer by host, of those that get one."""

    def read(tx: Tx) -> dict[str, int]:
        feeds = {host_id: read_feed(tx, host_id, since, 5000) for host_id, since in before.items()}
        return {host_id: len(msgspec.json.encode(feed)) for host_id, feed in feeds.items() if feed is not None}

    return await db.read(read)


async def test_one_changed_port_is_told_to_the_hosts_of_its_network_alone(db: Database) -> None:
    await db.run(add_hosts)
    first, *_others = await boot_on(db, OF_THE_NETWORK, "10.0.0.0/24")
    await boot_on(db, OF_ANOTHER, "10.0.0.0/24")
    before = await db.read(read_revisions)
    assert len(before) == HOSTS_IN_ALL
    pairs = [AddressPair("10.0.0.99", "fa:16:3e:00:00:99")]
    await do(db, update_port, first.id, {"address_pairs": pairs})
    said = await said_since(db, before)
    assert set(said) == set(OF_THE_NETWORK)
    assert max(said.values()) < MOST_BYTES and sum(said.values()) < 3 * MOST_BYTES
    before = await db.read(read_revisions)
    await do(db, update_port, first.id, {"name": "another"})
    assert await said_since(db, before) == {}, "what hosts have no use for is not told"
    await do(db, update_port, first.id, {"admin_state_up": False})
    assert set(await said_since(db, before)) == {first.host_id}, "and to others it is the same port"
