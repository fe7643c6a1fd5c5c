"""Hosts are wished exactly what they need of the network, on either engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ostro.model.context import Actor, Context
from ostro.model.errors import Conflict, Invalid
from ostro.model.wishes import (
    AddressPair,
    HostRoute,
    NetworkWish,
    Noun,
    PeerWish,
    PortWish,
    SecurityGroupWish,
)
from ostro.services.network.addresses import WantedIp
from ostro.services.network.binding import (
    RequestedNic,
    allocate_nics,
    attach_nic,
    bind_nics,
    detach_nic,
    expect_nics,
    list_server_ports,
    release_nics,
    resolve_auto_network,
    stop_expecting_nics,
    switch_nics,
    tap_name,
    unbind_nics,
)
from ostro.services.network.networks import NetworkSpec, create_networks, delete_network, update_network
from ostro.services.network.port_changes import delete_port, update_port
from ostro.services.network.ports import PortSpec, create_ports
from ostro.services.network.rules import RuleSpec
from ostro.services.network.security_group_rules import (
    NewRule,
    create_security_group_rules,
    delete_security_group_rule,
)
from ostro.services.network.security_groups import (
    SecurityGroupSpec,
    create_security_groups,
    delete_security_group,
    update_security_group,
)
from ostro.services.network.subnets import SubnetSpec, create_subnets, delete_subnet, update_subnet
from ostro.services.network.wishes import NETWORK_NOUNS, rewish_host, rewish_tunnel
from ostro.store.database import Database, Tx
from ostro.store.hosts import HOSTS
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS, Port
from ostro.store.security_group_rules import SECURITY_GROUP_RULES
from ostro.store.security_groups import SECURITY_GROUPS
from ostro.store.subnets import SUBNETS
from ostro.store.wishes import list_wished
from ostro.testing.networking import add_hosts

ADMIN = Actor("root", "root", "default", "Default", roles=frozenset({"admin", "member", "reader"}), project_id="admins")
HOST_IDS = ("id-a", "id-b", "id-c")
BODIES = {
    Noun.NETWORK: NetworkWish,
    Noun.SECURITY_GROUP: SecurityGroupWish,
    Noun.PORT: PortWish,
    Noun.PEER: PeerWish,
}


class Lab:
    """Three hosts and a tenant, inside one transaction at a time."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.rng = random.Random(11)
        self.now_us = 1_000_000

    async def do(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a service function as the administrator."""
        self.now_us += 1
        context = Context(ADMIN, "req-1", self.now_us, self.rng)
        return await self.db.run(lambda tx: fn(tx, context, *args, **kwargs))

    async def net(self, cidr: str = "10.0.0.0/24", **more: Any) -> str:
        [view] = await self.do(create_networks, [NetworkSpec(name="net")])
        await self.do(create_subnets, [SubnetSpec(view.id, cidr, **more)])
        network_id: str = view.id
        return network_id

    async def boot(self, server_id: str, host_id: str, *nics: RequestedNic, **more: Any) -> list[Port]:
        ports: list[Port] = await self.do(
            allocate_nics,
            server_id=server_id,
            hostname=server_id,
            project_id="admins",
            host_id=host_id,
            nics=nics,
            **more,
        )
        return ports

    async def wishes(self, host_id: str) -> dict[tuple[Noun, str], Any]:
        """What the host is wished to have, decoded."""

        def run(tx: Tx) -> dict[tuple[Noun, str], Any]:
            return {
                (w.noun, w.id): msgspec.json.decode(w.body, type=BODIES[w.noun])
                for w in list_wished(tx, host_id, NETWORK_NOUNS)
                if w.body is not None
            }

        return await self.db.read(run)

    async def check(self) -> None:
        """Computing every host's wishes afresh finds nothing to change."""
        for host_id in HOST_IDS:
            assert await self.db.run(rewish_host, host_id) == 0, host_id


@pytest.fixture
async def lab(db: Database) -> Lab:
    await db.run(add_hosts, "a", "b", "c")
    return Lab(db)


async def test_a_server_brings_what_its_port_needs(lab: Lab) -> None:
    network_id = await lab.net(dns_nameservers=["1.1.1.1"], host_routes=[HostRoute("10.8.0.0/16", "10.0.0.9")])
    [port] = await lab.boot("s1", "id-a", RequestedNic(network_id=network_id))
    wishes = await lab.wishes("id-a")
    assert {noun for noun, _ in wishes} == {Noun.NETWORK, Noun.SECURITY_GROUP, Noun.PORT}
    network = wishes[Noun.NETWORK, network_id]
    [subnet] = network.subnets
    assert (network.segment.type, network.mtu) == ("vxlan", 1450)
    assert (subnet.gateway_ip, subnet.service_ip, subnet.dhcp, subnet.dns) == (
        "10.0.0.1",
        "10.0.0.2",
        True,
        ["1.1.1.1"],
    )
    assert subnet.host_routes == [HostRoute("10.8.0.0/16", "10.0.0.9")]
    wish = wishes[Noun.PORT, port.id]
    assert (wish.tap, wish.mac, wish.server_id, wish.hostname) == (tap_name(port.id), port.mac_address, "s1", "s1")
    assert wish.tap == "tap" + port.id[:11] and len(wish.tap) < 16
    assert (wish.fixed_ips, wish.security_groups) == (port.fixed_ips, port.security_groups)
    assert (port.device_owner, port.owned_by_server) == ("compute:nova", True)
    [group_id] = port.security_groups
    rules = wishes[Noun.SECURITY_GROUP, group_id].rules
    assert {(r.direction, r.ethertype, r.remote_group_id) for r in rules} == {
        ("egress", "IPv4", ""),
        ("egress", "IPv6", ""),
        ("ingress", "IPv4", group_id),
        ("ingress", "IPv6", group_id),
    }
    assert await lab.wishes("id-b") == {}
    await lab.check()
    await lab.db.run(release_nics, "s1", 5)
    assert await lab.wishes("id-a") == {}
    await lab.db.run(release_nics, "s1", 5)
    await lab.check()


async def test_peers_are_the_ports_of_shared_networks_on_other_hosts(lab: Lab) -> None:
    one, two = await lab.net(), await lab.net()
    [a1] = await lab.boot("s1", "id-a", RequestedNic(network_id=one))
    [b1] = await lab.boot("s2", "id-b", RequestedNic(network_id=one))
    [c2] = await lab.boot("s3", "id-c", RequestedNic(network_id=two))
    [a2] = await lab.boot("s4", "id-a", RequestedNic(network_id=two))

    async def peers(host_id: str) -> dict[str, PeerWish]:
        return {id_: wish for (noun, id_), wish in (await lab.wishes(host_id)).items() if noun is Noun.PEER}

    assert set(await peers("id-a")) == {b1.id, c2.id}
    assert set(await peers("id-b")) == {a1.id}
    assert set(await peers("id-c")) == {a2.id}
    peer = (await peers("id-b"))[a1.id]
    assert peer == PeerWish(a1.id, one, a1.mac_address, "127.0.0.1", [a1.fixed_ips[0].ip], a1.security_groups)
    await lab.db.run(lambda tx: HOSTS.update(tx, "id-a", tunnel_ip="127.0.0.77"))
    await lab.db.run(rewish_tunnel, "id-a")
    assert (await peers("id-b"))[a1.id].tunnel_ip == "127.0.0.77"
    await lab.db.run(release_nics, "s4", 9)
    assert set(await peers("id-a")) == {b1.id}
    assert await peers("id-c") == {}
    await lab.check()


async def test_changes_reach_the_hosts_concerned_and_no_others(lab: Lab) -> None:
    network_id = await lab.net()
    [port] = await lab.boot("s1", "id-a", RequestedNic(network_id=network_id))
    [group_id] = port.security_groups

    async def revisions() -> list[int]:
        def run(tx: Tx) -> list[int]:
            return [HOSTS.get(tx, host_id).revision for host_id in HOST_IDS]

        return await lab.db.read(run)

    async def changed_by(fn: Callable[..., Any], *args: Any) -> list[bool]:
        before = await revisions()
        await lab.do(fn, *args)
        await lab.check()
        return [b != a for b, a in zip(before, await revisions(), strict=True)]

    [subnet] = await lab.db.read(lambda tx: SUBNETS.list(tx, network_id=network_id))
    only_a = [True, False, False]
    nobody = [False, False, False]
    rule = NewRule(group_id, RuleSpec("ingress", protocol="tcp", port_range_min=80, port_range_max=80))
    assert await changed_by(create_security_group_rules, [rule]) == only_a
    assert await changed_by(update_subnet, subnet.id, {"dns_nameservers": ["9.9.9.9"]}) == only_a
    assert await changed_by(update_subnet, subnet.id, {"name": "new"}) == nobody
    assert await changed_by(update_network, network_id, {"mtu": 1400}) == only_a
    assert await changed_by(update_network, network_id, {"description": "x"}) == nobody
    assert await changed_by(update_network, network_id, {"admin_state_up": False}) == only_a
    assert (await lab.wishes("id-a"))[Noun.PORT, port.id].admin_up is False
    assert await changed_by(update_port, port.id, {"name": "x"}) == nobody
    assert await changed_by(update_port, port.id, {"address_pairs": [AddressPair("10.0.0.99")]}) == only_a
    assert await changed_by(update_port, port.id, {"security_groups": []}) == only_a
    assert (Noun.SECURITY_GROUP, group_id) not in await lab.wishes("id-a")
    assert await changed_by(create_subnets, [SubnetSpec(network_id, "10.7.0.0/24")]) == only_a
    assert len((await lab.wishes("id-a"))[Noun.NETWORK, network_id].subnets) == 2


async def test_a_port_that_the_user_made_is_lent(lab: Lab) -> None:
    network_id = await lab.net()
    [port] = await lab.do(create_ports, [PortSpec(network_id, "admins", name="mine")])
    [taken] = await lab.boot("s1", "id-a", RequestedNic(port_id=port.id), az="east")
    assert (taken.id, taken.device_id, taken.device_owner) == (port.id, "s1", "compute:east")
    assert (taken.owned_by_server, taken.binding_host, taken.fixed_ips) == (False, "a", port.fixed_ips)
    with pytest.raises(Conflict, match="still in use"):
        await lab.boot("s2", "id-b", RequestedNic(port_id=port.id))
    await lab.db.run(release_nics, "s1", 7)
    freed = await lab.db.read(lambda tx: PORTS.get(tx, port.id))
    assert (freed.device_id, freed.device_owner, freed.host_id, freed.binding_host) == ("", "", "", "")
    assert freed.fixed_ips == port.fixed_ips
    assert await lab.wishes("id-a") == {}
    await lab.check()


async def test_nics_keep_their_order_and_move_with_their_server(lab: Lab) -> None:
    one, two = await lab.net(), await lab.net("10.1.0.0/24")
    nics = [RequestedNic(network_id=two, fixed_ip="10.1.0.50"), RequestedNic(network_id=one, tag="t")]
    ports = await lab.boot("s1", "", *nics)
    assert await lab.wishes("id-a") == {}
    await lab.db.run(bind_nics, "s1", "id-a", 5)
    attached: Port = await lab.do(
        attach_nic,
        server_id="s1",
        hostname="s1",
        project_id="admins",
        host_id="id-a",
        nic=RequestedNic(network_id=one),
    )
    views = await lab.db.read(list_server_ports, ["s1", "s2"])
    assert [v.port_id for v in views["s1"]] == [*(p.id for p in ports), attached.id]
    assert (views["s1"][0].network_name, views["s1"][0].fixed_ips[0].ip) == ("net", "10.1.0.50")
    assert (views["s1"][1].tag, views["s2"]) == ("t", [])
    await lab.check()
    await lab.db.run(bind_nics, "s1", "id-b", 6)
    assert await lab.wishes("id-a") == {}
    assert sum(noun is Noun.PORT for noun, _ in await lab.wishes("id-b")) == 3
    await lab.check()
    await lab.db.run(detach_nic, "s1", attached.id, 7)
    await lab.db.run(unbind_nics, "s1", 8)
    assert await lab.wishes("id-b") == {}
    assert len((await lab.db.read(list_server_ports, ["s1"]))["s1"]) == 2
    await lab.check()


async def test_a_port_arrives_before_anybody_looks_for_it_there(lab: Lab) -> None:
    network_id = await lab.net()
    [port] = await lab.boot("s1", "id-a", RequestedNic(network_id=network_id))
    [other] = await lab.boot("s2", "id-b", RequestedNic(network_id=network_id))
    seen = (await lab.wishes("id-b"))[Noun.PEER, port.id]
    for host_id in ("id-b", "id-c"):
        await lab.db.run(expect_nics, "s1", host_id, 5)
        await lab.check()
        wishes = await lab.wishes(host_id)
        assert not wishes[Noun.PORT, port.id].admin_up
        assert wishes[Noun.PEER, port.id] == seen
        assert (await lab.wishes("id-b"))[Noun.PEER, port.id] == seen
        assert (await lab.wishes("id-a"))[Noun.PORT, port.id].admin_up
        row = await lab.db.read(lambda tx: PORTS.get(tx, port.id))
        assert row.binding_profile == {"migrating_to": host_id[-1]}
        await lab.db.run(stop_expecting_nics, "s1", 6)
        await lab.check()
    assert await lab.wishes("id-c") == {}
    await lab.db.run(expect_nics, "s1", "id-c", 7)
    for _twice in range(2):
        await lab.db.run(switch_nics, "s1", "id-c", 8)
    await lab.check()
    wishes = await lab.wishes("id-c")
    assert wishes[Noun.PORT, port.id].admin_up and (Noun.PEER, port.id) not in wishes
    assert (await lab.wishes("id-b"))[Noun.PEER, port.id].tunnel_ip != seen.tunnel_ip
    assert await lab.wishes("id-a") == {}
    row = await lab.db.read(lambda tx: PORTS.get(tx, port.id))
    assert (row.binding_host, row.host_id, row.binding_profile) == ("c", "id-c", {})
    assert (Noun.PEER, other.id) in wishes


async def test_the_network_that_is_meant_when_none_is_named(lab: Lab) -> None:
    assert await lab.do(resolve_auto_network) is None
    network_id = await lab.net()
    assert await lab.do(resolve_auto_network) == network_id
    await lab.net()
    with pytest.raises(Conflict):
        await lab.do(resolve_auto_network)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_hosts_know_what_they_must(lab: Lab, seed: int) -> None:
    """Random changes of everything; after each, computing all wishes afresh finds nothing to change."""
    rng = random.Random(seed)
    servers = 0

    async def pick(table: Any, **conditions: Any) -> Any:
        rows = await lab.db.read(lambda tx: table.list(tx, order="id", **conditions))
        return rng.choice(rows) if rows else None

    for _ in range(60):
        network, port = await pick(NETWORKS), await pick(PORTS)
        group, rule = await pick(SECURITY_GROUPS), await pick(SECURITY_GROUP_RULES)
        subnet = await pick(SUBNETS)
        host_id = rng.choice(HOST_IDS)
        try:
            match rng.randrange(20):
                case 0 | 1 if network is None or rng.random() < 0.5:
                    await lab.net(f"10.{rng.randrange(200)}.0.0/24", enable_dhcp=rng.random() < 0.7)
                case 2 | 3 | 4 | 5 if network:
                    servers += 1
                    nics = [RequestedNic(network_id=network.id)] * rng.randrange(1, 3)
                    names = [group.id] if group and rng.random() < 0.5 else []
                    await lab.boot(f"s{servers}", rng.choice((host_id, "")), *nics, security_groups=names)
                case 6 if servers:
                    await lab.db.run(bind_nics, f"s{rng.randrange(servers) + 1}", host_id, lab.now_us)
                case 7 if servers:
                    await lab.db.run(release_nics, f"s{rng.randrange(servers) + 1}", lab.now_us)
                case 8 if port:
                    ids = [group.id] if group else []
                    await lab.do(update_port, port.id, {"security_groups": rng.choice((ids, []))})
                case 9 if port and subnet:
                    await lab.do(update_port, port.id, {"fixed_ips": [WantedIp(subnet_id=subnet.id)]})
                case 10 if port:
                    await lab.do(update_port, port.id, {"binding_host": rng.choice(("a", "b", "c", "", "nowhere"))})
                case 11 if port:
                    await lab.do(delete_port, port.id)
                case 12:
                    await lab.do(create_security_groups, [SecurityGroupSpec(name="g")])
                case 13 if group:
                    spec = RuleSpec("ingress", protocol="tcp", port_range_min=rng.randrange(1, 9), port_range_max=9)
                    await lab.do(create_security_group_rules, [NewRule(group.id, spec)])
                case 14 if rule and group:
                    await lab.do(delete_security_group_rule, rule.id)
                    await lab.do(update_security_group, group.id, {"description": str(rng.random())})
                case 15 if group:
                    await lab.do(delete_security_group, group.id)
                case 16 if subnet:
                    await lab.do(update_subnet, subnet.id, {"enable_dhcp": rng.random() < 0.5, "gateway_ip": None})
                    if rng.random() < 0.3:
                        await lab.do(delete_subnet, subnet.id)
                case 17 if network:
                    await lab.do(update_network, network.id, {"admin_state_up": rng.random() < 0.5})
                    if rng.random() < 0.3:
                        await lab.do(delete_network, network.id)
                case 18 if servers:
                    server_id = f"s{rng.randrange(servers) + 1}"
                    await lab.db.run(stop_expecting_nics, server_id, lab.now_us)
                    await lab.db.run(expect_nics, server_id, host_id, lab.now_us)
                case 19 if port and port.arriving_host_id:
                    await lab.db.run(switch_nics, port.device_id, port.arriving_host_id, lab.now_us)
        except (Conflict, Invalid):
            continue
        finally:
            await lab.check()


async def test_hosts_understand_every_protocol(lab: Lab) -> None:
    """Number 0 is any; every other name is one that the flow compiler knows."""
    network_id = await lab.net()
    [port] = await lab.boot("s1", "id-a", RequestedNic(network_id=network_id))
    [group_id] = port.security_groups
    for protocol in ("ip", "hopopt", "0"):
        rule = RuleSpec("ingress", protocol=protocol, remote_ip_prefix="10.0.0.0/8", description=protocol)
        try:
            await lab.do(create_security_group_rules, [NewRule(group_id, rule)])
        except Conflict:
            continue
    wish = (await lab.wishes("id-a"))[Noun.SECURITY_GROUP, group_id]
    assert {r.protocol for r in wish.rules} == {""}
    await lab.do(create_security_group_rules, [NewRule(group_id, RuleSpec("ingress", protocol="vrrp"))])
    wish = (await lab.wishes("id-a"))[Noun.SECURITY_GROUP, group_id]
    assert {r.protocol for r in wish.rules} == {"", "vrrp"}
