"""``ostro init``, ``ostro api`` and ``ostro controller``: the control plane in parts, any number of each, on any machines.

All that they share is the store and ``ostro.toml``. API processes keep nothing: sagas and sweeps run in controllers, which share the work by the sagas'
rows, so that any of them may be killed at any time.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import click
import msgspec
import structlog
import trio

from ostro.cli.ceph import ceph_options
from ostro.cli.control import (
    endpoint_of,
    ensure_administrator,
    ensure_rows,
    listen,
    open_ceph,
    raise_file_limit,
)
from ostro.cli.settings import Address, Settings, address_of, read_settings, settings_path, write_settings
from ostro.cli.state import StateDir, Usage, write_atomic
from ostro.cli.up import DEFAULT_STATE
from ostro.cli.workers import keep_workers
from ostro.http.app import serve
from ostro.http.gate import Gate
from ostro.http.health import HEALTH
from ostro.http.tls import make_context
from ostro.model.errors import OstroError
from ostro.runtime.allocator import keep_what_is_built, map_large_buffers
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.certificates import Authority, key_pem, new_key
from ostro.runtime.faults import faults_from_environment
from ostro.runtime.log import configure_logging
from ostro.runtime.world import World
from ostro.saga.engine import Engine
from ostro.services.cloud import Cloud, CloudConfig, build_cloud
from ostro.services.controllers import TELL_EVERY_S, load_shared, new_cloud_secret, tell_controller
from ostro.services.image.uploads import tell_uploads
from ostro.services.sagas import make_sagas
from ostro.services.sweeps import run_sweeps
from ostro.store.migrate import migrate
from ostro.store.postgres import PostgresDatabase, check_server

log = structlog.get_logger()

DATABASE_WAIT_S = 60.0
SERVER_CERTIFICATE_S = 7 * 86_400.0
RENEW_EVERY_S = 86_400.0
FENCE_LEAST_S = 10.0
AUTHORITY_FILE = "authority.pem"


@asynccontextmanager
async def open_parts(state: StateDir, settings: Settings, world: World) -> AsyncIterator[Cloud]:
    """The cloud's services on its store, which is brought up to date first. Nothing runs yet."""
    raise_file_limit()
    map_large_buffers()
    db = PostgresDatabase(world, settings.database)
    try:
        async with open_ceph(world, settings.ceph) as ceph, trio.open_nursery() as nursery:
            await nursery.start(db.serve)
            await migrate(db)
            shared = await load_shared(world, db, settings.secret)
            config = CloudConfig(
                state_dir=Path(settings.files) if settings.files else state.root,
                agent_key=shared.agent_key,
                cloud_id=shared.cloud_id,
                region=settings.region,
                public_url=settings.public_url,
                fence_s=settings.fence_s,
                certificate_s=settings.certificate_s,
                credential_keys=shared.credential_keys,
                alone=False,
            )
            cloud = build_cloud(world, db, config, ceph, shared.authority)
            yield cloud
            nursery.cancel_scope.cancel()
    finally:
        db.close()


async def run_init(state: StateDir, settings: Settings) -> None:
    """Make the cloud, or what of it is not there yet."""
    world = World()
    async with open_parts(state, settings, world) as cloud:
        await ensure_administrator(world, cloud, state)
        await ensure_rows(world, cloud)
        assert cloud.authority is not None, "open_parts loads it"
        authority = state.root / AUTHORITY_FILE
        write_atomic(authority, cloud.authority.cert_pem.encode())
        with listen(_any_port(settings.listen)) as probe:
            address = address_of(settings, probe)
        port = settings.listen.rpartition(":")[2]
        url = settings.advertise or f"{address.url.rpartition(':')[0]}:{port}"
        state.write_clouds_yaml(url, settings.region, authority)
    click.echo(f"The cloud is made. Its settings are in {settings_path(state)}", err=True)
    click.echo(f"  ostro api --state {state.root}", err=True)
    click.echo(f"  ostro controller --state {state.root}", err=True)
    click.echo(f"  export OS_CLIENT_CONFIG_FILE={state.clouds_yaml} OS_CLOUD=ostro", err=True)


def _any_port(address: str) -> str:
    return address.rpartition(":")[0] + ":0"


