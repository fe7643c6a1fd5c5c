"""Encrypted volumes: what QEMU makes of them, in files and in Ceph, and a guest that runs from them."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
import trio

from ostro.agent.drivers.block import GIB, Stored
from ostro.agent.drivers.block.files import for_qemu, node_options
from ostro.agent.drivers.block.local import LocalConfig
from ostro.agent.drivers.hypervisor import Disk, DomainSpec
from ostro.agent.drivers.hypervisor.libvirt import Secret
from ostro.agent.drivers.hypervisor.libvirt import open_ as open_hypervisor
from ostro.model.errors import OstroError
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import SnapshotWish, VolumeWish
from ostro.runtime.ceph.config import CephConfig, Pools
from ostro.runtime.world import World
from ostro.testing.ceph import CephCluster, why_not
from ostro.testing.contracts.block import (
    COPY,
    DATA,
    IMAGE,
    LUKS_WISH,
    OTHER,
    PASSPHRASE,
    SERVER,
    SNAPSHOT,
    VOLUME,
    image_wish,
    in_chunks,
)
from ostro.testing.contracts.hypervisor import CLOUD, MEMO, Changes
from ostro.testing.libvirt import TestLibvirtd, console_says

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ostro.agent.drivers.block.rbd_host import RbdConfig
from ostro.agent.drivers.block.several import SeveralConfig
from ostro.agent.drivers.block.several import open_ as open_both
from ostro.runtime.ceph.guests import find_key, secret_id

POOLS = Pools("e-images", "e-volumes", "e-objects")
LIMITS = {"total_iops_sec": 2000, "write_bytes_sec": 50 << 20}


@pytest.fixture
def config(ceph: CephCluster) -> Iterator[CephConfig]:
    """A user with the least privilege and empty pools."""
    with ceph.pools_of("ostro-luks", POOLS) as config:
        yield config


def both(config: CephConfig, tmp_path: Path) -> SeveralConfig:
    return SeveralConfig(LocalConfig(tmp_path / "files"), RbdConfig(config, "one", tmp_path / "one"))


def read(disk: Stored, tmp_path: Path, passphrase: str = PASSPHRASE) -> bytes:
    """The bytes that came from an image, as a guest sees them if the passphrase opens the disk. What nobody has written reads as noise."""
    key, target = tmp_path / "key", tmp_path / "read.raw"
    key.write_text(passphrase)
    options = f"driver=luks,key-secret=k,{node_options(disk, 'file')}"
    words = ["qemu-img", "dd", "--object", f"secret,id=k,file={key}", "--image-opts", "-O", "raw"]
    subprocess.run([*words, f"if={options}", f"of={target}", "bs=1M", "count=4"], check=True, capture_output=True)
    return target.read_bytes()[: len(DATA)]


def read_raw(disk: Stored, tmp_path: Path) -> bytes:
    """The first bytes as they are stored."""
    target = tmp_path / "raw"
    words = ["qemu-img", "dd", "-f", "raw", "-O", "raw", f"if={for_qemu(disk)}", f"of={target}", "bs=1M", "count=6"]
    subprocess.run(words, check=True, capture_output=True)
    return target.read_bytes()


@pytest.mark.parametrize("home", [LOCAL, CEPH])
async def test_what_is_stored_is_encrypted_and_copies_open_with_the_same_key(
    config: CephConfig, tmp_path: Path, home: str
) -> None:
    async with open_both(World(), both(config, tmp_path)) as block:
        await block.put_image(image_wish(), in_chunks(DATA))
        wish = VolumeWish(VOLUME, 1, IMAGE, backend=home, encryption=LUKS_WISH)
        volume = await block.make_volume(wish, PASSPHRASE)
        assert (volume.backend, volume.format, volume.size_bytes) == (home, "luks", GIB)
        assert read(volume, tmp_path) == DATA
        stored = read_raw(volume, tmp_path)
        assert stored.startswith(b"LUKS\xba\xbe") and DATA[:512] not in stored and PASSPHRASE.encode() not in stored
        with pytest.raises(subprocess.CalledProcessError):
            read(volume, tmp_path, "another")
        await block.make_snapshot(SnapshotWish(SNAPSHOT, VOLUME))
        for there, id_ in ((LOCAL, COPY), (CEPH, OTHER)):
            copy = VolumeWish(id_, 2, "", VOLUME, backend=there, source_snapshot_id=SNAPSHOT, encryption=LUKS_WISH)
            made = await block.make_volume(copy)
            assert (made.backend, made.size_bytes) == (there, 2 * GIB)
            assert read(made, tmp_path) == DATA
            await block.drop_volume(id_)
        await block.drop_snapshot(SNAPSHOT)
        for there in (LOCAL, CEPH, LOCAL):
            moved = await block.make_volume(VolumeWish(VOLUME, 1, IMAGE, backend=there, encryption=LUKS_WISH))
            assert (moved.backend, moved.format, moved.size_bytes) == (there, "luks", GIB)
            assert read(moved, tmp_path) == DATA
        await block.drop_volume(VOLUME)


async def test_users_of_one_name_of_several_clusters_have_their_keys_side_by_side(
    libvirtd: TestLibvirtd, tmp_path: Path
) -> None:
    for number, user in ((1, "client.ostro"), (2, "client.ostro"), (1, "client.ostro"), (1, "client.other")):
        secret = Secret(f"{number}b0982a0-0000-4000-8000-000000000000", user, b"key")
        async with open_hypervisor(World(), libvirtd.driver(tmp_path / f"{number}", secret)):
            pass


async def test_a_guest_runs_from_encrypted_disks_within_limits(
    config: CephConfig, libvirtd: TestLibvirtd, tiny_image: Path, tmp_path: Path
) -> None:
    """Boots from one in Ceph, and gets one in a file, which grows; without its key at hand neither can be had."""
    data = await trio.Path(tiny_image).read_bytes()
    secret = Secret(secret_id(config), "Ceph", base64.b64decode(find_key(config)))
    async with (
        open_both(World(), both(config, tmp_path)) as block,
        open_hypervisor(World(), libvirtd.driver(tmp_path, secret)) as hypervisor,
    ):
        await block.put_image(image_wish(data, "qcow2"), in_chunks(data))
        root = await block.make_volume(VolumeWish(VOLUME, 1, IMAGE, backend=CEPH, encryption=LUKS_WISH), PASSPHRASE)
        other = await block.make_volume(VolumeWish(COPY, 1, backend=LOCAL, encryption=LUKS_WISH), PASSPHRASE)
        hypervisor.watch(CLOUD, Changes())
        disks = [Disk("vda", root.path, root.format, VOLUME, root.ceph, LIMITS)]
        await hypervisor.define(DomainSpec(SERVER, "tiny", "project-1", 1, 96, disks, []), MEMO)
        with pytest.raises(OstroError):
            await hypervisor.start(SERVER)
        await hypervisor.keep_key(VOLUME, PASSPHRASE)
        await hypervisor.start(SERVER)
        assert "guest: disk vda size_bytes=1073741824" in await console_says(hypervisor, SERVER, "guest: ready")
        assert limits_of(libvirtd.uri, "vda") == LIMITS
        disk = Disk("vdb", other.path, other.format, COPY, other.ceph, {"read_iops_sec": 500})
        with pytest.raises(OstroError):
            await hypervisor.attach(SERVER, disk)
        await hypervisor.keep_key(COPY, PASSPHRASE)
        await hypervisor.attach(SERVER, disk)
        await console_says(hypervisor, SERVER, f"guest: disk vdb size_bytes=1073741824 serial={COPY[:20]}")
        assert limits_of(libvirtd.uri, "vdb") == {"read_iops_sec": 500}
        await hypervisor.resize(SERVER, COPY, 2 * GIB)
        await console_says(hypervisor, SERVER, "guest: disk vdb resized size_bytes=2147483648")
        grown = await block.find_volume(COPY)
        assert grown is not None and grown.size_bytes == 2 * GIB
        await hypervisor.resize(SERVER, VOLUME, 2 * GIB)
        await console_says(hypervisor, SERVER, "guest: disk vda resized size_bytes=2147483648")
        grown = await block.find_volume(VOLUME)
        assert grown is not None and grown.size_bytes == 2 * GIB
        await hypervisor.detach(SERVER, COPY)
        await console_says(hypervisor, SERVER, "guest: disk vdb removed")
        for volume_id in (COPY, VOLUME, VOLUME):
            await hypervisor.forget_key(volume_id)
        await hypervisor.delete(SERVER)
        for volume_id in (COPY, VOLUME):
            await block.drop_volume(volume_id)


def limits_of(uri: str, device: str) -> dict[str, int]:
    """What QEMU itself says that it holds a disk to."""
    connection = libvirt.open(uri)
    try:
        found = connection.lookupByUUIDString(SERVER).blockIoTune(device)
    finally:
        connection.close()
    return {name: value for name, value in found.items() if isinstance(value, int) and value}
