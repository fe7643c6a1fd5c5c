"""The bytes of images in Ceph, as RBD images that hosts clone.

::

    ID           a raw image as a disk, with the snapshot ``base``
    ID.file      the bytes of an image in any other format; a host that needs it makes the disk ``ID`` from them once
    part.NAME    what is being uploaded (``disks.Disk.part`` by the maker "control")

So a server is made from a raw image without a byte being copied. Zeros are not stored. Removing an image that servers are cloned from takes its
name away at once and its bytes with the last of them.

What blocks (all but ``remove``) runs in worker threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ostro.model.errors import NotFound
from ostro.model.ids import is_uuid
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.connection import Ceph
from ostro.runtime.ceph.disks import BASE, OBJECT_BYTES, Disk, OpenDisk
from ostro.services.image.files import ImageDraft, ImageReader, LiveUploads

T = TypeVar("T")

MAKER = "control"
FILE = ".file"
RAW = frozenset(("raw", "iso", "ami", "ari", "aki"))
"""Formats whose bytes are the disk."""
FIRST_BYTES = 1 << 30
"""The size of an upload that doesn't announce its own; doubled as need be, cut at the end. Only what is written takes room."""
ZEROS = bytes(OBJECT_BYTES)


class RbdImages(LiveUploads):
    """See ``ImageStore``."""

    def __init__(self, ceph: Ceph) -> None:
        super().__init__()
        self._ceph = ceph
        self._pool = ceph.config.pools.images

    def create(self, upload_id: str, disk_format: str, length_bytes: int | None) -> ImageDraft:
        disk = self._disk(upload_id, disk_format)
        size_bytes = length_bytes if length_bytes is not None else FIRST_BYTES
        self._call(disk.name, disks.create, disk.part(MAKER), disks.whole_sectors(size_bytes))
        return RbdDraft(self._ceph, disk, size_bytes)

    def open(self, upload_id: str, disk_format: str) -> ImageReader:
        disk = self._disk(upload_id, disk_format)
        try:
            return RbdReader(self._ceph.open_disk(disk, BASE if disk_format in RAW else None))
        except NotFound as error:
            raise FileNotFoundError(disk.name) from error

    async def remove(self, upload_id: str) -> None:
        for name in (upload_id, f"{upload_id}{FILE}"):
            disk = Disk(self._pool, name)
            await self._ceph.remove_disk(disk.part(MAKER))
            await self._ceph.remove_disk(disk)

    def list(self) -> set[str]:
        names = self._call(self._pool, disks.list_names, self._pool)
        mine = {name.removeprefix(f"part.{MAKER}.").removesuffix(FILE) for name in names}
        return {name for name in mine if is_uuid(name)}

    def _disk(self, upload_id: str, disk_format: str) -> Disk:
        assert is_uuid(upload_id), upload_id
        return Disk(self._pool, upload_id if disk_format in RAW else f"{upload_id}{FILE}")

    def _call(self, what: str, fn: Callable[..., T], *args: object) -> T:
        return self._ceph.call_here(what, fn, *args)


class RbdDraft:
    """See ``ImageDraft``. Bytes are gathered until they fill a RADOS object, so that each is written once."""

    def __init__(self, ceph: Ceph, disk: Disk, size_bytes: int) -> None:
        self._ceph = ceph
        self._disk = disk
        self._part = disk.part(MAKER)
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._open: OpenDisk | None = ceph.open_disk(self._part)
        self._waiting = bytearray()
        self._written_bytes = 0

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._open is None:
                return
            self._waiting += data
            while len(self._waiting) >= OBJECT_BYTES:
                self._put(self._open, bytes(memoryview(self._waiting)[:OBJECT_BYTES]))
                del self._waiting[:OBJECT_BYTES]

    def publish(self, size_bytes: int) -> None:
        with self._lock:
            assert self._open is not None, "published before it is closed"
            self._put(self._open, bytes(self._waiting))
            self._waiting.clear()
            self._open.resize(disks.whole_sectors(size_bytes))
            self._open.flush()
            self._open.close()
        self._ceph.call_here(self._disk.name, disks.snapshot, self._part, BASE)
        self._ceph.call_here(self._disk.name, disks.finish, self._part, self._disk, "")

    def close(self) -> None:
        with self._lock:
            found, self._open = self._open, None
            if found is not None:
                found.close()

    def _put(self, disk: OpenDisk, data: bytes) -> None:
        end = self._written_bytes + len(data)
        if end > self._size_bytes:
            self._size_bytes = max(end, 2 * self._size_bytes)
            disk.resize(disks.whole_sectors(self._size_bytes))
        if data != ZEROS[: len(data)]:
            disk.write(data, self._written_bytes)
        self._written_bytes = end


class RbdReader:
    """See ``ImageReader``."""

    def __init__(self, disk: OpenDisk) -> None:
        self._disk = disk
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            return self._disk.read(offset, length)

    def close(self) -> None:
        with self._lock:
            self._disk.close()
