"""``ostro up``: all roles on this machine, in the foreground.

The control plane runs in this process and the host agent in a child, so that neither waits for the other's interpreter. The child is
told by the kernel when this process dies, however it dies. Ending ``up`` leaves VMs and their network as they are; the next
``up`` on the same state adopts them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import click
import structlog
import trio

from ostro.cli.ceph import ceph_options
from ostro.cli.control import ControlConfig, endpoint_of, listen, run_control
from ostro.cli.physical import physical_option, physical_words
from ostro.cli.settings import read_ceph
from ostro.cli.state import StateDir, Usage
from ostro.runtime.backoff import Backoff
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.faults import faults_from_environment
from ostro.runtime.log import configure_logging
from ostro.runtime.world import World
from ostro.services.cloud import Cloud
from ostro.store.hosts import HOSTS_TOPIC, is_host_seen_since

log = structlog.get_logger()

DEFAULT_STATE = "/var/lib/ostro"
DEFAULT_LISTEN = "127.0.0.1:8774"
AGENT_STOP_S = 10.0
STOP_MOST_S = 20
"""How long stopping may take. A storage that doesn't answer may hold up several things one after the other: what is uploaded, what is closed. Then the
process ends as by a crash, and what it leaves half-done is dealt with as after one."""
HOST_WAIT_S = 60.0


@dataclass(frozen=True)
class UpConfig:
    """The options of ``ostro up``."""

    state: StateDir
    listen: str
    hypervisor: str
    database: str
    region: str
    log_level: str
    ceph: CephConfig | None = None
    physical: Mapping[str, str] = field(default_factory=dict)


def check_user(hypervisor: str) -> None:
    """Raise Usage unless this user can run the chosen hypervisor."""
    if hypervisor != "fake" and os.geteuid() != 0:
        raise Usage(
            "Driving KVM and Open vSwitch needs root. Run this with sudo,"
            " or rehearse without root by `ostro up --hypervisor fake --state DIR`."
        )


async def run_up(config: UpConfig) -> None:
    """Everything, until SIGINT or SIGTERM."""
    lock = config.state.lock_up()
    config.state.keep_hypervisor(config.hypervisor)
    if config.ceph is not None:
        config.state.keep_ceph(config.ceph)
    listener = listen(config.listen)
    endpoint = endpoint_of(listener)
    world = World(faults=faults_from_environment())
    control = ControlConfig(config.state, config.database, config.region, ceph=config.state.ceph)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            started_us = world.now_us()
            # Whoever gets an answer, even the first one of /healthz, shall find out how to log in.
            config.state.write_clouds_yaml(endpoint, config.region)
            cloud = await nursery.start(run_control, world, control, listener)
            nursery.start_soon(_keep_agent, world, config, endpoint)
            await _await_host(cloud, started_us)
            lock.describe({"endpoint": endpoint})
            _welcome(config, endpoint)
    finally:
        listener.close()
        lock.release()


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            log.info("stopping; servers and their network go on", signal=signal.Signals(number).name)
            # By the kernel, because what hangs may be in a library, or in the interpreter's own end.
            signal.alarm(STOP_MOST_S)
            scope.cancel()


async def _await_host(cloud: Cloud, since_us: int) -> None:
    """Wait until this machine's agent has registered, so that whoever is told that the cloud is up can boot servers."""
    deadline_s = trio.current_time() + HOST_WAIT_S
    with cloud.db.doorbell.listen(HOSTS_TOPIC) as bell:
        while not await cloud.db.read(is_host_seen_since, since_us):
            left_s = deadline_s - trio.current_time()
            if left_s <= 0:
                log.warning("the agent has not registered yet: no server can be placed until it has")
                return
            await bell.wait(min(left_s, 1.0))


def _welcome(config: UpConfig, endpoint: str) -> None:
    click.echo(f"Ostro serves {endpoint}", err=True)
    click.echo(f"  export OS_CLIENT_CONFIG_FILE={config.state.clouds_yaml} OS_CLOUD=ostro", err=True)
    click.echo("  Ctrl-C stops the control plane and leaves servers running; `ostro down` stops everything.", err=True)


async def _keep_agent(world: World, config: UpConfig, endpoint: str) -> None:
    """Keep the agent's process alive."""
    backoff = Backoff(first_s=0.5, most_s=15.0)
    failures = 0
    loop = world.metrics.loop("agent")
    while True:
        started_s = trio.current_time()
        code = await _run_agent(config, endpoint)
        loop.runs += 1
        loop.errors += 1
        failures = 1 if trio.current_time() - started_s > 60 else failures + 1
        delay_s = backoff.delay_s(failures, world.random)
        log.error("the agent ended, starting it again", code=code, retry_s=round(delay_s, 1))
        await trio.sleep(delay_s)


async def _run_agent(config: UpConfig, endpoint: str) -> int:
    """Run one agent to its end; its exit status."""
    command = [sys.executable, "-m", "ostro", "agent", "--state", str(config.state.root), "--url", endpoint]
    command += ["--hypervisor", config.hypervisor, "--log-level", config.log_level, "--parent", str(os.getpid())]
    command += physical_words(config.physical)
    # Not trio's open_process: it starts children from a worker thread, and the kernel's notice of a parent's death goes by thread.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: ASYNC220
    ended = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(ended)
    finally:
        # Cancelled: let the agent finish what it is doing, but not for ever.
        with trio.move_on_after(AGENT_STOP_S, shield=True):
            process.terminate()
            await trio.lowlevel.wait_readable(ended)
        process.kill()
        os.close(ended)
        code = process.wait()
    return code


@click.command()
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state.")
@click.option(
    "--listen", "listen_", default=DEFAULT_LISTEN, show_default=True, help="HOST:PORT of the APIs; port 0 is any."
)
@click.option(
    "--hypervisor",
    type=click.Choice(["libvirt", "fake"]),
    default="libvirt",
    show_default=True,
    help="fake needs no root and runs nothing: for load and rehearsal.",
)
@click.option("--database", default="", help="PostgreSQL URL instead of the embedded store.")
@click.option("--region", default="RegionOne", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@ceph_options
@physical_option
def up(
    state: str,
    listen_: str,
    hypervisor: str,
    database: str,
    region: str,
    log_level: str,
    ceph: CephConfig | None,
    physical: Mapping[str, str],
) -> None:
    """Run a whole cloud on this machine, in the foreground."""
    configure_logging(log_level)
    check_user(hypervisor)
    directory = StateDir.make(state)
    ceph = ceph or read_ceph(directory)
    config = UpConfig(directory, listen_, hypervisor, database, region, log_level, ceph, physical)
    trio.run(run_up, config)
