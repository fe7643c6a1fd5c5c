"""The control plane as a process that can be killed at any moment, or at any fault point, and starts again on the same database."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import trio

from ostro.agent.http_client import Answer
from ostro.http.gate import Gate
from ostro.runtime.threads import InlineThreads
from ostro.runtime.world import TrioClock, World
from ostro.saga.engine import Engine
from ostro.services.block.types import ensure_ceph_type
from ostro.services.cloud import Cloud, CloudConfig, build_cloud
from ostro.services.identity.bootstrap import Administrator, bootstrap, is_bootstrapped
from ostro.services.identity.catalog import seed_catalog, seed_limits
from ostro.services.sagas import make_sagas
from ostro.services.sweeps import run_sweeps
from ostro.store.database import Tx
from ostro.store.migrate import migrate
from ostro.store.sqlite import SqliteDatabase
from ostro.testing.crashes import has_crash
from ostro.testing.sim.fuse import Fuse
from ostro.testing.sim.trace import Trace
from ostro.testing.sim.wire import Parcel

T = TypeVar("T")
P = ParamSpec("P")

AGENT_KEY = "sim-agent-key"
ADMIN_PASSWORD = "correct horse"
RESTART_S = (0.5, 6.0)
FENCE_S = 20.0
HASH_KIB = 64
"""What a password costs: nobody attacks this cloud."""


@dataclass(frozen=True)
class _Life:
    """One process, from its start to its death."""

    cloud: Cloud
    gate: Gate
    nursery: trio.Nursery


class Plane:
    """See the module. ``state_dir`` should be in memory."""

    def __init__(self, trace: Trace, seed: int, state_dir: Path, *, check_replies: bool, shared: bool) -> None:
        self.fuse = Fuse(trace, "control")
        self.rng = random.Random(f"{seed}/plane")
        self.held_down = False
        """Stay down after the next death, until told otherwise."""
        self._trace = trace
        self._seed = seed
        self._state_dir = state_dir
        self._check_replies = check_replies
        self._shared = shared
        self._starts = 0
        self._life: _Life | None = None
        self._scope = trio.CancelScope()
        self._up = trio.Event()

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        return self._life is not None

    def kill(self) -> None:
        """End the process, as ``kill -9`` would."""
        self._scope.cancel()

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Look at the rows, for checkers; None while the process is down, or dies meanwhile."""
        life = self._life
        if life is None:
            return None
        with trio.move_on_after(0):
            return await life.cloud.db.read(fn, *args, **kwargs)
        return None

    async def change(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Write rows, where the API has no way to. Only in calm times."""
        await self._up.wait()
        assert self._life is not None, "it is up"
        return await self._life.cloud.db.run(fn, *args, **kwargs)

    async def wait_until_up(self) -> None:
        """Return once requests are answered."""
        await self._up.wait()

    async def run(self) -> None:
        """Start, die and start again, until cancelled."""
        while True:
            self._scope = trio.CancelScope()
            self._starts += 1
            try:
                with self._scope:
                    await self._live()
            except BaseException as error:
                if not has_crash(error):
                    raise
            finally:
                self._life = None
                self._up = trio.Event()
                self.fuse.put_out()
            self._trace.note("control down")
            await trio.sleep(self.rng.uniform(*RESTART_S))

    async def _live(self) -> None:
        rng = random.Random(f"{self._seed}/plane/{self._starts}")
        world = World(TrioClock(), rng, InlineThreads(), self.fuse)
        db = SqliteDatabase(world, str(self._state_dir / "ostro.db"), durable=False)
        try:
            async with trio.open_nursery() as nursery:
                config = CloudConfig(
                    state_dir=self._state_dir, agent_key=AGENT_KEY, password_memory_kib=HASH_KIB, fence_s=FENCE_S
                )
                cloud = build_cloud(world, db, config)
                await nursery.start(db.serve)
                await _prepare(world, cloud)
                if self._shared:
                    await db.run(ensure_ceph_type, world.now_us())
                nursery.start_soon(Engine(world, db, make_sagas(cloud)).run)
                nursery.start_soon(run_sweeps, cloud)
                self._life = _Life(cloud, Gate(cloud, check_replies=self._check_replies), nursery)
                self._up.set()
                self._trace.note("control up", self._starts)
        finally:
            db.close()

    def waits(self, parcel: Parcel) -> bool:
        """See `ostro.testing.sim.wire.Receiver`."""
        found = self._life.gate.find(parcel.path) if self._life else None
        return found is not None and found[0].waits(parcel.method)

    def deliver(self, parcel: Parcel) -> None:
        """See `ostro.testing.sim.wire.Receiver`."""
        if self._life is None:
            parcel.done.set()
        else:
            self._life.nursery.start_soon(self._answer, self._life, parcel)

    async def _answer(self, life: _Life, parcel: Parcel) -> None:
        try:
            with parcel.scope:
                outgoing = await life.gate.answer(parcel, life.gate.find(parcel.path))
                body = outgoing.body
                data = body if isinstance(body, bytes) else b"".join([part async for part in body])
                if self._life is life:
                    parcel.answer = Answer(outgoing.status, data)
                    parcel.answer_headers = dict(outgoing.headers)
        finally:
            parcel.done.set()


async def _prepare(world: World, cloud: Cloud) -> None:
    await migrate(cloud.db)
    if not await cloud.db.read(is_bootstrapped):
        password_hash = await cloud.passwords.hash(ADMIN_PASSWORD)
        await cloud.db.run(bootstrap, world, Administrator(password_hash))
    await cloud.db.run(seed_catalog, cloud.config.region)
    await cloud.db.run(seed_limits, world)
    await cloud.tokens.load_keys()
