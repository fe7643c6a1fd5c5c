"""The bytes of images: one file each below the state directory.

An upload is written to ``incoming/<upload id>`` and renamed to ``<image id>`` when it is whole and flushed, so a file under an image's
name is always complete. The directory belongs to one process at a time; what an earlier one left behind is swept at its start.
"""

from __future__ import annotations

import os
from pathlib import Path

from ostro.model.ids import is_uuid


class ImageFiles:
    """The directory of image files. Every method blocks: call it in a worker thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"

    def path(self, image_id: str) -> Path:
        """Where the bytes of an active image are."""
        assert is_uuid(image_id), image_id
        return self._root / image_id

    def incoming(self, upload_id: str) -> Path:
        """Where an upload is written to."""
        assert is_uuid(upload_id), upload_id
        return self._incoming / upload_id

    def create(self, upload_id: str) -> int:
        """A new file for an upload, open for writing. Raises OSError."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        return os.open(self.incoming(upload_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def publish(self, upload_id: str, image_id: str) -> None:
        """The upload is whole and flushed: give it the image's name, durably. Raises OSError."""
        os.rename(self.incoming(upload_id), self.path(image_id))
        sync_directory(self._root)

    def discard(self, upload_id: str) -> None:
        """Remove an upload that came to nothing. Idempotent."""
        self.incoming(upload_id).unlink(missing_ok=True)

    def remove(self, image_id: str) -> None:
        """Remove an image's bytes. Idempotent; who reads them still can."""
        self.path(image_id).unlink(missing_ok=True)

    def list(self) -> list[str]:
        """Ids of the images that have a file."""
        if not self._root.is_dir():
            return []
        return [entry.name for entry in os.scandir(self._root) if entry.is_file() and is_uuid(entry.name)]

    def discard_all(self) -> int:
        """Remove every upload; how many there were."""
        if not self._incoming.is_dir():
            return 0
        names = [entry.name for entry in os.scandir(self._incoming) if is_uuid(entry.name)]
        for name in names:
            self.discard(name)
        return len(names)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
