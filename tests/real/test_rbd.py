"""Storage in a real Ceph against the driver's contract, and what only RBD promises."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.agent.drivers.block import GIB, Block, Contents, Stored
from ostro.agent.drivers.block.files import for_qemu, node_options
from ostro.agent.drivers.block.local import LocalConfig
from ostro.agent.drivers.block.qcow2 import overlay
from ostro.agent.drivers.hypervisor import Disk, DomainSpec, Memo
from ostro.agent.drivers.hypervisor.libvirt import Secret
from ostro.agent.drivers.hypervisor.libvirt import open_ as open_hypervisor
from ostro.agent.parts import libvirtd as parts
from ostro.agent.parts.libvirtd import Listening
from ostro.model.errors import Unavailable, Unsupported
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import ImageWish, RevertWish, SnapshotWish, VolumeWish
from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.runtime.world import World
from ostro.testing.ceph import CephCluster, why_not
from ostro.testing.contracts.block import (
    COPY,
    DATA,
    EMPTY,
    IMAGE,
    SERVER,
    SNAPSHOT,
    VOLUME,
    BlockContract,
    image_wish,
    in_chunks,
)
from ostro.testing.contracts.hypervisor import CLOUD, MEMO, Changes
from ostro.testing.libvirt import TestLibvirtd, console_says, serve_libvirtd

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ostro.agent.drivers.block import rbd, several
from ostro.agent.drivers.block.rbd import RbdBlock, open_
from ostro.agent.drivers.block.rbd_host import RbdConfig
from ostro.agent.drivers.block.several import SeveralBlocks
from ostro.runtime.ceph.guests import find_key, secret_id

POOLS = Pools("r-images", "r-volumes", "r-objects")
IN_CEPH = "70000000-0000-4000-8000-000000000003"
OWN_OBJECTS = {"rbd_directory", "rbd_info", "rbd_trash", "rbd_children", "ostro.host.one", "ostro.host.two"}
"""What stays in a pool that holds no disk."""


@pytest.fixture(scope="module")
def user(ceph: CephCluster) -> CephConfig:
    """A user with the least privilege."""
    ceph.add_user("ostro-rbd", capabilities(POOLS))
    return CephConfig(ceph.conf, "ostro-rbd", POOLS)


@pytest.fixture
def config(ceph: CephCluster, user: CephConfig) -> Iterator[CephConfig]:
    """Empty pools, which must be empty again at the end."""
    for name in (POOLS.images, POOLS.volumes):
        ceph.create_pool(name)
    yield user
    for name in (POOLS.images, POOLS.volumes):
        ceph.remove_pool(name)


def leftovers(ceph: CephCluster, pool: str) -> set[str]:
    """The objects in a pool besides those that are always there."""
    return set(ceph.objects(pool)) - OWN_OBJECTS


def list_disks(config: CephConfig) -> list[str]:
    """The pool's disks, by Ceph's own table of them."""
    return run("rbd", "-c", str(config.conf), "--id", config.user, "ls", POOLS.volumes).split()


def on_host(config: CephConfig, host: str, tmp_path: Path) -> AbstractAsyncContextManager[RbdBlock]:
    return open_(World(), RbdConfig(config, host, tmp_path / host))


def both(config: CephConfig, tmp_path: Path) -> AbstractAsyncContextManager[SeveralBlocks]:
    files = LocalConfig(tmp_path / "files")
    return several.open_(World(), several.SeveralConfig(files, RbdConfig(config, "one", tmp_path / "one")))


@pytest.fixture
async def block(config: CephConfig, tmp_path: Path) -> AsyncIterator[RbdBlock]:
    async with on_host(config, "one", tmp_path) as driver:
        yield driver


def read_disk(disk: Stored, tmp_path: Path) -> bytes:
    """The first bytes of a disk, as QEMU sees them."""
    target = tmp_path / "read.raw"
    source = for_qemu(disk)
    subprocess.run(
        ["qemu-img", "dd", "-f", "raw", "-O", "raw", f"if={source}", f"of={target}", "bs=1M", "count=4"],
        check=True,
        capture_output=True,
    )
    return target.read_bytes()


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def write_disk(disk: Stored, data: str) -> None:
    """Let QEMU write a pattern to a disk."""
    run("qemu-io", "-f", "raw", "-c", f"write -P {data} 0 4096", for_qemu(disk))


class CephContract(BlockContract):
    def too_large_for_1_gb(self) -> ImageWish:
        return image_wish(self._large(), "qcow2")

    def chunks_of_too_large(self) -> AsyncIterator[bytes]:
        return in_chunks(self._large())

    def _large(self) -> bytes:
        content = overlay("", "", 2 * GIB)
        data = bytearray(content.size_bytes)
        for offset, piece in content.pieces.items():
            data[offset : offset + len(piece)] = piece
        return bytes(data)


class TestRbdBlock(CephContract):
    """Ceph alone."""


class TestSeveralBlocks(CephContract):
    """Ceph with files beside it."""

    @pytest.fixture
    async def block(self, config: CephConfig, tmp_path: Path) -> AsyncIterator[Block]:
        async with both(config, tmp_path) as driver:
            yield driver


@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
async def test_a_guest_sees_the_image_on_its_disks(
    block: RbdBlock, config: CephConfig, tmp_path: Path, disk_format: str
) -> None:
    source = tmp_path / "image.raw"
    source.write_bytes(DATA)
    run("qemu-img", "convert", "-O", disk_format, str(source), str(tmp_path / "image"))
    data = (tmp_path / "image").read_bytes()
    await block.put_image(image_wish(data, disk_format), in_chunks(data))
    root = await block.make_root(SERVER, IMAGE, 1)
    volume = await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
    for disk in (root, volume):
        assert read_disk(disk, tmp_path) == DATA.ljust(4 << 20, b"\0")
    assert list((tmp_path / "one" / "unfinished-images").iterdir()) == []


async def test_nothing_is_left_of_what_is_deleted(
    block: RbdBlock, ceph: CephCluster, config: CephConfig, tmp_path: Path
) -> None:
    """Parents go when the last of their children does, in whatever order they were deleted."""
    await block.put_image(image_wish(), in_chunks(DATA))
    await block.make_root(SERVER, IMAGE, 1)
    made = await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
    write_disk(made, "0x55")
    copy = await block.make_volume(VolumeWish(COPY, 2, source_volume_id=VOLUME))
    write_disk(made, "0x66")
    assert read_disk(copy, tmp_path)[:4096] == b"\x55" * 4096
    await block.drop_volume(VOLUME)
    assert read_disk(copy, tmp_path)[:8192] == b"\x55" * 4096 + DATA[4096:8192]
    await block.drop_volume(COPY)
    await block.drop_root(SERVER)
    assert leftovers(ceph, POOLS.volumes) <= {"ostro.flatten.one"}
    assert await block.contents() == Contents(frozenset({IMAGE}), frozenset(), frozenset())


async def test_hosts_share_images_and_keep_their_hands_off_each_others_disks(
    block: RbdBlock, config: CephConfig, tmp_path: Path
) -> None:
    await block.put_image(image_wish(), in_chunks(DATA))
    async with on_host(config, "two", tmp_path) as other:
        await other.put_image(image_wish(), in_chunks(b"these are not read"))
        await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE))
        assert await other.find_volume(VOLUME) is not None
        assert (await other.contents()).volumes == frozenset()
        await other.drop_volume(VOLUME)
        assert await block.find_volume(VOLUME) is not None
        await other.make_volume(VolumeWish(VOLUME, 1))
        await block.drop_volume(VOLUME)
        assert await other.find_volume(VOLUME) is not None
        assert (await block.contents()).volumes == frozenset()
        await other.drop_volume(VOLUME)
        assert await block.find_volume(VOLUME) is None


async def test_a_root_disk_is_the_next_hosts_after_it_was_handed_over(
    block: RbdBlock, ceph: CephCluster, config: CephConfig, tmp_path: Path
) -> None:
    """Whichever of the two is told first, and whatever was written stays; only the one that has it may delete it."""
    await block.put_image(image_wish(), in_chunks(DATA))
    async with on_host(config, "two", tmp_path) as other:
        assert await other.find_root(SERVER) is None
        made = await block.make_root(SERVER, IMAGE, 1)
        write_disk(made, "0x55")
        there = await other.find_root(SERVER)
        assert there is not None and (there.path, there.size_bytes) == (made.path, GIB)
        await other.drop_root(SERVER)
        assert await block.find_root(SERVER) == made, "it isn't that one's to delete yet"
        await block.hand_over_root(SERVER, "two")
        await block.drop_root(SERVER)
        assert await other.find_root(SERVER) == there
        grown = await other.extend_root(SERVER, 2)
        assert (await other.make_root(SERVER, IMAGE, 1)).size_bytes == grown.size_bytes == 2 * GIB
        assert read_disk(grown, tmp_path)[:8192] == b"\x55" * 4096 + DATA[4096:8192]
        assert (await block.contents()).roots == frozenset()
        assert (await other.contents()).roots == {SERVER}
        # Back; now the heir makes it its own before it is handed over.
        await block.make_root(SERVER, IMAGE, 1)
        await other.hand_over_root(SERVER, "one")
        assert (await other.contents()).roots == frozenset()
        await block.drop_root(SERVER)
        assert await other.find_root(SERVER) is None
        await other.hand_over_root(SERVER, "one")
    assert leftovers(ceph, POOLS.volumes) <= {"ostro.flatten.one"}


async def test_what_was_left_unfinished_is_thrown_away(config: CephConfig, ceph: CephCluster, tmp_path: Path) -> None:
    async with on_host(config, "one", tmp_path) as driver:
        with trio.CancelScope() as scope:

            async def endless() -> AsyncIterator[bytes]:
                yield DATA
                scope.cancel()
                await trio.sleep_forever()

            await driver.put_image(image_wish(), endless())
        assert await driver.contents() == EMPTY
    left = f"{POOLS.volumes}/part.one.volume-x"
    run("rbd", "-c", str(config.conf), "--id", config.user, "create", "-s", "1M", left)
    async with on_host(config, "one", tmp_path) as driver:
        assert await driver.contents() == EMPTY
    assert leftovers(ceph, POOLS.volumes) == leftovers(ceph, POOLS.images) == set()


async def test_a_volume_in_use_is_not_deleted(block: Block) -> None:
    made = await block.make_volume(VolumeWish(VOLUME, 1))
    source = for_qemu(made)
    async with trio.open_nursery() as nursery:
        user = await trio.lowlevel.open_process(
            ["qemu-io", "-f", "raw", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert user.stdin is not None and user.stdout is not None
        await user.stdin.send_all(b"write -P 1 0 4096\n")
        await user.stdout.receive_some()
        with pytest.raises(Unavailable):
            await block.drop_volume(VOLUME)
        await block.extend_volume(VOLUME, 2)
        found = await block.find_volume(VOLUME)
        assert found is not None and found.size_bytes == 2 * GIB
        await block.make_snapshot(SnapshotWish(SNAPSHOT, VOLUME))
        assert await block.find_snapshot(SNAPSHOT) is not None
        await user.stdin.send_all(b"quit\n")
        nursery.start_soon(user.wait)
    await block.drop_volume(VOLUME)
    assert await block.find_volume(VOLUME) is None


async def test_who_had_a_disk_open_writes_nothing_after_it_was_taken_over(config: CephConfig, tmp_path: Path) -> None:
    async with on_host(config, "one", tmp_path) as one, on_host(config, "two", tmp_path) as two:
        volume = await one.make_volume(VolumeWish(VOLUME, 1))
        # Guests of the first host, out of our reach: QEMU, having written and so holding the lock.
        words = ["qemu-io", "-f", "raw", for_qemu(volume)]
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as lost:  # noqa: ASYNC220
            assert lost.stdin is not None and lost.stdout is not None
            lost.stdin.write("write -P 1 0 4096\n")
            lost.stdin.flush()
            while "wrote 4096/4096 bytes" not in (said := lost.stdout.readline()):
                assert said, "it ends only when told to"
            await two.make_volume(VolumeWish(VOLUME, 1))
            await two.take_over(SERVER, [VOLUME])
            write_disk(volume, "2")
            said, _nothing = lost.communicate("write -P 3 0 4096\nq\n", timeout=120)
            assert "wrote" not in said, said
        assert read_disk(volume, tmp_path)[:4096] == b"\x02" * 4096
        await two.take_over(SERVER, [VOLUME])
        await two.drop_volume(VOLUME)


async def test_an_image_that_the_control_plane_has_put_there_is_not_fetched(block: RbdBlock, tmp_path: Path) -> None:
    wish = ImageWish(IMAGE, "raw", len(DATA), hashlib.sha512(DATA).hexdigest(), stored_as="upload-1")
    await block.put_image(wish, in_chunks(DATA))
    other = ImageWish(COPY, "raw", len(DATA), "", stored_as="upload-1")
    await block.put_image(other, in_chunks(b"these are not read"))
    assert (await block.make_root(SERVER, COPY, 0)).size_bytes == len(DATA)


async def test_a_volume_is_where_its_wish_says_and_moves(config: CephConfig, ceph: CephCluster, tmp_path: Path) -> None:
    async with both(config, tmp_path) as block:
        await block.put_image(image_wish(), in_chunks(DATA))
        for there in (LOCAL, CEPH, LOCAL, CEPH):
            made = await block.make_volume(VolumeWish(VOLUME, 1, image_id=IMAGE, backend=there))
            assert made.backend == there and made == await block.find_volume(VOLUME)
            assert read_disk(made, tmp_path) == DATA.ljust(4 << 20, b"\0")
        for there in (LOCAL, CEPH):
            copy = await block.make_volume(VolumeWish(COPY, 2, source_volume_id=VOLUME, backend=there))
            assert (copy.backend, copy.size_bytes) == (there, 2 * GIB)
            assert read_disk(copy, tmp_path) == DATA.ljust(4 << 20, b"\0")
            await block.drop_volume(COPY)
        with pytest.raises(Unsupported):
            await block.make_volume(VolumeWish(COPY, 1, backend="tape"))
        await block.drop_volume(VOLUME)
        assert (await block.contents()).volumes == frozenset()
    assert leftovers(ceph, POOLS.volumes) <= {"ostro.flatten.one"}


@pytest.mark.parametrize("home", [LOCAL, CEPH])
async def test_a_snapshot_holds_what_the_volume_held(
    config: CephConfig, ceph: CephCluster, tmp_path: Path, home: str
) -> None:
    """Whatever is written later, and in whichever storage its copies are; the snapshot may go before them."""
    async with both(config, tmp_path) as block:
        volume = await block.make_volume(VolumeWish(VOLUME, 1, backend=home))
        write_disk(volume, "0x55")
        await block.make_snapshot(SnapshotWish(SNAPSHOT, VOLUME))
        write_disk(volume, "0x66")
        await block.make_snapshot(SnapshotWish(SNAPSHOT, VOLUME))
        for there, id_ in ((LOCAL, COPY), (CEPH, IN_CEPH)):
            wish = VolumeWish(id_, 2, "", VOLUME, backend=there, source_snapshot_id=SNAPSHOT)
            assert (await block.make_volume(wish)).backend == there
        await block.drop_snapshot(SNAPSHOT)
        for id_, pattern in ((VOLUME, b"\x66"), (COPY, b"\x55"), (IN_CEPH, b"\x55")):
            found = await block.find_volume(id_)
            assert found is not None and read_disk(found, tmp_path)[:4096] == pattern * 4096
            await block.drop_volume(id_)
        assert await block.contents() == EMPTY
    assert leftovers(ceph, POOLS.volumes) <= {"ostro.flatten.one"}


@pytest.mark.parametrize("home", [LOCAL, CEPH])
async def test_a_volume_is_reverted_once(config: CephConfig, ceph: CephCluster, tmp_path: Path, home: str) -> None:
    """Whoever tells its host of the same revert again, what was written since stays."""
    async with both(config, tmp_path) as block:
        volume = await block.make_volume(VolumeWish(VOLUME, 1, backend=home))
        write_disk(volume, "0x55")
        await block.make_snapshot(SnapshotWish(SNAPSHOT, VOLUME))
        write_disk(volume, "0x66")
        for revert_id, pattern in (("one", b"\x55"), ("one", b"\x77"), ("two", b"\x55")):
            await block.revert_volume(VOLUME, RevertWish(revert_id, SNAPSHOT))
            found = await block.find_volume(VOLUME)
            assert found is not None and (found.reverted, found.size_bytes) == (revert_id, GIB)
            assert read_disk(found, tmp_path)[:4096] == pattern * 4096
            write_disk(found, "0x77")
    async with both(config, tmp_path) as block:
        found = await block.find_volume(VOLUME)
        assert found is not None and found.reverted == "two", "it is known after a restart"
        await block.drop_snapshot(SNAPSHOT)
        await block.drop_volume(VOLUME)
        assert await block.contents() == EMPTY
    assert leftovers(ceph, POOLS.volumes) <= {"ostro.flatten.one"}


async def test_what_a_guest_discards_is_given_back(block: RbdBlock, ceph: CephCluster) -> None:
    volume = await block.make_volume(VolumeWish(VOLUME, 1))
    options = f"driver=raw,discard=unmap,{node_options(volume, 'file')},file.discard=unmap"

    def stored() -> int:
        return sum(name.startswith("rbd_data.") for name in ceph.objects(POOLS.volumes))

    run("qemu-io", "--image-opts", options, "-c", "write -P 7 0 32M")
    await trio.to_thread.run_sync(ceph.wait_until, lambda: stored() == 8, "32 MiB written")
    run("qemu-io", "-d", "unmap", "--image-opts", options, "-c", "discard 8M 24M")
    await trio.to_thread.run_sync(ceph.wait_until, lambda: stored() == 2, "24 MiB given back")
    await block.drop_volume(VOLUME)


async def test_files_are_served_while_ceph_is_away(
    config: CephConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both(config, tmp_path) as block:
        await block.make_volume(VolumeWish(IN_CEPH, 1, backend=CEPH))
    (tmp_path / "ceph.conf").write_text("[global]\nmon host = [v2:127.0.0.1:9/0]\n")
    monkeypatch.setattr(rbd, "CONNECT_S", 0.1)
    async with both(CephConfig(tmp_path / "ceph.conf", "nobody", POOLS), tmp_path) as block:
        await block.make_volume(VolumeWish(VOLUME, 1, backend=LOCAL))
        assert (await block.contents()).volumes == {VOLUME, IN_CEPH}
        assert await block.find_volume(COPY) is None
        for action in (
            block.find_volume(IN_CEPH),
            block.drop_volume(IN_CEPH),
            block.make_volume(VolumeWish(COPY, 1, backend=CEPH)),
            block.make_volume(VolumeWish(IN_CEPH, 1, backend=LOCAL)),
        ):
            with pytest.raises(Unavailable):
                await action
        await block.extend_volume(VOLUME, 2)
        await block.drop_volume(VOLUME)
        assert (await block.contents()).volumes == {IN_CEPH}


async def test_a_guest_runs_from_ceph(
    block: RbdBlock, config: CephConfig, libvirtd: TestLibvirtd, tiny_image: Path, tmp_path: Path
) -> None:
    """Boots from a clone, gets a volume plugged in, sees it grow and go; and libvirt's own restart loses no secret."""
    data = await trio.Path(tiny_image).read_bytes()
    await block.put_image(image_wish(data, "qcow2"), in_chunks(data))
    root = await block.make_root(SERVER, IMAGE, 1)
    volume = await block.make_volume(VolumeWish(VOLUME, 1))
    secret = Secret(secret_id(config), "Ceph", base64.b64decode(find_key(config)))
    async with open_hypervisor(World(), libvirtd.driver(tmp_path, secret)) as hypervisor:
        changes = Changes()
        hypervisor.watch(CLOUD, changes)
        os.kill(libvirtd.pid, signal.SIGKILL)
        async with parts.open_(World(), libvirtd.config):
            await changes.wait_for("")
        disks = [Disk("vda", root.path, root.format, ceph=root.ceph)]
        await hypervisor.define(DomainSpec(SERVER, "tiny", "project-1", 1, 96, disks, []), MEMO)
        await hypervisor.start(SERVER)
        said = await console_says(hypervisor, SERVER, "guest: ready")
        assert "guest: disk vda size_bytes=1073741824" in said
        await hypervisor.attach(SERVER, Disk("vdb", volume.path, volume.format, VOLUME, volume.ceph))
        await console_says(hypervisor, SERVER, f"guest: disk vdb size_bytes=1073741824 serial={VOLUME[:20]}")
        found = await hypervisor.find(SERVER)
        assert found is not None and found.attached == [VOLUME]
        await hypervisor.resize(SERVER, VOLUME, 2 * GIB)
        await console_says(hypervisor, SERVER, "guest: disk vdb resized size_bytes=2147483648")
        grown = await block.find_volume(VOLUME)
        assert grown is not None and grown.size_bytes == 2 * GIB
        await hypervisor.detach(SERVER, VOLUME)
        await console_says(hypervisor, SERVER, "guest: disk vdb removed")
        await block.drop_volume(VOLUME)
        await hypervisor.delete(SERVER)
    await block.drop_root(SERVER)


