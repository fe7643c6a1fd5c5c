"""The generic crash test: let the control plane die at every named point of a life, start it again, and see that it converges.

A *life* is what users and a simulated host, with its neighbours if there are any, do with a cloud. ``Sites`` keeps one prepared state, on either engine, and gives copies of it.
``crash_at_every_point`` lives once to learn which points there are, and then once for each of them on a copy of its own, with the
crash; after each it starts the control plane again on what was left and runs ``settle``, which must find nothing wrong.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from quart_trio import QuartTrio

from ostro.runtime.faults import Crash, CrashAt, Faults, NoFaults, RecordFaults
from ostro.runtime.world import World
from ostro.store.database import Database
from ostro.store.postgres import PostgresDatabase
from ostro.testing.cloud import ApiClient, TestCloud, open_cloud
from ostro.testing.hosts import SimHost, add_host, meet
from ostro.testing.postgres import PostgresServer

HOSTS = ("host-a",)
Life = Callable[[TestCloud, SimHost], Awaitable[None]]
Point = tuple[str, int]
"""A point's name, and which time it is passed."""
Choose = Callable[[list[Point]], Iterable[Point]]


def has_crash(error: BaseException) -> bool:
    """Whether the error is the crash that was asked for, however deep."""
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return isinstance(error, Crash) or any(has_crash(part) for part in parts)


class Site:
    """A state directory, a database and hosts, over several lives of the control plane."""

    def __init__(
        self, state_dir: Path, open_database: Callable[[], Database | None], names: Sequence[str] = HOSTS
    ) -> None:
        self._state_dir = state_dir
        self._open_database = open_database
        self._hosts = [SimHost(ApiClient(QuartTrio(__name__)), name) for name in names]
        meet(*self._hosts)
        self._starts = 1

    async def during(self, life: Life, faults: Faults | None = None) -> None:
        """Start the control plane and live. A process that starts again draws other ids."""
        self._starts += 1
        database = self._open_database()
        async with open_cloud(self._state_dir, seed=self._starts, faults=faults or NoFaults(), db=database) as cloud:
            for host in self._hosts:
                host.client = cloud.as_agent
                host.restart()
                await host.register()
            await life(cloud, self._hosts[0])

    async def until_crash(self, life: Life, faults: Faults) -> None:
        """Live with these faults, and perhaps die."""
        try:
            await self.during(life, faults)
        except BaseException as error:
            if not has_crash(error):
                raise


class Sites:
    """Copies of one prepared state below ``root``, with ``hosts``; on PostgreSQL if a server and its migrated template are given."""

    def __init__(
        self,
        root: Path,
        postgres: PostgresServer | None = None,
        migrated: str = "template1",
        hosts: Sequence[str] = HOSTS,
    ) -> None:
        self._hosts = hosts
        self._root = root
        self._postgres = postgres
        self._template = migrated
        self._databases: list[str] = []
        self._copies = 0

    def _new_database(self) -> Callable[[], Database | None]:
        """Makes a database like the template; opens it, or nothing where it lies in the state directory."""
        server = self._postgres
        if server is None:
            return lambda: None
        dsn = server.dsn(self._add_database(server))
        return lambda: PostgresDatabase(World(random=random.Random(1)), dsn)

    def _add_database(self, server: PostgresServer) -> str:
        self._databases.append(server.create_database(self._template))
        return self._databases[-1]

    async def prepare(self, prepare: Callable[[TestCloud, SimHost], Awaitable[None]]) -> None:
        """Make the state that all copies start from: a cloud with a host, and what ``prepare`` does."""
        folder = self._root / "template"
        folder.mkdir()
        async with open_cloud(folder, db=self._new_database()()) as cloud:
            hosts = [await add_host(cloud, name) for name in self._hosts]
            meet(*hosts)
            await prepare(cloud, hosts[0])
        if self._databases:
            self._template = self._databases[0]

    def copy(self) -> Site:
        """A copy of the prepared state."""
        self._copies += 1
        state_dir = self._root / str(self._copies)
        shutil.copytree(self._root / "template", state_dir)
        return Site(state_dir, self._new_database(), self._hosts)

    def close(self) -> None:
        """Remove what is not below the root."""
        if self._postgres is not None:
            for name in self._databases:
                self._postgres.drop_database(name)


def every_point(points: list[Point]) -> list[Point]:
    """Each time that each point is passed."""
    return points


def each_point_once(points: list[Point]) -> list[Point]:
    """Each point the first time it is passed: for where a crash costs more."""
    return [point for point in points if point[1] == 1]


async def crash_at_every_point(sites: Sites, life: Life, settle: Life, choose: Choose = every_point) -> set[str]:
    """Crash at every point that the life passes, start again and settle; the names of the points."""
    recorded = RecordFaults()
    site = sites.copy()
    await site.until_crash(life, recorded)
    await site.during(settle)
    for name, nth in choose([(name, recorded.seen[: i + 1].count(name)) for i, name in enumerate(recorded.seen)]):
        site = sites.copy()
        try:
            await site.until_crash(life, CrashAt(name, nth))
            await site.during(settle)
        except BaseException as error:
            error.add_note(f"after a crash at {name}, the {nth}. time")
            raise
    return set(recorded.seen)
