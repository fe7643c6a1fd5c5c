"""Tags of images."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.image.images import change_image, get_changeable_image
from ostro.store.database import Tx


def add_tag(tx: Tx, context: Context, image_id: str, tag: str) -> None:
    """Tag an image; a tag that is there already stays. Raises NotFound, Forbidden, Invalid for one too many."""
    image = get_changeable_image(tx, context, image_id)
    if tag not in image.tags:
        change_image(tx, context, image, {"tags": sorted([*image.tags, tag])})


def remove_tag(tx: Tx, context: Context, image_id: str, tag: str) -> None:
    """Take a tag off. Raises NotFound also when the image doesn't have it."""
    image = get_changeable_image(tx, context, image_id)
    if tag not in image.tags:
        raise NotFound("tag", tag, f"Tag {tag} could not be found on image {image_id}.")
    change_image(tx, context, image, {"tags": [t for t in image.tags if t != tag]})
