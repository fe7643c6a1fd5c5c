"""Routers, floating addresses and IPv6 on a real Open vSwitch, between guests that are real network stacks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.agent.drivers.network.openvswitch import OpenVSwitchNetwork
from ostro.model.wishes import (
    AddressPair,
    FaceWish,
    FixedIp,
    FloatingIpWish,
    GatewayWish,
    HostRoute,
    NetworkWish,
    Noun,
    PortWish,
    RouterWish,
    RuleWish,
    Segment,
    SubnetWish,
)
from ostro.testing.contracts.network import GROUP, NET, group_wish, network_wish, port_wish, put
from ostro.testing.namespaces import NamespaceGuest, guest_on
from ostro.testing.openvswitch import TestOpenVSwitch, serve_openvswitch

RIGHT = "11000000-0000-4000-8000-000000000002"
OUTSIDE = "11000000-0000-4000-8000-000000000003"
RIGHT_SUBNET = "22000000-0000-4000-8000-000000000002"
ROUTER = "66000000-0000-4000-8000-000000000001"
FLOATING = "77000000-0000-4000-8000-000000000001"
UPLINK = "net-uplink"
PHYSICAL = f"net-physical-{os.getpid()}"
LEFT_FACE = FaceWish(NET, "fa:16:3e:00:aa:01", ["10.0.0.1/24"])
RIGHT_FACE = FaceWish(RIGHT, "fa:16:3e:00:aa:02", ["10.0.1.1/24"])
GATEWAY = GatewayWish(OUTSIDE, "fa:16:3e:00:aa:03", ["203.0.113.10/24"], ["203.0.113.1"])
PING = RuleWish("ping", "ingress", "IPv4", "icmp")


@pytest.fixture(scope="module")
def openvswitch() -> Iterator[TestOpenVSwitch]:
    """One with a way to a physical network, on which there is one machine: a namespace."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", PHYSICAL)
    try:
        ip("link", "add", UPLINK, "type", "veth", "peer", "name", NamespaceGuest.card, "netns", PHYSICAL)
        ip("link", "set", UPLINK, "up")
        for name in ("lo", NamespaceGuest.card):
            ip("-n", PHYSICAL, "link", "set", name, "up")
        ip("netns", "exec", PHYSICAL, "ethtool", "-K", NamespaceGuest.card, "tx", "off")
        with serve_openvswitch(physical={"phys": UPLINK}) as running:
            yield running
    finally:
        ip("netns", "del", PHYSICAL)


def right_wish() -> NetworkWish:
    subnet = SubnetWish(RIGHT_SUBNET, "10.0.1.0/24", "10.0.1.1", True, "10.0.1.2")
    return msgspec.structs.replace(network_wish(RIGHT, "right", 102), subnets=[subnet])


def outside_wish(vlan: int = 0) -> NetworkWish:
    segment = Segment("vlan", vlan, "phys") if vlan else Segment("flat", 0, "phys")
    return NetworkWish(OUTSIDE, "outside", segment, 1500, "fa:16:3e:00:00:fd")


def right_port(index: int) -> PortWish:
    return port_wish(index, RIGHT, fixed_ips=[FixedIp(RIGHT_SUBNET, f"10.0.1.{10 + index}")])


def router_wish(*faces: FaceWish, gateway: GatewayWish | None = None, routes: tuple[HostRoute, ...] = ()) -> RouterWish:
    return RouterWish(ROUTER, "router", True, list(faces), gateway, list(routes))


class Lab:
    """Networks with guests on them; ``outside`` is a namespace at the other end of the uplink."""

    def __init__(self, network: OpenVSwitchNetwork, stack: AsyncExitStack, scratch: Path) -> None:
        self.network = network
        self._stack = stack
        self._scratch = scratch

    async def guest(self, port: PortWish, gateway: str = "") -> NamespaceGuest:
        """Plug a guest in, with its address and its way out."""
        guest = await self._stack.enter_async_context(guest_on(port, self._scratch))
        put(self.network, port)
        await self.network.plug(port.id)
        await self.network.sync()
        if gateway:
            await guest.address(f"{port.fixed_ips[0].ip}/24")
            await guest.do("ip", "route", "add", "default", "via", gateway)
        return guest

    async def outside(self) -> NamespaceGuest:
        """A machine on the physical network, at the address that is the router's next hop."""
        guest = NamespaceGuest(PHYSICAL, self._scratch)
        await guest.do("ip", "neigh", "flush", "all")
        await guest.do("ip", "route", "flush", "dev", guest.card)
        await guest.address("203.0.113.1/24")
        return guest