async def run_api(state: StateDir, settings: Settings, listener: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM."""
    world = World(faults=faults_from_environment())
    address = address_of(settings, listener)
    async with open_parts(state, settings, world) as cloud, trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signal, nursery.cancel_scope)
        await ensure_rows(world, cloud)
        nursery.start_soon(cloud.audit.run)
        nursery.start_soon(cloud.changes.run)
        nursery.start_soon(cloud.placement.warm)
        assert cloud.authority is not None, "open_parts loads it"
        tls = make_context(cloud.authority.cert_pem)
        certify(tls, cloud.authority, address, world.now_us())
        for seconds, what, act in (
            (RENEW_EVERY_S, "certificate", _recertify(tls, cloud, address)),
            (TELL_EVERY_S, "telling where this is", lambda: tell_controller(cloud, address.url)),
            (TELL_EVERY_S, "telling of uploads", lambda: tell_uploads(cloud)),
        ):
            nursery.start_soon(_every, world, seconds, what, act)
        # The server closes what it is given.
        await nursery.start(serve, Gate(cloud), [f"fd://{os.dup(listener.fileno())}"], tls)
        keep_what_is_built()
        click.echo(f"Ostro serves {address.url}", err=True)


async def run_controller(state: StateDir, settings: Settings, listener: socket.socket | None) -> None:
    """Run sagas and sweeps until SIGINT or SIGTERM."""
    world = World(faults=faults_from_environment())
    async with open_parts(state, settings, world) as cloud, trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signal, nursery.cancel_scope)
        await ensure_rows(world, cloud)
        nursery.start_soon(cloud.audit.run)
        nursery.start_soon(Engine(world, cloud.db, make_sagas(cloud)).run)
        nursery.start_soon(run_sweeps, cloud)
        if listener is not None:
            await nursery.start(serve, Gate(cloud, (HEALTH,)), [f"fd://{os.dup(listener.fileno())}"])
            click.echo(f"Health at {endpoint_of(listener)}/healthz", err=True)
        keep_what_is_built()
        click.echo("The controller runs", err=True)


def certify(context: ssl.SSLContext, authority: Authority, address: Address, now_us: int) -> None:
    """Give a server a new key and a certificate for it; connections that are open keep theirs."""
    key = new_key()
    issued = authority.sign_controller(key, address.names, now_us, SERVER_CERTIFICATE_S)
    # OpenSSL takes them from a file only; this one is its owner's and gone at once.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(key_pem(key) + issued.pem + authority.cert_pem)
        file.flush()
        context.load_cert_chain(file.name)


def _recertify(context: ssl.SSLContext, cloud: Cloud, address: Address) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        assert cloud.authority is not None, "only called where there is one"
        certify(context, cloud.authority, address, cloud.world.now_us())

    return act


async def _every(world: World, seconds: float, what: str, act: Callable[[], Awaitable[None]]) -> None:
    loop = world.metrics.loop(what)
    while True:
        try:
            with loop.run():
                await act()
        except OstroError as error:
            log.warning(f"{what} failed", reason=error.message)
        await trio.sleep(seconds)


async def stop_on_signal(scope: trio.CancelScope) -> None:
    """Cancel the scope at SIGINT or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            log.info("stopping", signal=signal.Signals(number).name)
            scope.cancel()


log_level_option = click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
state_option = click.option(
    "--state", default=DEFAULT_STATE, show_default=True, help="Directory of settings and files."
)


@click.command()
@click.option("--database", required=True, help="PostgreSQL URL, such as postgresql://ostro:secret@db/ostro.")
@click.option("--listen", "listen_", default="0.0.0.0:8774", show_default=True, help="HOST:PORT of the APIs, by TLS.")
@click.option("--advertise", default="", help="https://HOST:PORT by which others reach this machine's API.")
@click.option("--name", "names", multiple=True, help="A further name or address for the API's certificate.")
@click.option("--public-url", default="", help="What clients are told as the API's address.")
@click.option("--region", default="RegionOne", show_default=True)
@click.option("--fence", "fence_s", type=float, default=60.0, show_default=True, help="Seconds; see ostro.toml.")
@ceph_options
@state_option
def init(
    state: str,
    database: str,
    listen_: str,
    advertise: str,
    names: tuple[str, ...],
    public_url: str,
    region: str,
    fence_s: float,
    ceph: CephConfig | None,
) -> None:
    """Make a cloud whose parts run by themselves: on the first controller, once."""
    configure_logging("warning")
    if 0 < fence_s < FENCE_LEAST_S:
        raise Usage(
            f"--fence must be 0 or at least {FENCE_LEAST_S:g} s, in which a host that is well surely has contact."
        )
    directory = StateDir.make(state)
    known = read_settings(directory) if settings_path(directory).exists() else None
    if known is not None and known.database != database:
        raise Usage(f"{settings_path(directory)} is of a cloud in another database. Use another --state.")
    # Before anything is kept: the address may be wrong.
    check_server(database)
    if known is not None:
        settings = known
    else:
        settings = Settings(
            database=database,
            secret=new_cloud_secret(World()),
            listen=listen_,
            advertise=advertise.rstrip("/"),
            names=list(names),
            public_url=public_url.rstrip("/"),
            region=region,
            fence_s=fence_s,
        )
        if ceph is not None:
            settings = msgspec.structs.replace(
                settings, ceph_conf=str(ceph.conf), ceph_user=ceph.user, ceph_pools=str(ceph.pools)
            )
        write_settings(directory, settings)
    trio.run(run_init, directory, settings)


@click.command()
@state_option
@click.option("--listen", "listen_", default="", help="HOST:PORT instead of the one in ostro.toml.")
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes; about one a core."
)
@log_level_option
def api(state: str, listen_: str, workers: int, log_level: str) -> None:
    """Answer API requests and agents, in the foreground. Run as many as you like."""
    configure_logging(log_level)
    directory = StateDir.make(state)
    settings = read_settings(directory)
    with listen(listen_ or settings.listen) as listener:
        if workers == 1:
            trio.run(run_api, directory, settings, listener)
        else:
            keep_workers(workers, lambda: trio.run(run_api, directory, settings, listener))


@click.command()
@state_option
@click.option("--listen", "listen_", default="", help="HOST:PORT for /healthz and /readyz, by plain HTTP.")
@log_level_option
def controller(state: str, listen_: str, log_level: str) -> None:
    """Carry out long operations and tidy up, in the foreground. Run as many as you like."""
    configure_logging(log_level)
    directory = StateDir.make(state)
    settings = read_settings(directory)
    if not listen_:
        trio.run(run_controller, directory, settings, None)
        return
    with listen(listen_) as listener:
        trio.run(run_controller, directory, settings, listener)
