"""``ostro down``: stop everything that a cloud runs on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress

import click
import trio

from ostro.agent import main as agent_main
from ostro.agent.config import AgentConfig
from ostro.cli.state import Lock, StateDir, Usage
from ostro.cli.up import DEFAULT_STATE
from ostro.runtime.log import configure_logging
from ostro.runtime.world import World

STOP_S = 30.0


def stop_holder(lock: Lock, what: str) -> bool:
    """Have the process that holds the lock end, and take the lock; whether there was one. Raises Usage when it does not end."""
    if lock.acquire():
        return False
    pid = lock.holder().get("pid")
    if not isinstance(pid, int):
        raise Usage(f"{what} is running, and {lock.path} does not say as which process.")
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_S
    while not lock.acquire():
        if time.monotonic() > deadline_s:
            raise Usage(f"{what} (process {pid}) does not end. Look at its log, or kill it.")
        time.sleep(0.05)
    return True


@click.command()
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state.")
@click.option("--purge", is_flag=True, help="Also delete servers, volumes, images, objects: the whole state directory.")
def down(state: str, purge: bool) -> None:
    """Stop everything: the control plane, the agent, every server, the private daemons."""
    configure_logging("warning")
    directory = StateDir.open(state)
    locks = [Lock(directory.root / "up.lock"), Lock(directory.root / "agent.lock")]
    if stop_holder(locks[0], "`ostro up`"):
        click.echo("control plane and agent stopped")
    stop_holder(locks[1], "The agent")
    config = AgentConfig(
        urls=(),
        agent_key="",
        state_dir=directory.host,
        hypervisor=directory.hypervisor or "libvirt",
        ceph=directory.ceph,
    )
    trio.run(agent_main.stop, World(), config, directory.cloud_id, purge)
    click.echo("servers stopped, network and private daemons taken down")
    for lock in locks:
        lock.release()
    if purge:
        shutil.rmtree(directory.root)
        click.echo(f"{directory.root} deleted")
