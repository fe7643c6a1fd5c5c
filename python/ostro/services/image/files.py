"""The bytes of images, named by the upload that brought them.

An upload is written as a draft and published when it is whole; the image's row then says which upload gave its bytes. What is published is whole
even after a crash; a draft that nobody in this process works on is dead and may be swept.

``ImageFiles`` keeps them in a directory; `ostro.services.image.rbd` keeps them in Ceph.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from ostro.model.ids import is_uuid
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

PART = ".part"
REMOVALS = Pool("image-remove", 4)
SPARE_BYTES = 64 << 20
"""An upload that would leave less than this on the disk is refused: the store may live there too."""


class ImageDraft(Protocol):
    """An upload being written, by one worker thread at a time. Writing after ``close`` does nothing: the worker was abandoned."""

    def write(self, data: bytes) -> None:
        """The next bytes. Raises OSError, such as for a full disk, and errors of ours."""
        ...

    def publish(self, size_bytes: int) -> None:
        """These were all: make them durable and findable. Raises as ``write`` does."""
        ...

    def close(self) -> None:
        """Let go of the draft. Idempotent."""
        ...


class ImageReader(Protocol):
    """Published bytes, open: they can be removed while they are being read."""

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; none at the end. Raises OSError and errors of ours."""
        ...

    def close(self) -> None:
        """Let go. Idempotent."""
        ...


class ImageStore(Protocol):
    """A place for the bytes of images. ``create``, ``open`` and ``list`` block: call them in a worker thread."""

    def upload(self, upload_id: str) -> AbstractContextManager[None]:
        """The upload is under way in this process until the block ends: no sweep touches it."""
        ...

    def is_live(self, upload_id: str) -> bool:
        """Whether the upload is under way in this process."""
        ...

    def live(self) -> frozenset[str]:
        """Every upload that is under way in this process."""
        ...

    def create(self, upload_id: str, disk_format: str, length_bytes: int | None) -> ImageDraft:
        """A new draft, with room for its length if that is known. Raises OSError and errors of ours."""
        ...

    def open(self, upload_id: str, disk_format: str) -> ImageReader:
        """Published bytes. Raises FileNotFoundError, OSError and errors of ours."""
        ...

    async def remove(self, upload_id: str) -> None:
        """Remove the bytes of an upload, whole or not. Idempotent; who reads them, or has disks made of them, still can.

        Raises Conflict while somebody has them open to write, and Unavailable.
        """
        ...

    def list(self) -> set[str]:
        """Every upload that there is something of, whole or not."""
        ...


class LiveUploads:
    """Which uploads are under way in this process."""

    def __init__(self) -> None:
        self._live: set[str] = set()

    @contextmanager
    def upload(self, upload_id: str) -> Iterator[None]:
        """See ``ImageStore``."""
        self._live.add(upload_id)
        try:
            yield
        finally:
            self._live.discard(upload_id)

    def is_live(self, upload_id: str) -> bool:
        """See ``ImageStore``."""
        return upload_id in self._live

    def live(self) -> frozenset[str]:
        """See ``ImageStore``."""
        return frozenset(self._live)


class ImageFiles(LiveUploads):
    """See ``ImageStore``. An upload is written to ``<upload id>.part`` and loses the suffix when it is whole and flushed."""

    def __init__(self, world: World, root: Path) -> None:
        super().__init__()
        self._world = world
        self._root = root

    def create(self, upload_id: str, disk_format: str, length_bytes: int | None) -> ImageDraft:
        self._root.mkdir(parents=True, exist_ok=True)
        draft = FileDraft(self._part(upload_id), self.path(upload_id))
        try:
            draft.take_room(length_bytes or 0)
        except BaseException:
            draft.close()
            raise
        return draft

    def open(self, upload_id: str, disk_format: str) -> ImageReader:
        return FileReader(self.path(upload_id))

    async def remove(self, upload_id: str) -> None:
        await self._world.threads.run(REMOVALS, _unlink, self._part(upload_id), self.path(upload_id))

    def list(self) -> set[str]:
        if not self._root.is_dir():
            return set()
        names = {entry.name.removesuffix(PART) for entry in os.scandir(self._root)}
        return {name for name in names if is_uuid(name)}

    def path(self, upload_id: str) -> Path:
        """Where the bytes are once they are whole."""
        assert is_uuid(upload_id), upload_id
        return self._root / upload_id

    def _part(self, upload_id: str) -> Path:
        return self.path(upload_id).with_suffix(PART)


class FileDraft:
    """See ``ImageDraft``. The lock keeps an abandoned write from going to whatever file has the number next."""

    def __init__(self, part: Path, path: Path) -> None:
        self._part = part
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def take_room(self, length_bytes: int) -> None:
        """Take this much of the disk now. Raises OSError."""
        room = os.fstatvfs(self._file)
        if room.f_bavail * room.f_frsize < length_bytes + SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if length_bytes:
            os.posix_fallocate(self._file, 0, length_bytes)

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._file < 0:
                return
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]

    def publish(self, size_bytes: int) -> None:
        os.ftruncate(self._file, size_bytes)
        os.fsync(self._file)
        self._part.rename(self._path)
        sync_directory(self._path.parent)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


class FileReader:
    """See ``ImageReader``. The kernel is told that the file is read in sequence, so it reads ahead on its own."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _unlink(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
