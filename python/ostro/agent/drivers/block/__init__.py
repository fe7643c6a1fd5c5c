"""The block driver: the images, root disks, volumes and snapshots of volumes that this host keeps.

Everything is named by the id of its noun, so making it again is the same work. A thing appears complete or not at all: whatever
fails half-way (a download cut off, a full disk, a killed agent) leaves nothing that any other method would show.

Formats are never guessed. An image says its format, and its header is read here and must agree before anything
else, QEMU least of all, opens it; a qcow2 that refers to other files is refused.

Implementations: `ostro.agent.drivers.block.local` (files), `ostro.agent.drivers.block.rbd` (Ceph), `ostro.agent.drivers.block.several` (both side
by side) and `ostro.agent.drivers.block.fake` (for load and rehearsal). All pass one conformance suite. Each module has an ``open_(world, config)``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ostro.model.volumes import LOCAL
from ostro.model.wishes import ImageWish, RevertWish, SnapshotWish, UploadWish, VolumeWish

GIB = 1 << 30


class BlockFacts(msgspec.Struct, frozen=True):
    """``disk_gb`` is how much this host can keep in all, ``why`` where, and ``backends`` the kinds of storage for volumes."""

    disk_gb: int
    why: str
    backends: tuple[str, ...] = (LOCAL,)


class CephAccess(msgspec.Struct, frozen=True):
    """How QEMU gets at a disk in Ceph: a ceph.conf, a user, and the id under which libvirt has the user's key as a secret."""

    conf: str
    user: str
    secret_id: str


class Stored(msgspec.Struct, frozen=True):
    """A disk as the hypervisor opens it. ``size_bytes`` is what the guest sees.

    ``path`` is a file's or, with ``ceph``, ``rbd:POOL/IMAGE``. ``backend`` is the kind of storage that it is in. ``format`` is qcow2, raw or luks: the last
    is raw behind a LUKS header, and opened with the volume's passphrase. ``limits`` is what the storage holds it to, None where it can't.
    ``reverted`` is the id of the revert that it has been through last.
    """

    path: str
    format: str
    size_bytes: int
    ceph: CephAccess | None = None
    backend: str = LOCAL
    limits: dict[str, int] | None = None
    reverted: str = ""


class Contents(msgspec.Struct, frozen=True):
    """The ids of everything kept: images, servers with root disks, volumes, snapshots of volumes, and of what images are being made."""

    images: frozenset[str]
    roots: frozenset[str]
    volumes: frozenset[str]
    snapshots: frozenset[str] = frozenset()
    uploads: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Export:
    """The bytes of an image that is made of a volume, to be read once."""

    size_bytes: int
    chunks: AsyncIterator[bytes]


IMAGE_KEY, ROOT_KEY, VOLUME_KEY, SNAPSHOT_KEY, UPLOAD_KEY = "image-", "server-", "volume-", "snapshot-", "upload-"
"""Before the id of what a host keeps in storage that it shares: what kind it is."""


def contents_of(keys: Collection[str]) -> Contents:
    """What is kept by these keys."""
    kinds = (IMAGE_KEY, ROOT_KEY, VOLUME_KEY, SNAPSHOT_KEY, UPLOAD_KEY)
    return Contents(*(frozenset(key.removeprefix(kind) for key in keys if key.startswith(kind)) for kind in kinds))


