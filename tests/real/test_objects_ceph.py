"""Objects by the Swift API with their bytes in a real Ceph."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.runtime.world import World
from ostro.services.object.sweeps import sweep_objects
from ostro.testing.ceph import CephCluster, CephOptions, why_not
from ostro.testing.cloud import TestCloud, open_cloud

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ostro.runtime.ceph.connection import Ceph, State, open_

POOLS = Pools("o-images", "o-volumes", "o-objects")


def configure(cluster: CephCluster) -> CephConfig:
    cluster.create_pool(POOLS.objects, "ostro")
    cluster.add_user("ostro-objects", capabilities(POOLS))
    return CephConfig(cluster.conf, "ostro-objects", POOLS)


@pytest.fixture
def config(ceph: CephCluster) -> Iterator[CephConfig]:
    yield configure(ceph)
    ceph.remove_pool(POOLS.objects)


@pytest.fixture
async def connection(config: CephConfig) -> AsyncIterator[Ceph]:
    async with open_(World(), config) as connected:
        await connected.wait_connected(30)
        yield connected


@pytest.fixture
async def cloud(connection: Ceph, tmp_path: Path) -> AsyncIterator[TestCloud]:
    async with open_cloud(tmp_path, ceph=connection) as test_cloud:
        yield test_cloud


async def account(cloud: TestCloud) -> str:
    """The path of a container."""
    answer = await cloud.as_admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": cloud.as_admin.token})
    path = f"/object-store/v1/AUTH_{answer.json['token']['project']['id']}/box"
    assert (await cloud.as_admin.put(path)).status == 201
    return path


async def test_objects_are_put_read_in_part_and_collected(cloud: TestCloud, ceph: CephCluster) -> None:
    box = await account(cloud)
    data = os.urandom(9 << 20)
    made = await cloud.as_admin.put(f"{box}/one", data=data)
    assert (made.status, made.headers["Etag"]) == (201, hashlib.md5(data, usedforsecurity=False).hexdigest())
    assert len(ceph.objects(POOLS.objects)) == 3
    assert (await cloud.as_admin.put(f"{box}/two", data=data)).status == 201
    assert len(ceph.objects(POOLS.objects)) == 3
    assert (await cloud.as_admin.get(f"{box}/one")).body == data
    part = await cloud.as_admin.get(f"{box}/two", headers={"Range": "bytes=4194000-8389000"})
    assert part.body == data[4194000:8389001]
    for name in ("one", "two"):
        assert (await cloud.as_admin.delete(f"{box}/{name}")).status == 204
    await sweep_objects(cloud.cloud)
    assert ceph.objects(POOLS.objects) == []


def test_a_dead_cluster_costs_a_503_and_nothing_that_was_promised(tmp_path: Path) -> None:
    with CephCluster(CephOptions(store="bluestore")) as cluster:
        trio.run(_lose_and_regain, cluster, configure(cluster), tmp_path)


async def _lose_and_regain(cluster: CephCluster, config: CephConfig, tmp_path: Path) -> None:
    async with open_(World(), config) as connection:
        await connection.wait_connected(30)
        async with open_cloud(tmp_path, ceph=connection) as cloud:
            box = await account(cloud)
            kept: dict[str, bytes] = {}
            refused = 0

            async def write(number: int) -> None:
                nonlocal refused
                data = os.urandom(1 << 20)
                answer = await cloud.as_admin.put(f"{box}/{number}", data=data)
                if answer.status == 201:
                    kept[f"{number}"] = data
                else:
                    assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0
                    refused += 1

            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    for number in range(12):
                        nursery.start_soon(write, number)
                        if number == 6:
                            cluster.kill_osd(0)
                await connection.wait_for(State.AWAY)
                assert (await cloud.as_admin.put(f"{box}/small", data=b"in the index")).status == 201
                assert (await cloud.as_admin.get(box)).status == 200
                cluster.start_osd(0)
                await connection.wait_for(State.UP)
                for name, data in kept.items():
                    assert (await cloud.as_admin.get(f"{box}/{name}")).body == data
                await write(100)
                assert "100" in kept
