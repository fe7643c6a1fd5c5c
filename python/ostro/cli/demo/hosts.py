"""The ``ostro demo-hosts`` command: a control plane in parts and three hosts on this machine, the steps, and all of it taken down again."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import trio

from ostro.cli.demo.command import find_image, images_option
from ostro.cli.demo.hosts_bad_days import kill_the_control_plane, lose_a_host
from ostro.cli.demo.hosts_shared import share_disks
from ostro.cli.demo.hosts_slow import abort_and_force
from ostro.cli.demo.hosts_steps import (
    HostsDemo,
    boot_across,
    delete_everything,
    let_hosts_join,
    make_networks,
    migrate_live,
)
from ostro.cli.demo.leftovers import find_processes
from ostro.cli.demo.logs import keep_logs
from ostro.cli.demo.runner import Runner, StepFailed
from ostro.cli.up import check_user
from ostro.model.errors import OstroError
from ostro.testing.ceph import why_not
from ostro.testing.machines import CONTROL_IP, Lab
from ostro.testing.postgres import PostgresServer
from ostro.testing.roles import Roles

HOSTS = ("h1", "h2", "h3")
PORTS = (8774, 8775)


async def _use(run: Runner, lab: Lab, roles: Roles, image: Path, *, brief: bool) -> None:
    """Start the control plane, let the hosts join, and use them."""
    demo = HostsDemo(run, lab, roles, image)
    try:
        with run.step("cloud made; two API processes, two controllers") as row:
            roles.init("--fence", "20", listen=f"{CONTROL_IP}:{PORTS[0]}")
            demo.apis = [roles.api(), roles.api(f"{CONTROL_IP}:{PORTS[1]}")]
            demo.controllers = [roles.controller(), roles.controller()]
            row.result = " and ".join(f"https://{CONTROL_IP}:{port}" for port in PORTS)
        await _run_steps(demo, brief=brief)
    except (OstroError, RuntimeError) as error:
        if not isinstance(error, StepFailed):
            click.echo(str(error), err=True)
        for log in sorted(roles.root.glob("*.log")):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            click.echo(f"\nThe last lines of {log.name}:\n{tail}", err=True)
        keep_logs(lab.folder)


async def _run_steps(demo: HostsDemo, *, brief: bool) -> None:
    """All of it, or what is ``brief``, in order; the first step that fails ends it."""
    with tempfile.TemporaryDirectory(prefix="ostro-demo-") as name:
        await let_hosts_join(demo)
        await make_networks(demo)
        await boot_across(demo, Path(name))
        await abort_and_force(demo, "a2", "h1")
        await migrate_live(demo, "a2", "h3", "copied")
        if brief:
            await delete_everything(demo, ["a1", "a2", "closed", "b1"])
            return
        await kill_the_control_plane(demo, ["a1", "a2", "closed"])
        await lose_a_host(demo, "h3", {"a2": "", "closed": "h1"}, ["a1"])
        if reason := why_not():
            click.echo(f"  disks in Ceph are not shown: {reason}")
            await delete_everything(demo, ["a1", "a2", "closed", "b1"])
        else:
            await share_disks(demo)
            await delete_everything(demo, ["a1", "closed"])


def _nothing_left(run: Runner, folder: Path) -> None:
    """The machines' namespaces are gone with all that was in them; what else there could be is on this side."""
    with run.step("everything stopped, nothing left behind") as row:
        left = list(find_processes([str(folder)]))
        if left:
            raise StepFailed("; ".join(left))
        row.result = "no process, no link, no file"


@click.command("demo-hosts")
@images_option
@click.option("--brief", is_flag=True, help="Without the bad days, and without Ceph.")
def demo_hosts(images: Path, brief: bool) -> None:
    """Three hosts on this machine, PostgreSQL, a control plane in parts; use them, kill some; print a table of what held."""
    check_user("libvirt")
    image = find_image(images).resolve()
    folder = Path(tempfile.mkdtemp(prefix="ostro-h-"))
    run = Runner(folder / "controller" / "clouds.yaml")
    try:
        with PostgresServer() as postgres, Lab(folder, HOSTS) as lab, Roles(folder, postgres.dsn("postgres")) as roles:
            with run.step("three hosts switched on, each with namespaces and an Open vSwitch of its own"):
                for machine in lab.machines:
                    machine.start()
            trio.run(partial(_use, run, lab, roles, image, brief=brief))
    finally:
        shutil.rmtree(folder)
    with suppress(StepFailed):  # It is in the table.
        _nothing_left(run, folder)
    sys.exit(0 if run.print_table() else 1)
