"""A network driver that holds wishes and remembers what is plugged, for tests of the agent's other parts."""

from __future__ import annotations

import trio

from ostro.agent.drivers.network import FlowWords, NetworkFacts, Plugged, Synced
from ostro.model.errors import NotFound, Unavailable
from ostro.model.wishes import Noun


class MemoryNetwork:
    """See `ostro.agent.drivers.network.Network`. ``away`` makes it fail as a switch that doesn't answer; the ports in ``failing``
    can't be plugged, for the reasons there."""

    def __init__(self) -> None:
        self.held: dict[tuple[Noun, str], bytes] = {}
        self.taps: set[str] = set()
        self.syncs = 0
        self.away = False
        self.failing: dict[str, Exception] = {}

    @property
    def facts(self) -> NetworkFacts:
        return NetworkFacts(
            driver="memory",
            version="0",
            bridge="none",
            datapath="none",
            datapath_why="no packet is ever sent",
            guest_offload=False,
            tunnel_ip="127.0.0.1",
        )

    def put(self, noun: Noun, id: str, body: bytes) -> None:
        self.held[(noun, id)] = body

    def drop(self, noun: Noun, id: str) -> None:
        self.held.pop((noun, id), None)

    async def plug(self, port_id: str) -> None:
        await self._reach()
        if (Noun.PORT, port_id) not in self.held:
            raise NotFound("port", port_id)
        if port_id in self.failing:
            raise self.failing[port_id]
        self.taps.add(port_id)

    async def unplug(self, port_id: str) -> None:
        await self._reach()
        self.taps.discard(port_id)

    async def plugged(self) -> list[Plugged]:
        await self._reach()
        return [Plugged(port_id, f"tap{port_id[:8]}") for port_id in sorted(self.taps)]

    async def sync(self) -> Synced:
        await self._reach()
        self.syncs += 1
        return Synced()

    async def audit(self) -> list[str]:
        await self._reach()
        return []

    async def tables(self) -> list[FlowWords]:
        await self._reach()
        return []

    def port_at(self, address: str) -> str | None:
        return None

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise Unavailable("The switch is away.")
