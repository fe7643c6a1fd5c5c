"""A simulated host: the real agent on fake drivers, against a control plane in memory. Runs in virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from ostro.agent.agent import Agent
from ostro.agent.config import AgentConfig
from ostro.agent.drivers.block.fake import FakeBlock
from ostro.agent.drivers.block.fake import FakeConfig as FakeBlockConfig
from ostro.agent.drivers.hypervisor import fake as fake_hypervisor
from ostro.agent.drivers.hypervisor.fake import FakeHypervisor
from ostro.agent.opening import Drivers
from ostro.model.ids import new_uuid
from ostro.model.volumes import LOCAL
from ostro.model.wishes import NetworkWish, Noun, Phase, PortWish, Power, Report, Segment, ServerWish
from ostro.runtime.faults import Faults, NoFaults
from ostro.runtime.world import TrioClock, World
from ostro.testing.control import MemoryControl
from ostro.testing.network import MemoryNetwork

SERVER = "5e000000-0000-4000-8000-000000000001"
PORT = "90000000-0000-4000-8000-000000000001"
NETWORK = "4e000000-0000-4000-8000-000000000001"
IMAGE = "1a000000-0000-4000-8000-000000000001"
VOLUME = "70000000-0000-4000-8000-000000000001"
WAIT_S = 300.0


@dataclass
class SimulatedHost:
    """A host whose agent can be started and stopped while its fake hypervisor, network and storage go on."""

    control: MemoryControl
    hypervisor: FakeHypervisor
    network: MemoryNetwork
    block: FakeBlock
    config: AgentConfig
    seed: int

    @asynccontextmanager
    async def agent(self, faults: Faults | None = None) -> AsyncIterator[Agent]:
        """Run an agent until the block ends."""
        world = World(clock=TrioClock(), random=random.Random(self.seed), faults=faults or NoFaults())
        drivers = Drivers(self.hypervisor, self.network, self.block, server_width=4)
        agent = Agent(world, self.config, self.control, drivers, new_uuid(world.random))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run)
            yield agent
            nursery.cancel_scope.cancel()

    def wish_server(self, power: Power = Power.ON, image: bytes | None = b"image", **more: object) -> int:
        """Wish for a server with one port on one network, made from an image; the server's generation."""
        control = self.control
        control.wish(Noun.NETWORK, NETWORK, NetworkWish(NETWORK, "net", Segment("vxlan", 7), 1450, "fa:16:3e:00:00:01"))
        port = PortWish(PORT, NETWORK, "project", "fa:16:3e:00:00:02", "tap90000000", server_id=SERVER)
        control.wish(Noun.PORT, PORT, port)
        if image is not None:
            control.wish(Noun.IMAGE, IMAGE, control.keep_image(IMAGE, image))
        return self.rewish_server(power, **more)

    def rewish_server(self, power: Power = Power.ON, **more: object) -> int:
        """Wish for the server alone; its generation."""
        fields = {"image_id": IMAGE, "ports": [PORT], "power": power, **more}
        shape = [fields.pop(name, default) for name, default in (("vcpus", 1), ("ram_mb", 64), ("disk_gb", 1))]
        wish = ServerWish(SERVER, "web", "project", "user", "web", *shape, **fields)  # type: ignore[arg-type]
        return self.control.wish(Noun.SERVER, SERVER, wish)

    def wish_absence(self) -> dict[Noun, int]:
        """Wish the server and all it was made from away; the generations."""
        control = self.control
        ids = {Noun.SERVER: SERVER, Noun.PORT: PORT, Noun.NETWORK: NETWORK, Noun.IMAGE: IMAGE}
        return {noun: control.wish_absence(noun, id_) for noun, id_ in ids.items()}

    async def server_reported(self, phase: Phase = Phase.READY, generation: int | None = None) -> Report:
        """Wait for a report of the server."""
        with trio.fail_after(WAIT_S):
            return await self.control.reported(Noun.SERVER, SERVER, phase, generation)


@asynccontextmanager
async def open_host(
    state_dir: Path, seed: int = 1, backends: tuple[str, ...] = (LOCAL,)
) -> AsyncIterator[SimulatedHost]:
    """A host without an agent yet, whose disks are in the first of ``backends``."""
    world = World(random=random.Random(seed))
    config = AgentConfig(("http://nowhere",), "key", state_dir, hypervisor="fake", name="host")
    async with fake_hypervisor.open_(world, fake_hypervisor.FakeConfig(state_dir)) as hypervisor:
        block = FakeBlock(FakeBlockConfig(disk_gb=100, backends=backends))
        yield SimulatedHost(MemoryControl(), hypervisor, MemoryNetwork(), block, config, seed)
