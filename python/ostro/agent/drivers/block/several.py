"""Files of this host and Ceph side by side: volumes in either, as their wish says; images and new root disks in Ceph.

What is in files is found without asking Ceph, and so is that something isn't in Ceph, so files work while Ceph does not. A volume that is wished in the other kind of storage is copied and
then deleted where it was. A crash in between leaves both; the one in files is then the one that is found, and the move is made again
from it or, if that is where the volume shall be, it is over. So a copy in Ceph may outlive its volume's move; it is known as an orphan or
overwritten by the next move, and never read.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ostro.agent.drivers.block import BlockFacts, Contents, Export, Stored
from ostro.agent.drivers.block import local as local_block
from ostro.agent.drivers.block import rbd as rbd_block
from ostro.agent.drivers.block.files import check_backend
from ostro.agent.drivers.block.local import LocalBlock, LocalConfig
from ostro.agent.drivers.block.rbd import RbdBlock
from ostro.agent.drivers.block.rbd_host import RbdConfig
from ostro.model.errors import NotFound, Unavailable, Unsupported
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import ImageWish, RevertWish, SnapshotWish, UploadWish, VolumeWish
from ostro.runtime.world import World


@dataclass(frozen=True)
class SeveralConfig:
    """Both kinds' own."""

    local: LocalConfig
    rbd: RbdConfig


@asynccontextmanager
async def open_(world: World, config: SeveralConfig) -> AsyncIterator[SeveralBlocks]:
    """Open both."""
    async with (
        local_block.open_(world, config.local) as local,
        rbd_block.open_(world, config.rbd) as ceph,
    ):
        yield SeveralBlocks(local, ceph)


