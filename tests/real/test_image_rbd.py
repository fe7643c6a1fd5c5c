"""Image bytes in a real Ceph against the contract, and through the Image API."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ostro.model.errors import Conflict, Unavailable
from ostro.runtime.ceph.config import CephConfig, Pools
from ostro.runtime.world import World
from ostro.services.image.files import ImageStore
from ostro.testing.ceph import CephCluster, why_not
from ostro.testing.cloud import TestCloud, open_cloud
from ostro.testing.contracts.image_store import PIECE, UPLOAD, ImageStoreContract, get, put

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

import rbd

from ostro.runtime.ceph import connection as connections
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.connection import Ceph, State, open_
from ostro.runtime.ceph.disks import Disk, OpenDisk
from ostro.services.image.rbd import RbdImages

POOLS = Pools("i-images", "i-volumes", "i-objects")
IMAGES = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
ALWAYS_THERE = {"rbd_directory", "rbd_info", "rbd_trash", "rbd_children"}


@pytest.fixture
def config(ceph: CephCluster) -> Iterator[CephConfig]:
    """Empty pools and a user with the least privilege."""
    with ceph.pools_of("ostro-images", POOLS, objects=True) as config:
        yield config


@pytest.fixture
async def connection(config: CephConfig) -> AsyncIterator[Ceph]:
    async with open_(World(), config) as connected:
        await connected.wait_connected(30)
        yield connected


class TestRbdImages(ImageStoreContract):
    @pytest.fixture
    async def store(self, connection: Ceph) -> ImageStore:
        return RbdImages(connection)


@pytest.fixture
async def held(connection: Ceph) -> AsyncIterator[OpenDisk]:
    """A published image that somebody has open to write."""
    put(RbdImages(connection), UPLOAD, "raw", [PIECE])
    opened = connection.open_disk(Disk(POOLS.images, UPLOAD))
    yield opened
    opened.close()


async def test_who_has_an_image_open_for_a_moment_is_waited_for(
    connection: Ceph, held: OpenDisk, ceph: CephCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, tried = disks.remove, threading.Event()

    def remove_noting(cluster: Any, disk: Disk) -> None:
        try:
            remove(cluster, disk)
        except rbd.ImageBusy:
            tried.set()
            raise

    monkeypatch.setattr(disks, "remove", remove_noting)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(RbdImages(connection).remove, UPLOAD)
        await trio.to_thread.run_sync(tried.wait, 60)
        held.close()
    assert set(ceph.objects(POOLS.images)) <= ALWAYS_THERE


async def test_an_image_that_stays_open_is_refused(
    connection: Ceph, held: OpenDisk, ceph: CephCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LET_GO_S", 0.1)
    images = RbdImages(connection)
    with pytest.raises(Conflict):
        await images.remove(UPLOAD)
    assert images.list() == {UPLOAD} and get(images, UPLOAD, "raw", len(PIECE)) == PIECE
    held.close()
    await images.remove(UPLOAD)
    assert set(ceph.objects(POOLS.images)) <= ALWAYS_THERE


@pytest.fixture
async def cloud(connection: Ceph, tmp_path: Path) -> AsyncIterator[TestCloud]:
    async with open_cloud(tmp_path, ceph=connection) as test_cloud:
        yield test_cloud


async def make(cloud: TestCloud, data: bytes) -> str:
    body = {"name": "one", "disk_format": "raw", "container_format": "bare"}
    path = f"{IMAGES}/{(await cloud.as_admin.post(IMAGES, body)).json['id']}"
    assert (await cloud.as_admin.put(f"{path}/file", data=data, headers=OCTETS)).status == 204
    return path


async def test_an_image_by_the_api(cloud: TestCloud, connection: Ceph, ceph: CephCluster) -> None:
    data = b"boot me" * 1_000_000
    path = await make(cloud, data)
    shown = (await cloud.as_admin.get(path)).json
    assert (shown["status"], shown["size"], shown["checksum"]) == (
        "active",
        len(data),
        hashlib.md5(data, usedforsecurity=False).hexdigest(),
    )
    assert (await cloud.as_admin.get(f"{path}/file")).body == data
    part = await cloud.as_admin.get(f"{path}/file", headers={"Range": "bytes=4194300-4194310"})
    assert (part.status, part.body) == (206, data[4194300:4194311])
    (name,) = await connection.call("images", disks.list_names, POOLS.images)
    assert await connection.call("it", disks.find_snapshot, disks.Disk(POOLS.images, name), disks.BASE)
    assert (await cloud.as_admin.delete(path)).status == 204
    ceph.wait_until(lambda: set(ceph.objects(POOLS.images)) <= ALWAYS_THERE, "no image is left")


async def test_without_ceph_images_are_unavailable_and_the_rest_goes_on(cloud: TestCloud, ceph: CephCluster) -> None:
    path = await make(cloud, b"x" * 5_000_000)
    assert cloud.cloud.ceph is not None
    ceph.freeze("osd.0")
    try:
        with trio.fail_after(30):
            await cloud.cloud.ceph.wait_for(State.AWAY)
        answer = await cloud.as_admin.get(f"{path}/file")
        assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0
        assert (await cloud.as_admin.get(path)).status == 200
        assert (await cloud.anonymous.get("/readyz")).json["ceph"].startswith("away: ")
    finally:
        ceph.thaw("osd.0")
    with trio.fail_after(30):
        await cloud.cloud.ceph.wait_for(State.UP)
    assert (await cloud.as_admin.get(f"{path}/file")).status == 200
    assert (await cloud.anonymous.get("/readyz")).json == {"status": "ready", "ceph": "up"}


async def test_an_upload_that_breaks_off_leaves_nothing(cloud: TestCloud, ceph: CephCluster) -> None:
    body = {"name": "one", "disk_format": "qcow2", "container_format": "bare"}
    path = f"{IMAGES}/{(await cloud.as_admin.post(IMAGES, body)).json['id']}"
    refused = await cloud.as_admin.put(f"{path}/file", data=b"not a qcow2 " * 1_000_000, headers=OCTETS)
    assert refused.status == 415
    assert (await cloud.as_admin.get(path)).json["status"] == "queued"
    assert set(ceph.objects(POOLS.images)) <= ALWAYS_THERE


def test_a_store_without_a_cluster_says_so(tmp_path: Path) -> None:
    (tmp_path / "ceph.conf").write_text("[global]\nmon host = [v2:127.0.0.1:9/0]\n")

    async def try_() -> None:
        async with open_(World(), CephConfig(tmp_path / "ceph.conf")) as away:
            with pytest.raises(Unavailable):
                RbdImages(away).list()

    trio.run(try_)
