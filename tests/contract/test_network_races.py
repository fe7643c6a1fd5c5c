"""Two requests at once are as one after the other, on either engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import trio

from ostro.model.context import Actor, Context
from ostro.model.errors import OstroError
from ostro.runtime.world import World
from ostro.services.identity.catalog import seed_catalog, seed_limits
from ostro.services.network.networks import NetworkSpec, create_networks, delete_network
from ostro.services.network.port_requests import PortRequest, request_ports
from ostro.services.network.ports import PortSpec
from ostro.services.network.quotas import update_quota
from ostro.services.network.rules import RuleSpec
from ostro.services.network.security_group_rules import NewRule, create_security_group_rules
from ostro.services.network.segments import SegmentSpec
from ostro.services.network.subnets import SubnetSpec, create_subnets
from ostro.store.database import Database
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS
from ostro.store.security_groups import SECURITY_GROUPS
from ostro.store.subnets import SUBNETS

ADMIN = Actor("a", "a", "d", "D", roles=frozenset({"admin", "member", "reader"}), project_id="p")


IDS = random.Random(3)
QUOTA, TRIES = 41, 2


def context() -> Context:
    """One request; each draws other ids."""
    return Context(ADMIN, "req", 1_000, IDS)


async def at_once(db: Database, count: int, fn: Callable[..., Any], *args: Any) -> list[str]:
    """Run ``fn`` ``count`` times at once; how each of them ended."""
    outcomes: list[str] = []

    async def one() -> None:
        try:
            await db.run(fn, context(), *args)
            outcomes.append("done")
        except OstroError as error:
            outcomes.append(getattr(error, "kind", type(error).__name__))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return sorted(outcomes)


async def make_network(db: Database) -> str:
    [view] = await db.run(create_networks, context(), [NetworkSpec(name="net")])
    return view.id


async def test_a_project_gets_one_default_group(processes: Database) -> None:
    assert await at_once(processes, 6, create_networks, [NetworkSpec(name="net")]) == ["done"] * 6
    assert await processes.read(lambda tx: SECURITY_GROUPS.count(tx)) == 1
    assert await processes.read(lambda tx: NETWORKS.count(tx)) == 6


async def test_subnets_never_overlap(processes: Database) -> None:
    network_id = await make_network(processes)
    outcomes = await at_once(processes, 6, create_subnets, [SubnetSpec(network_id, "10.0.0.0/24")])
    assert outcomes == ["InvalidInput"] * 5 + ["done"]
    assert await processes.read(lambda tx: (SUBNETS.count(tx), PORTS.count(tx))) == (1, 1)


async def test_a_network_gets_one_service_port(processes: Database) -> None:
    network_id = await make_network(processes)
    outcomes: list[list[str]] = []

    async def one(number: int) -> None:
        outcomes.append(await at_once(processes, 1, create_subnets, [SubnetSpec(network_id, f"10.{number}.0.0/24")]))

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(one, number)
    assert outcomes == [["done"]] * 6
    [port] = await processes.read(lambda tx: PORTS.list(tx))
    assert len(port.fixed_ips) == 6


async def test_a_rule_is_there_once(processes: Database) -> None:
    await make_network(processes)
    [group] = await processes.read(lambda tx: SECURITY_GROUPS.list(tx))
    rule = NewRule(group.id, RuleSpec("ingress", protocol="tcp"))
    outcomes = await at_once(processes, 5, create_security_group_rules, [rule])
    assert outcomes == ["SecurityGroupRuleExists"] * 4 + ["done"]


async def test_one_segment_for_one_network(processes: Database) -> None:
    spec = NetworkSpec(segment=SegmentSpec("vxlan", "", 77))
    assert await at_once(processes, 5, create_networks, [spec]) == ["TunnelIdInUse"] * 4 + ["done"]


async def test_a_network_goes_or_gets_a_port(processes: Database) -> None:
    """Never a port without its network, nor a network deleted below a port."""
    for _ in range(4):
        network_id = await make_network(processes)
        ended: list[list[str]] = []

        async def run(fn: Callable[..., Any], *args: Any, ended: list[list[str]] = ended) -> None:
            ended.append(await at_once(processes, 1, fn, *args))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, delete_network, network_id)
            nursery.start_soon(run, request_ports, [PortRequest(PortSpec(network_id, ""), frozenset())])
        assert ["done"] in ended and len(ended) == 2 and ended[0] != ended[1]
        left = await processes.read(lambda tx: NETWORKS.find(tx, id=network_id))  # noqa: B023 - used at once
        ports = await processes.read(lambda tx: PORTS.count(tx, network_id=network_id))  # noqa: B023 - used at once
        assert (left is None) == (ports == 0)


async def test_sixteen_writers_count_against_one_quota(processes: Database) -> None:
    """Each of them would fit alone, several times; all together fill the quota exactly."""
    network_id = await make_network(processes)
    await processes.run(seed_catalog, "RegionOne")
    await processes.run(seed_limits, World(random=random.Random(1)))
    await processes.run(update_quota, context(), "p", {"port": QUOTA}, check_used=False)
    outcomes: list[str] = []

    async def writer() -> None:
        for _ in range(TRIES):
            outcomes.extend(
                await at_once(processes, 1, request_ports, [PortRequest(PortSpec(network_id, ""), frozenset())] * 2)
            )

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(writer)
    assert outcomes.count("done") == QUOTA // 2 and set(outcomes) == {"done", "OverQuota"}
    assert await processes.read(lambda tx: PORTS.count(tx, project_id="p")) == QUOTA // 2 * 2
