"""The control plane as one task: store, API, sagas and sweeps on one listening socket."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ostro.cli.state import StateDir, Usage
from ostro.http.app import serve
from ostro.http.gate import Gate
from ostro.runtime.allocator import keep_what_is_built, map_large_buffers
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.world import World
from ostro.saga.engine import Engine
from ostro.services.block.types import ensure_ceph_type
from ostro.services.cloud import Cloud, CloudConfig, build_cloud
from ostro.services.identity.bootstrap import Administrator, bootstrap, is_bootstrapped
from ostro.services.identity.catalog import seed_catalog, seed_limits
from ostro.services.sagas import make_sagas
from ostro.services.sweeps import run_sweeps
from ostro.store.changes import catch_up
from ostro.store.database import Database
from ostro.store.migrate import migrate
from ostro.store.postgres import PostgresDatabase
from ostro.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from ostro.runtime.ceph.connection import Ceph

BACKLOG = 1024


@dataclass(frozen=True)
class ControlConfig:
    """What ``ostro up`` and ``ostro api`` were asked for. ``database`` is a PostgreSQL URL, empty for the embedded store.

    With ``ceph`` the bytes of images and objects are there, else below ``state``.
    """

    state: StateDir
    database: str = ""
    region: str = "RegionOne"
    public_url: str = ""
    ceph: CephConfig | None = None


def listen(address: str) -> socket.socket:
    """A listening socket on ``HOST:PORT``; port 0 takes any free one. Raises Usage with what to do about it."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    try:
        family, kind, protocol, _name, target = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except (ValueError, OSError) as error:
        raise Usage(f"--listen {address} is not an address: it must be HOST:PORT, such as 127.0.0.1:8774.") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(target)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Usage(f"Can't listen on {address}: {error.strerror}. Choose another address with --listen.") from error
    listener.setblocking(False)
    return listener


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: each connection of a client is one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def endpoint_of(listener: socket.socket) -> str:
    """The URL at which this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def open_database(world: World, config: ControlConfig) -> Database:
    """The engine that the operator chose."""
    if config.database:
        return PostgresDatabase(world, config.database)
    return SqliteDatabase(world, str(config.state.database))


async def prepare(world: World, cloud: Cloud, state: StateDir) -> None:
    """Bring the schema up to date and make the first rows."""
    await migrate(cloud.db)
    await ensure_administrator(world, cloud, state)
    await ensure_rows(world, cloud)


async def ensure_administrator(world: World, cloud: Cloud, state: StateDir) -> None:
    """Make the administrator and what belongs to it, unless there is one."""
    if not await cloud.db.read(is_bootstrapped):
        password_hash = await cloud.passwords.hash(state.admin_password)
        await cloud.db.run(bootstrap, world, Administrator(password_hash))


async def ensure_rows(world: World, cloud: Cloud) -> None:
    """Make what every cloud has, unless it is there."""
    if cloud.ceph is not None:
        await cloud.db.run(ensure_ceph_type, world.now_us())
    await cloud.db.run(seed_catalog, cloud.config.region)
    await cloud.db.run(seed_limits, world)
    await cloud.db.run(catch_up)
    await cloud.tokens.load_keys()


async def run_control(
    world: World,
    config: ControlConfig,
    listener: socket.socket,
    *,
    task_status: trio.TaskStatus[Cloud] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Started once requests are answered."""
    raise_file_limit()
    map_large_buffers()
    db = open_database(world, config)
    try:
        async with open_ceph(world, config.ceph) as ceph, trio.open_nursery() as nursery:
            cloud = build_cloud(world, db, _cloud_config(config), ceph)
            await nursery.start(db.serve)
            await prepare(world, cloud, config.state)
            loops: Sequence[Callable[[], Awaitable[None]]] = (
                Engine(world, db, make_sagas(cloud)).run,
                lambda: run_sweeps(cloud),
                cloud.audit.run,
                cloud.changes.run,
            )
            for loop in loops:
                nursery.start_soon(loop)
            nursery.start_soon(cloud.placement.warm)
            # The server closes what it is given.
            await nursery.start(serve, Gate(cloud), [f"fd://{os.dup(listener.fileno())}"])
            keep_what_is_built()
            task_status.started(cloud)
    finally:
        db.close()


def _cloud_config(config: ControlConfig) -> CloudConfig:
    return CloudConfig(
        state_dir=config.state.root,
        agent_key=config.state.agent_key,
        cloud_id=config.state.cloud_id,
        region=config.region,
        public_url=config.public_url,
    )


@asynccontextmanager
async def open_ceph(world: World, config: CephConfig | None) -> AsyncIterator[Ceph | None]:
    """The process's connection to Ceph, if there shall be one."""
    if config is None:
        yield None
        return
    # Only here, because the bindings need not be there without Ceph.
    from ostro.runtime.ceph.connection import open_

    async with open_(world, config) as ceph:
        yield ceph