@pytest.fixture
async def lab(openvswitch: TestOpenVSwitch, tmp_path: Path) -> AsyncIterator[Lab]:
    async with openvswitch.open() as network, AsyncExitStack() as stack:
        put(network, network_wish(), right_wish(), outside_wish(), group_wish(PING))
        yield Lab(network, stack, tmp_path)
        assert await network.audit() == [], "the switch shows flows as they were sent"
        for plugged in await network.plugged():
            await network.unplug(plugged.port_id)
            network.drop(Noun.PORT, plugged.port_id)
        for noun, id_ in [
            (Noun.FLOATING_IP, FLOATING),
            (Noun.ROUTER, ROUTER),
            *((Noun.NETWORK, net) for net in (NET, RIGHT, OUTSIDE)),
            (Noun.SECURITY_GROUP, GROUP),
        ]:
            network.drop(noun, id_)
        await network.sync()


async def reach_at_last(guest: NamespaceGuest, address: str) -> None:
    """The first packets to a neighbour that nobody knows yet are lost."""
    with trio.fail_after(10):
        while not await guest.reaches(address, count=1):
            pass


async def settled(guest: NamespaceGuest) -> None:
    """Wait until the guest's kernel has heard of a router and is sure of the addresses that it made."""
    for loop in ("until ip -6 route | grep -q default", "while ip -6 address | grep -q tentative"):
        await guest.do("busybox", "timeout", "10", "sh", "-c", f"{loop}; do :; done")


ASK_DHCPV6 = """\
import socket, struct, sys
client = struct.pack("!HHHHIH", 1, 10, 3, 1, 0x02000000, 0x0001)
link = socket.if_nametoindex(sys.argv[1])
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as wire:
    wire.bind(("::", 546))
    wire.settimeout(5)
    def ask(kind, options):
        message = bytes([kind, 1, 2, 3]) + client + struct.pack("!HHIII", 3, 12, 7, 0, 0) + options
        wire.sendto(message, ("ff02::1:2", 547, 0, link))
        answer, found, at = wire.recv(2000), {}, 4
        while at < len(answer):
            code, length = struct.unpack_from("!HH", answer, at)
            found[code] = answer[at + 4 : at + 4 + length]
            at += 4 + length
        return answer[0], found
    kind, offered = ask(1, b"")
    assert kind == 2, kind
    kind, given = ask(3, struct.pack("!HH", 2, len(offered[2])) + offered[2])
    assert kind == 7, kind
print("address=" + socket.inet_ntop(socket.AF_INET6, given[3][16:32]))
print("dns=" + socket.inet_ntop(socket.AF_INET6, given[23][:16]))
"""


async def ask_dhcpv6(guest: NamespaceGuest) -> dict[str, str]:
    """Solicit and request an address; what the server gives."""
    said = await guest.do(sys.executable, "-c", ASK_DHCPV6, guest.card)
    return dict(line.split("=") for line in said.split())


async def test_a_router_forwards_between_its_subnets(lab: Lab) -> None:
    put(lab.network, router_wish(LEFT_FACE, RIGHT_FACE))
    one = await lab.guest(port_wish(1), "10.0.0.1")
    two = await lab.guest(right_port(2), "10.0.1.1")
    assert await one.reaches("10.0.0.1"), "the router answers"
    assert await one.reaches("10.0.1.1"), "with its other address too"
    assert await one.reaches("10.0.1.12") and await two.reaches("10.0.0.11")
    said = await one.do("ping", "-c", "1", "-t", "1", "10.0.1.12", check=False)
    assert "From 10.0.0.1 icmp_seq=1 Time to live exceeded" in said
    assert "ttl=63" in await one.do("ping", "-c", "1", "10.0.1.12")
    put(lab.network, group_wish())
    await lab.network.sync()
    assert not await one.reaches("10.0.1.12"), "groups filter what is routed"
    put(lab.network, group_wish(PING), router_wish(LEFT_FACE))
    await lab.network.sync()
    assert not await one.reaches("10.0.1.12"), "the router stands there no more"


async def test_what_has_no_floating_address_goes_out_under_the_routers(lab: Lab) -> None:
    put(lab.network, router_wish(LEFT_FACE, gateway=GATEWAY))
    one = await lab.guest(port_wish(1), "10.0.0.1")
    outside = await lab.outside()
    await reach_at_last(one, "203.0.113.1")
    async with outside.serving(8080):
        assert await one.is_greeted("203.0.113.1", 8080)
    assert await outside.reaches("203.0.113.10"), "the router answers outside"
    await outside.do("ip", "route", "add", "10.0.0.0/24", "via", "203.0.113.10")
    assert not await outside.reaches("10.0.0.11"), "what is hidden is not reached"


