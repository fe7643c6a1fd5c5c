"""What the demonstration on Ceph does, and what must be seen at each step.

The cloud here has one host; `ceph_moves` has another cloud on the same Ceph, whose two hosts send each other a server.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import orjson
import trio

from ostro.cli.demo.runner import Runner, StepFailed
from ostro.cli.demo.steps import last_with
from ostro.cli.demo.swift import Swift, md5_of, noise
from ostro.runtime.ceph.config import CephConfig
from ostro.testing.ceph import CephCluster

T = TypeVar("T")

FLAVOR = "m1.nano"
MIB = 1 << 20
SEGMENT_BYTES = 64 * MIB
SEGMENTS = 16
SUMMED_BYTES = 64 * MIB
STORAGE_MOST_MS = 1000.0
OUTAGE_S = 8.0
RECOVERY_S = 15.0
HANG_MOST_S = 30.0
KEPT_OBJECTS = re.compile(r"rbd_(directory|info|trash|children)|ostro\.(host|flatten)\..*")
"""What an empty pool may hold: RBD's own tables and hosts' empty lists."""


@dataclass(frozen=True)
class CephDemo:
    """What the steps work with."""

    run: Runner
    cluster: CephCluster
    config: CephConfig
    image: Path
    log: Path

    def made_ms(self, name: str) -> float:
        """How long the host took to make a disk, by its own log."""
        for line in self.log.read_text().splitlines():
            if "disk made" in line and name in line:
                return float(orjson.loads(line)["ms"])
        raise StepFailed(f"the host's log does not tell of {name}")


async def boot_from_clones(demo: CephDemo, scratch: Path) -> None:
    """A raw image in RBD, and two servers on clones of it."""
    run = demo.run
    raw = scratch / "tiny.raw"
    await trio.run_process(["qemu-img", "convert", "-O", "raw", str(demo.image), str(raw)])
    with run.step("raw image uploaded into RBD") as row:
        words = ["image", "create", "tiny", "--disk-format", "raw", "--container-format", "bare", "--public"]
        await run.openstack(*words, "--file", str(raw))
        (name,) = _rbd(demo, "ls", demo.config.pools.images).split()
        row.result = f"{raw.stat().st_size} bytes as {demo.config.pools.images}/{name}"
    with run.step("network, flavor"):
        await run.together(
            ["network", "create", "demo"],
            ["flavor", "create", FLAVOR, "--vcpus", "1", "--ram", "96", "--disk", "1"],
        )
        await run.openstack("subnet", "create", "demo", "--network", "demo", "--subnet-range", "10.67.0.0/24")
    common = ["--image", "tiny", "--flavor", FLAVOR, "--network", "demo"]
    with run.step("two servers on clones of it, each disk made in under a second") as row:
        await run.together(["server", "create", "one", *common], ["server", "create", "two", *common])
        taken = []
        for name in ("one", "two"):
            await run.await_status("server", name, "ACTIVE")
            taken.append(demo.made_ms((await run.show("server", "show", name))["id"]))
        if max(taken) > STORAGE_MOST_MS:
            raise StepFailed(f"the disks took {taken} ms")
        row.result = " and ".join(f"{ms:.0f} ms" for ms in taken)
    with run.step("both have booted from them"):
        for name in ("one", "two"):
            await run.await_console(name, partial(last_with, pattern="guest: ready"), "its boot")


async def use_volumes(demo: CephDemo) -> None:
    """A server that boots from a volume; a volume that is attached, grown, cloned, and moved between kinds of storage."""
    run = demo.run
    with run.step("volume cloned from the image") as row:
        await run.openstack("volume", "create", "root", "--image", "tiny", "--size", "1", "--bootable")
        await run.await_status("volume", "root", "available")
        row.result = f"{demo.made_ms((await run.show('volume', 'show', 'root'))['id']):.0f} ms"
    with run.step("server booted from that volume") as row:
        await run.openstack("server", "create", "three", "--volume", "root", "--flavor", FLAVOR, "--network", "demo")
        await run.await_status("server", "three", "ACTIVE")
        row.result = await run.await_console("three", partial(last_with, pattern="guest: ready"), "its boot")
    with run.step("volume attached, grown while attached, seen by the guest") as row:
        await run.openstack("volume", "create", "data", "--size", "1")
        await run.await_status("volume", "data", "available")
        await run.openstack("server", "add", "volume", "one", "data")
        await run.await_status("volume", "data", "in-use")
        await run.await_console("one", partial(last_with, pattern=r"guest: disk vdb size_bytes=1073741824"), "vdb")
        await run.openstack("--os-volume-api-version", "3.42", "volume", "set", "--size", "2", "data")
        row.result = await run.await_console(
            "one", partial(last_with, pattern=r"guest: disk vdb resized size_bytes=2147483648"), "a larger vdb"
        )
    with run.step("snapshot made while attached, volume made from it"):
        await run.openstack(
            "--os-volume-api-version", "3.66", "volume", "snapshot", "create", "--volume", "data", "moment"
        )
        await run.await_status("volume snapshot", "moment", "available")
        await run.openstack("volume", "create", "past", "--snapshot", "moment", "--size", "2")
        await run.await_status("volume", "past", "available")
        await run.openstack("volume", "snapshot", "delete", "moment")
        await run.await_empty(["volume snapshot"])
    with run.step("volume detached and cloned"):
        await run.openstack("server", "remove", "volume", "one", "data")
        await run.await_status("volume", "data", "available")
        await run.openstack("volume", "create", "copy", "--source", "data", "--size", "2")
        await run.await_status("volume", "copy", "available")
    with run.step("volume retyped: from Ceph to local files and back"):
        for kind in ("local", "ceph"):
            await run.openstack("volume", "set", "--type", kind, "--retype-policy", "on-demand", "data")
            await run.await_status("volume", "data", "available")
            there = (await run.show("volume", "show", "data"))["id"] in _rbd(demo, "ls", demo.config.pools.volumes)
            if there != (kind == "ceph"):
                raise StepFailed(f"after the move to {kind} the volume is {'' if there else 'not '}in Ceph")


async def make_an_image(demo: CephDemo) -> None:
    """A volume becomes an image, which stays when the volume goes, and a volume again."""
    run, pools = demo.run, demo.config.pools
    with run.step("image made of a volume, volume deleted, volume made of the image: the same bytes") as row:
        volume_id = (await run.show("volume", "show", "past"))["id"]
        before = await _in_thread(_sum_of, demo, f"{pools.volumes}/volume-{volume_id}")
        started_s = time.monotonic()
        await run.openstack("image", "create", "--volume", "past", "kept")
        await run.await_status("image", "kept", "active")
        made_s = time.monotonic() - started_s
        await run.await_status("volume", "past", "available")
        await run.openstack("volume", "delete", "past")
        await run.openstack("volume", "create", "--image", "kept", "--size", "2", "past")
        await run.await_status("volume", "past", "available")
        volume_id = (await run.show("volume", "show", "past"))["id"]
        if await _in_thread(_sum_of, demo, f"{pools.volumes}/volume-{volume_id}") != before:
            raise StepFailed("they are other bytes")
        row.result = f"image active after {made_s:.1f} s, two starts of the client included"


def _sum_of(demo: CephDemo, path: str) -> str:
    """The MD5 of a disk's beginning, as Ceph's own tool reads it."""
    command = ["rbd", "-c", str(demo.config.conf), "--id", demo.config.user, "export", "--no-progress", path, "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as export:
        assert export.stdout is not None, "a pipe"
        digest = hashlib.md5(export.stdout.read(SUMMED_BYTES), usedforsecurity=False).hexdigest()
    return digest


async def store_objects(demo: CephDemo, swift: Swift) -> None:
    """Small, large and segmented objects, whole and in part."""
    run = demo.run
    sizes = {"small": 100_000, "large": 64 * MIB}
    with run.step("container made"):
        await run.openstack("container", "create", "box")
    for name, length in sizes.items():
        with run.step(f"object of {length} bytes put, read back, read in part") as row:
            started_s = time.monotonic()
            etag = await _in_thread(swift.put, f"box/{name}", noise(name, length), length)
            put_s = time.monotonic() - started_s
            whole = await _in_thread(swift.md5, f"box/{name}")
            part = await _in_thread(swift.md5, f"box/{name}", length // 3, length // 2)
            if etag != md5_of(name, length) or whole != (etag, length):
                raise StepFailed("it came back changed")
            if part[0] != md5_of(name, length, length // 3, length // 2):
                raise StepFailed("a part of it came back changed")
            row.result = f"PUT {length / put_s / 1e6:.0f} MB/s"
    with run.step("object of 1 GiB in segments put, read back across segments") as row:
        for number in range(SEGMENTS):
            await _in_thread(swift.put, f"box/big/{number:04}", noise(f"s{number}", SEGMENT_BYTES), SEGMENT_BYTES)
        manifest = {"X-Object-Manifest": "box/big/", "Content-Length": "0"}
        if await _in_thread(swift.status, "PUT", "box/whole", b"", manifest) != 201:
            raise StepFailed("the manifest was refused")
        started_s = time.monotonic()
        _digest, length = await _in_thread(swift.md5, "box/whole")
        edge = await _in_thread(swift.md5, "box/whole", SEGMENT_BYTES - 10, SEGMENT_BYTES + 9)
        if length != SEGMENTS * SEGMENT_BYTES or edge[1] != 20:
            raise StepFailed(f"it has {length} bytes")
        row.result = f"GET {length / (time.monotonic() - started_s) / 1e6:.0f} MB/s"


@dataclass
class Load:
    """Objects written while the OSD dies: which were promised, and the longest that any request took."""

    promised: list[str]
    refused: int = 0
    longest_s: float = 0.0


async def kill_an_osd(demo: CephDemo, swift: Swift) -> None:
    """The OSD dies and comes back under load."""
    load = Load([])
    stop = trio.Event()
    with demo.run.step("OSD killed and restarted under load: nothing lost, no request hung") as row:
        async with trio.open_nursery() as nursery:
            for writer in range(4):
                nursery.start_soon(_write_until, swift, load, writer, stop)
            await trio.sleep(2)
            demo.cluster.kill_osd(0)
            await trio.sleep(OUTAGE_S)
            # On this thread: the OSD dies with the thread that starts it.
            demo.cluster.start_osd(0)
            before = len(load.promised)
            await trio.sleep(RECOVERY_S)
            stop.set()
        for name in load.promised:
            if await _in_thread(swift.md5, f"box/{name}") != (md5_of(name, MIB), MIB):
                raise StepFailed(f"{name} was promised and is not there as it was written")
        if load.longest_s > HANG_MOST_S or len(load.promised) == before:
            raise StepFailed(f"the longest request took {load.longest_s:.1f} s; {len(load.promised)} were written")
        row.result = f"{len(load.promised)} written and verified, {load.refused} refused with 503, longest {load.longest_s:.1f} s"
    with demo.run.step("servers on it have lived through that"):
        for name in ("one", "three"):
            await demo.run.openstack("server", "reboot", "--soft", name)
            await demo.run.await_status("server", name, "ACTIVE")


async def _write_until(swift: Swift, load: Load, writer: int, stop: trio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        name = f"load-{writer}-{number}"
        started_s = time.monotonic()
        status = await _in_thread(swift.status, "PUT", f"box/{name}", b"".join(noise(name, MIB)))
        load.longest_s = max(load.longest_s, time.monotonic() - started_s)
        if status == 201:
            load.promised.append(name)
        elif status == 503:
            load.refused += 1
            await trio.sleep(0.2)
        else:
            raise StepFailed(f"PUT box/{name}: {status}")


async def delete_everything(demo: CephDemo) -> None:
    """Delete what was made, and see that the pools are empty."""
    run = demo.run
    with run.step("everything deleted"):
        await run.await_servers(["one", "two", "three"])
        await run.openstack("server", "delete", "--wait", "one", "two", "three")
        await run.together(
            ["volume", "delete", "root", "data", "copy", "past"],
            ["container", "delete", "--recursive", "box"],
            ["image", "delete", "tiny", "kept"],
            ["flavor", "delete", FLAVOR],
            ["network", "delete", "demo"],
        )
        await run.await_empty(["server", "volume"])
    await see_empty_pools(run, demo.cluster, demo.config)


async def see_empty_pools(run: Runner, cluster: CephCluster, config: CephConfig) -> None:
    """Wait until nothing is left in Ceph. Raises StepFailed."""
    with run.step("pools are empty") as row:
        pools = config.pools
        deadline_s = time.monotonic() + 90
        while left := [
            f"{pool}/{name}"
            for pool in (pools.images, pools.volumes, pools.objects)
            for name in cluster.objects(pool)
            if not KEPT_OBJECTS.fullmatch(name)
        ]:
            if time.monotonic() > deadline_s:
                raise StepFailed(f"{len(left)} objects are left, such as {left[:3]}")
            await trio.sleep(0.5)
        row.result = ", ".join((pools.images, pools.volumes, pools.objects))


async def run_steps(demo: CephDemo) -> None:
    """All of it, in order; the first step that fails ends it."""
    with tempfile.TemporaryDirectory(prefix="ostro-demo-") as name:
        await boot_from_clones(demo, Path(name))
        await use_volumes(demo)
        await make_an_image(demo)
        token = await demo.run.show("token", "issue")
        catalog = {row["Type"]: row["Endpoints"] for row in await demo.run.show("catalog", "list")}
        public = next(entry["url"] for entry in catalog["object-store"] if entry["interface"] == "public")
        swift = Swift(public, token["id"])
        await store_objects(demo, swift)
        await kill_an_osd(demo, swift)
        await delete_everything(demo)


async def _in_thread(fn: Callable[..., T], *args: object) -> T:
    return await trio.to_thread.run_sync(fn, *args)


def _rbd(demo: CephDemo, *words: str) -> str:
    """What the ``rbd`` command prints."""
    command = ["rbd", "-c", str(demo.config.conf), "--id", demo.config.user, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
