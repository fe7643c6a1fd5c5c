"""Misfortunes, one after another, as dice say: processes die, hosts lose power, networks are cut, replies are lost, guests fall over."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import trio

from ostro.testing.sim.machine import Machine
from ostro.testing.sim.operator import Operator
from ostro.testing.sim.plane import Plane
from ostro.testing.sim.trace import Trace
from ostro.testing.sim.wire import CALM, Weather, Wire

PAUSE_S = (0.2, 8.0)
SHORT_S = (0.5, 20.0)
LONG_S = (20.0, 120.0)
STORM = Weather(lost=0.15, repeated=0.15, late=0.1)
FUSE_POINTS = 40
"""A fuse burns down to one of so many next fault points."""
HOSTS_AT_ONCE = 0.05
"""The part of all hosts that one misfortune strikes."""


class Nemesis:
    """Strikes until `rest`, which mends everything."""

    def __init__(
        self, trace: Trace, wire: Wire, plane: Plane, machines: Sequence[Machine], operator: Operator, seed: int
    ) -> None:
        self._trace = trace
        self._wire = wire
        self._plane = plane
        self._machines = machines
        self._operator = operator
        self._rng = random.Random(f"{seed}/nemesis")
        self._acts: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._kill_plane, 6),
            (self._light_plane, 12),
            (self._kill_agents, 10),
            (self._light_agents, 12),
            (self._cut, 12),
            (self._slow_down, 5),
            (self._storm, 6),
            (self._take_power, 8),
            (self._upset_guests, 10),
            (self._stop_hypervisors, 5),
            (self._lose_a_host, 10),
        ]

    async def run(self) -> None:
        """Strike, until cancelled. Each misfortune that lasts ends in its own time."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(self._rng.uniform(*PAUSE_S))
                acts, weights = zip(*self._acts, strict=True)
                (act,) = self._rng.choices(acts, weights)
                nursery.start_soon(act)

    def rest(self) -> None:
        """Mend whatever is broken."""
        self._trace.note("calm")
        self._wire.weather = CALM
        self._plane.fuse.put_out()
        for machine in self._machines:
            machine.fuse.put_out()
            self._wire.mend(machine.name)
            self._wire.slow.discard(machine.name)
            machine.hypervisor.come_back()
            machine.regain_power()

    def _victims(self) -> list[Machine]:
        most = max(1, int(len(self._machines) * HOSTS_AT_ONCE))
        return self._rng.sample(self._machines, self._rng.randint(1, most))

    def _lasting_s(self) -> float:
        return self._rng.uniform(*self._rng.choice((SHORT_S, SHORT_S, LONG_S)))

    async def _kill_plane(self) -> None:
        self._trace.note("kill", "control")
        self._plane.kill()

    async def _light_plane(self) -> None:
        self._plane.fuse.light(self._rng.randint(1, FUSE_POINTS))

    async def _kill_agents(self) -> None:
        for machine in self._victims():
            self._trace.note("kill", machine.name)
            machine.kill_agent()

    async def _light_agents(self) -> None:
        for machine in self._victims():
            machine.fuse.light(self._rng.randint(1, FUSE_POINTS // 4))

    async def _cut(self) -> None:
        victims, there, back = self._victims(), *self._rng.choice(((True, True), (True, False), (False, True)))
        for machine in victims:
            self._trace.note("cut", machine.name, there, back)
            self._wire.cut(machine.name, there=there, back=back)
        await trio.sleep(self._lasting_s())
        for machine in victims:
            self._wire.mend(machine.name)

    async def _slow_down(self) -> None:
        victims = self._victims()
        self._wire.slow.update(machine.name for machine in victims)
        await trio.sleep(self._lasting_s())
        self._wire.slow.difference_update(machine.name for machine in victims)

    async def _storm(self) -> None:
        self._trace.note("storm")
        self._wire.weather = STORM
        await trio.sleep(self._lasting_s())
        self._wire.weather = CALM

    async def _take_power(self) -> None:
        victims = [machine for machine in self._victims() if machine.is_powered]
        for machine in victims:
            self._trace.note("power lost", machine.name)
            machine.lose_power()
        await trio.sleep(self._lasting_s())
        for machine in victims:
            machine.regain_power()

    async def _lose_a_host(self) -> None:
        """For so long that the operator has its servers started elsewhere."""
        machine = self._rng.choice(self._machines)
        there, back, powerless = self._rng.choice(
            ((True, True, False), (False, True, False), (True, False, False), (False, False, True))
        )
        self._trace.note("lost", machine.name, there, back, powerless)
        if powerless and machine.is_powered:
            machine.lose_power()
        self._wire.cut(machine.name, there=there, back=back)
        await trio.sleep(self._rng.uniform(*SHORT_S))
        await self._operator.give_up(machine.name)
        await trio.sleep(self._rng.uniform(*LONG_S))
        self._wire.mend(machine.name)
        machine.regain_power()

    async def _upset_guests(self) -> None:
        for machine in self._victims():
            machine.upset_a_guest(self._rng)

    async def _stop_hypervisors(self) -> None:
        victims = self._victims()
        for machine in victims:
            machine.hypervisor.go_away()
        await trio.sleep(self._rng.uniform(*SHORT_S))
        for machine in victims:
            machine.hypervisor.come_back()
