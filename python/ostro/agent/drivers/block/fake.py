"""Storage without bytes, for load and rehearsal: remembers what would be kept, and refuses what the real one refuses.

Nothing outlives the process: since making a thing again is the same work, the next agent makes it anew from its wishes.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import trio

from ostro.agent.drivers.block import GIB, BlockFacts, CephAccess, Contents, Stored
from ostro.agent.drivers.block.files import check_backend, volume_format
from ostro.model.errors import Invalid, NoCapacity, NotFound
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import ImageWish, SnapshotWish, VolumeWish
from ostro.runtime.world import World


@dataclass(frozen=True)
class FakeConfig:
    """``disk_gb`` is how much the volumes may take together, ``backends`` the kinds of storage that are pretended, the preferred one first."""

    disk_gb: int = 100_000
    backends: tuple[str, ...] = (LOCAL,)


@asynccontextmanager
async def open_(world: World, config: FakeConfig) -> AsyncIterator[FakeBlock]:
    """Begin empty."""
    yield FakeBlock(config)


class FakeBlock:
    """See `ostro.agent.drivers.block.Block`. An image's guest size is taken to be its size in bytes."""

    def __init__(self, config: FakeConfig) -> None:
        self._config = config
        self._images: dict[str, ImageWish] = {}
        self._roots: dict[str, Stored] = {}
        self._volumes: dict[str, Stored] = {}
        self._snapshots: dict[str, Stored] = {}
        self.taken_over: set[str] = set()
        """What was taken over from other hosts."""

    @property
    def facts(self) -> BlockFacts:
        return BlockFacts(self._config.disk_gb, "nothing is stored: the storage is the fake one", self._config.backends)

    async def contents(self) -> Contents:
        await trio.lowlevel.checkpoint()
        return Contents(
            frozenset(self._images), frozenset(self._roots), frozenset(self._volumes), frozenset(self._snapshots)
        )

    async def put_image(self, image: ImageWish, chunks: AsyncIterable[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        self._images[image.id] = image

    async def drop_image(self, image_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._images.pop(image_id, None)

    async def make_root(self, server_id: str, image_id: str, size_gb: int) -> Stored:
        await trio.lowlevel.checkpoint()
        if server_id not in self._roots:
            size_bytes = self._fit(image_id, size_gb)
            self._roots[server_id] = self._stored(f"servers/{server_id}", "qcow2", size_bytes, self._preferred)
        return self._roots[server_id]

    async def take_over(self, server_id: str, volume_ids: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.taken_over |= {server_id, *volume_ids}

    async def find_root(self, server_id: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        # There is nothing in it, so it is as good anywhere.
        return self._roots.setdefault(server_id, Stored(f"/fake/servers/{server_id}", "qcow2", GIB))

    async def extend_root(self, server_id: str, size_gb: int) -> Stored:
        await trio.lowlevel.checkpoint()
        found = self._roots.get(server_id)
        if found is None:
            raise NotFound("root disk", server_id)
        self._roots[server_id] = msgspec.structs.replace(found, size_bytes=max(found.size_bytes, size_gb * GIB))
        return self._roots[server_id]

    async def root_file(self, server_id: str) -> str:
        """There is nothing in it."""
        await trio.lowlevel.checkpoint()
        return ""

    async def receive_root(self, server_id: str, image_id: str, chunks: AsyncIterable[bytes]) -> Stored:
        content = b"".join([chunk async for chunk in chunks])
        if image_id and image_id not in self._images:
            raise NotFound("image", image_id, f"Image {image_id} is not kept on this host.")
        self._roots.setdefault(server_id, Stored(f"/fake/servers/{server_id}", "qcow2", len(content)))
        return self._roots[server_id]

    async def hand_over_root(self, server_id: str, heir: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._config.backends[0] == CEPH:
            self._roots.pop(server_id, None)

    async def drop_root(self, server_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._roots.pop(server_id, None)

    async def make_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        await trio.lowlevel.checkpoint()
        check_backend(volume, self.facts)
        if volume.id not in self._volumes:
            self._check_source(volume)
            size_bytes = self._fit(volume.image_id, volume.size_gb)
            self._check_room(size_bytes)
            format_ = volume_format(volume)
            copied = volume.source_snapshot_id or volume.source_volume_id
            assert format_ == "raw" or copied or passphrase, "an encrypted volume is made with its passphrase"
            made = self._stored(f"volumes/{volume.id}", format_, size_bytes, self._preferred)
            self._volumes[volume.id] = msgspec.structs.replace(made, limits=dict(volume.limits))
        found, backend = self._volumes[volume.id], volume.backend or self._preferred
        moved = self._stored(f"volumes/{volume.id}", found.format, found.size_bytes, backend)
        self._volumes[volume.id] = msgspec.structs.replace(moved, limits=found.limits)
        return self._volumes[volume.id]

    async def find_volume(self, volume_id: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        return self._volumes.get(volume_id)

    async def extend_volume(self, volume_id: str, size_gb: int) -> None:
        await trio.lowlevel.checkpoint()
        found = self._volumes.get(volume_id)
        if found is None:
            raise NotFound("volume", volume_id)
        size_bytes = size_gb * GIB
        if size_bytes > found.size_bytes:
            self._check_room(size_bytes - found.size_bytes)
            self._volumes[volume_id] = msgspec.structs.replace(found, size_bytes=size_bytes)

    async def limit_volume(self, volume_id: str, limits: Mapping[str, int]) -> None:
        await trio.lowlevel.checkpoint()
        if volume_id not in self._volumes:
            raise NotFound("volume", volume_id)
        self._volumes[volume_id] = msgspec.structs.replace(self._volumes[volume_id], limits=dict(limits))

    async def drop_volume(self, volume_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._volumes.pop(volume_id, None)

    async def make_snapshot(self, snapshot: SnapshotWish) -> None:
        await trio.lowlevel.checkpoint()
        if snapshot.volume_id not in self._volumes:
            raise NotFound("volume", snapshot.volume_id)
        self._snapshots.setdefault(snapshot.id, self._volumes[snapshot.volume_id])

    async def find_snapshot(self, snapshot_id: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        return self._snapshots.get(snapshot_id)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._snapshots.pop(snapshot_id, None)

    @property
    def _preferred(self) -> str:
        return self._config.backends[0]

    def _stored(self, name: str, format_: str, size_bytes: int, backend: str) -> Stored:
        access = CephAccess("/fake/ceph.conf", "fake", "fake") if backend == CEPH else None
        return Stored(f"/fake/{name}", format_, size_bytes, access, backend)

    def _check_source(self, volume: VolumeWish) -> None:
        """Raise NotFound unless what the volume is made from is there."""
        if volume.source_snapshot_id:
            if volume.source_snapshot_id not in self._snapshots:
                raise NotFound("snapshot", volume.source_snapshot_id)
        elif volume.source_volume_id and volume.source_volume_id not in self._volumes:
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

    def _check_room(self, size_bytes: int) -> None:
        used_bytes = sum(volume.size_bytes for volume in self._volumes.values())
        if used_bytes + size_bytes > self._config.disk_gb * GIB:
            raise NoCapacity("The fake host's disk is full.")
