"""Storage in Ceph: images, root disks and volumes are RBD images, which QEMU opens by itself.

::

    images pool     ID            an image as a disk, with the snapshot ``base`` that others are cloned from
    volumes pool    server-ID     a server's root disk
                    volume-ID     a volume, with its snapshots ``snap-ID``, and ``upload-ID`` while an image is made of it
                    ostro.host.H  an omap: what host H keeps (``image-ID`` -> the image's name, ``server-ID``, ``volume-ID``,
                                  ``snapshot-ID`` and ``upload-ID`` -> the volume's id)
                    ostro.flatten.H  an omap: clones that H has yet to flatten (and their pool, unless it is this one)
    both            part.H.NAME   what host H is making

All hosts of a cloud share the pools. So that none deletes what is another's, a disk bears the name of its owner and only that one deletes
it; the last host that was told to make a disk owns it. A host's own list is written before a disk is made and cleared after it is deleted, so
nothing is forgotten (`ostro.agent.drivers.block.kept`). Images belong to the control plane, which deletes them; a host merely notes which it needs.

An image that the control plane has put into Ceph as a disk is there already. Any other is downloaded, checked, and written as a disk once; the
first host to finish wins. Disks made from an image are clones and stay so. A clone of a volume is flattened in the background, so that chains stay
short and a deleted volume's room comes back.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
import trio

from ostro.agent.drivers.block import GIB, IMAGE_KEY, ROOT_KEY, SNAPSHOT_KEY, UPLOAD_KEY, VOLUME_KEY, Export, Stored
from ostro.agent.drivers.block.files import (
    check_backend,
    check_fits,
    convert_disk,
    copy_disk,
    copy_encrypted,
    export_format,
    fetch_image,
    for_qemu,
    guest_size,
    header_bytes,
    is_encrypted_anew,
    luks_header,
    opened_export,
    qemu_format,
    volume_format,
)
from ostro.agent.drivers.block.rbd_host import Clone, RbdConfig, RbdHost
from ostro.model.errors import Invalid, NotFound, Unsupported
from ostro.model.qos import to_rbd_limits
from ostro.model.volumes import LUKS
from ostro.model.wishes import ImageWish, RevertWish, SnapshotWish, UploadWish, VolumeWish
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.connection import LONG_DEADLINE_S
from ostro.runtime.ceph.connection import open_ as open_ceph
from ostro.runtime.ceph.disks import BASE, Disk
from ostro.runtime.ceph.new_disks import NewDisk, make_blank, make_clone, make_copy
from ostro.runtime.world import World

log = structlog.get_logger()

CONNECT_S = 15.0


@asynccontextmanager
async def open_(world: World, config: RbdConfig) -> AsyncIterator[RbdBlock]:
    """Connect, throw away what was left unfinished, and flatten in the background until the block ends.

    A cluster that doesn't answer is waited for only so long; the driver is then open nevertheless, and its methods raise Unavailable until
    the cluster is there.
    """
    async with open_ceph(world, config.ceph) as ceph, trio.open_nursery() as nursery:
        driver = RbdBlock(world, config, ceph)
        nursery.start_soon(driver.run)
        with trio.move_on_after(CONNECT_S):
            await driver.ready.wait()
        yield driver
        nursery.cancel_scope.cancel()


class RbdBlock(RbdHost):
    """See `ostro.agent.drivers.block.Block`."""

    # -- images --------------------------------------------------------------------------------------------------

    async def put_image(self, image: ImageWish, chunks: AsyncIterable[bytes]) -> None:
        qemu_format(image)
        disk = Disk(self._pools.images, image.stored_as or image.id)
        if await self._call(disk.name, disks.find_snapshot, disk, BASE) is None:
            await self._import(image, chunks, disk)
        await self._keep(f"{IMAGE_KEY}{image.id}", disk.name)

    async def drop_image(self, image_id: str) -> None:
        kept = await self._on_file(self._kept.find, f"{IMAGE_KEY}{image_id}")
        self._image_bytes.pop(kept or "", None)
        await self._forget(f"{IMAGE_KEY}{image_id}")

    async def _import(self, image: ImageWish, chunks: AsyncIterable[bytes], disk: Disk) -> None:
        """Make the image's disk from its bytes, by way of a file, whole or not at all."""
        file = self._scratch / f"image-{image.id}"
        try:
            await fetch_image(self._on_file, image, chunks, file)
            size_bytes = await self._on_file(guest_size, file, qemu_format(image))
            async with self._making(disk, "") as part:
                await self._call(part.name, disks.create, part, disks.whole_sectors(size_bytes))
                source = Stored(str(file), qemu_format(image), size_bytes)
                await copy_disk(source, for_qemu(self._stored(part)), onto=True)
                await self._call(part.name, disks.snapshot, part, BASE)
        finally:
            file.unlink(missing_ok=True)

    async def _image(self, image_id: str) -> tuple[Disk, int]:
        """A kept image's disk and its size in bytes. Raises NotFound."""
        kept = await self._on_file(self._kept.find, f"{IMAGE_KEY}{image_id}")
        disk = Disk(self._pools.images, kept or "")
        # An image never changes, so it is asked for its size once.
        size_bytes = self._image_bytes.get(disk.name)
        if kept and size_bytes is None:
            size_bytes = await self._call(disk.name, disks.find_snapshot, disk, BASE)
        if not kept or size_bytes is None:
            raise NotFound("image", image_id, f"Image {image_id} is not kept on this host.")
        self._image_bytes[disk.name] = size_bytes
        return disk, size_bytes

    # -- root disks ----------------------------------------------------------------------------------------------

    async def make_root(self, server_id: str, image_id: str, size_gb: int) -> Stored:
        disk = self._root(server_id)
        found = await self._find(disk)
        if found is None:
            return await self._make(disk, VolumeWish(server_id, size_gb, image_id))
        await self._adopt(disk)
        return found

    async def find_root(self, server_id: str) -> Stored | None:
        return await self._find(self._root(server_id))

    async def extend_root(self, server_id: str, size_gb: int) -> Stored:
        disk = self._root(server_id)
        if await self._find(disk) is not None:
            self._check_room(size_gb * GIB)
            await self._call(disk.name, disks.grow, disk, size_gb * GIB)
        grown = await self._find(disk)
        if grown is None:
            raise NotFound("root disk", server_id)
        return grown

    async def root_file(self, server_id: str) -> str:
        """Hosts share it."""
        await trio.lowlevel.checkpoint()
        return ""

    async def receive_root(self, server_id: str, image_id: str, chunks: AsyncIterable[bytes]) -> Stored:
        found = await self.find_root(server_id)
        if found is None:
            raise Unsupported("This host makes root disks in Ceph, and the other one does not.")
        return found

    async def hand_over_root(self, server_id: str, heir: str) -> None:
        disk = self._root(server_id)
        if await self._call(disk.name, disks.find_owner, disk) == self._host:
            await self._call(disk.name, disks.set_owner, disk, heir)
        await self._forget(disk.name)

    async def take_over(self, server_id: str, volume_ids: Sequence[str]) -> None:
        for disk in (self._root(server_id), *map(self._volume, volume_ids)):
            broken = await self._call(disk.name, disks.break_lock, disk)
            if broken:
                log.warning("shut out whoever had a disk open for writing", name=disk.name, owners=broken)

    async def drop_root(self, server_id: str) -> None:
        await self._drop(self._root(server_id))

    # -- volumes -------------------------------------------------------------------------------------------------

    async def make_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        check_backend(volume, self.facts)
        disk = self._volume(volume.id)
        found = await self._find(disk)
        if found is None:
            return await self.make_new_volume(volume, passphrase)
        await self._adopt(disk)
        return found

    async def make_new_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        """As `make_volume`, of one that was looked for and isn't there."""
        self._check_room(volume.size_gb * GIB)
        if volume.encryption is None or volume.source_volume_id:
            # What is copied of a volume is encrypted already.
            return await self._make(self._volume(volume.id), volume)
        source = await self.find_image(volume.image_id) if volume.image_id else None
        if volume.image_id and source is None:
            raise NotFound("image", volume.image_id, f"Image {volume.image_id} is not kept on this host.")
        return await self.copy_volume(volume, source, passphrase)

    async def copy_volume(self, volume: VolumeWish, source: Stored | None, passphrase: str = "") -> Stored:
        """The volume, made from any disk that QEMU can read, or blank."""
        disk, size_bytes, format_ = self._volume(volume.id), volume.size_gb * GIB, volume_format(volume)
        self._check_room(size_bytes)
        if source is not None:
            check_fits(source, size_bytes)
        anew = is_encrypted_anew(volume, source)
        async with self._making_own(disk) as part:
            await self._call(disk.name, disks.create, part, size_bytes + header_bytes(format_))
            target = self._stored(part)
            if source is not None and not anew:
                await copy_disk(source, for_qemu(target), onto=True)
            if format_ == LUKS:
                header = luks_header(volume, passphrase, self._random) if anew else b""
                await self._call(disk.name, disks.put_header, part, header, format_)
            if source is not None and anew:
                await copy_encrypted(source, target, passphrase)
            if volume.limits:
                await self._call(part.name, disks.set_limits, part, to_rbd_limits(volume.limits))
        return self._stored(disk, size_bytes, format_, volume.limits)

    async def find_image(self, image_id: str) -> Stored | None:
        """The image as a disk, None when it isn't kept."""
        try:
            disk, size_bytes = await self._image(image_id)
        except NotFound:
            return None
        return self._stored(Disk(disk.pool, f"{disk.name}@{BASE}"), size_bytes)

    async def may_keep_volume(self, volume_id: str) -> bool:
        """Whether the volume may be here for all that can be known without asking Ceph."""
        synced = await self._on_file(self._kept.is_synced)
        return not synced or await self._on_file(self._kept.find, f"{VOLUME_KEY}{volume_id}") is not None

    async def find_volume(self, volume_id: str) -> Stored | None:
        return await self._find(self._volume(volume_id))

    async def extend_volume(self, volume_id: str, size_gb: int) -> None:
        self._check_room(size_gb * GIB)
        disk = self._volume(volume_id)
        found = await self._find(disk)
        if found is None:
            raise NotFound("volume", volume_id)
        await self._call(disk.name, disks.grow, disk, size_gb * GIB + header_bytes(found.format))

    async def limit_volume(self, volume_id: str, limits: Mapping[str, int]) -> None:
        disk = self._volume(volume_id)
        try:
            await self._call(disk.name, disks.set_limits, disk, to_rbd_limits(limits))
        except NotFound as error:
            raise NotFound("volume", volume_id) from error

    async def revert_volume(self, volume_id: str, revert: RevertWish) -> None:
        disk, mark = self._volume(volume_id), _snapshot_name(revert.snapshot_id)
        found = await self._find(disk)
        if found is None:
            raise NotFound("volume", volume_id)
        if found.reverted == revert.id:
            return
        if await self._call(disk.name, disks.find_snapshot, disk, mark) is None:
            raise NotFound("snapshot", revert.snapshot_id)
        await self._call(disk.name, disks.revert, disk, mark, revert.id, deadline_s=LONG_DEADLINE_S)

    async def drop_volume(self, volume_id: str) -> None:
        await self._drop(self._volume(volume_id))

    # -- snapshots -----------------------------------------------------------------------------------------------

    async def make_snapshot(self, snapshot: SnapshotWish) -> None:
        volume = self._volume(snapshot.volume_id)
        if await self._call(volume.name, disks.find_size, volume) is None:
            raise NotFound("volume", snapshot.volume_id)
        await self._keep(f"{SNAPSHOT_KEY}{snapshot.id}", snapshot.volume_id)
        await self._call(volume.name, disks.snapshot, volume, _snapshot_name(snapshot.id))

    async def find_snapshot(self, snapshot_id: str) -> Stored | None:
        volume = await self._snapshot_volume(snapshot_id)
        if volume is None:
            return None
        name = _snapshot_name(snapshot_id)
        found = await self._call(volume.name, disks.look, volume, name)
        return None if found is None else self._looked(Disk(volume.pool, f"{volume.name}@{name}"), found)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        volume = await self._snapshot_volume(snapshot_id)
        if volume is not None:
            await self._call(volume.name, disks.drop_snapshot, volume, _snapshot_name(snapshot_id))
        await self._forget(f"{SNAPSHOT_KEY}{snapshot_id}")

    async def _snapshot_volume(self, snapshot_id: str) -> Disk | None:
        """The volume that the snapshot is of, None for one that this host doesn't keep."""
        volume_id = await self._on_file(self._kept.find, f"{SNAPSHOT_KEY}{snapshot_id}")
        return self._volume(volume_id) if volume_id else None

    # -- images of volumes ---------------------------------------------------------------------------------------

    async def publish(self, upload: UploadWish) -> bool:
        if not upload.shared or upload.disk_format != "raw":
            return False
        volume, image = await self._upload_source(upload), Disk(self._pools.images, upload.id)
        if await self._call(image.name, disks.find_snapshot, image, BASE) is None:
            await self._keep(f"{UPLOAD_KEY}{upload.id}", upload.volume_id)
            new = NewDisk(image, self._host, "", 0, {}, {}, BASE)
            await self._make_at_once(make_copy, new, volume, clone=Clone(image.pool, volume.name))
        return True

    @asynccontextmanager
    async def exported(self, upload: UploadWish) -> AsyncIterator[Export]:
        volume, mark = await self._upload_source(upload), f"{UPLOAD_KEY}{upload.id}"
        file = self._scratch / mark
        await self._keep(mark, upload.volume_id)
        try:
            # What the volume holds now, even while a guest writes to it.
            await self._call(volume.name, disks.drop_snapshot, volume, mark)
            await self._call(volume.name, disks.snapshot, volume, mark)
            source = self._stored(Disk(volume.pool, f"{volume.name}@{mark}"))
            await convert_disk(source, upload.disk_format, file)
            await self._call(volume.name, disks.drop_snapshot, volume, mark)
            async with opened_export(self._on_file, file) as export:
                yield export
        finally:
            file.unlink(missing_ok=True)

    async def _upload_source(self, upload: UploadWish) -> Disk:
        """The volume to make an image of. Raises NotFound, Unsupported."""
        volume = self._volume(upload.volume_id)
        found = await self._find(volume)
        if found is None:
            raise NotFound("volume", upload.volume_id)
        export_format(found, upload.disk_format)
        return volume

    async def drop_upload(self, upload_id: str) -> None:
        key = f"{UPLOAD_KEY}{upload_id}"
        volume_id = await self._on_file(self._kept.find, key)
        if volume_id:
            image = Disk(self._pools.images, upload_id).part(self._host)
            await self._remove(image)
            await self._call(key, disks.drop_snapshot, self._volume(volume_id), key)
        await self._forget(key)

    # -- any disk ------------------------------------------------------------------------------------------------

    async def _make(self, disk: Disk, wish: VolumeWish) -> Stored:
        """Make a disk from an image, a snapshot or a volume, or blank."""
        source, mark, least_bytes = await self._origin(wish)
        size_bytes = wish.size_gb * GIB
        format_ = "raw" if wish.encryption is None else volume_format(wish)
        if size_bytes:
            size_bytes += header_bytes(format_)
        if source is not None and 0 < size_bytes < least_bytes:
            raise Invalid(f"What the disk is made from needs {least_bytes} bytes, the disk has {size_bytes}.")
        # A clone has the limits of what it was cloned from; an image has none.
        limits = to_rbd_limits(wish.limits) if wish.limits or wish.source_volume_id else None
        notes = {} if wish.encryption is None else {disks.FORMAT_KEY: format_}
        new = NewDisk(disk, self._host, self._host, size_bytes, notes, limits)
        async with self._forgetting_what_fails(disk):
            if source is None:
                await self._make_at_once(make_blank, new)
            elif wish.image_id:
                await self._make_at_once(make_clone, new, source, mark)
            else:
                clone = Clone(disk.pool, "" if mark else source.name)
                words = (make_clone, new, source, mark) if mark else (make_copy, new, source)
                await self._make_at_once(*words, clone=clone)
        return self._stored(disk, (size_bytes or least_bytes) - header_bytes(format_), format_, wish.limits)

    async def _origin(self, wish: VolumeWish) -> tuple[Disk | None, str, int]:
        """What a disk is made from, at which snapshot (empty: as it is now), and how many bytes that has. Raises NotFound."""
        if wish.image_id:
            image, size_bytes = await self._image(wish.image_id)
            return image, BASE, size_bytes
        if not wish.source_volume_id:
            return None, "", 0
        source = self._volume(wish.source_volume_id)
        if not wish.source_snapshot_id:
            found = await self._call(source.name, disks.find_size, source)
            if found is None:
                raise NotFound("volume", wish.source_volume_id)
            return source, "", found
        mark = _snapshot_name(wish.source_snapshot_id)
        found = await self._call(source.name, disks.find_snapshot, source, mark)
        if found is None:
            raise NotFound("snapshot", wish.source_snapshot_id)
        return source, mark, found

    def _root(self, server_id: str) -> Disk:
        return Disk(self._pools.volumes, f"{ROOT_KEY}{server_id}")

    def _volume(self, volume_id: str) -> Disk:
        return Disk(self._pools.volumes, f"{VOLUME_KEY}{volume_id}")


def _snapshot_name(snapshot_id: str) -> str:
    return f"snap-{snapshot_id}"
