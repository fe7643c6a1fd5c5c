"""Images: visibility and ownership."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.images import ImageStatus, Visibility
from ostro.store.database import Tx
from ostro.store.images import IMAGES, Image, is_member


def find_visible_image(tx: Tx, context: Context, image_id: str) -> Image | None:
    """The image if whoever asks may see it: it is theirs, public, of the community, or shared with them."""
    image = IMAGES.find(tx, id=image_id)
    if image is None or image.status is ImageStatus.DELETED:
        return None
    if context.is_admin or (context.project_id and image.owner_id == context.project_id):
        return image
    if image.visibility in (Visibility.PUBLIC, Visibility.COMMUNITY):
        return image
    if image.visibility is Visibility.SHARED and is_member(tx, image_id, context.project_id):
        return image
    return None
