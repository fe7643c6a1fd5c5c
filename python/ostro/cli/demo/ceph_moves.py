"""The second cloud of the demonstration on Ceph: a control plane in parts and two hosts on the same pools, and a server that goes from one to the other.

The guest writes to both of its disks, moves live while it goes on writing, and reads from the storage, not from its memory, what it wrote before.
At the end the volume is read from outside, too.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from functools import partial
from pathlib import Path

import trio

from ostro.cli.demo.ceph_steps import see_empty_pools
from ostro.cli.demo.hosts_steps import FLAVOR, MOVES, HostsDemo, await_place, let_hosts_join
from ostro.cli.demo.runner import Runner, StepFailed
from ostro.cli.demo.steps import last_with
from ostro.runtime.ceph.config import CephConfig
from ostro.testing.ceph import CephCluster
from ostro.testing.machines import CONTROL_IP, Lab
from ostro.testing.postgres import PostgresServer
from ostro.testing.roles import Roles

PORT = 8774
AT_MIB, DATA_MIB, COUNT_MIB = 600, 8, 700
"""Where the guest writes: far behind what an image has."""
WRITER = f"""#!/bin/sh
(
until [ -b /dev/vdb ]; do sleep 0.2; done
for disk in vda vdb; do
  dd if=/dev/urandom of=/dev/$disk bs=1M seek={AT_MIB} count={DATA_MIB} conv=fsync 2> /dev/null
done
sum() {{ dd if=/dev/$1 bs=1M skip={AT_MIB} count={DATA_MIB} 2> /dev/null | md5sum | cut -c 1-32; }}
n=0
while :; do
  echo 3 > /proc/sys/vm/drop_caches
  echo "DEMO $n vda $(sum vda) vdb $(sum vdb) count $(dd if=/dev/vdb bs=1M skip={COUNT_MIB} count=1 2> /dev/null | head -n 1)" > /dev/console
  n=$((n+1))
  echo $n | dd of=/dev/vdb bs=1M seek={COUNT_MIB} conv=fsync,notrunc 2> /dev/null
  sleep 0.5
done
) &
"""
SEEN = re.compile(r"DEMO (\d+) vda ([0-9a-f]{32}) vdb ([0-9a-f]{32}) count (\d*)")


def looks(lines: list[str]) -> list[tuple[int, str, str, str]]:
    """What the guest has seen on its disks: the number of the look, the sums of both, and the number that it wrote last."""
    return [(int(m[1]), m[2], m[3], m[4]) for line in lines if (m := SEEN.search(line))]


def _more_looks(lines: list[str], after: int) -> str | None:
    """A look well after that one."""
    found = looks(lines)
    return f"look {found[-1][0]}" if found and found[-1][0] >= after + 3 else None


async def _use(demo: HostsDemo, config: CephConfig, scratch: Path) -> None:
    run = demo.run
    (scratch / "writer").write_text(WRITER)
    with run.step("a second cloud on the same pools: a control plane in parts, two hosts") as row:
        ceph = ["--ceph", str(config.conf), "--ceph-user", config.user, "--ceph-pools", str(config.pools)]
        demo.roles.init("--fence", "20", *ceph, listen=f"{CONTROL_IP}:{PORT}")
        demo.agent_options = ceph
        demo.apis, demo.controllers = [demo.roles.api()], [demo.roles.controller()]
        for machine in demo.lab.machines:
            machine.start()
        row.result = f"https://{CONTROL_IP}:{PORT}"
    await let_hosts_join(demo)
    with run.step("server and volume in Ceph; its guest writes to both disks") as row:
        raw = scratch / "tiny.raw"
        created = ["image", "create", "tiny", "--disk-format", "raw", "--container-format", "bare", "--public"]
        await run.together(
            [*created, "--file", str(raw)],
            ["flavor", "create", FLAVOR, "--vcpus", "1", "--ram", "96", "--disk", "1"],
            ["network", "create", "demo"],
            ["volume", "create", "--size", "1", "moved"],
        )
        await run.openstack("subnet", "create", "demo", "--network", "demo", "--subnet-range", "10.67.0.0/24")
        common = ["--image", "tiny", "--flavor", FLAVOR, "--network", "demo", "--user-data", str(scratch / "writer")]
        await run.openstack("server", "create", "mover", *common, "--availability-zone", "nova:h1")
        await await_place(run, "mover", "h1")
        await run.await_console("mover", partial(last_with, pattern="guest: ready"), "its boot")
        await run.openstack("server", "add", "volume", "mover", "moved")
        row.result = await run.await_console("mover", partial(_more_looks, after=0), "that it has written")
    await _migrate(demo)
    await _read_from_outside(demo, config)
    with run.step("deleted with both hosts' help"):
        await run.openstack("server", "delete", "--wait", "mover")
        await run.await_status("volume", "moved", "available")
        await run.together(["volume", "delete", "moved"], ["network", "delete", "demo"], ["flavor", "delete", FLAVOR])
        await run.await_empty(["server", "volume"])
        # Last: what nothing is made of any more goes at once.
        await run.openstack("image", "delete", "tiny")


async def _migrate(demo: HostsDemo) -> None:
    run = demo.run
    with run.step("server migrated live while it writes: its data untouched") as row:
        before = looks(await run.console("mover"))
        await run.openstack(*MOVES, "server", "migrate", "--live-migration", "--host", "h2", "mover")
        await await_place(run, "mover", "h2")
        there = looks(await run.console("mover"))
        last = max(number for number, *_ in (*before, *there))
        await run.await_console("mover", partial(_more_looks, after=last), "that it writes on h2")
        # Each host keeps what the guest said on it.
        since = [look for look in looks(await run.console("mover")) if look[0] > before[-1][0]]
        seen = [*before, *there, *since]
        if len({(vda, vdb) for _n, vda, vdb, _count in seen}) != 1:
            raise StepFailed(f"what it reads has changed: {seen[-5:]}")
        if any(n and count != str(n) for n, _vda, _vdb, count in seen):
            raise StepFailed(f"what it wrote last is not there: {seen[-5:]}")
        row.result = f"{DATA_MIB} MiB on each of two disks the same {len({n for n, *_ in seen})} times, {len(since)} of them since"


async def _read_from_outside(demo: HostsDemo, config: CephConfig) -> None:
    run = demo.run
    with run.step("volume read from outside: the same bytes") as row:
        wanted = looks(await run.console("mover"))[-1][2]
        volume_id = (await run.show("volume", "show", "moved"))["id"]
        found = await trio.to_thread.run_sync(_sum_of, config, f"{config.pools.volumes}/volume-{volume_id}")
        if found != wanted:
            raise StepFailed(f"the guest has {wanted}, the volume {found}")
        row.result = wanted


def _sum_of(config: CephConfig, path: str) -> str:
    """The MD5 of the guest's data, as Ceph's own tool reads it."""
    command = ["rbd", "-c", str(config.conf), "--id", config.user, "export", "--no-progress", path, "-"]
    done = subprocess.run(command, check=True, capture_output=True)
    data = memoryview(done.stdout)[AT_MIB << 20 : (AT_MIB + DATA_MIB) << 20]
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def move_live(rows: Runner, lab: Lab, cluster: CephCluster, config: CephConfig, image: Path) -> None:
    """All of it, in order; the first step that fails ends it. ``rows`` gets the steps."""
    with PostgresServer() as postgres, Roles(lab.folder, postgres.dsn("postgres")) as roles:
        run = Runner(lab.folder / "controller" / "clouds.yaml")
        run.rows = rows.rows
        scratch = lab.folder / "scratch"
        scratch.mkdir()
        raw = scratch / "tiny.raw"
        await trio.run_process(["qemu-img", "convert", "-O", "raw", str(image), str(raw)])
        try:
            await _use(HostsDemo(run, lab, roles, image), config, scratch)
            # While the control plane is there: it frees what nobody needs any more.
            await see_empty_pools(run, cluster, config)
        finally:
            for machine in lab.machines:
                machine.kill()