@pytest.fixture
def daemons() -> Iterator[tuple[TestLibvirtd, TestLibvirtd]]:
    """Two that send each other domains."""

    def listening(name: str) -> Listening:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return Listening("127.0.0.1", int(listener.getsockname()[1]), name)

    with serve_libvirtd(listening("one")) as one, serve_libvirtd(listening("two")) as two:
        yield one, two


async def test_a_guest_goes_live_and_its_disks_in_ceph_are_untouched(
    block: RbdBlock,
    ceph: CephCluster,
    config: CephConfig,
    daemons: tuple[TestLibvirtd, TestLibvirtd],
    tiny_image: Path,
    tmp_path: Path,
) -> None:
    """The other host opens the same disks by its own ceph.conf and secret; nothing of them is copied, and they are its own afterwards."""
    data = await trio.Path(tiny_image).read_bytes()
    await block.put_image(image_wish(data, "qcow2"), in_chunks(data))
    root = await block.make_root(SERVER, IMAGE, 1)
    volume = await block.make_volume(VolumeWish(VOLUME, 1))
    write_disk(volume, "0x55")
    disks = [Disk("vda", root.path, root.format, ceph=root.ceph)]
    disks.append(Disk("vdb", volume.path, volume.format, VOLUME, volume.ceph))
    secret = Secret(secret_id(config), "Ceph", base64.b64decode(find_key(config)))
    async with (
        on_host(config, "two", tmp_path) as other,
        open_hypervisor(World(), daemons[0].driver(tmp_path / "one", secret)) as here,
        open_hypervisor(World(), daemons[1].driver(tmp_path / "two", secret)) as there,
    ):
        here.watch(CLOUD, Changes())
        there.watch(CLOUD, Changes())
        spec = DomainSpec(SERVER, "tiny", "project-1", 1, 96, disks, [])
        await here.define(spec, MEMO)
        await here.start(SERVER)
        await console_says(here, SERVER, "guest: ready")
        seen = await other.find_root(SERVER)
        assert seen is not None and seen.ceph is not None and root.ceph is not None
        assert (seen.path, seen.ceph.conf) != (root.path, root.ceph.conf), "each host has its own files"
        stored = list_disks(config)
        assert len(stored) == 2
        landed = msgspec.structs.replace(spec, disks=[msgspec.structs.replace(disk, ceph=seen.ceph) for disk in disks])
        landing = await there.prepare_arrival(landed, Memo(0, 0, "", "m"))
        await here.migrate(SERVER, landing, copy=False)
        assert list_disks(config) == stored
        await here.delete(SERVER)
        await block.hand_over_root(SERVER, "two")
        await block.drop_root(SERVER)
        # It runs on there: it hears its button, and can end what it writes.
        await there.stop(SERVER, 120)
        said = await there.console_log(SERVER, -1)
        assert "guest: power button" in said and "guest: ready" not in said
        assert read_disk(volume, tmp_path)[:4096] == b"\x55" * 4096
        grown = await other.extend_root(SERVER, 2)
        await there.start(SERVER)
        assert f"guest: disk vda size_bytes={grown.size_bytes}" in await console_says(there, SERVER, "guest: ready")
        await there.delete(SERVER)
        await other.drop_root(SERVER)
        await block.drop_volume(VOLUME)
    assert leftovers(ceph, POOLS.volumes) <= {"ostro.flatten.one"}
