"""An agent with 500 ports starts again on a real Open vSwitch, while two guests ping one another.

In a network namespace of its own; needs root. The agent and the network driver are the product's, the hypervisor is the fake one, and the
control plane is in memory. Guests are network stacks of the kernel (`ostro.testing.namespaces`).
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from bench.api.client import Failed
from bench.scale.results import Scaled
from ostro.agent.agent import Agent
from ostro.agent.config import AgentConfig
from ostro.agent.drivers.block.fake import FakeBlock
from ostro.agent.drivers.block.fake import FakeConfig as FakeBlockConfig
from ostro.agent.drivers.hypervisor import fake as fake_hypervisor
from ostro.agent.opening import Drivers
from ostro.model.ids import new_uuid
from ostro.model.wishes import (
    FixedIp,
    NetworkWish,
    Noun,
    Phase,
    PortWish,
    RuleWish,
    SecurityGroupWish,
    Segment,
    SubnetWish,
)
from ostro.runtime.world import World
from ostro.testing.control import MemoryControl
from ostro.testing.namespaces import NamespaceGuest, OwnNetwork, guest_on
from ostro.testing.openvswitch import TestOpenVSwitch, serve_openvswitch

NET, SUBNET, GROUP = "net-1", "sub-1", "group-1"
PATIENCE_S = 300.0
PINGS_PER_S = 100
RESTARTS = 3


def measure_restart(ports: int) -> Iterator[Scaled]:
    """Needs root; without it there is nothing to measure."""
    if os.geteuid() != 0:
        raise Failed("restart: a real Open vSwitch needs root")
    OwnNetwork()
    with serve_openvswitch() as switch:
        yield from trio.run(_measure, switch, ports)


def _port(number: int) -> PortWish:
    id_ = f"{number:08x}-0000-4000-8000-000000000000"
    address = f"10.9.{number >> 8}.{number & 255}"
    mac = f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
    return PortWish(id_, NET, "project", mac, f"tap{id_[:11]}", [FixedIp(SUBNET, address)], [GROUP])


def _wish(control: MemoryControl, ports: int) -> None:
    subnet = SubnetWish(SUBNET, "10.9.0.0/16", "10.9.255.1", True, "10.9.255.2")
    control.wish(Noun.NETWORK, NET, NetworkWish(NET, "net", Segment("vxlan", 7), 1450, "fa:16:3e:ff:00:01", [subnet]))
    rule = RuleWish("members", "ingress", "IPv4", remote_group_id=GROUP)
    out = RuleWish("out", "egress", "IPv4")
    control.wish(Noun.SECURITY_GROUP, GROUP, SecurityGroupWish(GROUP, "group", True, [rule, out]))
    for number in range(10, 10 + ports):
        control.wish(Noun.PORT, _port(number).id, _port(number))


async def _measure(switch: TestOpenVSwitch, ports: int) -> list[Scaled]:
    control = MemoryControl()
    _wish(control, ports)
    results = []
    with tempfile.TemporaryDirectory(prefix="ostro-bench-") as scratch:
        async with AsyncExitStack() as stack:
            one, two = [await stack.enter_async_context(guest_on(_port(n), Path(scratch))) for n in (10, 11)]
            results.append(Scaled("restart.first", await _run_agent(switch, control, ports, Path(scratch)), "s"))
            for guest, number in ((one, 10), (two, 11)):
                await guest.address(f"{_port(number).fixed_ips[0].ip}/16")
            target = _port(11).fixed_ips[0].ip
            if not await one.reaches(target):
                raise Failed("restart: the guests don't reach one another")
            took: list[float] = []
            lost = await _ping_while(one, target, switch, control, ports, Path(scratch), took)
            results.append(Scaled("restart.converged", sorted(took)[len(took) // 2], "s"))
            results.append(Scaled("restart.lost", lost, "packets", limit=0.0))
    return results


async def _run_agent(switch: TestOpenVSwitch, control: MemoryControl, ports: int, scratch: Path) -> float:
    """Start an agent, wait until it has reported every port, and end it; seconds from its start, drivers included."""
    control.reports.clear()
    started_s = time.perf_counter()
    world = World(random=random.Random(1))
    config = AgentConfig(("http://nowhere",), "key", scratch, hypervisor="fake", name="host")
    async with (
        switch.open() as network,
        fake_hypervisor.open_(world, fake_hypervisor.FakeConfig(scratch)) as hypervisor,
        trio.open_nursery() as nursery,
    ):
        drivers = Drivers(hypervisor, network, FakeBlock(FakeBlockConfig()), 8)
        nursery.start_soon(Agent(world, config, control, drivers, new_uuid(world.random)).run)
        with trio.fail_after(PATIENCE_S):
            for number in range(10, 10 + ports):
                await control.reported(Noun.PORT, _port(number).id, Phase.READY)
        took_s = time.perf_counter() - started_s
        nursery.cancel_scope.cancel()
    return took_s


async def _ping_while(
    guest: NamespaceGuest,
    target: str,
    switch: TestOpenVSwitch,
    control: MemoryControl,
    ports: int,
    scratch: Path,
    took: list[float],
) -> int:
    """Restart the agent some times while the guest pings; packets lost."""
    command = ["ip", "netns", "exec", guest.name, "ping", "-i", str(1 / PINGS_PER_S), target]
    said = bytearray()
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)

    async def listen() -> None:
        assert process.stdout is not None, "a pipe"
        async for part in process.stdout:
            said.extend(part)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.sleep(0.5)
        for _ in range(RESTARTS):
            took.append(await _run_agent(switch, control, ports, scratch))
        await trio.sleep(0.5)
        process.send_signal(signal.SIGINT)
    await process.wait()
    # Not what ping counts: its last request is on its way when it is stopped.
    heard = {int(number) for number in re.findall(rb"icmp_seq=(\d+) ttl", bytes(said))}
    if not heard:
        raise Failed(f"restart: ping said {bytes(said)!r}")
    return max(heard) - len(heard)
