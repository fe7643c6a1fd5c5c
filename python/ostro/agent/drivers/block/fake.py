"""Storage without bytes, for load and rehearsal: remembers what would be kept, and refuses what the real one refuses.

Nothing outlives the process: since making a thing again is the same work, the next agent makes it anew from its wishes.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import trio

from ostro.agent.drivers.block import (
    GIB,
    IMAGE_KEY,
    ROOT_KEY,
    SNAPSHOT_KEY,
    VOLUME_KEY,
    BlockFacts,
    CephAccess,
    Contents,
    Export,
    Stored,
    contents_of,
)
from ostro.agent.drivers.block.files import check_backend, export_format, volume_format
from ostro.model.errors import Invalid, NoCapacity, NotFound, Unsupported
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import ImageWish, RevertWish, SnapshotWish, UploadWish, VolumeWish
from ostro.runtime.world import World

FAKE_BYTES = bytes(512)
"""What an image of any volume is."""


class FakePool:
    """Storage that several fake hosts share, as they would a Ceph. Each disk has an owner, who alone deletes it."""

    def __init__(self) -> None:
        self.disks: dict[str, Stored] = {}
        self.owners: dict[str, str] = {}


@dataclass(frozen=True)
class FakeConfig:
    """``disk_gb`` is how much the volumes may take together, ``backends`` the kinds of storage that are pretended, the preferred one first.

    What is in Ceph is in ``pool``, where this host is known by its ``name``; without a pool nobody shares it.
    """

    disk_gb: int = 100_000
    backends: tuple[str, ...] = (LOCAL,)
    pool: FakePool | None = None
    name: str = "fake"


@asynccontextmanager
async def open_(world: World, config: FakeConfig) -> AsyncIterator[FakeBlock]:
    """Begin empty."""
    yield FakeBlock(config)


class FakeBlock:
    """See `ostro.agent.drivers.block.Block`. An image's guest size is taken to be its size in bytes."""

    def __init__(self, config: FakeConfig) -> None:
        self._config = config
        self._images: dict[str, ImageWish] = {}
        self._disks: dict[str, Stored] = {}
        self._pool = config.pool or FakePool()
        self._kept: set[str] = set()
        self.taken_over: set[str] = set()
        """What was taken over from other hosts."""

    @property
    def facts(self) -> BlockFacts:
        return BlockFacts(self._config.disk_gb, "nothing is stored: the storage is the fake one", self._config.backends)

    async def contents(self) -> Contents:
        await trio.lowlevel.checkpoint()
        return contents_of({*self._disks, *self._kept, *(IMAGE_KEY + id_ for id_ in self._images)})

    # ---- disks, wherever they are ----------------------------------------------------------------------------------

    def _find(self, key: str) -> Stored | None:
        return self._disks.get(key) or self._pool.disks.get(key)

    def _put(self, key: str, stored: Stored) -> Stored:
        """Keep a disk where it says it is, and as this host's own."""
        if stored.backend == CEPH:
            self._disks.pop(key, None)
            self._pool.disks[key], self._pool.owners[key] = stored, self._config.name
            self._kept.add(key)
        else:
            self._drop(key)
            self._disks[key] = stored
        return stored

    def _change(self, key: str, stored: Stored) -> None:
        """Change a disk, whoever's it is."""
        (self._disks if key in self._disks else self._pool.disks)[key] = stored

    def _drop(self, key: str) -> None:
        """Delete a disk of this host's; another host's is only forgotten."""
        if self._disks.pop(key, None) is None and self._pool.owners.get(key) == self._config.name:
            del self._pool.disks[key], self._pool.owners[key]
        self._kept.discard(key)

    # ---- images and root disks -------------------------------------------------------------------------------------

    async def put_image(self, image: ImageWish, chunks: AsyncIterable[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        self._images[image.id] = image

    async def drop_image(self, image_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._images.pop(image_id, None)

    async def make_root(self, server_id: str, image_id: str, size_gb: int) -> Stored:
        await trio.lowlevel.checkpoint()
        found = self._find(ROOT_KEY + server_id)
        if found is None:
            size_bytes = self._fit(image_id, size_gb)
            found = self._stored(f"servers/{server_id}", "qcow2", size_bytes, self._preferred)
        return self._put(ROOT_KEY + server_id, found)

    async def take_over(self, server_id: str, volume_ids: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.taken_over |= {server_id, *volume_ids}

    async def find_root(self, server_id: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        found = self._find(ROOT_KEY + server_id)
        if found is None and self._config.pool is None:
            # There is nothing in it, so it is as good anywhere.
            return self._put(ROOT_KEY + server_id, Stored(f"/fake/servers/{server_id}", "qcow2", GIB))
        return found

    async def extend_root(self, server_id: str, size_gb: int) -> Stored:
        await trio.lowlevel.checkpoint()
        found = self._find(ROOT_KEY + server_id)
        if found is None:
            raise NotFound("root disk", server_id)
        grown = msgspec.structs.replace(found, size_bytes=max(found.size_bytes, size_gb * GIB))
        self._change(ROOT_KEY + server_id, grown)
        return grown

    async def root_file(self, server_id: str) -> str:
        """There is nothing in it."""
        await trio.lowlevel.checkpoint()
        return ""

    async def receive_root(self, server_id: str, image_id: str, chunks: AsyncIterable[bytes]) -> Stored:
        content = b"".join([chunk async for chunk in chunks])
        found = self._find(ROOT_KEY + server_id)
        if found is not None:
            return found
        if image_id and self._preferred == CEPH:
            raise Unsupported("This host keeps images in Ceph, and the other one's root disk stands on a file.")
        if image_id and image_id not in self._images:
            raise NotFound("image", image_id, f"Image {image_id} is not kept on this host.")
        return self._put(ROOT_KEY + server_id, Stored(f"/fake/servers/{server_id}", "qcow2", len(content)))

    async def hand_over_root(self, server_id: str, heir: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._pool.owners.get(ROOT_KEY + server_id) == self._config.name:
            self._pool.owners[ROOT_KEY + server_id] = heir
        self._kept.discard(ROOT_KEY + server_id)

    async def drop_root(self, server_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._drop(ROOT_KEY + server_id)

    # ---- volumes and snapshots -------------------------------------------------------------------------------------

    async def make_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        await trio.lowlevel.checkpoint()
        check_backend(volume, self.facts)
        found = self._find(VOLUME_KEY + volume.id)
        if found is None:
            self._check_source(volume)
            size_bytes = self._fit(volume.image_id, volume.size_gb)
            self._check_room(size_bytes)
            format_ = volume_format(volume)
            copied = volume.source_snapshot_id or volume.source_volume_id
            assert format_ == "raw" or copied or passphrase, "an encrypted volume is made with its passphrase"
            made = self._stored(f"volumes/{volume.id}", format_, size_bytes, self._preferred)
            found = msgspec.structs.replace(made, limits=dict(volume.limits))
        backend = volume.backend or self._preferred
        moved = self._stored(f"volumes/{volume.id}", found.format, found.size_bytes, backend)
        return self._put(VOLUME_KEY + volume.id, msgspec.structs.replace(moved, limits=found.limits))

    async def find_volume(self, volume_id: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        return self._find(VOLUME_KEY + volume_id)

    async def extend_volume(self, volume_id: str, size_gb: int) -> None:
        await trio.lowlevel.checkpoint()
        found = self._find(VOLUME_KEY + volume_id)
        if found is None:
            raise NotFound("volume", volume_id)
        size_bytes = size_gb * GIB
        if size_bytes > found.size_bytes:
            self._check_room(size_bytes - found.size_bytes)
            self._change(VOLUME_KEY + volume_id, msgspec.structs.replace(found, size_bytes=size_bytes))

    async def limit_volume(self, volume_id: str, limits: Mapping[str, int]) -> None:
        await trio.lowlevel.checkpoint()
        found = self._find(VOLUME_KEY + volume_id)
        if found is None:
            raise NotFound("volume", volume_id)
        self._change(VOLUME_KEY + volume_id, msgspec.structs.replace(found, limits=dict(limits)))

    async def revert_volume(self, volume_id: str, revert: RevertWish) -> None:
        await trio.lowlevel.checkpoint()
        found = self._find(VOLUME_KEY + volume_id)
        if found is None:
            raise NotFound("volume", volume_id)
        if found.reverted == revert.id:
            return
        if self._find(SNAPSHOT_KEY + revert.snapshot_id) is None:
            raise NotFound("snapshot", revert.snapshot_id)
        self._change(VOLUME_KEY + volume_id, msgspec.structs.replace(found, reverted=revert.id))

    async def drop_volume(self, volume_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._drop(VOLUME_KEY + volume_id)

    async def make_snapshot(self, snapshot: SnapshotWish) -> None:
        await trio.lowlevel.checkpoint()
        volume = self._find(VOLUME_KEY + snapshot.volume_id)
        if volume is None:
            raise NotFound("volume", snapshot.volume_id)
        if self._find(SNAPSHOT_KEY + snapshot.id) is None:
            self._put(SNAPSHOT_KEY + snapshot.id, volume)

    async def find_snapshot(self, snapshot_id: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        return self._find(SNAPSHOT_KEY + snapshot_id)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._drop(SNAPSHOT_KEY + snapshot_id)

    async def publish(self, upload: UploadWish) -> bool:
        """Nothing is in the image, so nothing is to be put anywhere."""
        await trio.lowlevel.checkpoint()
        volume = self._source(upload)
        return upload.shared and upload.disk_format == "raw" and volume.backend == CEPH

    @asynccontextmanager
    async def exported(self, upload: UploadWish) -> AsyncIterator[Export]:
        await trio.lowlevel.checkpoint()
        export_format(self._source(upload), upload.disk_format)

        async def chunks() -> AsyncIterator[bytes]:
            yield FAKE_BYTES

        yield Export(len(FAKE_BYTES), chunks())

    async def drop_upload(self, upload_id: str) -> None:
        await trio.lowlevel.checkpoint()

    def _source(self, upload: UploadWish) -> Stored:
        found = self._find(VOLUME_KEY + upload.volume_id)
        if found is None:
            raise NotFound("volume", upload.volume_id)
        return found

    @property
    def _preferred(self) -> str:
        return self._config.backends[0]

    def _stored(self, name: str, format_: str, size_bytes: int, backend: str) -> Stored:
        access = CephAccess("/fake/ceph.conf", "fake", "fake") if backend == CEPH else None
        return Stored(f"/fake/{name}", format_, size_bytes, access, backend)

    def _check_source(self, volume: VolumeWish) -> None:
        """Raise NotFound unless what the volume is made from is there."""
        if volume.source_snapshot_id:
            if self._find(SNAPSHOT_KEY + volume.source_snapshot_id) is None:
                raise NotFound("snapshot", volume.source_snapshot_id)
        elif volume.source_volume_id and self._find(VOLUME_KEY + volume.source_volume_id) is None:
            raise NotFound("volume", volume.source_volume_id)

    def _fit(self, image_id: str, size_gb: int) -> int:
        """The size of a disk made from the image, or blank."""
        if not image_id:
            return size_gb * GIB
        image = self._images.get(image_id)
        if image is None:
            raise NotFound("image", image_id, f"Image {image_id} is not kept on this host.")
        if 0 < size_gb * GIB < image.size_bytes:
            raise Invalid(f"The image needs {image.size_bytes} bytes, the disk has {size_gb * GIB}.")
        return size_gb * GIB or image.size_bytes

    def _volumes(self) -> set[str]:
        return {key for key in (*self._disks, *self._kept) if key.startswith(VOLUME_KEY)}

    def _check_room(self, size_bytes: int) -> None:
        used_bytes = sum(found.size_bytes for key in self._volumes() if (found := self._find(key)) is not None)
        if used_bytes + size_bytes > self._config.disk_gb * GIB:
            raise NoCapacity("The fake host's disk is full.")
