"""No two ports ever have one address, on either engine and whatever runs at once."""

from __future__ import annotations

import random

import pytest
import trio

from ostro.model.context import Actor, Context
from ostro.model.errors import Conflict, NotFound
from ostro.services.network.addresses import WantedIp, to_number
from ostro.services.network.networks import NetworkSpec, create_networks
from ostro.services.network.port_changes import delete_port, update_port
from ostro.services.network.port_requests import PortRequest, request_ports
from ostro.services.network.ports import PortSpec
from ostro.services.network.subnets import SubnetSpec, create_subnets
from ostro.store.addresses import FIRST_WINDOW, Range, claim_any, find_free
from ostro.store.database import Database, Tx
from ostro.store.networks import Network
from ostro.store.ports import PORTS, Port
from ostro.store.subnets import Subnet

ALICE = Actor("alice", "alice", "default", "Default", roles=frozenset({"member", "reader"}), project_id="alices")


def context_of(seed: int) -> Context:
    return Context(ALICE, f"req-{seed}", 1_000_000 + seed, random.Random(seed))


async def make_net(db: Database, cidr: str, **more: bool) -> tuple[Network, Subnet]:
    def run(tx: Tx) -> tuple[Network, Subnet]:
        context = context_of(0)
        [view] = create_networks(tx, context, [NetworkSpec(name="net")])
        [subnet] = create_subnets(tx, context, [SubnetSpec(view.id, cidr, enable_dhcp=False)])
        return view.network, subnet

    return await db.run(run)


async def create(db: Database, network: Network, seed: int, count: int = 1, ip: str = "") -> list[Port]:
    wanted = [WantedIp(ip=ip)] if ip else None
    spec = PortSpec(network.id, "", fixed_ips=wanted)
    return await db.run(request_ports, context_of(seed), [PortRequest(spec, frozenset())] * count)


def taken(tx: Tx, subnet_id: str) -> dict[int, str]:
    return {int(a): p for a, p in tx.all("SELECT address, port_id FROM addresses WHERE subnet_id = ?", (subnet_id,))}


async def check_agreement(db: Database, subnet: Subnet) -> list[Port]:
    """Addresses as rows and as the ports show them are the same."""

    def run(tx: Tx) -> tuple[list[Port], int]:
        return PORTS.list(tx, network_id=subnet.network_id), len(taken(tx, subnet.id))

    ports, rows = await db.read(run)
    shown = [fixed.ip for port in ports for fixed in port.fixed_ips]
    assert len(set(shown)) == len(shown) == rows
    assert len({port.mac_address for port in ports}) == len(ports)
    return ports


async def test_many_at_once_fill_a_subnet_exactly(processes: Database) -> None:
    """14 addresses and 24 who want one: 14 get one each, 10 are told that there is none."""
    network, subnet = await make_net(processes, "10.0.0.0/28")
    outcomes: list[str] = []

    async def one(seed: int) -> None:
        try:
            await create(processes, network, seed)
            outcomes.append("made")
        except Conflict as error:
            outcomes.append(getattr(error, "kind", ""))

    async with trio.open_nursery() as nursery:
        for seed in range(1, 25):
            nursery.start_soon(one, seed)
    assert outcomes.count("made") == 13
    assert outcomes.count("IpAddressGenerationFailure") == 11
    assert len(await check_agreement(processes, subnet)) == 13


async def test_one_address_asked_for_by_many(processes: Database) -> None:
    network, subnet = await make_net(processes, "10.0.0.0/24")
    outcomes: list[str] = []

    async def one(seed: int) -> None:
        try:
            await create(processes, network, seed, ip="10.0.0.77")
            outcomes.append("made")
        except Conflict as error:
            outcomes.append(getattr(error, "kind", ""))

    async with trio.open_nursery() as nursery:
        for seed in range(1, 9):
            nursery.start_soon(one, seed)
    assert sorted(outcomes) == ["IpAddressAlreadyAllocated"] * 7 + ["made"]
    await check_agreement(processes, subnet)


async def test_creates_changes_and_deletes_at_once(processes: Database) -> None:
    """A storm on a small subnet: at its end rows and ports agree, and everything can be given back."""
    network, subnet = await make_net(processes, "10.0.0.0/27")
    mine: list[list[str]] = [[] for _ in range(6)]

    async def worker(number: int) -> None:
        rng = random.Random(number)
        for step in range(12):
            context = context_of(1000 * number + step)
            have = mine[number]
            try:
                match rng.choice(("create", "bulk", "ask", "change", "delete")):
                    case "create":
                        have += [p.id for p in await create(processes, network, 1000 * number + step)]
                    case "bulk":
                        have += [p.id for p in await create(processes, network, 1000 * number + step, count=3)]
                    case "ask":
                        ip = f"10.0.0.{rng.randrange(2, 31)}"
                        have += [p.id for p in await create(processes, network, 1000 * number + step, ip=ip)]
                    case "change" if have:
                        wanted = [WantedIp(ip=f"10.0.0.{rng.randrange(2, 31)}"), WantedIp(subnet_id=subnet.id)]
                        await processes.run(update_port, context, rng.choice(have), {"fixed_ips": wanted})
                    case "delete" if have:
                        await processes.run(delete_port, context, have.pop(rng.randrange(len(have))))
            except Conflict:
                continue

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(worker, number)
    ports = await check_agreement(processes, subnet)
    assert {p.id for p in ports} == {id_ for have in mine for id_ in have}
    for port in ports:
        await processes.run(delete_port, context_of(7), port.id)
    assert await processes.read(taken, subnet.id) == {}
    with pytest.raises(NotFound):
        await processes.run(delete_port, context_of(7), ports[0].id)


def fill(tx: Tx, subnet_id: str, numbers: list[int], port_id: str) -> None:
    for start in range(0, len(numbers), 500):
        part = numbers[start : start + 500]
        tx.execute(
            f"INSERT INTO addresses (subnet_id, address, port_id) VALUES {', '.join(['(?, ?, ?)'] * len(part))}",
            [value for number in part for value in (subnet_id, number, port_id)],
        )


async def test_the_last_free_address_is_found_wherever_it_is(processes: Database) -> None:
    network, subnet = await make_net(processes, "10.0.0.0/20")
    [port] = await create(processes, network, 1)
    first = 10 * 2**24
    ranges = [Range(first + 10, first + 1000), Range(first + 2000, first + 4000)]
    rng = random.Random(5)

    def run(tx: Tx, hole: int) -> list[int | None]:
        tx.execute("DELETE FROM addresses WHERE subnet_id = ?", (subnet.id,))
        fill(tx, subnet.id, [n for r in ranges for n in range(r.first, r.last + 1) if n != hole], port.id)
        found = [find_free(tx, subnet.id, ranges, rng.randrange(2992)) for _ in range(5)]
        claimed = claim_any(tx, subnet.id, ranges, [port.id], rng)
        return [*found, *claimed.values(), find_free(tx, subnet.id, ranges, 17)]

    for hole in (first + 10, first + 1000, first + 2000, first + 4000, first + 555):
        assert await processes.run(run, hole) == [hole] * 6 + [None]


async def test_low_addresses_come_first(processes: Database) -> None:
    """A small network has small numbers, also in a large subnet."""
    network, _subnet = await make_net(processes, "10.0.0.0/8")
    ports = await create(processes, network, 3, count=100)
    assert all(to_number(port.fixed_ips[0].ip) - to_number("10.0.0.2") < FIRST_WINDOW for port in ports)
