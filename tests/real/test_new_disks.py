"""New disks in a real Ceph: how many operations they cost, copies and what they leave with their source, and attempts that broke off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from ostro.model.wishes import VolumeWish
from ostro.runtime.ceph.config import CephConfig, Pools
from ostro.runtime.world import World
from ostro.testing.ceph import CephCluster, why_not
from ostro.testing.contracts.block import COPY, DATA, IMAGE, VOLUME, image_wish, in_chunks

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ostro.agent.drivers.block.rbd import RbdBlock, open_
from ostro.agent.drivers.block.rbd_host import RbdConfig
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.connection import Ceph
from ostro.runtime.ceph.connection import open_ as open_ceph
from ostro.runtime.ceph.new_disks import NewDisk, copy_mark, make_blank, make_clone, make_copy

POOLS = Pools("n-images", "n-volumes", "n-objects")
MOST_OPS = {"blank": 80, "image": 160, "copy": 230}
"""Of the OSD, for one disk, with room for what varies: each further opening of a disk is a dozen, each with its lock two dozen."""


@pytest.fixture
def config(ceph: CephCluster) -> Iterator[CephConfig]:
    """Empty pools and a user with the least privilege."""
    with ceph.pools_of("ostro-new", POOLS) as config:
        yield config


@pytest.fixture
async def block(config: CephConfig, tmp_path: Path) -> AsyncIterator[RbdBlock]:
    async with open_(World(), RbdConfig(config, "one", tmp_path / "one")) as driver:
        yield driver


@pytest.fixture
async def connection(config: CephConfig) -> AsyncIterator[Ceph]:
    async with open_ceph(World(), config) as connected:
        await connected.wait_connected(30)
        yield connected


def count_ops(ceph: CephCluster) -> int:
    """How many operations of clients the OSD has carried out."""
    return int(json.loads(ceph.ask_osd(0, "perf dump"))["osd"]["op"])


async def test_a_volume_costs_only_so_many_operations(block: RbdBlock, connection: Ceph, ceph: CephCluster) -> None:
    """Counted, because times say more of the machine. Nothing is to be flattened meanwhile."""
    await block.put_image(image_wish(), in_chunks(DATA))
    await block.make_volume(VolumeWish(VOLUME, 1))
    image, source = disks.Disk(POOLS.images, IMAGE), disks.Disk(POOLS.volumes, f"volume-{VOLUME}")
    makers: dict[str, tuple[Callable[..., bool], tuple[object, ...]]] = {
        "blank": (make_blank, ()),
        "image": (make_clone, (image, disks.BASE)),
        "copy": (make_copy, (source,)),
    }
    counted: dict[str, float] = {}
    for kind, (make, origin) in makers.items():
        counts = []
        for number in range(3):
            limits = {"rbd_qos_iops_limit": 100} if kind == "copy" else None
            new = NewDisk(disks.Disk(POOLS.volumes, f"{kind}-{number}"), "one", "one", 2 << 30, {}, limits)
            before = count_ops(ceph)
            assert await connection.call(kind, make, new, *origin)
            counts.append(count_ops(ceph) - before)
        counted[kind] = median(counts)
    assert all(count <= MOST_OPS[kind] for kind, count in counted.items()), counted


async def test_a_copys_source_is_rid_of_its_snapshot(block: RbdBlock, connection: Ceph, ceph: CephCluster) -> None:
    await block.make_volume(VolumeWish(VOLUME, 1))
    await block.make_volume(VolumeWish(COPY, 1, source_volume_id=VOLUME))
    source = disks.Disk(POOLS.volumes, f"volume-{VOLUME}")
    mark = copy_mark(disks.Disk(POOLS.volumes, f"volume-{COPY}"))
    while await connection.call("it", disks.find_snapshot, source, mark) is not None:
        pass
    while await connection.call("it", disks.read_keys, POOLS.volumes, "ostro.flatten.one"):
        pass


async def test_an_attempt_that_broke_off_is_in_nobodys_way(block: RbdBlock, connection: Ceph) -> None:
    """A part and a snapshot of one, both of another state of the source."""
    await block.make_volume(VolumeWish(VOLUME, 1))
    source, target = (disks.Disk(POOLS.volumes, f"volume-{id_}") for id_ in (VOLUME, COPY))
    new = NewDisk(target, "one", "one", 1 << 30, {"note": "kept"}, {})
    await connection.call("mark", disks.snapshot, source, copy_mark(target))
    await connection.call("part", disks.create, new.part, 1 << 20)
    assert await connection.call("copy", make_copy, new, source)
    found = await connection.call("copy", disks.look, target)
    assert found is not None and found.size_bytes == 1 << 30
    assert found.notes == {"note": "kept", disks.OWNER_KEY: "one"}
    assert not await connection.call("again", make_blank, new), "somebody else was first"
    assert new.part.name not in await connection.call("names", disks.list_names, POOLS.volumes)