class Block(Protocol):
    """One host's storage. Every method is idempotent and may be cancelled anywhere.

    Besides what each method says, all that make something may raise NoCapacity (the disk is full, nothing is left behind), and
    all may raise Unavailable (it took too long; try again).
    """

    @property
    def facts(self) -> BlockFacts:
        """What was found at opening."""
        ...

    async def contents(self) -> Contents:
        """Everything kept, for finding orphans."""
        ...

    async def put_image(self, image: ImageWish, chunks: AsyncIterable[bytes]) -> None:
        """Keep the image whose bytes are ``chunks``; they are not read when it is kept already.

        Raises:
            Invalid: the bytes aren't those that the wish describes, or the image refers to other files.
            Unsupported: no disk can be made from this format.
        """
        ...

    async def drop_image(self, image_id: str) -> None:
        """Forget an image. What was made from it stays whole. It being gone succeeds."""
        ...

    async def make_root(self, server_id: str, image_id: str, size_gb: int) -> Stored:
        """The server's root disk, made from the image (blank without one) unless it is there. A size of 0 is the image's own.

        Raises:
            NotFound: the image isn't kept here.
            Invalid: the image is larger than ``size_gb``.
        """
        ...

    async def find_root(self, server_id: str) -> Stored | None:
        """The server's root disk, whichever host made it; None when this host can't reach one."""
        ...

    async def extend_root(self, server_id: str, size_gb: int) -> Stored:
        """Make the root disk of a server that is off larger; one that is as large already is left alone.

        Raises:
            NotFound: there is none.
        """
        ...

    async def root_file(self, server_id: str) -> str:
        """The file that another host needs for the root disk, besides its image, of a server that is off; empty when hosts share the disk."""
        ...

    async def receive_root(self, server_id: str, image_id: str, chunks: AsyncIterable[bytes]) -> Stored:
        """The root disk that another host's `root_file` is, unless there is one.

        Raises:
            NotFound: the image isn't kept here.
            Invalid: the bytes aren't such a disk.
            Unsupported: the disk can't be had here, because this host's are in other storage.
        """
        ...

    async def hand_over_root(self, server_id: str, heir: str) -> None:
        """The server is on another host now, of this name: what hosts share of its root disk is that one's to delete. There being none succeeds."""
        ...

    async def take_over(self, server_id: str, volume_ids: Sequence[str]) -> None:
        """See to it that no other host can write to the server's root disk and these volumes any more, before it is started here.

        Not even one that can't be reached: in Ceph whoever has a disk locked is shut out of the cluster. What isn't shared, or isn't there, is
        nobody else's. Nothing of this host may have the disks open.
        """
        ...

    async def drop_root(self, server_id: str) -> None:
        """Delete the server's root disk. It being gone succeeds."""
        ...

    async def make_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        """The volume, made blank or from its image or source volume unless it is there; one that is there keeps its size.

        One that is in another kind of storage than the wish says is moved; nothing may have it plugged in then. One that shall be encrypted is
        encrypted with ``passphrase``, or is a copy of one that is.

        Raises:
            Unsupported: this host doesn't have the kind of storage that the wish says.
            NotFound: the image, source volume or snapshot isn't kept here.
            Invalid: what it is made from is larger than it.
        """
        ...

    async def find_volume(self, volume_id: str) -> Stored | None:
        """The volume, or None."""
        ...

    async def extend_volume(self, volume_id: str, size_gb: int) -> None:
        """Make a volume that no running domain uses larger; one that is as large already is left alone.

        Raises:
            NotFound: the volume isn't kept here.
        """
        ...

    async def limit_volume(self, volume_id: str, limits: Mapping[str, int]) -> None:
        """Hold the volume to these limits and no others, at once; nothing happens where the storage can't.

        Raises:
            NotFound: the volume isn't kept here.
        """
        ...

    async def revert_volume(self, volume_id: str, revert: RevertWish) -> None:
        """Make a volume that nobody has plugged in what it was at its snapshot, which is of its size, unless it has been through this revert.

        Raises:
            NotFound: the volume or the snapshot isn't kept here.
        """
        ...

    async def drop_volume(self, volume_id: str) -> None:
        """Delete the volume. It being gone succeeds."""
        ...

    async def make_snapshot(self, snapshot: SnapshotWish) -> None:
        """Keep what the volume holds now, unless there is a snapshot of this id already.

        In Ceph the volume may be in use: the snapshot then is what a power cut would have left. In files it may not be.

        Raises:
            NotFound: the volume isn't kept here.
        """
        ...

    async def find_snapshot(self, snapshot_id: str) -> Stored | None:
        """The snapshot as a disk to read from, or None."""
        ...

    async def drop_snapshot(self, snapshot_id: str) -> None:
        """Delete the snapshot; volumes that were made from it stay whole. It being gone succeeds."""
        ...

    # -- images of volumes ---------------------------------------------------------------------------------------

    async def publish(self, upload: UploadWish) -> bool:
        """Put the image where the control plane keeps images, if that is in storage shared with it; whether that was possible.

        It is there whole or not at all, doesn't change with the volume, and stays when that is deleted.

        Raises:
            NotFound: the volume isn't kept here.
        """
        ...

    def exported(self, upload: UploadWish) -> AbstractAsyncContextManager[Export]:
        """What the volume holds, in the upload's format. Nothing is left when the block ends.

        Raises:
            NotFound: the volume isn't kept here.
            Unsupported: there can be no image in this format, or of this volume.
        """
        ...

    async def drop_upload(self, upload_id: str) -> None:
        """Clear away what an upload that broke off has left, but for the image if that is whole. There being nothing succeeds."""
        ...