async def test_a_floating_address_stands_for_a_port(lab: Lab) -> None:
    put(lab.network, router_wish(LEFT_FACE, RIGHT_FACE, gateway=GATEWAY))
    one = await lab.guest(port_wish(1), "10.0.0.1")
    two = await lab.guest(right_port(2), "10.0.1.1")
    outside = await lab.outside()
    web = RuleWish("web", "ingress", "IPv4", "tcp", 8080, 8080)
    put(lab.network, group_wish(PING, web), FloatingIpWish(FLOATING, ROUTER, "203.0.113.20", "10.0.0.11"))
    await lab.network.sync()
    await reach_at_last(outside, "203.0.113.20")
    async with one.serving(8080):
        assert await outside.is_greeted("203.0.113.20", 8080)
        assert await two.is_greeted("203.0.113.20", 8080), "from inside too"
    await reach_at_last(one, "203.0.113.1")
    await outside.do("ip", "route", "add", "blackhole", "203.0.113.10/32")
    assert await one.reaches("203.0.113.1"), "it speaks as its floating address, not as the router"
    await outside.do("ip", "route", "del", "blackhole", "203.0.113.10/32")

    put(lab.network, FloatingIpWish(FLOATING, ROUTER, "203.0.113.20", "10.0.0.99"))
    await lab.network.sync()
    assert not await outside.reaches("203.0.113.20"), "it stands for another now"
    lab.network.drop(Noun.FLOATING_IP, FLOATING)
    await lab.network.sync()
    assert not await outside.reaches("203.0.113.20")
    assert await one.reaches("203.0.113.1"), "under the router's address again"


async def test_a_physical_network_with_tags(lab: Lab) -> None:
    put(lab.network, outside_wish(vlan=5), router_wish(LEFT_FACE, gateway=GATEWAY))
    one = await lab.guest(port_wish(1), "10.0.0.1")
    outside = await lab.outside()
    assert not await one.reaches("203.0.113.1"), "untagged frames are another network's"
    put(lab.network, outside_wish())
    await lab.network.sync()
    await reach_at_last(one, "203.0.113.1")
    on_it = await lab.guest(port_wish(3, OUTSIDE, fixed_ips=[FixedIp("", "203.0.113.33")]))
    await on_it.address("203.0.113.33/24")
    assert await on_it.reaches("203.0.113.1") and await outside.reaches("203.0.113.33")


async def test_a_route_goes_by_a_guest_that_shares_an_address(lab: Lab) -> None:
    routes = (HostRoute("172.16.0.0/16", "10.0.0.100"),)
    put(lab.network, router_wish(LEFT_FACE, RIGHT_FACE, routes=routes))
    pair = [AddressPair("10.0.0.100"), AddressPair("172.16.0.0/16")]
    gate = await lab.guest(port_wish(1, address_pairs=pair), "10.0.0.1")
    two = await lab.guest(right_port(2), "10.0.1.1")
    await gate.do("ip", "address", "add", "10.0.0.100/32", "dev", gate.card)
    await gate.do("ip", "address", "add", "172.16.0.1/32", "dev", "lo")
    await reach_at_last(two, "172.16.0.1")


async def test_guests_make_their_ipv6_addresses_of_what_is_advertised(lab: Lab) -> None:
    six = SubnetWish("six", "fd00:0:0:1::/64", "fd00:0:0:1::1", True, ra_mode="slaac", address_mode="slaac")
    far = SubnetWish("far", "fd00:0:0:2::/64", "fd00:0:0:2::1", True, ra_mode="dhcpv6-stateful")
    far = msgspec.structs.replace(far, address_mode="dhcpv6-stateful", dns=["fd00:0:0:2::53"])
    put(lab.network, msgspec.structs.replace(network_wish(), subnets=[six]))
    put(lab.network, msgspec.structs.replace(right_wish(), subnets=[far]))
    put(lab.network, group_wish(RuleWish("ping6", "ingress", "IPv6", "ipv6-icmp")))
    faces = [
        msgspec.structs.replace(LEFT_FACE, ips=["fd00:0:0:1::1/64"]),
        msgspec.structs.replace(RIGHT_FACE, ips=["fd00:0:0:2::1/64"]),
    ]
    put(lab.network, router_wish(*faces))
    made = "fd00::1:f816:3eff:fe00:101"
    one = await lab.guest(port_wish(1, fixed_ips=[FixedIp("six", made)]))
    two = await lab.guest(port_wish(2, RIGHT, fixed_ips=[FixedIp("far", "fd00:0:0:2::12")]))
    for guest in (one, two):
        await guest.do("ip", "link", "set", guest.card, "down")
        await guest.do("ip", "link", "set", guest.card, "up")
        await settled(guest)
    assert made in await one.do("ip", "-6", "address"), "of the prefix and its MAC"
    assert "default via fe80::f816:3eff:fe00:aa01" in await one.do("ip", "-6", "route")
    said = await ask_dhcpv6(two)
    assert said == {"address": "fd00:0:0:2::12", "dns": "fd00:0:0:2::53"}
    await two.do("ip", "-6", "address", "add", "fd00:0:0:2::12/64", "dev", two.card, "nodad")
    assert await one.reaches("fd00:0:0:1::1"), "the router answers"
    assert await one.reaches("fd00:0:0:2::12") and await two.reaches(made)
    hop = await one.do("ping", "-6", "-c", "1", "-t", "1", "fd00:0:0:2::12", check=False)
    assert "From fd00:0:0:1::1 icmp_seq=1 Time exceeded" in hop
    put(lab.network, group_wish())
    await lab.network.sync()
    assert not await two.reaches(made), "groups filter IPv6 as well"
