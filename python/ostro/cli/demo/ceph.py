"""The ``ostro demo-ceph`` command: a real Ceph, a cloud on it, the steps, and everything taken down again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import click
import trio

from ostro.cli.ceph import check_ceph
from ostro.cli.demo.ceph_moves import move_live
from ostro.cli.demo.ceph_steps import CephDemo, run_steps
from ostro.cli.demo.command import DemoCloud, find_image, images_option, tear_down
from ostro.cli.demo.logs import keep_logs
from ostro.cli.demo.runner import Runner, StepFailed
from ostro.cli.findings import Verdict
from ostro.cli.state import Usage
from ostro.cli.up import check_user
from ostro.model.errors import OstroError
from ostro.runtime.ceph.config import CephConfig, Pools, auth_command
from ostro.testing.ceph import CephCluster, CephOptions, why_not
from ostro.testing.machines import CONTROL_IP, Lab

SIZE_GIB = 20
HOSTS = ("h1", "h2")


def start_ceph(run: Runner, cluster: CephCluster) -> CephConfig:
    """Pools, and a user with the least privilege, by the very command that the doctor tells an administrator to type."""
    config = CephConfig(cluster.conf, pools=Pools())
    with run.step("pools and a user with the least privilege made") as row:
        pools = config.pools
        for name in (pools.images, pools.volumes):
            cluster.create_pool(name)
        cluster.create_pool(pools.objects, "ostro")
        row.result = auth_command(config, str(cluster.root / f"{config.entity}.keyring"))
        done = subprocess.run(
            ["sh", "-c", row.result], env={**os.environ, "CEPH_CONF": str(cluster.conf)}, capture_output=True, text=True
        )
        if done.returncode:
            raise StepFailed(done.stderr.strip())
    with run.step("doctor finds nothing wrong") as row:
        findings = list(check_ceph(config))
        wrong = [f"{finding.what}: {finding.found}" for finding in findings if finding.verdict is not Verdict.FINE]
        if wrong:
            raise StepFailed("; ".join(wrong))
        row.result = f"{len(findings)} checks"
    return config


async def _run(image: Path, state: Path, cluster: CephCluster, run: Runner, lab: Lab) -> None:
    config = start_ceph(run, cluster)
    await _use_one_host(image, state, cluster, run, config)
    if all(row.passed for row in run.rows):
        await move_live(run, lab, cluster, config, image)


async def _use_one_host(image: Path, state: Path, cluster: CephCluster, run: Runner, config: CephConfig) -> None:
    options = ("--ceph", str(config.conf), "--ceph-user", config.user, "--ceph-pools", str(config.pools))
    cloud = DemoCloud(state, options)
    try:
        with run.step("cloud started on it"):
            cloud.start()
        with run.step("its host registered"):
            await run.await_host()
        await run_steps(CephDemo(run, cluster, config, image, cloud.log))
    except OstroError:
        click.echo(f"\nThe cloud's last log lines:\n{cloud.log_tail()}\n", err=True)
        keep_logs(state.parent)
    finally:
        tear_down(run, cloud, state)


@click.command("demo-ceph")
@images_option
def demo_ceph(images: Path) -> None:
    """Start a Ceph and a cloud on it, use both, kill an OSD meanwhile; move a server between two hosts of another; print a table of what held."""
    check_user("libvirt")
    if reason := why_not():
        raise Usage(reason)
    image = find_image(images).resolve()
    folder = Path(tempfile.mkdtemp(prefix="ostro-d-"))
    state = folder / "state"
    run = Runner(state / "clouds.yaml")
    cluster = CephCluster(CephOptions(store="bluestore", size_gib=SIZE_GIB, address=CONTROL_IP))
    try:
        with Lab(folder, HOSTS) as lab, closing(cluster):
            with run.step("Ceph started (monitor, OSD on bluestore, cephx)"):
                cluster.__enter__()
            trio.run(_run, image, state, cluster, run, lab)
    except OstroError as error:
        click.echo(error.message, err=True)
        keep_logs(folder)
    finally:
        shutil.rmtree(folder)
    sys.exit(0 if run.print_table() else 1)
