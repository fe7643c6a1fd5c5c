"""The contract of `ostro.agent.drivers.network.Network`.

A subclass gives the fixture ``network`` (opened on nothing) and ``reopen`` (the same driver after a restart of the agent). Names of taps
begin with ``net`` and end up on this host where the driver is a real one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest

from ostro.agent.drivers.network import Network, Synced
from ostro.model.errors import Invalid, NotFound
from ostro.model.wishes import (
    AddressPair,
    FixedIp,
    FloatingIpWish,
    NetworkWish,
    Noun,
    PeerWish,
    PortWish,
    RouterWish,
    RuleWish,
    SecurityGroupWish,
    Segment,
    SubnetWish,
)

NET = "11000000-0000-4000-8000-000000000001"
SUBNET = "22000000-0000-4000-8000-000000000001"
GROUP = "33000000-0000-4000-8000-000000000001"
SERVICE_MAC = "fa:16:3e:00:00:fe"

Reopen = Callable[[], AbstractAsyncContextManager[Network]]
Body = NetworkWish | SecurityGroupWish | PortWish | PeerWish | RouterWish | FloatingIpWish


def network_wish(id: str = NET, name: str = "private", key: int = 101) -> NetworkWish:
    """A VXLAN network 10.0.0.0/24 with DHCP."""
    subnet = SubnetWish(SUBNET, "10.0.0.0/24", "10.0.0.1", True, "10.0.0.2", ["9.9.9.9"])
    return NetworkWish(id, name, Segment("vxlan", key), 1450, SERVICE_MAC, [subnet])


def group_wish(*rules: RuleWish, id: str = GROUP, stateful: bool = True) -> SecurityGroupWish:
    """A group that lets everything out and ``rules`` in."""
    out = [RuleWish("out4", "egress", "IPv4"), RuleWish("out6", "egress", "IPv6")]
    return SecurityGroupWish(id, "group", stateful, [*out, *rules])


def port_wish(index: int, network: str = NET, groups: tuple[str, ...] = (GROUP,), **changes: object) -> PortWish:
    """The ``index``-th port of a network: 10.0.0.(10 + index), tap ``netNNNNNN-index``."""
    port = PortWish(
        id=f"44000000-0000-4000-8000-{network[-2:]}{index:010d}",
        network_id=network,
        project_id="55000000-0000-4000-8000-000000000001",
        mac=f"fa:16:3e:00:{network[-2:]}:{index:02x}",
        tap=f"net{network[-2:]}-{index}",
        fixed_ips=[FixedIp(SUBNET, f"10.0.0.{10 + index}")],
        security_groups=list(groups),
        hostname=f"host-{index}",
    )
    return msgspec.structs.replace(port, **changes)


NOUNS: dict[type[Body], Noun] = {
    NetworkWish: Noun.NETWORK,
    SecurityGroupWish: Noun.SECURITY_GROUP,
    PortWish: Noun.PORT,
    PeerWish: Noun.PEER,
    RouterWish: Noun.ROUTER,
    FloatingIpWish: Noun.FLOATING_IP,
}


def put(network: Network, *wishes: Body) -> None:
    """Put wishes by their types."""
    for wish in wishes:
        network.put(NOUNS[type(wish)], wish.id, msgspec.json.encode(wish))


class NetworkContract:
    """What every network driver must do."""

    async def test_facts(self, network: Network) -> None:
        facts = network.facts
        assert facts.driver and facts.datapath in ("kernel", "userspace", "none")
        assert facts.datapath_why and facts.tunnel_ip

    async def test_a_port_lives_and_goes(self, network: Network) -> None:
        port = port_wish(1)
        put(network, network_wish(), group_wish(), port)
        assert (await network.sync()).added > 0
        assert not await self.flows_of(network, port)

        await network.plug(port.id)
        await network.plug(port.id)
        plugged = await network.plugged()
        assert [(item.port_id, item.tap) for item in plugged] == [(port.id, port.tap)]
        assert plugged[0].number > 0
        assert (await network.sync()).added > 0
        assert await self.flows_of(network, port)
        assert await network.sync() == Synced()

        await network.unplug(port.id)
        await network.unplug(port.id)
        network.drop(Noun.PORT, port.id)
        await network.sync()
        assert await network.plugged() == []
        assert not await self.flows_of(network, port)

    async def test_everything_that_was_wished_can_go(self, network: Network) -> None:
        await network.sync()
        before = await network.tables()
        port = port_wish(1)
        peer = PeerWish("peer", NET, "fa:16:3e:00:99:01", "192.0.2.9", ["10.0.0.99"], [GROUP])
        put(network, network_wish(), group_wish(), port, peer)
        await network.plug(port.id)
        await network.sync()
        await network.unplug(port.id)
        for noun, id_ in [(Noun.PORT, port.id), (Noun.PEER, "peer"), (Noun.SECURITY_GROUP, GROUP), (Noun.NETWORK, NET)]:
            network.drop(noun, id_)
            network.drop(noun, id_)
        await network.sync()
        assert [flow.match for flow in await network.tables()] == [flow.match for flow in before]

    async def test_the_order_of_wishes_does_not_matter(self, network: Network) -> None:
        port = port_wish(1)
        put(network, port)
        with pytest.raises(NotFound):
            await network.plug(port.id)
        put(network, group_wish(), network_wish())
        await network.plug(port.id)
        await network.sync()
        assert await self.flows_of(network, port)
        await network.unplug(port.id)

    async def test_one_rule_is_one_flow(self, network: Network) -> None:
        port = port_wish(1)
        put(network, network_wish(), group_wish(), port)
        await network.plug(port.id)
        await network.sync()
        web = RuleWish("web", "ingress", "IPv4", "tcp", 80, 80)
        put(network, group_wish(web))
        assert await network.sync() == Synced(added=2)  # the rule, and that the group has ingress rules at all
        put(network, group_wish(web, RuleWish("tls", "ingress", "IPv4", "tcp", 443, 443)))
        assert await network.sync() == Synced(added=1)
        put(network, group_wish(web))
        assert await network.sync() == Synced(removed=1)
        await network.unplug(port.id)

    async def test_nonsense_is_refused_and_the_wish_before_it_kept(self, network: Network) -> None:
        port = port_wish(1)
        put(network, network_wish(), group_wish(), port)
        for body in (b"{}", b"not json", msgspec.json.encode(msgspec.structs.replace(port, mac="no"))):
            with pytest.raises(Invalid):
                network.put(Noun.PORT, port.id, body)
        with pytest.raises(Invalid):
            network.put(Noun.PORT, "another id", msgspec.json.encode(port))
        await network.plug(port.id)
        await network.unplug(port.id)

    async def test_an_unknown_port_can_be_unplugged_but_not_plugged(self, network: Network) -> None:
        await network.unplug("nobody")
        with pytest.raises(NotFound):
            await network.plug("nobody")

    async def test_tables_name_what_they_are_about(self, network: Network) -> None:
        port = port_wish(1, address_pairs=[AddressPair("10.0.0.200")])
        put(network, network_wish(), group_wish(RuleWish("web", "ingress", "IPv4", "tcp", 80, 80)), port)
        await network.plug(port.id)
        await network.sync()
        flows = await network.tables()
        assert [flow.table for flow in flows] == sorted(flow.table for flow in flows)
        assert all(flow.table_name and flow.match and flow.actions for flow in flows)
        rule = next(flow for flow in flows if flow.table_name == "rules" and "ct_port_dst=80" in flow.match)
        assert "group=group(" in rule.match and "set flags=+allowed" in rule.actions
        entry = next(flow for flow in flows if flow.table_name == "classify" and f"from={port.tap}" in flow.match)
        assert entry.actions == "set network=private, goto guard"
        await network.unplug(port.id)

    async def test_an_audit_of_what_is_right_finds_nothing(self, network: Network) -> None:
        port = port_wish(1)
        put(network, network_wish(), group_wish(), port)
        await network.plug(port.id)
        await network.sync()
        assert await network.audit() == []
        await network.unplug(port.id)

    async def flows_of(self, network: Network, port: PortWish) -> list[str]:
        """What the tables say of a port."""
        return [flow.match for flow in await network.tables() if port.tap in flow.match.replace("=", " ").split()]
