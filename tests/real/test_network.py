"""The Open vSwitch driver against the contract, and with guests that are real network stacks."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.agent.drivers.network import Network, Synced, ovsdb
from ostro.agent.drivers.network.openvswitch import OpenVSwitchNetwork
from ostro.agent.parts import openvswitch as parts
from ostro.model.errors import Unavailable
from ostro.model.wishes import AddressPair, FixedIp, Noun, PortWish, RuleWish, Segment
from ostro.runtime.world import World
from ostro.testing.contracts.network import (
    GROUP,
    NET,
    SUBNET,
    Body,
    NetworkContract,
    group_wish,
    network_wish,
    port_wish,
    put,
)
from ostro.testing.namespaces import NamespaceGuest, guest_on, run
from ostro.testing.openvswitch import TestOpenVSwitch

OTHER_NET = "11000000-0000-4000-8000-000000000002"
OTHER_GROUP = "33000000-0000-4000-8000-000000000002"
FROM_MEMBERS = RuleWish("members", "ingress", "IPv4", remote_group_id=GROUP)


@pytest.fixture
async def network(openvswitch: TestOpenVSwitch) -> AsyncIterator[OpenVSwitchNetwork]:
    async with openvswitch.open() as driver:
        yield driver
        for plugged in await driver.plugged():
            await driver.unplug(plugged.port_id)
        await forget_all(driver)


async def forget_all(network: Network) -> None:
    """Leave a switch without flows of this test's to the next."""
    for index in range(8):
        for net in (NET, OTHER_NET):
            network.drop(Noun.PORT, port_wish(index, net).id)
    for noun, id_ in [(Noun.NETWORK, NET), (Noun.NETWORK, OTHER_NET), (Noun.PEER, "peer")]:
        network.drop(noun, id_)
    for group in (GROUP, OTHER_GROUP):
        network.drop(Noun.SECURITY_GROUP, group)
    await network.sync()


class TestOpenVSwitchNetwork(NetworkContract):
    pass


class Lab:
    """A network with guests on its ports, by their index."""

    def __init__(self, network: Network, stack: AsyncExitStack, scratch: Path) -> None:
        self.network = network
        self._stack = stack
        self._scratch = scratch

    async def guest(self, port: PortWish, *, address: bool = True) -> NamespaceGuest:
        """Put a port, plug a guest into it and give it its address."""
        guest = await self._stack.enter_async_context(guest_on(port, self._scratch))
        put(self.network, port)
        await self.network.plug(port.id)
        await self.network.sync()
        if address:
            await guest.address(f"{port.fixed_ips[0].ip}/24")
        return guest


@pytest.fixture
async def lab(network: OpenVSwitchNetwork, tmp_path: Path) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        put(network, network_wish(), group_wish(FROM_MEMBERS))
        yield Lab(network, stack, tmp_path)
        for plugged in await network.plugged():
            await network.unplug(plugged.port_id)


async def test_a_guest_gets_its_address_by_dhcp_and_reaches_its_like(lab: Lab) -> None:
    one = await lab.guest(port_wish(1), address=False)
    two = await lab.guest(port_wish(2), address=False)
    lease = await one.dhcp()
    assert lease == {
        "ip": "10.0.0.11",
        "mask": "24",
        "router": "10.0.0.1",
        "dns": "9.9.9.9",
        "hostname": "host-1",
        "mtu": "1450",
        "lease": "86400",
        "serverid": "10.0.0.2",
        "staticroutes": "169.254.169.254/32 10.0.0.2 0.0.0.0/0 10.0.0.1",
    }
    assert (await two.dhcp())["ip"] == "10.0.0.12"
    assert await one.reaches("10.0.0.12")
    assert await two.reaches("10.0.0.11")
    assert await one.reaches("10.0.0.2"), "the service address answers pings"


