"""One run: a turbulent time, then calm in which all must converge, then everything is deleted and nothing may be left."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from ostro.agent.drivers.block.fake import FakePool
from ostro.model.wishes import Noun, Power
from ostro.runtime.beside import beside
from ostro.runtime.threads import InlineThreads
from ostro.runtime.world import TrioClock, World
from ostro.store.database import Tx
from ostro.store.server_migrations import SERVER_MIGRATIONS
from ostro.store.sqlite import SqliteDatabase
from ostro.testing.checkers import ROW_CHECKERS
from ostro.testing.checkers.flows import check_flows
from ostro.testing.checkers.incarnations import Incarnations
from ostro.testing.checkers.rest import find_unrest, map_truth
from ostro.testing.images import put_image
from ostro.testing.leaks import find_leaks
from ostro.testing.sim.machine import Machine
from ostro.testing.sim.nemesis import Nemesis
from ostro.testing.sim.operator import Operator
from ostro.testing.sim.plane import Plane
from ostro.testing.sim.tenants import COMPUTE, VOLUME, Caller, Tenant, furnish
from ostro.testing.sim.trace import Trace, Violation
from ostro.testing.sim.virtual import run_virtual
from ostro.testing.sim.wire import Wire

T = TypeVar("T")

CHECK_EVERY_S = 5.0
CALM_S = 400.0
"""In so long a time after the last misfortune everything must have come to rest: too short for what only a deadline or the next full
feed would mend."""
LOOK_EVERY_S = 5.0
FLOWS_SAMPLE = 2
TENANT_PAUSE_S = 1.5
HOSTS_PER_TENANT = 20
TENANTS_LEAST = 3


@dataclass(frozen=True)
class SimConfig:
    """``steps`` are the things that tenants and the operator want in all. Hosts share storage, or have only their own, as the seed says. ``check_replies`` holds answers against their schemas; every event is written to ``trace``."""

    seed: int
    hosts: int = 5
    steps: int = 200
    misfortunes: bool = True
    check_replies: bool = False
    trace: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run did: equal for equal configurations."""

    digest: str
    counts: dict[str, int]
    virtual_s: float
    complaints: list[str]
    recent: list[str]


def simulate(config: SimConfig, state_dir: Path) -> Outcome:
    """One run below the empty directory ``state_dir``, which should be in memory."""
    return run_virtual(config.seed, Simulation(config, state_dir).run)