class SeveralBlocks:
    """See `ostro.agent.drivers.block.Block`."""

    def __init__(self, local: LocalBlock, ceph: RbdBlock) -> None:
        self._local = local
        self._ceph = ceph

    @property
    def facts(self) -> BlockFacts:
        local, ceph = self._local.facts, self._ceph.facts
        return BlockFacts(local.disk_gb + ceph.disk_gb, f"{ceph.why}; {local.why}", (CEPH, LOCAL))

    async def contents(self) -> Contents:
        local, ceph = await self._local.contents(), await self._ceph.contents()
        return Contents(
            local.images | ceph.images,
            local.roots | ceph.roots,
            local.volumes | ceph.volumes,
            local.snapshots | ceph.snapshots,
            ceph.uploads,
        )

    async def put_image(self, image: ImageWish, chunks: AsyncIterable[bytes]) -> None:
        await self._ceph.put_image(image, chunks)

    async def drop_image(self, image_id: str) -> None:
        await self._local.drop_image(image_id)
        await self._ceph.drop_image(image_id)

    async def make_root(self, server_id: str, image_id: str, size_gb: int) -> Stored:
        if server_id in (await self._local.contents()).roots:
            return await self._local.make_root(server_id, image_id, size_gb)
        return await self._ceph.make_root(server_id, image_id, size_gb)

    async def take_over(self, server_id: str, volume_ids: Sequence[str]) -> None:
        await self._ceph.take_over(server_id, volume_ids)

    async def find_root(self, server_id: str) -> Stored | None:
        return await self._local.find_root(server_id) or await self._ceph.find_root(server_id)

    async def extend_root(self, server_id: str, size_gb: int) -> Stored:
        is_local = await self._local.find_root(server_id) is not None
        return await (self._local if is_local else self._ceph).extend_root(server_id, size_gb)

    async def root_file(self, server_id: str) -> str:
        return await self._local.root_file(server_id)

    async def receive_root(self, server_id: str, image_id: str, chunks: AsyncIterable[bytes]) -> Stored:
        found = await self.find_root(server_id)
        if found is not None:
            return found
        if image_id and await self._local.find_image(image_id) is None:
            raise Unsupported("This host keeps images in Ceph, and the other one's root disk stands on a file.")
        return await self._local.receive_root(server_id, image_id, chunks)

    async def hand_over_root(self, server_id: str, heir: str) -> None:
        if server_id not in (await self._local.contents()).roots:
            await self._ceph.hand_over_root(server_id, heir)

    async def drop_root(self, server_id: str) -> None:
        if server_id in (await self._local.contents()).roots:
            await self._local.drop_root(server_id)
        else:
            await self._ceph.drop_root(server_id)

    async def make_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        check_backend(volume, self.facts)
        found = await self.find_volume(volume.id)
        if found is None:
            return await self._make_new(volume, passphrase)
        if found.backend == (volume.backend or found.backend):
            return await (self._ceph if found.backend == CEPH else self._local).make_volume(volume)
        return await self._move(volume, found)

    async def find_volume(self, volume_id: str) -> Stored | None:
        found = await self._local.find_volume(volume_id)
        if found is not None:
            return found
        try:
            return await self._ceph.find_volume(volume_id)
        except Unavailable:
            if await self._ceph.may_keep_volume(volume_id):
                raise
            return None

    async def extend_volume(self, volume_id: str, size_gb: int) -> None:
        await (await self._home_of(volume_id)).extend_volume(volume_id, size_gb)

    async def limit_volume(self, volume_id: str, limits: Mapping[str, int]) -> None:
        await (await self._home_of(volume_id)).limit_volume(volume_id, limits)

    async def revert_volume(self, volume_id: str, revert: RevertWish) -> None:
        await (await self._home_of(volume_id)).revert_volume(volume_id, revert)

    async def drop_volume(self, volume_id: str) -> None:
        await (await self._home_of(volume_id)).drop_volume(volume_id)

    async def make_snapshot(self, snapshot: SnapshotWish) -> None:
        await (await self._home_of(snapshot.volume_id)).make_snapshot(snapshot)

    async def find_snapshot(self, snapshot_id: str) -> Stored | None:
        return await self._local.find_snapshot(snapshot_id) or await self._ceph.find_snapshot(snapshot_id)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        if snapshot_id in (await self._local.contents()).snapshots:
            await self._local.drop_snapshot(snapshot_id)
        else:
            await self._ceph.drop_snapshot(snapshot_id)

    async def publish(self, upload: UploadWish) -> bool:
        return await (await self._home_of(upload.volume_id)).publish(upload)

    @asynccontextmanager
    async def exported(self, upload: UploadWish) -> AsyncIterator[Export]:
        async with (await self._home_of(upload.volume_id)).exported(upload) as export:
            yield export

    async def drop_upload(self, upload_id: str) -> None:
        if upload_id in (await self.contents()).uploads:
            await self._ceph.drop_upload(upload_id)

    async def _home_of(self, volume_id: str) -> LocalBlock | RbdBlock:
        return self._ceph if await self._local.find_volume(volume_id) is None else self._local

    def _home(self, volume: VolumeWish) -> LocalBlock | RbdBlock:
        return self._local if volume.backend == LOCAL else self._ceph

    async def _make_new(self, volume: VolumeWish, passphrase: str) -> Stored:
        """Make a volume from what may be in the other kind of storage; where it is in the same, that knows a quicker way."""
        home, source = self._home(volume), None
        if volume.source_snapshot_id:
            source = await self.find_snapshot(volume.source_snapshot_id)
            if source is None and home is self._local:
                raise NotFound("snapshot", volume.source_snapshot_id)
            # In Ceph it may be another host's.
        elif volume.source_volume_id:
            source = await self.find_volume(volume.source_volume_id)
            if source is None:
                raise NotFound("volume", volume.source_volume_id)
        elif volume.image_id and home is self._local and await self._local.find_image(volume.image_id) is None:
            source = await self._ceph.find_image(volume.image_id)
            if source is None:
                raise NotFound("image", volume.image_id, f"Image {volume.image_id} is not kept on this host.")
        if source is None or source.backend == home.facts.backends[0]:
            return await home.make_new_volume(volume, passphrase)
        return await home.copy_volume(volume, source, passphrase)

    async def _move(self, volume: VolumeWish, found: Stored) -> Stored:
        """Copy a volume to the other kind of storage, over what an earlier attempt may have left there, and delete it here."""
        home = self._home(volume)
        await home.drop_volume(volume.id)
        moved = await home.copy_volume(volume, found)
        await (self._ceph if found.backend == CEPH else self._local).drop_volume(volume.id)
        return moved