async def test_rules_decide_and_taking_one_away_cuts_what_it_let_in(lab: Lab) -> None:
    put(lab.network, group_wish(id=OTHER_GROUP))
    one = await lab.guest(port_wish(1))
    web = await lab.guest(port_wish(2, groups=(OTHER_GROUP,)))
    assert not await one.reaches("10.0.0.12"), "nothing is let in"
    assert not await web.reaches("10.0.0.11"), "it isn't a member of the other's group"

    ping = RuleWish("ping", "ingress", "IPv4", "icmp")
    put(lab.network, group_wish(ping, id=OTHER_GROUP))
    await lab.network.sync()
    assert await one.reaches("10.0.0.12")
    assert not await web.reaches("10.0.0.11")

    async with trio.open_nursery() as nursery:
        stream: list[str] = []

        async def ping_on() -> None:
            stream.append(await one.do("ping", "-c", "40", "-i", "0.05", "-W", "1", "10.0.0.12", check=False))

        nursery.start_soon(ping_on)
        await trio.sleep(0.8)
        put(lab.network, group_wish(id=OTHER_GROUP))
        await lab.network.sync()
    answered = int(re.search(r"(\d+) received", stream[0])[1])  # type: ignore[index]
    assert 5 < answered < 35, "an established flow is cut when its rule goes"


async def test_ports_and_remote_prefixes_are_told_apart(lab: Lab) -> None:
    rules = [
        RuleWish("web", "ingress", "IPv4", "tcp", 8080, 8090, "10.0.0.11/32"),
        RuleWish("echo", "ingress", "IPv4", "icmp", 8, 0),
    ]
    put(lab.network, group_wish(*rules, id=OTHER_GROUP))
    one = await lab.guest(port_wish(1))
    other = await lab.guest(port_wish(3))
    web = await lab.guest(port_wish(2, groups=(OTHER_GROUP,)))
    assert await one.reaches("10.0.0.12") and await other.reaches("10.0.0.12")
    async with web.serving(8080, 8091):
        assert await one.is_greeted("10.0.0.12", 8080)
        assert not await one.is_greeted("10.0.0.12", 8091)
        assert not await other.is_greeted("10.0.0.12", 8080)


async def test_stateless_groups_need_a_rule_for_the_answer(lab: Lab) -> None:
    echo = RuleWish("echo", "ingress", "IPv4", "icmp", 8, 0)
    put(lab.network, group_wish(echo, stateful=False, id=OTHER_GROUP))
    one = await lab.guest(port_wish(1, groups=(OTHER_GROUP,)))
    await lab.guest(port_wish(2, groups=(OTHER_GROUP,)))
    assert not await one.reaches("10.0.0.12"), "the reply has no rule"
    reply = RuleWish("reply", "ingress", "IPv4", "icmp", 0, 0)
    put(lab.network, group_wish(echo, reply, stateful=False, id=OTHER_GROUP))
    await lab.network.sync()
    assert await one.reaches("10.0.0.12")


async def test_a_port_speaks_for_itself_only(lab: Lab) -> None:
    one = await lab.guest(port_wish(1))
    two = await lab.guest(port_wish(2))
    assert await one.reaches("10.0.0.12")
    await one.address("10.0.0.50/24")
    assert not await one.reaches("10.0.0.12"), "a foreign address"
    await one.address("10.0.0.11/24", mac="fa:16:3e:aa:bb:cc")
    assert not await one.reaches("10.0.0.12"), "a foreign MAC"
    await one.address("10.0.0.11/24", mac=port_wish(1).mac)
    assert await one.reaches("10.0.0.12")

    pair = msgspec.structs.replace(port_wish(1), address_pairs=[AddressPair("10.0.0.50")])
    put(lab.network, pair)
    await lab.network.sync()
    await one.address("10.0.0.50/24")
    assert await one.reaches("10.0.0.12"), "an allowed address pair"
    assert await two.reaches("10.0.0.50"), "and it is found by ARP"


async def test_a_port_without_security_is_open(lab: Lab) -> None:
    one = await lab.guest(port_wish(1))
    free = await lab.guest(port_wish(2, groups=(), port_security=False))
    closed = await lab.guest(port_wish(3, groups=()))
    assert await one.reaches("10.0.0.12")
    await free.address("10.0.0.77/24", mac="fa:16:3e:aa:bb:cc")
    assert await one.reaches("10.0.0.77"), "any address, any MAC"
    assert not await closed.reaches("10.0.0.11"), "no groups, no packets"


