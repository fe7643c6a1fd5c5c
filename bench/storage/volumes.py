"""Volumes in Ceph: made blank, from an image and from a volume, plugged in; one at a time and many at once."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.api.client import Client, Failed, in_parallel
from bench.api.cloud import LocalCloud, cpu_s

WIDTH = 8
EACH = 10
POLL_S = 0.01
PATIENCE_S = 120.0
PEER_ACCEPTED_PER_S = 9.6
PEER_AVAILABLE_MS = 192.0
"""Cinder 29 with its LVM-less driver, two uwsgi workers, two cores, 2026-11."""
IMAGE_BYTES = 256 << 20


class Lab:
    """A cloud with a raw image in RBD."""

    def __init__(self, cloud: LocalCloud, osd_pid: int) -> None:
        login = cloud.login()
        login.log_in()
        self.block = login.client("block-storage" if "block-storage" in login.endpoints else "volumev3")
        self.image = login.client("image")
        self.compute = login.client("compute")
        self.network = login.client("network")
        self.pids = cloud.pids()
        self.osd_pid = osd_pid
        self.cloud = cloud
        # A project may have ten volumes unless somebody says otherwise.
        unlimited = dict.fromkeys(("volumes", "gigabytes", "snapshots"), -1)
        self.block.call("PUT", f"/os-quota-sets/{login.project_id}", {"quota_set": unlimited})

    def upload(self) -> str:
        """An image of random bytes and zeros; its id."""
        body = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
        made = self.image.call("POST", "/v2/images", body)
        with tempfile.TemporaryFile() as file:
            file.truncate(IMAGE_BYTES)
            status, data, _headers = self.image.send("PUT", f"/v2/images/{made['id']}/file", file.read())
        if status != 204:
            raise Failed(f"upload: {status} {data[:300]!r}")
        return str(made["id"])

    def create(self, client: Client, **more: Any) -> str:
        """Ask for a volume; its id."""
        answer = client.call("POST", "/volumes", {"volume": {"size": 1, "volume_type": "ceph", **more}})
        return str(answer["volume"]["id"])

    def await_status(self, client: Client, volume_id: str, status: str) -> None:
        """Return when the volume has the status."""
        until_s = time.perf_counter() + PATIENCE_S
        while True:
            seen = client.call("GET", f"/volumes/{volume_id}")["volume"]["status"]
            if seen == status:
                return
            if seen == "error" or time.perf_counter() > until_s:
                raise Failed(f"volume {volume_id} is {seen}, not {status}")
            time.sleep(POLL_S)

    def delete(self, ids: list[str]) -> None:
        """Delete volumes and see them gone."""
        for volume_id in ids:
            self.block.call("DELETE", f"/volumes/{volume_id}")
        until_s = time.perf_counter() + PATIENCE_S
        while self.block.call("GET", "/volumes?limit=1")["volumes"] and time.perf_counter() < until_s:
            time.sleep(POLL_S)


def measure_volumes(cloud: LocalCloud, osd_pid: int, many: int) -> Iterator[dict[str, Any]]:
    """A line a measurement."""
    cloud.wait_for_host()
    lab = Lab(cloud, osd_pid)
    image_id = lab.upload()
    kept: list[str] = []
    for name, more in (("blank", {}), ("image", {"imageRef": image_id})):
        yield _one_by_one(lab, f"volume.{name}", partial(lab.create, lab.block, **more), kept)
    source = kept[0]
    yield _one_by_one(lab, "volume.clone", lambda: lab.create(lab.block, source_volid=source), kept)
    yield from _attach(lab, kept[:EACH])
    lab.delete(kept)
    yield from _many(lab, many, image_id)


def _one_by_one(lab: Lab, name: str, make: Callable[[], str], kept: list[str]) -> dict[str, Any]:
    accepted, available, used_s = [], [], (cpu_s(lab.pids), cpu_s([lab.osd_pid]))
    for _ in range(EACH):
        started_s = time.perf_counter()
        kept.append(make())
        accepted.append((time.perf_counter() - started_s) * 1e3)
        lab.await_status(lab.block, kept[-1], "available")
        available.append((time.perf_counter() - started_s) * 1e3)
    return {
        "name": name,
        "accepted_ms": round(statistics.median(accepted), 1),
        "available_ms": round(statistics.median(available), 1),
        "cpu_ms": round((cpu_s(lab.pids) - used_s[0]) * 1e3 / EACH, 1),
        "osd_ms": round((cpu_s([lab.osd_pid]) - used_s[1]) * 1e3 / EACH, 1),
        "ratio": round(PEER_AVAILABLE_MS / statistics.median(available), 1),
    }


def _attach(lab: Lab, ids: list[str]) -> Iterator[dict[str, Any]]:
    """Plug volumes into a running server (which boots under emulation where KVM doesn't work), and unplug them."""
    seed = [sys.executable, "-m", "ostro", "seed", "--state", str(lab.cloud.state)]
    subprocess.run(seed, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    (image,) = lab.image.call("GET", "/v2/images?name=tiny")["images"]
    flavors = lab.compute.call("GET", "/flavors")["flavors"]
    flavor = next(found["id"] for found in flavors if found["name"] == "m1.nano")
    body = {"name": "bench", "imageRef": image["id"], "flavorRef": flavor, "networks": "none"}
    headers = {**lab.compute.headers, "OpenStack-API-Version": "compute 2.90"}
    lab.compute.headers = headers
    server_id = lab.compute.call("POST", "/servers", {"server": body})["server"]["id"]
    until_s = time.perf_counter() + PATIENCE_S
    while lab.compute.call("GET", f"/servers/{server_id}")["server"]["status"] != "ACTIVE":
        if time.perf_counter() > until_s:
            raise Failed("the server does not start")
        time.sleep(POLL_S)
    path = f"/servers/{server_id}/os-volume_attachments"
    times: dict[str, list[float]] = {"attach": [], "detach": []}
    for volume_id in ids:
        started_s = time.perf_counter()
        lab.compute.call("POST", path, {"volumeAttachment": {"volumeId": volume_id}})
        lab.await_status(lab.block, volume_id, "in-use")
        times["attach"].append((time.perf_counter() - started_s) * 1e3)
    for volume_id in ids:
        started_s = time.perf_counter()
        lab.compute.call("DELETE", f"{path}/{volume_id}")
        lab.await_status(lab.block, volume_id, "available")
        times["detach"].append((time.perf_counter() - started_s) * 1e3)
    lab.compute.call("DELETE", f"/servers/{server_id}")
    for name, found in times.items():
        yield {"name": f"volume.{name}", "ms": round(statistics.median(found), 1), "most_ms": round(max(found), 1)}


def _create(lab: Lab, more: dict[str, Any], client: Client, _number: int) -> str:
    return lab.create(client, **more)


def _many(lab: Lab, many: int, image_id: str) -> Iterator[dict[str, Any]]:
    for name, more in (("blank", {}), ("image", {"imageRef": image_id})):
        used_s, started_s = (cpu_s(lab.pids), cpu_s([lab.osd_pid])), time.perf_counter()
        ids, _times = in_parallel(lab.block, WIDTH, many, partial(_create, lab, more))
        accepted_s = time.perf_counter() - started_s
        for volume_id in ids:
            lab.await_status(lab.block, volume_id, "available")
        available_s = time.perf_counter() - started_s
        yield {
            "name": f"volume.{name}.{many}.c{WIDTH}",
            "accepted_per_s": round(many / accepted_s, 1),
            "available_per_s": round(many / available_s, 1),
            "cpu_ms": round((cpu_s(lab.pids) - used_s[0]) * 1e3 / many, 1),
            "osd_ms": round((cpu_s([lab.osd_pid]) - used_s[1]) * 1e3 / many, 1),
            "ratio": round(many / accepted_s / PEER_ACCEPTED_PER_S, 1),
        }
        lab.delete(ids)
