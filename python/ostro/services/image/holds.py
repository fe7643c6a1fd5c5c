"""Which hosts need which image: the seam to servers and volumes.

A server or volume that is made from an image holds it on its host. While anything holds an image there, the host has a
wish for it in its cache, and the image's bytes stay even after it was deleted in the API. When the last hold of a deleted image goes, whoever
frees images is rung for.
"""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Bug, Invalid, NotFound
from ostro.model.images import ImageStatus
from ostro.model.wishes import ImageWish, Noun
from ostro.services.image.images import find_visible_image
from ostro.store.database import Tx
from ostro.store.images import FREE_TOPIC, HOLDS, IMAGES, Image, ImageHold, find_free_image
from ostro.store.wishes import foresee_wish, set_wish, wish_absence


def get_usable_image(tx: Tx, context: Context, image_id: str) -> Image:
    """An image that a server may be made from. Raises Invalid with Compute's words when it isn't visible or not active."""
    image = find_visible_image(tx, context, image_id)
    if image is None:
        raise Invalid(f"Image {image_id} could not be found.")
    if image.status is not ImageStatus.ACTIVE:
        raise Invalid(f"Image {image_id} is not active.")
    return image


def get_held_image(tx: Tx, context: Context, image_id: str) -> Image:
    """An image whose bytes a host may fetch, deleted or not. Raises NotFound."""
    image = IMAGES.get(tx, image_id)
    if image.status not in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED, ImageStatus.DELETED) or image.size_bytes < 0:
        raise NotFound("image", image_id)
    return image


def hold_image(tx: Tx, host_id: str, image_id: str, holder_id: str) -> None:
    """The server or volume ``holder_id`` on the host is made from the image. Idempotent."""
    image = IMAGES.find(tx, id=image_id)
    if image is None:
        raise Bug(f"Image {image_id} is held after its bytes are gone.")
    hold_found_image(tx, host_id, image, holder_id)


def hold_found_image(tx: Tx, host_id: str, image: Image, holder_id: str) -> None:
    """The same for an image that the transaction has read."""
    HOLDS.put_new(tx, ImageHold(host_id, image.id, holder_id))
    wish = ImageWish(
        id=image.id,
        disk_format=image.disk_format,
        size_bytes=image.size_bytes,
        sha512=image.sha512,
        stored_as=image.upload_id,
    )
    set_wish(tx, host_id, Noun.IMAGE, image.id, wish)


def foresee_hold(tx: Tx, host_id: str, image_id: str) -> None:
    """``hold_found_image`` will be called (``Tx.foresee``)."""
    foresee_wish(tx, host_id, Noun.IMAGE, image_id)


def drop_image(tx: Tx, host_id: str, image_id: str, holder_id: str) -> None:
    """``holder_id`` is gone from the host: call it when the host has reported so, not before. Idempotent."""
    if not HOLDS.delete_where(tx, host_id=host_id, image_id=image_id, holder_id=holder_id):
        return
    if HOLDS.find(tx, host_id=host_id, image_id=image_id) is not None:
        return
    wish_absence(tx, host_id, Noun.IMAGE, image_id)
    if find_free_image(tx, image_id) is not None:
        tx.ring(FREE_TOPIC)
