"""The network of ``--hypervisor fake``: wishes are compiled to the same flows, by the same core, for a switch that isn't there.

For load and rehearsal without root. What a control plane and an agent can see of a network driver is as with the real one: what is
refused, what is plugged, how many flows a change takes, the tables in words. No packet ever moves. State is in memory: after
a restart nothing is plugged, as on a host that was rebooted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush

import msgspec
import trio

from ostro._core import FlowState
from ostro.agent.drivers.network import FlowWords, NetworkFacts, Plugged, Synced
from ostro.agent.drivers.network.held import HeldWishes
from ostro.model.errors import Unavailable
from ostro.model.wishes import Noun
from ostro.runtime.world import World

FIRST_NUMBER = 10
LAST_NUMBER = 0xFEFF
UPLINKS = {"vxlan": 1, "gre": 2, "geneve": 3, "physical": {}}


class FakeConfig(msgspec.Struct, frozen=True):
    """``tunnel_ip`` is what the host says of itself; nothing is ever sent there."""

    tunnel_ip: str = "127.0.0.1"


class FakeNetwork:
    """See `ostro.agent.drivers.network.Network`. Made by `open_`."""

    def __init__(self, config: FakeConfig) -> None:
        self._held = HeldWishes(FlowState())
        self._held.state.set_uplinks(UPLINKS)
        self._ports: dict[str, Plugged] = {}
        self._free: list[int] = []
        self._next = FIRST_NUMBER
        self._facts = NetworkFacts(
            driver="fake",
            version="",
            bridge="",
            datapath="none",
            datapath_why="the fake hypervisor was asked for, so no packet moves",
            guest_offload=True,
            tunnel_ip=config.tunnel_ip,
        )

    @property
    def facts(self) -> NetworkFacts:
        return self._facts

    def put(self, noun: Noun, id: str, body: bytes) -> None:
        self._held.put(noun, id, body)

    def drop(self, noun: Noun, id: str) -> None:
        self._held.drop(noun, id)

    async def plug(self, port_id: str) -> None:
        await trio.lowlevel.checkpoint()
        tap, _mac, _mtu = self._held.plug_facts(port_id)
        present = self._ports.get(port_id)
        if present is None or present.tap != tap:
            number = present.number if present else self._take_number()
            self._ports[port_id] = Plugged(port_id, tap, number)
            self._held.bind(port_id, number)

    async def unplug(self, port_id: str) -> None:
        await trio.lowlevel.checkpoint()
        present = self._ports.pop(port_id, None)
        if present is not None:
            heappush(self._free, present.number)
            self._held.forget(port_id)

    async def plugged(self) -> list[Plugged]:
        await trio.lowlevel.checkpoint()
        return [self._ports[port_id] for port_id in sorted(self._ports)]

    async def sync(self) -> Synced:
        await trio.lowlevel.checkpoint()
        return Synced(*self._held.state.commit().counts())

    async def audit(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        return []

    async def tables(self) -> list[FlowWords]:
        await trio.lowlevel.checkpoint()
        return [FlowWords(*flow) for flow in self._held.state.words()]

    def port_at(self, address: str) -> str | None:
        return self._held.state.port_at(address)

    def _take_number(self) -> int:
        if self._free:
            return heappop(self._free)
        if self._next > LAST_NUMBER:
            raise Unavailable("Every port number of the switch is taken.")
        self._next += 1
        return self._next - 1


@asynccontextmanager
async def open_(world: World, config: FakeConfig) -> AsyncIterator[FakeNetwork]:
    """The driver; nothing to open and nothing to leave behind."""
    await trio.lowlevel.checkpoint()
    yield FakeNetwork(config)
