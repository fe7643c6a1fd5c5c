"""The contract of `ostro.services.image.files.ImageStore`. A subclass gives the fixture ``store``, empty.

The tests are asynchronous for the sake of the fixture alone; they block, which stores do.
"""

from __future__ import annotations

import pytest

from ostro.services.image.files import ImageStore

UPLOAD = "0a000000-0000-4000-8000-000000000001"
OTHER = "0a000000-0000-4000-8000-000000000002"
PIECE = bytes(range(256)) * 300
"""Not a divisor of anything."""


def put(store: ImageStore, upload_id: str, disk_format: str, pieces: list[bytes], announced: bool = True) -> bytes:
    """Upload the pieces; all of them together."""
    data = b"".join(pieces)
    draft = store.create(upload_id, disk_format, len(data) if announced else None)
    for piece in pieces:
        draft.write(piece)
    draft.publish(len(data))
    draft.close()
    return data


def get(store: ImageStore, upload_id: str, disk_format: str, length: int) -> bytes:
    """Read so many bytes from the start, piece by piece."""
    reader = store.open(upload_id, disk_format)
    try:
        out = b""
        while len(out) < length and (piece := reader.read(len(out), min(1 << 20, length - len(out)))):
            out += piece
        return out
    finally:
        reader.close()
        reader.close()


@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
class ImageStoreContract:
    """What every store of image bytes must do."""

    @pytest.mark.parametrize("announced", [True, False])
    async def test_what_is_uploaded_can_be_read(self, store: ImageStore, disk_format: str, announced: bool) -> None:
        assert store.list() == set()
        data = put(store, UPLOAD, disk_format, [PIECE] * 150, announced)
        assert get(store, UPLOAD, disk_format, len(data)) == data
        assert store.list() == {UPLOAD}

    async def test_zeros_and_odd_lengths(self, store: ImageStore, disk_format: str) -> None:
        data = put(store, UPLOAD, disk_format, [bytes(9 << 20), b"x", bytes(4 << 20), b"end"])
        assert get(store, UPLOAD, disk_format, len(data)) == data

    async def test_no_bytes_at_all(self, store: ImageStore, disk_format: str) -> None:
        put(store, UPLOAD, disk_format, [])
        assert get(store, UPLOAD, disk_format, 0) == b""
        assert store.list() == {UPLOAD}

    async def test_a_draft_is_not_there_until_it_is_published(self, store: ImageStore, disk_format: str) -> None:
        draft = store.create(UPLOAD, disk_format, 10)
        draft.write(b"half")
        with pytest.raises(FileNotFoundError):
            store.open(UPLOAD, disk_format)
        assert store.list() == {UPLOAD}
        draft.close()
        draft.write(b"an abandoned worker's")
        draft.close()
        await store.remove(UPLOAD)
        assert store.list() == set()

    async def test_removal(self, store: ImageStore, disk_format: str) -> None:
        put(store, UPLOAD, disk_format, [PIECE])
        put(store, OTHER, disk_format, [PIECE * 2])
        for _twice in range(2):
            await store.remove(UPLOAD)
            assert store.list() == {OTHER}
        with pytest.raises(FileNotFoundError):
            store.open(UPLOAD, disk_format)
        assert get(store, OTHER, disk_format, 5) == PIECE[:5]

    async def test_uploads_under_way_are_known(self, store: ImageStore, disk_format: str) -> None:
        with store.upload(UPLOAD):
            assert store.is_live(UPLOAD) and not store.is_live(OTHER)
        assert not store.is_live(UPLOAD)
