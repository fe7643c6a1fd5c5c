"""Two hosts with an Open vSwitch each, in network namespaces, and what goes between them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.model.wishes import (
    FaceWish,
    FixedIp,
    FloatingIpWish,
    GatewayWish,
    NetworkWish,
    Noun,
    PeerWish,
    PortWish,
    RouterWish,
    RuleWish,
    Segment,
)
from ostro.testing.contracts.network import GROUP, NET, NOUNS, Body, group_wish, network_wish, port_wish
from ostro.testing.namespaces import NamespaceGuest, guest_on

OTHER_NET = "11000000-0000-4000-8000-000000000002"
OUTSIDE = "11000000-0000-4000-8000-000000000003"
OTHER_GROUP = "33000000-0000-4000-8000-000000000002"
FROM_MEMBERS = RuleWish("members", "ingress", "IPv4", remote_group_id=GROUP)
PING = RuleWish("ping", "ingress", "IPv4", "icmp")
TUNNEL_IPS = ["192.0.2.1", "192.0.2.2"]
HOSTS = [f"net-host-{index}-{os.getpid()}" for index in (1, 2)]
START_S = 60.0


class Host:
    """One host: its driver runs in a process of its own (`ostro.testing.switch_host`)."""

    def __init__(self, index: int, process: trio.Process, stack: AsyncExitStack, scratch: Path) -> None:
        self.name = HOSTS[index]
        self.tunnel_ip = TUNNEL_IPS[index]
        self._process = process
        self._stack = stack
        self._scratch = scratch
        self._heard = b""

    async def answer(self) -> object:
        """The next line that the process says."""
        assert self._process.stdout is not None, "a pipe"
        with trio.fail_after(START_S):
            while b"\n" not in self._heard:
                data = await self._process.stdout.receive_some()
                assert data, "the host has ended"
                self._heard += bytes(data)
        line, _, self._heard = self._heard.partition(b"\n")
        return msgspec.json.decode(line)

    async def do(self, *words: str) -> object:
        """Call a method of the driver; what it returns."""
        assert self._process.stdin is not None, "a pipe"
        await self._process.stdin.send_all(msgspec.json.encode(words) + b"\n")
        said = await self.answer()
        assert not (isinstance(said, dict) and "error" in said), said
        return said

    async def put(self, *wishes: Body) -> None:
        """Put wishes and sync."""
        for wish in wishes:
            await self.do("put", NOUNS[type(wish)].value, wish.id, msgspec.json.encode(wish).decode())
        await self.do("sync")

    async def guest(self, port: PortWish, gateway: str = "") -> NamespaceGuest:
        """Plug a guest in, with its address."""
        guest = await self._stack.enter_async_context(guest_on(port, self._scratch, self.name))
        await self.put(port)
        await self.do("plug", port.id)
        await self.do("sync")
        await guest.address(f"{port.fixed_ips[0].ip}/24")
        if gateway:
            await guest.do("ip", "route", "add", "default", "via", gateway)
        return guest

    def peer(self, port: PortWish) -> PeerWish:
        """A port of this host as other hosts see it."""
        ips = [fixed.ip for fixed in port.fixed_ips]
        return PeerWish(port.id, port.network_id, port.mac, self.tunnel_ip, ips, port.security_groups)


@contextmanager
def namespaces() -> Iterator[None]:
    """The namespaces of both hosts, with a cable between them."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    for name in HOSTS:
        ip("netns", "add", name)
    try:
        for name in HOSTS:
            ip("-n", name, "link", "set", "lo", "up")
        one, two = HOSTS
        ip("-n", one, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", two)
        yield
    finally:
        for name in HOSTS:
            ip("netns", "del", name)


@asynccontextmanager
async def host(index: int, stack: AsyncExitStack, scratch: Path) -> AsyncIterator[Host]:
    """A running host; gone afterwards."""
    words = [sys.executable, "-m", "ostro.testing.switch_host", f"{TUNNEL_IPS[index]}/24", "cable"]
    command = ["ip", "netns", "exec", HOSTS[index], *words]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        running = Host(index, process, stack, scratch)
        assert await running.answer() == {}
        yield running
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None, "a pipe"
            await process.stdin.aclose()
            await process.wait()


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[tuple[Host, Host]]:
    with namespaces():
        async with AsyncExitStack() as processes, AsyncExitStack() as guests:
            one = await processes.enter_async_context(host(0, guests, tmp_path))
            two = await processes.enter_async_context(host(1, guests, tmp_path))
            yield one, two
            for each in (one, two):
                assert await each.do("audit") == [], "the switch shows flows as they were sent"


def carried(kind: str, network: str, key: int) -> NetworkWish:
    return msgspec.structs.replace(network_wish(network, f"{kind}-{key}"), segment=Segment(kind, key))


async def test_networks_reach_from_host_to_host_and_not_into_one_another(hosts: tuple[Host, Host]) -> None:
    kinds = {NET: "vxlan", OTHER_NET: "gre"}
    nets = [carried(kind, net, 200 + index) for index, (net, kind) in enumerate(kinds.items())]
    guests: dict[tuple[str, int], NamespaceGuest] = {}
    ports = {(net, index): port_wish(index, net) for net in kinds for index in (1, 2)}
    strays = {net: port_wish(3, net, groups=(OTHER_GROUP,)) for net in kinds}
    for index, (here, there) in enumerate((hosts, hosts[::-1]), start=1):
        far = [there.peer(ports[net, 3 - index]) for net in kinds]
        if index == 1:
            far += [there.peer(stray) for stray in strays.values()]
        await here.put(*nets, group_wish(FROM_MEMBERS), group_wish(id=OTHER_GROUP), *far)
        for net in kinds:
            guests[net, index] = await here.guest(ports[net, index])
    for net in kinds:
        assert await guests[net, 1].reaches("10.0.0.12"), kinds[net]
        assert await guests[net, 2].reaches("10.0.0.11"), kinds[net]
    stranger = await hosts[1].guest(strays[NET])
    assert not await stranger.reaches("10.0.0.11"), "it isn't a member of the group that is let in"
    assert not await guests[OTHER_NET, 1].reaches("10.0.0.13"), "the same address in another network"
    joined = hosts[1].peer(msgspec.structs.replace(strays[NET], security_groups=[GROUP]))
    await hosts[0].put(joined)
    assert await stranger.reaches("10.0.0.11"), "now it is"
    for net in kinds:  # both have the address, and the group is one
        await hosts[0].do("drop", Noun.PEER.value, ports[net, 2].id)
    await hosts[0].do("sync")
    assert not await guests[NET, 2].reaches("10.0.0.11"), "and this one no longer"


async def test_routers_reach_from_host_to_host_and_out_by_the_gateways(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    left, right = carried("vxlan", NET, 201), carried("vxlan", OTHER_NET, 202)
    outside = msgspec.structs.replace(network_wish(OUTSIDE, "outside"), segment=Segment("local"), subnets=[])
    here = port_wish(1)
    there = port_wish(2, OTHER_NET, fixed_ips=[FixedIp("right", "10.0.1.12")])
    world = port_wish(9, OUTSIDE, groups=(), port_security=False, fixed_ips=[FixedIp("", "203.0.113.1")])
    faces = [
        FaceWish(NET, "fa:16:3e:00:aa:01", ["10.0.0.1/24"]),
        FaceWish(OTHER_NET, "fa:16:3e:00:aa:02", ["10.0.1.1/24"]),
    ]
    gateway = GatewayWish(OUTSIDE, "fa:16:3e:00:aa:03", ["203.0.113.10/24"], ["203.0.113.1"])
    far_gateway = msgspec.structs.replace(gateway, tunnel_ip=one.tunnel_ip)
    floating = FloatingIpWish("floating", "router", "203.0.113.20", "10.0.1.12")
    await one.put(
        left, right, outside, group_wish(PING), two.peer(there), RouterWish("router", "r", True, faces, gateway)
    )
    await two.put(left, right, group_wish(PING), one.peer(here), RouterWish("router", "r", True, faces, far_gateway))
    near = await one.guest(here, "10.0.0.1")
    far = await two.guest(there, "10.0.1.1")
    machine = await one.guest(world)
    assert await near.reaches("10.0.1.12") and await far.reaches("10.0.0.11"), "between subnets, from host to host"
    assert await near.reaches("203.0.113.1"), "out by the gateway here"
    assert await far.reaches("203.0.113.1"), "out by the gateway there"
    await one.put(floating)
    assert await machine.reaches("203.0.113.20"), "in by a floating address"
    assert await near.reaches("203.0.113.20"), "and from the router's other subnet"