async def test_ports_speak_ipv6_among_themselves(lab: Lab) -> None:
    members = RuleWish("members6", "ingress", "IPv6", remote_group_id=GROUP)
    put(lab.network, group_wish(FROM_MEMBERS, members))
    fixed = [FixedIp(SUBNET, "10.0.0.11"), FixedIp("six", "fd00::11")]
    one = await lab.guest(port_wish(1, fixed_ips=fixed))
    two = await lab.guest(port_wish(2, fixed_ips=[FixedIp(SUBNET, "10.0.0.12"), FixedIp("six", "fd00::12")]))
    for guest, address in ((one, "fd00::11/64"), (two, "fd00::12/64")):
        await guest.do("ip", "-6", "address", "add", address, "dev", guest.card)
    await one.do("busybox", "sh", "-c", "while ip -6 address | grep -q tentative; do :; done")
    await two.do("busybox", "sh", "-c", "while ip -6 address | grep -q tentative; do :; done")
    assert await one.reaches("fd00::12")
    await two.do("ip", "-6", "address", "add", "fd00::66/64", "dev", two.card, "nodad")
    assert not await one.reaches("fd00::66"), "a foreign address"


async def test_networks_do_not_meet(lab: Lab) -> None:
    put(lab.network, network_wish(OTHER_NET, "other", 102))
    one = await lab.guest(port_wish(1))
    twin = await lab.guest(port_wish(1, OTHER_NET))
    other = await lab.guest(port_wish(2, OTHER_NET))
    assert not await one.reaches("10.0.0.12")
    assert await twin.reaches("10.0.0.12")
    assert await other.reaches("10.0.0.11")


async def test_a_killed_switch_is_refilled(openvswitch: TestOpenVSwitch, lab: Lab) -> None:
    one = await lab.guest(port_wish(1))
    await lab.guest(port_wish(2))
    assert await one.reaches("10.0.0.12")
    before = [(flow.table, flow.match, flow.actions) for flow in await lab.network.tables()]
    async with parts.open_(World(), openvswitch.part):
        openvswitch.kill_switch()
        with trio.fail_after(20):
            while not await one.reaches("10.0.0.12", count=1):
                pass
        assert await lab.network.audit() == []
    assert [(flow.table, flow.match, flow.actions) for flow in await lab.network.tables()] == before


async def test_what_was_computed_while_the_database_hung_is_not_lost(
    openvswitch: TestOpenVSwitch, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.guest(port_wish(1))
    monkeypatch.setattr(ovsdb, "TRANSACTION_S", 0.5)
    port = port_wish(7, OTHER_NET)
    put(lab.network, network_wish(OTHER_NET, "other", 102), port)
    await lab.network.plug(port.id)
    # A new network has a number to keep, in the database, before any flow of it may be sent.
    with openvswitch.hanging_database(), pytest.raises(Unavailable, match="database does not answer"):
        await lab.network.sync()
    monkeypatch.undo()
    await lab.network.sync()
    assert any(port.mac in flow.match for flow in await lab.network.tables())


async def test_a_restarted_agent_changes_no_flow_and_loses_no_packet(
    openvswitch: TestOpenVSwitch, tmp_path: Path
) -> None:
    wishes: list[Body] = [network_wish(), group_wish(FROM_MEMBERS), port_wish(1), port_wish(2)]
    async with AsyncExitStack() as stack:
        one, _two = [await stack.enter_async_context(guest_on(port_wish(i), tmp_path)) for i in (1, 2)]
        async with openvswitch.open() as first:
            put(first, *wishes)
            for index in (1, 2):
                await first.plug(port_wish(index).id)
            assert (await first.sync()).added > 0
            await one.address("10.0.0.11/24")
            await _two.address("10.0.0.12/24")
            assert await one.reaches("10.0.0.12")
        said: list[str] = []

        async def ping() -> None:
            said.append(await one.do("ping", "-c", "100", "-i", "0.02", "-W", "1", "10.0.0.12", check=False))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ping)
            for _ in range(2):
                async with openvswitch.open() as next_one:
                    assert len(await next_one.plugged()) == 2
                    put(next_one, *reversed(wishes))
                    for index in (1, 2):
                        await next_one.plug(port_wish(index).id)
                    assert await next_one.sync() == Synced()
        assert " 0% packet loss" in said[0]
        async with openvswitch.open() as last:
            for index in (1, 2):
                await last.unplug(port_wish(index).id)
            await last.sync()


