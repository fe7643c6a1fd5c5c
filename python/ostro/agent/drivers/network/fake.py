"""The network of ``--hypervisor fake``: wishes are compiled to the same flows, by the same core, for a switch that isn't there.

For load and rehearsal without root. What a control plane and an agent can see of a network driver is as with the real one: what is
refused, what is plugged, how many flows a change takes, the tables in words. No packet ever moves. State is in memory: after
a restart nothing is plugged, as on a host that was rebooted, unless it is told what is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
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
    """See `ostro.agent.drivers.network.Network`. Made by `open_`; ``plugged`` is what an agent before left plugged in."""

    def __init__(self, config: FakeConfig, plugged: Sequence[Plugged] = ()) -> None:
        self._held = HeldWishes(FlowState())
        self._held.state.set_uplinks(UPLINKS)
        self._bodies: dict[tuple[Noun, str], bytes] = {}
        self._given: list[tuple[str, str, int]] = []
        self._ports = {port.port_id: port for port in plugged}
        self._next = max((port.number + 1 for port in plugged), default=FIRST_NUMBER)
        taken = {port.number for port in plugged}
        self._free = [number for number in range(FIRST_NUMBER, self._next) if number not in taken]
        for port in plugged:
            self._held.bind(port.port_id, port.number)
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
        self._bodies[noun, id] = body

    def drop(self, noun: Noun, id: str) -> None:
        self._held.drop(noun, id)
        self._bodies.pop((noun, id), None)

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

    def compile_afresh(self) -> tuple[list[FlowWords], list[FlowWords]]:
        """The flows as they were kept current change by change, and as one compilation makes them from the same wishes and numbers.

        For checkers: the two must be equal. Takes a compilation's time.
        """
        self._held.state.commit()
        afresh = FlowState()
        afresh.set_uplinks(UPLINKS)
        for kind, id_, number in self._numbers():
            afresh.restore_number(kind, id_, number)
        for (noun, id_), body in self._bodies.items():
            afresh.put(noun.value, id_, body)
        for port in self._ports.values():
            afresh.bind(port.port_id, port.number)
        afresh.commit()
        kept, made = self._held.state.words(), afresh.words()
        return [FlowWords(*flow) for flow in kept], [FlowWords(*flow) for flow in made]

    def _numbers(self) -> list[tuple[str, str, int]]:
        """Numbers that the core has given out."""
        changed = self._held.state.take_changed_numbers()
        if changed is not None:
            self._given = changed
        return self._given

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
