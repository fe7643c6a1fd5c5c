"""Fixtures that every layer of tests may use.

``db`` is a migrated database that is being served, once on SQLite and once on a real PostgreSQL. The PostgreSQL server is started once a
session, and each test gets a database of its own, cloned from a migrated template. ``ceph`` is a real cluster, likewise.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import pytest
import trio

from ostro.runtime.world import World
from ostro.store.database import Database, Tx
from ostro.store.migrate import migrate
from ostro.store.postgres import PostgresDatabase
from ostro.store.sqlite import SqliteDatabase
from ostro.testing.ceph import CephCluster, why_not
from ostro.testing.clock import ManualClock
from ostro.testing.cloud import TestCloud, open_cloud
from ostro.testing.postgres import PostgresServer

ENGINES = ("sqlite", "postgres")
PROCESSES = 4

T = TypeVar("T")
P = ParamSpec("P")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--engine postgres`` runs every test of ``cloud`` on PostgreSQL."""
    parser.addoption("--engine", choices=ENGINES, default="sqlite", help="which engine the `cloud` fixture uses")


@pytest.fixture
def cloud_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the database of ``cloud`` is, for those who open it as another process would."""
    if request.config.getoption("--engine") == "sqlite":
        yield str(tmp_path / "ostro.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database(request.getfixturevalue("postgres_template"))
    yield server.dsn(name)
    server.drop_database(name)


@pytest.fixture
def open_cloud_database(cloud_url: str, request: pytest.FixtureRequest) -> Callable[[World], Database]:
    """Opens the database of ``cloud`` once more; not yet served."""
    engine: str = request.config.getoption("--engine")
    return lambda world: open_engine(world, engine, cloud_url)


@pytest.fixture
async def cloud(tmp_path: Path, open_cloud_database: Callable[[World], Database]) -> AsyncIterator[TestCloud]:
    """A bootstrapped cloud in this process, on the engine that ``--engine`` says."""
    async with open_cloud(tmp_path, db=open_cloud_database(World(random=random.Random(1)))) as test_cloud:
        yield test_cloud


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server."""
    with PostgresServer() as server:
        yield server


async def _migrate(dsn: str) -> None:
    database = PostgresDatabase(World(random=random.Random(1)), dsn)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.serve)
        await migrate(database)
        nursery.cancel_scope.cancel()
    database.close()


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a migrated database to copy."""
    name = postgres.create_database()
    trio.run(_migrate, postgres.dsn(name))
    return name


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephCluster]:
    """A running Ceph: one monitor, one OSD in memory. A test makes pools of its own."""
    if reason := why_not():
        pytest.skip(reason)
    with CephCluster() as cluster:
        yield cluster


@pytest.fixture
def clock() -> ManualClock:
    """The wall clock of ``world``."""
    return ManualClock()


@pytest.fixture
def world(clock: ManualClock) -> World:
    """A world with a wall clock that stands still and a seeded random source."""
    return World(clock=clock, random=random.Random(1))


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Which engine the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def database_url(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a fresh, empty database is: a path for SQLite, a connection string for PostgreSQL."""
    if engine_name == "sqlite":
        yield str(tmp_path / "test.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database()
    yield server.dsn(name)
    server.drop_database(name)


def open_engine(world: World, engine_name: str, url: str) -> Database:
    """The database at ``url``, not yet served."""
    return SqliteDatabase(world, url, durable=False) if engine_name == "sqlite" else PostgresDatabase(world, url)


@pytest.fixture
def migrated_url(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """As ``database_url``; on PostgreSQL the schema is there already."""
    if engine_name == "sqlite":
        yield str(tmp_path / "test.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database(request.getfixturevalue("postgres_template"))
    yield server.dsn(name)
    server.drop_database(name)


@pytest.fixture
async def db(world: World, engine_name: str, migrated_url: str) -> AsyncIterator[Database]:
    """A migrated database, being served, on each engine."""
    database = open_engine(world, engine_name, migrated_url)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.serve)
        await migrate(database)
        yield database
        nursery.cancel_scope.cancel()
    database.close()


class Processes:
    """A database as several processes use it: each change goes by the engine of the next one, for an engine lets its own changes take turns."""

    def __init__(self, engines: Sequence[Database]) -> None:
        self.doorbell = engines[0].doorbell
        self.shared, self.room = engines[0].shared, engines[0].room
        self._first = engines[0]
        self._engines = cycle(engines)

    async def run(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await next(self._engines).run(fn, *args, **kwargs)

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._first.read(fn, *args, **kwargs)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        raise NotImplementedError("the engines are served already")

    def close(self) -> None:
        raise NotImplementedError("the engines are closed by who opened them")


@pytest.fixture
async def processes(db: Database, world: World, engine_name: str, migrated_url: str) -> AsyncIterator[Database]:
    """``db``, on PostgreSQL by the engines of several processes in turn."""
    others = [open_engine(world, engine_name, migrated_url) for _ in range(PROCESSES - 1 if db.shared else 0)]
    async with trio.open_nursery() as nursery:
        for other in others:
            await nursery.start(other.serve)
        yield Processes([db, *others])
        nursery.cancel_scope.cancel()
    for other in others:
        other.close()
