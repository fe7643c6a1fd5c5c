"""``ostro agent``: this machine's host agent, in the foreground. ``ostro up`` runs one by itself."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping
from ipaddress import ip_address

import click
import structlog
import trio

from ostro.agent import main as agent_main
from ostro.agent.config import AgentConfig
from ostro.agent.drivers.network.openvswitch import default_address
from ostro.agent.identity import Identity
from ostro.agent.metrics import serve_metrics
from ostro.cli.ceph import ceph_options
from ostro.cli.join import Joined, read_joined
from ostro.cli.physical import parse_physical, physical_option
from ostro.cli.state import Lock, StateDir, Usage
from ostro.cli.up import DEFAULT_STATE, check_user
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.faults import faults_from_environment
from ostro.runtime.log import configure_logging
from ostro.runtime.world import World

log = structlog.get_logger()

LOCK_WAIT_S = 20.0
"""An agent whose parent has just died may still be finishing."""
PR_SET_PDEATHSIG = 1
NOWHERE = "none"


def end_with(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when its parent dies, however it dies. See prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise Usage("The process that started this one has ended.")


async def _take_lock(lock: Lock) -> None:
    with trio.move_on_after(LOCK_WAIT_S):
        while not lock.acquire():  # noqa: ASYNC110 - a lock of another process rings no bell
            await trio.sleep(0.1)
        return
    raise Usage(f"Another agent (process {lock.holder().get('pid', '?')}) is running on {lock.path.parent}.")


async def run_agent(state: StateDir, config: AgentConfig, metrics: str = "") -> None:
    """The agent, until SIGINT or SIGTERM; with its metrics on an address if one is given."""
    listeners = await _listen(metrics) if metrics else []
    lock = Lock(state.root / "agent.lock")
    await _take_lock(lock)
    world = World(faults=faults_from_environment())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            if listeners:
                await nursery.start(serve_metrics, world, listeners)
            await nursery.start(agent_main.run, world, config)
    finally:
        lock.release()


async def _listen(address: str) -> list[trio.SocketListener]:
    """Listeners on ``HOST:PORT``. Raises Usage with what to do about it."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise Usage(f"--metrics {address} is not an address: it must be HOST:PORT, such as 127.0.0.1:9101.")
    try:
        return await trio.open_tcp_listeners(int(port), host=host.strip("[]") or "127.0.0.1")
    except OSError as error:
        raise Usage(f"Can't listen on {address}: {error}. Choose another address with --metrics.") from error


def own_landing(state: StateDir, joined: Joined, hypervisor: str) -> str:
    """Where servers come in on a host that nothing was said about: where its tunnels do, if all that comes is encrypted. Empty for nowhere."""
    identity = Identity(state.host, joined.name)
    if hypervisor != "libvirt" or not identity.is_there or not identity.lay_out():
        return ""
    address = default_address()
    return "" if ip_address(address).is_loopback else address


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            log.info("agent stops", signal=signal.Signals(number).name)
            scope.cancel()


@click.command()
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state.")
@click.option("--url", default="", help="The control plane's endpoint, where this host has not joined by `ostro join`.")
@click.option(
    "--hypervisor", type=click.Choice(["libvirt", "fake"]), default=None, help="libvirt unless said otherwise."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option(
    "--metrics", default="", metavar="ADDR:PORT", help="Show metrics to Prometheus there.  [default: nowhere]"
)
@click.option("--parent", type=int, default=0, hidden=True, help="End when this process does.")
@click.option(
    "--migrate-on",
    metavar="ADDRESS[:PORT]",
    default="",
    help="Where other hosts send servers to, encrypted; `none` to let none come. With --url nothing is encrypted: give an address in a network that "
    "hosts alone are in.  [default: the address of this host's tunnels, where it has joined; else none]",
)
@ceph_options
@physical_option
def agent(
    state: str,
    url: str,
    hypervisor: str | None,
    log_level: str,
    metrics: str,
    parent: int,
    ceph: CephConfig | None,
    physical: Mapping[str, str],
    migrate_on: str,
) -> None:
    """Run this machine's host agent, in the foreground."""
    if parent:
        end_with(parent)
    configure_logging(log_level)
    directory = StateDir.make(state)
    if ceph is not None:
        directory.keep_ceph(ceph)
    joined = None if url else read_joined(directory)
    if joined is not None and not migrate_on:
        migrate_on = own_landing(directory, joined, hypervisor or joined.hypervisor)
    migrate_on = "" if migrate_on == NOWHERE else migrate_on
    address, _, port = migrate_on.rpartition(":") if ":" in migrate_on else (migrate_on, "", "")
    if joined is None:
        config = AgentConfig(
            migrate_address=address,
            migrate_port=int(port) if port.isdigit() else AgentConfig.migrate_port,
            urls=(url,),
            agent_key=directory.agent_key,
            state_dir=directory.host,
            hypervisor=hypervisor or "libvirt",
            ceph=directory.ceph,
            physical=physical,
        )
    else:
        config = AgentConfig(
            migrate_address=address,
            migrate_port=int(port) if port.isdigit() else AgentConfig.migrate_port,
            urls=tuple(joined.urls),
            agent_key="",
            state_dir=directory.host,
            hypervisor=hypervisor or joined.hypervisor,
            name=joined.name,
            use_system_parts=joined.use_system_parts,
            ceph=directory.ceph,
            physical={**parse_physical(joined.physical), **physical},
        )
    check_user(config.hypervisor)
    trio.run(run_agent, directory, config, metrics)