class Simulation:
    """See the module. ``during_calm`` is called when all has come to rest: a test may plant a fault there."""

    def __init__(
        self, config: SimConfig, state_dir: Path, during_calm: Callable[[Simulation], None] | None = None
    ) -> None:
        seed = config.seed
        self.config = config
        self.trace = Trace(config.trace)
        self.incarnations = Incarnations(lambda complaint: self.trace.complain("incarnations", complaint))
        pool = FakePool() if seed % 2 else None
        self.plane = Plane(self.trace, seed, state_dir, check_replies=config.check_replies, shared=pool is not None)
        self.wire = Wire(self.trace, random.Random(f"{seed}/wire"), self.plane)
        self.machines = [
            Machine(self.trace, self.wire, seed, number, state_dir, self.incarnations, pool)
            for number in range(config.hosts)
        ]
        self._during_calm = during_calm
        tenants = max(TENANTS_LEAST, config.hosts // HOSTS_PER_TENANT)
        self.tenants = [Tenant(self.wire, self.trace, seed, number) for number in range(tenants)]
        self.admin = Caller(self.wire, self.trace, "admin")
        self.operator = Operator(self.admin, self.trace, seed, self.incarnations)
        self.nemesis = Nemesis(self.trace, self.wire, self.plane, self.machines, self.operator, seed)
        self._rng = random.Random(f"{seed}/simulation")
        self._steps = config.steps
        self._world = World(TrioClock(), self._rng, InlineThreads())
        self._path = state_dir / "ostro.db"

    async def run(self) -> Outcome:
        """All of it. What a checker finds is in the outcome; a defect of an agent or the control plane that isn't a crash is raised."""
        try:
            async with beside(self._stop_at_violation):
                await self._live()
        except Violation:
            assert self.trace.complaints, "whoever raises it has complained"
        trace = self.trace
        trace.close()
        return Outcome(
            trace.digest(), dict(trace.counts), trio.current_time(), list(trace.complaints), list(trace.recent)
        )

    async def _stop_at_violation(self) -> None:
        await self.trace.wait_for_violation()
        raise Violation(self.trace.complaints[0])

    async def _live(self) -> None:
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            for machine in self.machines:
                await machine.open(stack)
            nursery.start_soon(self.plane.run)
            await self.plane.wait_until_up()
            await self.plane.change(put_image)
            await furnish(self.admin)
            for machine in self.machines:
                nursery.start_soon(machine.run)
            for tenant in self.tenants:
                await tenant.move_in(self.admin)
            nursery.start_soon(self._check_often)
            await self._turbulence()
            await self.operator.make_up()
            await self._come_to_rest("after the misfortunes")
            await self.operator.confirm_all()
            await self._come_to_rest("after the last move")
            if self._during_calm is not None:
                self._during_calm(self)
            await self._check()
            await self._compare()
            for kind, status in await self.look(_list_moves):
                self.trace.note(f"{kind} {status}")
            await self._end()
            nursery.cancel_scope.cancel()

    async def _turbulence(self) -> None:
        async with trio.open_nursery() as nursery:
            if self.config.misfortunes:
                nursery.start_soon(self.nemesis.run)
            async with trio.open_nursery() as busy:
                for want in (*(tenant.want for tenant in self.tenants), self.operator.want):
                    busy.start_soon(self._be_busy, want)
            nursery.cancel_scope.cancel()
        self.nemesis.rest()

    async def _be_busy(self, want: Callable[[], Awaitable[None]]) -> None:
        while self._steps > 0:
            self._steps -= 1
            await want()
            await trio.sleep(self._rng.expovariate(1 / TENANT_PAUSE_S))

    # ---- checking --------------------------------------------------------------------------------------------------

    async def look(self, fn: Callable[..., T], *args: object) -> T:
        """Read the rows as somebody else, whether or not the control plane runs."""
        database = SqliteDatabase(self._world, str(self._path), durable=False)
        try:
            return await database.read(fn, *args)
        finally:
            database.close()

    async def _check_often(self) -> None:
        while True:
            await trio.sleep(CHECK_EVERY_S)
            await self._check()

    async def _check(self) -> None:
        now_us = self._world.now_us()
        for name, checker in ROW_CHECKERS.items():
            for complaint in await self.look(checker, now_us):
                self.trace.complain(name, complaint)
        running = [machine for machine in self.machines if machine.agent is not None]
        for machine in self._rng.sample(running, min(len(running), FLOWS_SAMPLE)):
            for complaint in check_flows(machine.network):
                self.trace.complain("flows", f"{machine.name}: {complaint}")

    # ---- liveness --------------------------------------------------------------------------------------------------

    async def _come_to_rest(self, when: str) -> None:
        """Wait until nothing is under way; a violation when that takes too long."""
        unrest: list[str] = []
        until_s = trio.current_time() + CALM_S
        while trio.current_time() < until_s:
            await trio.sleep(LOOK_EVERY_S)
            unrest = await self.look(find_unrest)
            unrest += [f"{machine.name} has no contact" for machine in self.machines if not machine.is_settled]
            if not unrest:
                self.trace.note("rest", when)
                return
            self.trace.note("unrest", len(unrest), unrest[0])
        self.trace.complain("liveness", f"{when}, not at rest after {CALM_S:g} s: {'; '.join(unrest[:10])}")
        await trio.sleep_forever()

    async def _compare(self) -> None:
        """Hosts have what the rows say, and nothing else."""
        truth = await self.look(map_truth)
        for machine in self.machines:
            wanted = truth.get(machine.name)
            have = {id_: (d.power is Power.ON, sorted(d.attached)) for id_, d in machine.domains.items()}
            taps = {port.port_id for port in await machine.network.plugged()}
            contents = await machine.block.contents()
            servers, ports, volumes = (wanted.servers, wanted.ports, wanted.volumes) if wanted else ({}, set(), set())
            self._same(machine, "servers", have, servers)
            self._same(machine, "taps", taps, ports)
            self._same(machine, "volumes", set(contents.volumes), volumes)
            self._same(machine, "roots", set(contents.roots) - set(servers), set())

    def _same(self, machine: Machine, what: str, have: object, want: object) -> None:
        if have != want:
            self.trace.complain("truth", f"{machine.name} has {what} {have}, and the rows say {want}")

    async def _end(self) -> None:
        """Delete everything, and see that nothing is left, in the rows or on the hosts."""
        await self._delete(f"{COMPUTE}/servers?all_tenants=1&limit=1000", "servers", f"{COMPUTE}/servers")
        await self._come_to_rest("after the last server")
        await self._delete(f"{VOLUME}/volumes?all_tenants=1", "volumes", f"{VOLUME}/volumes")
        await self._come_to_rest("after the last volume")
        for what, count in (await self.look(find_leaks)).items():
            self.trace.complain("leaks", f"{count} {what}")
        for machine in self.machines:
            contents = await machine.block.contents()
            left = [*machine.domains, *contents.roots, *contents.volumes, *contents.images, *contents.snapshots]
            mirror = machine.agent.host.mirror if machine.agent else None
            left += [id_ for noun in (Noun.SERVER, Noun.VOLUME) for id_ in (mirror.ids(noun) if mirror else ())]
            if left:
                self.trace.complain("leaks", f"{machine.name} still has {', '.join(left)}")
        await self._compare()

    async def _delete(self, target: str, key: str, path: str) -> None:
        while things := await self._all(target, key):
            for id_ in things:
                await self.admin.call("DELETE", f"{path}/{id_}")
            await self._come_to_rest(f"deleting {key}")

    async def _all(self, target: str, key: str) -> Iterable[str]:
        return [thing["id"] for thing in await self.admin.listed(target, key)]


def _list_moves(tx: Tx) -> list[tuple[str, str]]:
    """Kind and status of every move, in the order in which they began."""
    return [(move.kind, move.status) for move in SERVER_MIGRATIONS.list(tx, order="id")]
