"""Images made of volumes in a real Ceph: clones that outlive their volume, files in other formats, and what a crash leaves."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ostro.agent.drivers.block import Block, Stored
from ostro.agent.drivers.block.files import EXPORTS, for_qemu
from ostro.agent.drivers.block.local import LocalConfig
from ostro.model.errors import NotFound
from ostro.model.volumes import LOCAL
from ostro.model.wishes import UploadWish, VolumeWish
from ostro.runtime.ceph.config import CephConfig, Pools
from ostro.runtime.world import World
from ostro.testing.ceph import CephCluster, why_not
from ostro.testing.contracts.block import COPY, DATA, IMAGE, UPLOAD, VOLUME, image_wish, in_chunks

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

import rbd as librbd

from ostro.agent.drivers.block import several
from ostro.agent.drivers.block.rbd import RbdBlock, open_
from ostro.agent.drivers.block.rbd_host import Clone, RbdConfig
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.connection import Ceph
from ostro.runtime.ceph.connection import open_ as open_ceph
from ostro.runtime.ceph.handles import open_ioctx
from ostro.runtime.ceph.new_disks import NewDisk, make_copy
from ostro.services.image.rbd import RbdImages

POOLS = Pools("u-images", "u-volumes", "u-objects")
ALWAYS_THERE = {"rbd_directory", "rbd_info", "rbd_trash", "rbd_children", "ostro.host.one", "ostro.flatten.one"}
WISH = UploadWish(UPLOAD, VOLUME, "raw", shared=True)


@pytest.fixture
def config(ceph: CephCluster) -> Iterator[CephConfig]:
    """Empty pools and a user with the least privilege."""
    with ceph.pools_of("ostro-uploads", POOLS) as config:
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


def write_disk(disk: Stored, pattern: str) -> None:
    """Let QEMU write a pattern to a disk."""
    words = ["qemu-io", "-f", "raw", "-c", f"write -P {pattern} 0 4096", for_qemu(disk)]
    subprocess.run(words, check=True, capture_output=True)


async def read_image(images: RbdImages) -> bytes:
    """What the image service gives of the image."""

    def read() -> bytes:
        reader = images.open(UPLOAD, "raw")
        try:
            return reader.read(0, len(DATA))
        finally:
            reader.close()

    return await trio.to_thread.run_sync(read)


def rbd(config: CephConfig, *words: str) -> str:
    command = ["rbd", "-c", str(config.conf), "--id", config.user, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def is_empty(ceph: CephCluster) -> bool:
    return set(ceph.objects(POOLS.images)) | set(ceph.objects(POOLS.volumes)) <= ALWAYS_THERE


async def test_an_image_is_a_clone_that_outlives_its_volume(
    block: RbdBlock, connection: Ceph, ceph: CephCluster, config: CephConfig
) -> None:
    images = RbdImages(connection)
    await block.put_image(image_wish(), in_chunks(DATA))
    made = await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE, limits={"total_iops_sec": 100}))
    write_disk(made, "0x55")
    for _twice in range(2):
        assert await block.publish(WISH)
    write_disk(made, "0x66")
    expected = b"\x55" * 4096 + DATA[4096:]
    assert await read_image(images) == expected
    found = await connection.call("it", disks.look, disks.Disk(POOLS.images, UPLOAD))
    assert found is not None and found.limits == {}, "an image has no limits of its own"
    await block.drop_volume(VOLUME)
    assert await read_image(images) == expected
    await block.drop_upload(UPLOAD)
    assert (await block.contents()).uploads == frozenset()
    assert await read_image(images) == expected, "what is whole stays"
    copy = await block.make_volume(VolumeWish(COPY, 1, image_id=IMAGE))
    await block.drop_volume(COPY)
    assert copy.size_bytes == 1 << 30
    # The volume is in the trash until its image stands on its own feet.
    name = f"{POOLS.images}/{UPLOAD}"
    ceph.wait_until(lambda: "parent" not in rbd(config, "info", name), "the image is flattened")
    assert await read_image(images) == expected
    await images.remove(UPLOAD)
    await block.drop_image(IMAGE)
    await connection.call("base", disks.remove, disks.Disk(POOLS.images, IMAGE))
    ceph.wait_until(lambda: is_empty(ceph), "nothing is left")


async def test_an_image_that_is_deleted_while_it_stands_on_its_volume(
    block: RbdBlock, connection: Ceph, ceph: CephCluster
) -> None:
    await block.make_volume(VolumeWish(VOLUME, 1))
    assert await block.publish(WISH)
    await block.drop_volume(VOLUME)
    # While it is being flattened it is in use.
    await RbdImages(connection).remove(UPLOAD)
    await block.drop_upload(UPLOAD)
    ceph.wait_until(lambda: is_empty(ceph), "nothing is left")


async def test_what_a_dead_agent_has_left_is_cleared_away(
    config: CephConfig, connection: Ceph, ceph: CephCluster, tmp_path: Path
) -> None:
    """Dead after the snapshot, after the clone, and in the middle of another format."""
    host = RbdConfig(config, "one", tmp_path / "one")
    volume, part = disks.Disk(POOLS.volumes, f"volume-{VOLUME}"), disks.Disk(POOLS.images, UPLOAD).part("one")
    async with open_(World(), host) as block:
        await block.make_volume(VolumeWish(VOLUME, 1))
        await block._keep(f"upload-{UPLOAD}", VOLUME)
        await connection.call("mark", disks.snapshot, volume, f"upload-{UPLOAD}")
        # Dead before the image had its name: both are there, and what is to be flattened is noted.
        image = disks.Disk(POOLS.images, UPLOAD)
        await block._flatten_later(image, Clone(image.pool, volume.name))
        new = NewDisk(image, "one", "", 0, {})
        assert await connection.call("clone", make_copy, new, volume)
        await connection.call("name", rename, image, part)
    async with open_(World(), host) as block:
        assert (await block.contents()).uploads == {UPLOAD}
        for _twice in range(2):
            await block.drop_upload(UPLOAD)
        assert (await block.contents()).uploads == frozenset()
        name = f"{POOLS.volumes}/{volume.name}"
        ceph.wait_until(lambda: rbd(config, "snap", "ls", name) == "", "no snapshot is left")
        await block.drop_volume(VOLUME)
    ceph.wait_until(lambda: is_empty(ceph), "nothing is left")


@pytest.mark.parametrize("home", ["ceph", LOCAL])
async def test_every_format_is_what_it_says(config: CephConfig, tmp_path: Path, home: str) -> None:
    """Of a volume that is written to meanwhile: what it held when the export began."""
    files = several.SeveralConfig(LocalConfig(tmp_path / "files"), RbdConfig(config, "one", tmp_path / "one"))
    async with several.open_(World(), files) as block:
        await block.put_image(image_wish(), in_chunks(DATA))
        await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE, backend=home))
        for disk_format, qemu in EXPORTS.items():
            target, flat = tmp_path / "export", tmp_path / "flat"
            await save(block, UploadWish(UPLOAD, VOLUME, disk_format), target)
            await trio.run_process(["qemu-img", "convert", "-f", qemu, "-O", "raw", str(target), str(flat)])
            with flat.open("rb") as file:
                assert file.read(len(DATA)) == DATA, disk_format
        assert not await block.publish(UploadWish(UPLOAD, VOLUME, "raw"))
        assert await block.publish(WISH) == (home == "ceph")
        await block.drop_upload(UPLOAD)
        await block.drop_volume(VOLUME)
        with pytest.raises(NotFound):
            await save(block, WISH, tmp_path / "export")


def rename(cluster: Any, disk: disks.Disk, other: disks.Disk) -> None:
    with open_ioctx(cluster, disk.pool) as ioctx:
        librbd.RBD().rename(ioctx, disk.name, other.name)


async def save(block: Block, upload: UploadWish, path: Path) -> None:
    async with block.exported(upload) as export:
        size_bytes = 0
        with path.open("wb") as file:
            async for chunk in export.chunks:
                size_bytes += file.write(chunk)
        assert size_bytes == export.size_bytes
