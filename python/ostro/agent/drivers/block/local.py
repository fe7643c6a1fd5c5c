"""Storage in files of one directory.

::

    images/ID.FORMAT            a base image, read only
    servers/ID/base             a hard link to the base image that the root disk stands on
    servers/ID/root.qcow2       what the server has written
    volumes/ID.raw, ID.luks     a volume, sparse; behind a LUKS header if it is encrypted
    volumes/ID.reverted         the id of the revert that the volume has been through last
    snapshots/ID.raw, ID.luks   what a volume held at one moment, sparse
    unfinished/                 whatever is being made; emptied at opening

Things are made in ``unfinished`` and renamed. A root disk has a link of its own to its base, so an image may be dropped at
any time: the bytes go when the last server on them goes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from ostro.agent.drivers.block import GIB, BlockFacts, Contents, Export, Stored
from ostro.agent.drivers.block.files import (
    FORMATS,
    FileCalls,
    check_backend,
    check_fits,
    convert_disk,
    copy_disk,
    copy_encrypted,
    export_format,
    fetch_image,
    grow_disk,
    guest_size,
    header_bytes,
    is_encrypted_anew,
    luks_header,
    opened_export,
    qemu_format,
    volume_format,
    write_chunks,
)
from ostro.agent.drivers.block.qcow2 import HEADER_BYTES, overlay, read_header
from ostro.model.errors import Invalid, NoCapacity, NotFound
from ostro.model.volumes import LUKS
from ostro.model.wishes import ImageWish, RevertWish, SnapshotWish, UploadWish, VolumeWish
from ostro.runtime.world import World

WORKERS = 4


@dataclass(frozen=True)
class LocalConfig:
    """``root`` is the directory of everything."""

    root: Path


@asynccontextmanager
async def open_(world: World, config: LocalConfig) -> AsyncIterator[LocalBlock]:
    """Make the directories, and throw away what was left unfinished."""
    driver = LocalBlock(world, config.root)
    await driver.open()
    yield driver


class LocalBlock:
    """See `ostro.agent.drivers.block.Block`."""

    def __init__(self, world: World, root: Path) -> None:
        self._root = root
        self._images = root / "images"
        self._servers = root / "servers"
        self._volumes = root / "volumes"
        self._snapshots = root / "snapshots"
        self._unfinished = root / "unfinished"
        self._call = FileCalls(world, WORKERS)
        self._world = world

    async def open(self) -> None:
        """See `open_`."""
        await self._call(self._open)

    @property
    def facts(self) -> BlockFacts:
        return BlockFacts(shutil.disk_usage(self._root).total // GIB, f"files in {self._root}")

    async def contents(self) -> Contents:
        return await self._call(self._contents)

    async def put_image(self, image: ImageWish, chunks: AsyncIterable[bytes]) -> None:
        target = self._images / f"{image.id}.{qemu_format(image)}"
        if await self._call(target.exists):
            return
        part = self._unfinished / f"image-{image.id}"
        try:
            await fetch_image(self._call, image, chunks, part)
            await self._call(_finish, part, target)
        finally:
            part.unlink(missing_ok=True)

    async def drop_image(self, image_id: str) -> None:
        await self._call(_unlink, *(self._images / f"{image_id}.{format_}" for format_ in set(FORMATS.values())))

    async def make_root(self, server_id: str, image_id: str, size_gb: int) -> Stored:
        return await self._call(self._make_root, server_id, image_id, size_gb * GIB)

    async def take_over(self, server_id: str, volume_ids: Sequence[str]) -> None:
        # A file of this host is opened by nobody else.
        await trio.lowlevel.checkpoint()

    async def find_root(self, server_id: str) -> Stored | None:
        return await self._call(self._find_root, server_id)

    def _find_root(self, server_id: str) -> Stored | None:
        root = self._servers / server_id / "root.qcow2"
        return Stored(str(root), "qcow2", guest_size(root, "qcow2")) if root.exists() else None

    async def extend_root(self, server_id: str, size_gb: int) -> Stored:
        found = await self.find_root(server_id)
        if found is None:
            raise NotFound("root disk", server_id)
        if found.size_bytes < size_gb * GIB:
            await grow_disk(found, size_gb * GIB)
        grown = await self.find_root(server_id)
        assert grown is not None, "it was there a moment ago"
        return grown

    async def root_file(self, server_id: str) -> str:
        found = await self.find_root(server_id)
        return found.path if found is not None else ""

    async def receive_root(self, server_id: str, image_id: str, chunks: AsyncIterable[bytes]) -> Stored:
        found = await self.find_root(server_id)
        if found is not None:
            return found
        work = self._unfinished / f"received-{server_id}"
        try:
            await self._call(self._begin_root, work, image_id)
            await write_chunks(self._call, chunks, work / "root.qcow2")
            await self._call(self._finish_root, work, self._servers / server_id, bool(image_id))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        received = await self.find_root(server_id)
        assert received is not None, "it has been received"
        return received

    def _begin_root(self, work: Path, image_id: str) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        if image_id:
            os.link(self._image(image_id)[0], work / "base")

    def _finish_root(self, work: Path, target: Path, has_base: bool) -> None:
        with (work / "root.qcow2").open("rb") as file:
            header = read_header(file.read(HEADER_BYTES))
        if header.refers_elsewhere is not has_base or header.encrypted:
            raise Invalid("What another host has sent is not the root disk of such a server.")
        work.rename(target)

    async def hand_over_root(self, server_id: str, heir: str) -> None:
        """Nobody shares it."""
        await trio.lowlevel.checkpoint()

    async def drop_root(self, server_id: str) -> None:
        await self._call(shutil.rmtree, self._servers / server_id, True)

    async def make_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        check_backend(volume, self.facts)
        return await self.find_volume(volume.id) or await self.make_new_volume(volume, passphrase)

    async def make_new_volume(self, volume: VolumeWish, passphrase: str = "") -> Stored:
        """As `make_volume`, of one that was looked for and isn't there."""
        return await self.copy_volume(volume, await self._source_of(volume), passphrase)

    async def copy_volume(self, volume: VolumeWish, source: Stored | None, passphrase: str = "") -> Stored:
        """The volume, made from any disk that QEMU can read, or blank."""
        format_, size_bytes = volume_format(volume), volume.size_gb * GIB
        await self._call(self._check_room, size_bytes)
        part = self._unfinished / f"volume-{volume.id}"
        if source is not None:
            check_fits(source, size_bytes)
        try:
            if is_encrypted_anew(volume, source):
                await self._call(part.write_bytes, luks_header(volume, passphrase, self._world.random))
            elif source is not None:
                await copy_disk(source, str(part))
            await self._call(_set_size, part, size_bytes + header_bytes(format_))
            if source is not None and is_encrypted_anew(volume, source):
                await copy_encrypted(source, Stored(str(part), format_, size_bytes), passphrase)
            target = _paths(self._volumes, volume.id)[format_]
            await self._call(_finish, part, target)
        finally:
            part.unlink(missing_ok=True)
        return Stored(str(target), format_, size_bytes)

    async def find_image(self, image_id: str) -> Stored | None:
        """The image's own bytes, None when it isn't kept."""
        try:
            return await self._call(self._stored_image, image_id)
        except NotFound:
            return None

    async def find_volume(self, volume_id: str) -> Stored | None:
        return await self._call(_find, self._volumes, volume_id)

    async def extend_volume(self, volume_id: str, size_gb: int) -> None:
        found = await self.find_volume(volume_id)
        if found is None:
            raise NotFound("volume", volume_id)
        growth_bytes = size_gb * GIB - found.size_bytes
        if growth_bytes > 0:
            await self._call(self._check_room, growth_bytes)
            await self._call(_set_size, Path(found.path), size_gb * GIB + header_bytes(found.format))

    async def limit_volume(self, volume_id: str, limits: Mapping[str, int]) -> None:
        if await self.find_volume(volume_id) is None:
            raise NotFound("volume", volume_id)

    async def revert_volume(self, volume_id: str, revert: RevertWish) -> None:
        volume, snapshot = await self.find_volume(volume_id), await self.find_snapshot(revert.snapshot_id)
        if volume is None:
            raise NotFound("volume", volume_id)
        if volume.reverted == revert.id:
            return
        if snapshot is None:
            raise NotFound("snapshot", revert.snapshot_id)
        part, note = (self._unfinished / f"{what}-{volume_id}" for what in ("revert", "reverted"))
        try:
            await copy_disk(snapshot, str(part))
            await self._call(_finish, part, Path(volume.path))
            # In this order: after a crash in between it is done once more, while still nobody has the volume.
            await self._call(note.write_text, revert.id)
            await self._call(_finish, note, _note(self._volumes, volume_id))
        finally:
            part.unlink(missing_ok=True)
            note.unlink(missing_ok=True)

    async def drop_volume(self, volume_id: str) -> None:
        await self._call(_unlink, _note(self._volumes, volume_id), *_paths(self._volumes, volume_id).values())

    async def make_snapshot(self, snapshot: SnapshotWish) -> None:
        if await self.find_snapshot(snapshot.id) is not None:
            return
        volume = await self.find_volume(snapshot.volume_id)
        if volume is None:
            raise NotFound("volume", snapshot.volume_id)
        part = self._unfinished / f"snapshot-{snapshot.id}"
        try:
            await copy_disk(volume, str(part))
            await self._call(_finish, part, _paths(self._snapshots, snapshot.id)[volume.format])
        finally:
            part.unlink(missing_ok=True)

    async def find_snapshot(self, snapshot_id: str) -> Stored | None:
        return await self._call(_find, self._snapshots, snapshot_id)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        await self._call(_unlink, *_paths(self._snapshots, snapshot_id).values())

    async def publish(self, upload: UploadWish) -> bool:
        """Nobody shares these files."""
        await trio.lowlevel.checkpoint()
        return False

    @asynccontextmanager
    async def exported(self, upload: UploadWish) -> AsyncIterator[Export]:
        volume = await self.find_volume(upload.volume_id)
        if volume is None:
            raise NotFound("volume", upload.volume_id)
        if export_format(volume, upload.disk_format) == volume.format:
            async with opened_export(self._call, Path(volume.path)) as export:
                yield export
            return
        part = self._unfinished / f"upload-{upload.id}"
        try:
            await convert_disk(volume, upload.disk_format, part)
            async with opened_export(self._call, part) as export:
                yield export
        finally:
            part.unlink(missing_ok=True)

    async def drop_upload(self, upload_id: str) -> None:
        """Nothing is left but by a crash, and `open_` sees to that."""
        await trio.lowlevel.checkpoint()

    def _open(self) -> None:
        shutil.rmtree(self._unfinished, ignore_errors=True)
        for directory in (self._images, self._servers, self._volumes, self._snapshots, self._unfinished):
            directory.mkdir(parents=True, exist_ok=True)

    def _contents(self) -> Contents:
        return Contents(
            images=frozenset(path.stem for path in self._images.iterdir()),
            roots=frozenset(path.name for path in self._servers.iterdir()),
            volumes=frozenset(path.stem for path in self._volumes.iterdir()),
            snapshots=frozenset(path.stem for path in self._snapshots.iterdir()),
        )

    def _image(self, image_id: str) -> tuple[Path, str]:
        """A kept image's file and format."""
        for format_ in set(FORMATS.values()):
            path = self._images / f"{image_id}.{format_}"
            if path.exists():
                return path, format_
        raise NotFound("image", image_id, f"Image {image_id} is not kept on this host.")

    def _make_root(self, server_id: str, image_id: str, size_bytes: int) -> Stored:
        target = self._servers / server_id
        root = target / "root.qcow2"
        if not root.exists():
            work = self._unfinished / f"root-{server_id}"
            shutil.rmtree(work, ignore_errors=True)
            try:
                work.mkdir()
                self._write_root(work, image_id, size_bytes)
                work.rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return Stored(str(root), "qcow2", guest_size(root, "qcow2"))

    def _write_root(self, work: Path, image_id: str, size_bytes: int) -> None:
        backing = ("", "")
        if image_id:
            image, format_ = self._image(image_id)
            image_bytes = guest_size(image, format_)
            if 0 < size_bytes < image_bytes:
                raise Invalid(f"The image needs {image_bytes} bytes, the flavor's disk has {size_bytes}.")
            size_bytes = size_bytes or image_bytes
            os.link(image, work / "base")
            backing = ("base", format_)
        content = overlay(*backing, size_bytes)
        with (work / "root.qcow2").open("wb") as file:
            for offset, piece in content.pieces.items():
                file.seek(offset)
                file.write(piece)
            file.truncate(content.size_bytes)
            file.flush()
            os.fsync(file.fileno())

    def _stored_image(self, image_id: str) -> Stored:
        path, format_ = self._image(image_id)
        return Stored(str(path), format_, guest_size(path, format_))

    async def _source_of(self, volume: VolumeWish) -> Stored | None:
        """What a volume starts from. Raises NotFound."""
        if volume.image_id:
            return await self._call(self._stored_image, volume.image_id)
        if volume.source_snapshot_id:
            found, noun, source_id = (
                await self.find_snapshot(volume.source_snapshot_id),
                "snapshot",
                volume.source_snapshot_id,
            )
        elif volume.source_volume_id:
            found, noun, source_id = await self.find_volume(volume.source_volume_id), "volume", volume.source_volume_id
        else:
            return None
        if found is None:
            raise NotFound(noun, source_id)
        return found

    def _check_room(self, size_bytes: int) -> None:
        """Refuse what could never be filled. Volumes are sparse, so this is no promise."""
        free_bytes = shutil.disk_usage(self._volumes).free
        if size_bytes > free_bytes:
            raise NoCapacity(f"The host has {free_bytes // GIB} GiB of disk free, too little for this volume.")


def _paths(directory: Path, id_: str) -> dict[str, Path]:
    """Where a volume's or snapshot's bytes may be, by their format."""
    return {"raw": directory / f"{id_}.raw", LUKS: directory / f"{id_}.luks"}


def _note(directory: Path, id_: str) -> Path:
    """Where it is noted what a volume was reverted by."""
    return directory / f"{id_}.reverted"


def _find(directory: Path, id_: str) -> Stored | None:
    for format_, path in _paths(directory, id_).items():
        with suppress(FileNotFoundError):
            size_bytes, note = guest_size(path, format_), _note(directory, id_)
            return Stored(str(path), format_, size_bytes, reverted=note.read_text() if note.exists() else "")
    return None


def _set_size(path: Path, size_bytes: int) -> None:
    with path.open("ab") as file:
        file.truncate(size_bytes)


def _finish(part: Path, target: Path) -> None:
    """Give a file its name. It is flushed first: what has its name counts as whole, also after the machine has lost its power."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(target)


def _unlink(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