async def test_foreign_flows_are_left_and_ours_mended(openvswitch: TestOpenVSwitch, lab: Lab) -> None:
    await lab.guest(port_wish(1))
    socket = str(openvswitch.own.run_dir / f"{lab.network.facts.bridge}.mgmt")
    ofctl = ["ovs-ofctl", "-O", "OpenFlow15"]
    await run(*ofctl, "add-flow", socket, "cookie=0x77,table=99,priority=7,actions=drop")
    await run(*ofctl, "del-flows", socket, "table=20")
    await run(*ofctl, "add-flow", socket, "cookie=0x6f7374726f000000,table=70,priority=5,actions=drop")
    drift = await lab.network.audit()
    assert {line.split(":")[0] for line in drift} == {"missing", "unwanted"}
    assert any(line.startswith("missing: arp") for line in drift)
    assert await lab.network.audit() == []
    assert "cookie=0x77" in await run(*ofctl, "dump-flows", socket, "table=99")
    await run(*ofctl, "del-flows", socket, "cookie=0x77/-1")


async def test_a_physical_network_may_be_behind_another_bridge(openvswitch: TestOpenVSwitch) -> None:
    database = f"--db=unix:{openvswitch.config.db_socket}"
    await run("ovs-vsctl", database, "add-br", "net-ex", "--", "set", "bridge", "net-ex", "datapath_type=netdev")
    led = dataclasses.replace(openvswitch, physical={"phys": "net-ex"})
    provider = msgspec.structs.replace(network_wish(), segment=Segment("vlan", 7, "phys"))
    for _ in range(2):
        async with led.open() as network:
            assert (await run("ovs-vsctl", database, "list-ports", "net-ex")).count("ostro") == 1
            put(network, provider)
            await network.sync()
            assert any("from=phys" in flow.match for flow in await network.tables())
            network.drop(Noun.NETWORK, NET)
            await network.sync()
    async with openvswitch.open():
        assert await run("ovs-vsctl", database, "list-ports", "net-ex") == ""
    await run("ovs-vsctl", database, "del-br", "net-ex")


async def test_a_deleted_bridge_is_built_again(openvswitch: TestOpenVSwitch, lab: Lab) -> None:
    one = await lab.guest(port_wish(1))
    await lab.guest(port_wish(2))
    assert await one.reaches("10.0.0.12")
    before = sorted(flow.table for flow in await lab.network.tables())
    database = f"--db=unix:{openvswitch.config.db_socket}"
    await run("ovs-vsctl", database, "del-br", lab.network.facts.bridge)
    with trio.fail_after(20):
        while not await one.reaches("10.0.0.12", count=1):
            pass
    assert len(await lab.network.plugged()) == 2
    await lab.network.sync()
    assert await lab.network.audit() == []
    assert sorted(flow.table for flow in await lab.network.tables()) == before
    await run("ovs-vsctl", database, "del-br", lab.network.facts.bridge)
    with trio.fail_after(20):
        while not await one.reaches("10.0.0.12", count=1):
            pass


async def test_a_tap_is_made_adopted_and_replaced(network: OpenVSwitchNetwork) -> None:
    port = port_wish(1)
    put(network, network_wish(), group_wish(), port)
    await network.plug(port.id)
    assert "mtu 1450" in await run("ip", "link", "show", port.tap)
    number = (await network.plugged())[0].number
    await network.plug(port.id)
    assert (await network.plugged())[0].number == number
    await run("ip", "link", "del", port.tap)
    await network.plug(port.id)
    assert (await network.plugged())[0].number > 0
    await network.unplug(port.id)
    with pytest.raises(subprocess.CalledProcessError):
        await run("ip", "link", "show", port.tap)
