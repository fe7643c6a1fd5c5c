"""A thousand agents that wait for news of ``ostro api --workers 2`` on one PostgreSQL: what they cost while nothing happens, and how soon they hear.

The agents are the product's own link, on two connections by TLS each, in one process. A wish is committed by this process, which is none of the two,
and the clock runs from the moment at which its commit returned.
"""

from __future__ import annotations

import os
import random
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio

from bench.api.client import Failed, percentile
from bench.api.cloud import cpu_s, memory_mib
from bench.scale.results import Scaled
from ostro.agent.link import HttpLink, LinkConfig
from ostro.cli.roles import AUTHORITY_FILE
from ostro.cli.settings import Settings, read_settings
from ostro.cli.state import StateDir
from ostro.model.errors import OstroError
from ostro.model.ids import new_uuid
from ostro.model.registration import Inventory, Registration
from ostro.model.wishes import AskWish, Noun
from ostro.runtime.world import World
from ostro.services.controllers import load_shared
from ostro.store.database import Tx
from ostro.store.postgres import PostgresDatabase
from ostro.store.wishes import set_wish, wish_absence
from ostro.testing.postgres import PostgresServer
from ostro.testing.roles import Roles

SERVERS = 2
WAIT_S = 20
SETTLE_S = 25.0
IDLE_S = 30.0
WAKES = 300
LOST_S = 30.0
LIMIT_MS = 100.0


def measure_agents(agents: int) -> Iterator[Scaled]:
    """Start the processes, let the agents settle, be idle, and wake them one by one."""
    with PostgresServer(durable=True) as server, tempfile.TemporaryDirectory(prefix="ostro-bench-") as folder:
        url = server.dsn(server.create_database())
        with Roles(Path(folder), url) as roles:
            roles.init()
            api = roles.api("", None, "--workers", str(SERVERS))
            roles.await_(lambda: len(api.children) == SERVERS, "the workers run")
            settings = read_settings(StateDir.make(str(roles.state)))
            trusted = ssl.create_default_context(cafile=roles.state / AUTHORITY_FILE)
            yield from trio.run(Crowd(settings, trusted, agents, sorted(api.children)).measure)


class Crowd:
    """The agents, and whoever wakes them."""

    def __init__(self, settings: Settings, trusted: ssl.SSLContext, agents: int, pids: Sequence[int]) -> None:
        self._settings = settings
        self._trusted = trusted
        self._key = ""
        self._agents = agents
        self._pids = list(pids)
        self._heard: dict[str, trio.Event] = {}
        self._heard_at_s: dict[str, float] = {}
        self._ids: list[str] = []
        self._failures = 0
        self._refused = 0

    async def measure(self) -> list[Scaled]:
        """All of it."""
        world = World(random=random.Random(1))
        database = PostgresDatabase(world, self._settings.database)
        async with trio.open_nursery() as nursery:
            await nursery.start(database.serve)
            self._key = (await load_shared(world, database, self._settings.secret)).agent_key
            started_s = time.perf_counter()
            async with trio.open_nursery() as joining:
                slots = trio.Semaphore(16)
                for number in range(self._agents):
                    joining.start_soon(self._join, number, slots, nursery)
            results = [
                Scaled("agents.join", time.perf_counter() - started_s, "s"),
                Scaled("agents.join.refused", self._refused, "calls"),
            ]
            await trio.sleep(SETTLE_S)
            before_s, own_s = cpu_s(self._pids), cpu_s([os.getpid()])
            await trio.sleep(IDLE_S)
            idle = (cpu_s(self._pids) - before_s) / IDLE_S * 100
            results.append(Scaled("agents.idle.cpu", idle, "% of a core"))
            results.append(
                Scaled("agents.idle.cpu.crowd", (cpu_s([os.getpid()]) - own_s) / IDLE_S * 100, "% of a core")
            )
            results += [
                Scaled(f"agents.memory.{number}", memory_mib(pid), "MiB") for number, pid in enumerate(self._pids)
            ]
            results += await self._wake(world, database)
            results.append(Scaled("agents.failures", self._failures, "calls"))
            nursery.cancel_scope.cancel()
        database.close()
        return results

    async def _join(self, number: int, slots: trio.Semaphore, nursery: trio.Nursery) -> None:
        url = f"https://{self._settings.listen}"
        link = HttpLink(World(random=random.Random(number)), LinkConfig((url,), "1", self._key, lambda: self._trusted))
        inventory = Inventory(64, 256 * 1024, 10_000, "fake", 1, "{}")
        async with slots:
            registration = Registration(f"crowd-{number:04}", "1", f"10.0.{number >> 8}.{number & 255}", inventory)
            while True:
                try:
                    registered = await link.register(registration)
                    break
                except OstroError:
                    # As an agent does: so many at once get into one another's way.
                    self._refused += 1
                    await trio.sleep(random.uniform(0.1, 0.5))
        self._ids.append(registered.host_id)
        nursery.start_soon(self._follow, link, registered.host_id)

    async def _follow(self, link: HttpLink, host_id: str) -> None:
        revision = 0
        while True:
            try:
                feed = await link.read_wishes(host_id, revision, WAIT_S)
            except OstroError:
                self._failures += 1
                await trio.sleep(1)
                continue
            revision = feed.revision
            for wish in feed.wishes:
                if wish.id in self._heard:
                    self._heard_at_s[wish.id] = time.perf_counter()
                    self._heard[wish.id].set()

    async def _wake(self, world: World, database: PostgresDatabase) -> list[Scaled]:
        times: list[float] = []
        for number in range(WAKES):
            host_id, ask_id = self._ids[number * 7 % len(self._ids)], new_uuid(world.random)
            self._heard[ask_id] = trio.Event()
            await database.run(_ask, host_id, ask_id)
            committed_s = time.perf_counter()
            with trio.move_on_after(LOST_S) as scope:
                await self._heard[ask_id].wait()
            if scope.cancelled_caught:
                raise Failed(f"an agent was not woken in {LOST_S:g} s")
            times.append((self._heard_at_s[ask_id] - committed_s) * 1e3)
            await database.run(wish_absence, host_id, Noun.ASK, ask_id)
        return [
            Scaled("agents.wake.p50", percentile(times, 50), "ms"),
            Scaled("agents.wake.p99", percentile(times, 99), "ms", limit=LIMIT_MS),
        ]


def _ask(tx: Tx, host_id: str, ask_id: str) -> None:
    set_wish(tx, host_id, Noun.ASK, ask_id, AskWish(ask_id, "console_log", "nobody"))
