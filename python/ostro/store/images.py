"""Images: the records, the terms they are found by, and the hosts that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from ostro.model.images import ImageStatus, Visibility
from ostro.store.changes import TOPIC
from ostro.store.database import Tx
from ostro.store.limits import Scope
from ostro.store.table import Table


class Image(msgspec.Struct, frozen=True):
    """One image. Empty ``name`` and formats mean none, sizes are -1 before there are bytes.

    ``upload_id`` names the upload under way or, later, the one that gave the bytes; a write by another one hits nothing.
    """

    id: str
    owner_id: str
    name: str
    status: ImageStatus
    visibility: Visibility
    protected: bool
    hidden: bool
    disk_format: str
    container_format: str
    min_disk_gb: int
    min_ram_mb: int
    size_bytes: int
    virtual_size_bytes: int
    checksum: str
    sha512: str
    tags: list[str]
    properties: dict[str, str]
    upload_id: str
    created_at_us: int
    updated_at_us: int


IMAGES = Table("images", Image, rings=TOPIC)
FREE_TOPIC = "images:free"
"""Rings when a deleted image may have become nobody's."""


class ImageHold(msgspec.Struct, frozen=True):
    """``holder_id``, a server or volume on the host, is made from the image."""

    host_id: str
    image_id: str
    holder_id: str


HOLDS = Table("image_holds", ImageHold, key="image_id")


def tag_term(tag: str) -> str:
    """What an image with this tag can be found by."""
    return hashlib.blake2b(f"tag\0{tag}".encode(), digest_size=16).hexdigest()


def property_term(name: str, value: str) -> str:
    """What an image with this property can be found by."""
    return hashlib.blake2b(f"property\0{name}\0{value}".encode(), digest_size=16).hexdigest()


def _terms(image: Image) -> set[str]:
    terms = {tag_term(tag) for tag in image.tags}
    return terms | {property_term(name, value) for name, value in image.properties.items()}


def add_image(tx: Tx, image: Image) -> bool:
    """Add an image with its terms; False if the id is taken."""
    if not IMAGES.insert_new(tx, image):
        return False
    _add_terms(tx, image.id, _terms(image))
    return True


def replace_image(tx: Tx, old: Image, new: Image) -> None:
    """Write what changed between two states of one image, its terms included."""
    changes = {name: getattr(new, name) for name in IMAGES.columns if getattr(new, name) != getattr(old, name)}
    if changes:
        IMAGES.update(tx, old.id, **changes)
    had, has = _terms(old), _terms(new)
    for term in had - has:
        tx.execute("DELETE FROM image_terms WHERE term = ? AND image_id = ?", (term, old.id))
    _add_terms(tx, old.id, has - had)


def _add_terms(tx: Tx, image_id: str, terms: Iterable[str]) -> None:
    for term in sorted(terms):
        tx.execute("INSERT INTO image_terms (term, image_id) VALUES (?, ?)", (term, image_id))


def is_member(tx: Tx, image_id: str, project_id: str) -> bool:
    """Whether the image is shared with the project, whatever that has said to it."""
    return (
        tx.one("SELECT 1 FROM image_members WHERE image_id = ? AND member_id = ?", (image_id, project_id)) is not None
    )


def sum_images(tx: Tx, scope: Scope) -> tuple[int, int, int]:
    """(images, bytes, uploads under way) of a project, or of several; deleted ones don't count."""
    row = tx.one(
        "SELECT count(*), coalesce(sum(CASE WHEN size_bytes > 0 THEN size_bytes ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN status = ? THEN 1 ELSE 0 END), 0) FROM images"
        f" WHERE status <> ? AND {scope.on('owner_id')}",
        (ImageStatus.SAVING.value, ImageStatus.DELETED.value, *scope.params),
    )
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


_FREE = (
    "SELECT id, upload_id FROM images WHERE status = ?"
    " AND NOT EXISTS (SELECT 1 FROM image_holds h WHERE h.image_id = images.id)"
)


def list_free_images(tx: Tx, limit: int, skip: int = 0) -> list[tuple[str, str]]:
    """(id, upload id) of deleted images that no host holds, but for the oldest ones that are skipped."""
    params = (ImageStatus.DELETED.value, limit, skip)
    rows = tx.all(f"{_FREE} ORDER BY created_at_us, id LIMIT ? OFFSET ?", params)
    return [(row[0], row[1]) for row in rows]


def find_free_image(tx: Tx, image_id: str) -> tuple[str, str] | None:
    """The image as `list_free_images` has it, None for one that is not deleted, or held."""
    row = tx.one(f"{_FREE} AND id = ?", (ImageStatus.DELETED.value, image_id))
    return None if row is None else (row[0], row[1])


def list_uploads(tx: Tx) -> list[tuple[str, str]]:
    """(id, upload id) of every image that a client uploads; what is made of volumes has sagas that see to it."""
    rows = tx.all(
        "SELECT id, upload_id FROM images WHERE status = ?"
        " AND NOT EXISTS (SELECT 1 FROM volume_uploads u WHERE u.image_id = images.id)",
        (ImageStatus.SAVING.value,),
    )
    return [(row[0], row[1]) for row in rows]


def list_upload_ids(tx: Tx) -> set[str]:
    """Uploads that an image's row knows of."""
    return {row[0] for row in tx.all("SELECT upload_id FROM images WHERE upload_id <> ''")}
