"""A host: the real agent on the fake drivers, which go on while the agent dies and comes back, and stop when the host loses power."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from ostro.agent.agent import Agent
from ostro.agent.config import AgentConfig
from ostro.agent.drivers.block.fake import FakeBlock, FakePool
from ostro.agent.drivers.block.fake import FakeConfig as FakeBlockConfig
from ostro.agent.drivers.hypervisor import Domain
from ostro.agent.drivers.hypervisor import fake as fake_hypervisor
from ostro.agent.drivers.hypervisor.fake import FakeHypervisor
from ostro.agent.drivers.network.fake import FakeConfig as FakeNetworkConfig
from ostro.agent.drivers.network.fake import FakeNetwork
from ostro.agent.link import HttpLink, LinkConfig
from ostro.agent.opening import Drivers
from ostro.model.ids import new_uuid
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import Power
from ostro.runtime.threads import InlineThreads
from ostro.runtime.world import TrioClock, World
from ostro.testing.checkers.incarnations import Incarnations
from ostro.testing.crashes import has_crash
from ostro.testing.sim.fuse import Fuse
from ostro.testing.sim.plane import AGENT_KEY
from ostro.testing.sim.trace import Trace
from ostro.testing.sim.wire import Wire, WireClient

RESTART_S = (0.5, 5.0)
VCPUS, RAM_MB, DISK_GB = 8, 2048, 60
SERVER_WIDTH = 8


class Machine:
    """One host. `open` it before `run`."""

    def __init__(
        self,
        trace: Trace,
        wire: Wire,
        seed: int,
        number: int,
        state_dir: Path,
        incarnations: Incarnations,
        pool: FakePool | None = None,
    ) -> None:
        self.name = f"host-{number:04}"
        self.fuse = Fuse(trace, self.name)
        self.agent: Agent | None = None
        self.domains: dict[str, Domain] = {}
        """What is defined on the hypervisor, as it changes."""
        backends = (LOCAL,) if pool is None else (CEPH, LOCAL)
        self.block = FakeBlock(FakeBlockConfig(DISK_GB, backends, pool, self.name))
        self.network = FakeNetwork(FakeNetworkConfig(tunnel_ip=f"192.0.{number // 250}.{number % 250 + 1}"))
        self.hypervisor: FakeHypervisor
        self._trace = trace
        self._wire = wire
        self._seed = seed
        self._dir = state_dir / self.name
        self._rng = random.Random(f"{seed}/{self.name}")
        self._incarnations = incarnations
        self._starts = 0
        self._scope = trio.CancelScope()
        self._powered = trio.Event()
        self._powered.set()

    async def open(self, stack: AsyncExitStack) -> None:
        """Switch the host on; it starts without an agent."""
        self._dir.mkdir()
        world = World(TrioClock(), self._rng, InlineThreads())
        start_s, migrate_s = self._rng.choice((0.0, 0.05, 0.5, 3.0)), self._rng.choice((0.0, 0.5, 5.0, 40.0))
        config = fake_hypervisor.FakeConfig(self._dir, VCPUS, RAM_MB, start_s, migrate_s)
        self.hypervisor = await stack.enter_async_context(fake_hypervisor.open_(world, config))
        self.hypervisor.observe(self._domain_changed)

    def _domain_changed(self, server_id: str, domain: Domain | None) -> None:
        if domain is None:
            self.domains.pop(server_id, None)
        else:
            self.domains[server_id] = domain
        self._trace.note("domain", self.name, server_id, domain.power if domain else "gone")
        self._incarnations.see(self.name, server_id, domain)

    @property
    def is_powered(self) -> bool:
        """Whether the host has power."""
        return self._powered.is_set()

    @property
    def is_settled(self) -> bool:
        """Whether its agent runs, and knows what is its own."""
        return self.agent is not None and self.agent.fence.settled

    def kill_agent(self) -> None:
        """End the agent's process; it comes back soon."""
        self._scope.cancel()

    def lose_power(self) -> None:
        """Everything that runs is off, and stays so until `regain_power`. Disks keep what they have."""
        self._powered = trio.Event()
        self._scope.cancel()
        self.hypervisor.lose_host_power()
        self.network = FakeNetwork(FakeNetworkConfig(self.network.facts.tunnel_ip))

    def regain_power(self) -> None:
        """Boot."""
        self._powered.set()

    def upset_a_guest(self, rng: random.Random) -> None:
        """A guest switches itself off, or its process dies."""
        running = sorted(id_ for id_, domain in self.domains.items() if domain.power is Power.ON)
        if not running:
            return
        server_id = rng.choice(running)
        act = rng.choice((self.hypervisor.power_off_inside, self.hypervisor.crash))
        act(server_id)

    async def run(self) -> None:
        """Keep the agent running, until cancelled."""
        while True:
            await self._powered.wait()
            self._scope = trio.CancelScope()
            self._starts += 1
            try:
                with self._scope:
                    await self._be_agent()
            except BaseException as error:
                if not has_crash(error):
                    raise
            finally:
                self.agent = None
                self.fuse.put_out()
            self._trace.note("agent down", self.name)
            await trio.sleep(self._rng.uniform(*RESTART_S))

    async def _be_agent(self) -> None:
        rng = random.Random(f"{self._seed}/{self.name}/{self._starts}")
        world = World(TrioClock(), rng, InlineThreads(), self.fuse)
        config = AgentConfig(("http://control",), AGENT_KEY, self._dir, hypervisor="fake", name=self.name)
        self.network = FakeNetwork(FakeNetworkConfig(self.network.facts.tunnel_ip), await self.network.plugged())
        incarnation = new_uuid(rng)
        link = HttpLink(world, LinkConfig(config.urls, incarnation, AGENT_KEY), self._connect)
        drivers = Drivers(self.hypervisor, self.network, self.block, SERVER_WIDTH)
        self.agent = Agent(world, config, link, drivers, incarnation)
        self._trace.note("agent up", self.name, self._starts)
        await self.agent.run()

    def _connect(self, url: str, headers: Mapping[str, str]) -> WireClient:
        return WireClient(self._wire, self.name, url, headers)
