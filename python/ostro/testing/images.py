"""Image rows for tests that need an image and not the Image API."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.model.images import ImageStatus, Visibility
from ostro.store.database import Tx
from ostro.store.images import Image, add_image

IMAGE_ID = "11111111-1111-4111-8111-111111111111"
IMAGE = Image(
    id=IMAGE_ID,
    owner_id="",
    name="tiny",
    status=ImageStatus.ACTIVE,
    visibility=Visibility.PUBLIC,
    protected=False,
    hidden=False,
    disk_format="qcow2",
    container_format="bare",
    min_disk_gb=0,
    min_ram_mb=0,
    size_bytes=1 << 20,
    virtual_size_bytes=1 << 20,
    checksum="",
    sha512="",
    tags=[],
    properties={},
    upload_id="",
    created_at_us=1,
    updated_at_us=1,
)


def put_image(tx: Tx, /, **changes: Any) -> str:
    """Add a public, active image of 1 MiB, with ``changes``; its id."""
    image = msgspec.structs.replace(IMAGE, **changes)
    add_image(tx, image)
    return image.id
