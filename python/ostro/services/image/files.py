"""The bytes of images: one file each below the state directory, named by the upload that brought it.

An upload is written to ``<upload id>.part`` and loses the suffix when it is whole and flushed; the image's row then says which upload gave its
bytes. The directory belongs to one process at a time, so an upload that this process doesn't know of is dead and may be swept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ostro.model.ids import is_uuid

PART = ".part"


class ImageFiles:
    """The directory of image files. The methods that touch it block: call them in a worker thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._live: set[str] = set()

    @contextmanager
    def upload(self, upload_id: str) -> Iterator[None]:
        """The upload is under way in this process until the block ends: no sweep touches it."""
        self._live.add(upload_id)
        try:
            yield
        finally:
            self._live.discard(upload_id)

    def is_live(self, upload_id: str) -> bool:
        """Whether the upload is under way in this process."""
        return upload_id in self._live

    def path(self, upload_id: str) -> Path:
        """Where the bytes are once they are whole."""
        assert is_uuid(upload_id), upload_id
        return self._root / upload_id

    def _part(self, upload_id: str) -> Path:
        return self.path(upload_id).with_suffix(PART)

    def create(self, upload_id: str) -> int:
        """A new file for an upload, open for writing. Raises OSError."""
        self._root.mkdir(parents=True, exist_ok=True)
        return os.open(self._part(upload_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def publish(self, upload_id: str) -> None:
        """The upload is whole and flushed: give it its name, durably. Raises OSError."""
        self._part(upload_id).rename(self.path(upload_id))
        sync_directory(self._root)

    def remove(self, upload_id: str) -> None:
        """Remove the bytes of an upload, whole or not. Idempotent; who reads them still can."""
        self._part(upload_id).unlink(missing_ok=True)
        self.path(upload_id).unlink(missing_ok=True)

    def list(self) -> set[str]:
        """Every upload that has a file, whole or not."""
        if not self._root.is_dir():
            return set()
        names = {entry.name.removesuffix(PART) for entry in os.scandir(self._root)}
        return {name for name in names if is_uuid(name)}


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
