"""A chunk that a disk returns wrong: what Ceph makes of it with two copies, and Ostro with none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio

from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.runtime.world import World
from ostro.testing.ceph import CephCluster, CephOptions, why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ostro.runtime.ceph.connection import open_
from ostro.services.object.chunks.rados import RadosChunks
from ostro.services.object.chunks.verified import name_of

POOLS = Pools("p-images", "p-volumes", "p-objects")
LOOK_BYTES = 1 << 20
PATIENCE_S = 60.0


@pytest.fixture
def cluster() -> Iterator[CephCluster]:
    """Two OSDs with checksums (bluestore), two copies of everything."""
    with CephCluster(CephOptions(osds=2, copies=2, store="bluestore", size_gib=2, placement_groups=1)) as running:
        running.create_pool(POOLS.objects, "ostro")
        running.add_user("ostro-repair", capabilities(POOLS))
        yield running


def damage(cluster: CephCluster, osd: int, data: bytes) -> None:
    """Change a byte of what an OSD, which is not running, has of the data."""
    file = os.open(cluster.root / f"osd.{osd}" / "block", os.O_RDWR)
    try:
        at, end = 0, os.fstat(file).st_size
        while at < end:
            at = os.lseek(file, at, os.SEEK_DATA) // LOOK_BYTES * LOOK_BYTES
            found = os.pread(file, LOOK_BYTES + len(data), at).find(data)
            if found >= 0:
                os.pwrite(file, bytes([data[0] ^ 1]), at + found)
                os.fsync(file)
                return
            at += LOOK_BYTES
    finally:
        os.close(file)
    raise AssertionError("the OSD's disk does not have the data")


def test_a_damaged_chunk_is_read_and_repaired_from_its_other_copy(cluster: CephCluster) -> None:
    trio.run(_damage_and_read, cluster)


async def _damage_and_read(cluster: CephCluster) -> None:
    data = os.urandom(1 << 20)
    name = name_of(data)
    async with open_(World(), CephConfig(cluster.conf, "ostro-repair", POOLS)) as connection:
        await connection.wait_connected(PATIENCE_S)
        await RadosChunks(connection).keep(name, [data])
        first = int(cluster.command("osd map", pool=POOLS.objects, object=name)["acting_primary"])
        cluster.kill_osd(first)
        damage(cluster, first, data[4096:8192])
        cluster.start_osd(first)
        cluster.mark_down(first)
        cluster.wait_until(lambda: _is_whole(cluster), "both copies in use again")
        assert cluster.command("osd map", pool=POOLS.objects, object=name)["acting_primary"] == first
        with trio.fail_after(PATIENCE_S):
            assert b"".join(await RadosChunks(connection).read(name, len(data), 0, len(data))) == data
        other = 1 - first
        cluster.kill_osd(other)
        cluster.mark_down(other)
        with trio.fail_after(PATIENCE_S):
            assert b"".join(await RadosChunks(connection).read(name, len(data), 0, len(data))) == data


def _is_whole(cluster: CephCluster) -> bool:
    status = cluster.command("osd stat")
    return bool(status["num_up_osds"] == 2) and not cluster.is_degraded(POOLS.objects)
