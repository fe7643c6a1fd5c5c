"""Images: their records, and who may see and change them.

Whoever may not see an image gets NotFound; who sees it and may not change it, Forbidden. Custom properties live beside the base attributes
in one flat namespace, as the API shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound
from ostro.model.images import UNKNOWN_BYTES, ImageStatus, MemberStatus, Visibility
from ostro.services.image.quotas import check_new_image
from ostro.store.database import Tx
from ostro.store.image_members import MEMBERS
from ostro.store.images import FREE_TOPIC, IMAGES, Image, add_image, is_member, replace_image
from ostro.store.paging import Filter, Op, Page, Where, list_page
from ostro.store.sagas import poke_sagas
from ostro.store.volume_uploads import VOLUME_UPLOADS

PROPERTIES_MOST = 128
TAGS_MOST = 128


class ImageDraft(msgspec.Struct, frozen=True):
    """What a client says of a new image."""

    id: str = ""
    name: str = ""
    owner_id: str = ""
    visibility: Visibility = Visibility.SHARED
    protected: bool = False
    hidden: bool = False
    disk_format: str = ""
    container_format: str = ""
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    tags: tuple[str, ...] = ()
    properties: dict[str, str] = {}


def owns(context: Context, image: Image) -> bool:
    """Whether the image belongs to the project of whoever asks."""
    return bool(context.project_id) and image.owner_id == context.project_id


def find_visible_image(tx: Tx, context: Context, image_id: str) -> Image | None:
    """The image if whoever asks may see it: it is theirs, public, of the community, or shared with them."""
    image = IMAGES.find(tx, id=image_id)
    if image is None or image.status is ImageStatus.DELETED:
        return None
    if context.is_admin or owns(context, image):
        return image
    if image.visibility in (Visibility.PUBLIC, Visibility.COMMUNITY):
        return image
    if image.visibility is Visibility.SHARED and is_member(tx, image_id, context.project_id):
        return image
    return None


def foresee_image(tx: Tx, image_id: str) -> None:
    """``find_visible_image`` will be called (``Tx.foresee``)."""
    IMAGES.foresee(tx, id=image_id)


def get_image(tx: Tx, context: Context, image_id: str) -> Image:
    """A visible image. Raises NotFound."""
    image = find_visible_image(tx, context, image_id)
    if image is None:
        raise NotFound("image", image_id, f"No image found with ID {image_id}")
    return image


def get_changeable_image(tx: Tx, context: Context, image_id: str) -> Image:
    """A visible image that whoever asks may change. Raises NotFound, Forbidden."""
    image = get_image(tx, context, image_id)
    if not (context.is_admin or owns(context, image)):
        raise Forbidden("You are not permitted to modify this image.")
    return image


def create_image(tx: Tx, context: Context, draft: ImageDraft) -> Image:
    """Add a queued image. Raises Conflict for an id that is taken, Forbidden for what only an administrator may ask, OverLimit."""
    _check_visibility(context, draft.visibility)
    if draft.owner_id and draft.owner_id != context.project_id and not context.is_admin:
        raise Forbidden(f"You are not permitted to create images owned by '{draft.owner_id}'.")
    check_new_image(tx, context, draft.owner_id or context.project_id)
    image = Image(
        id=draft.id or context.new_id(),
        owner_id=draft.owner_id or context.project_id,
        name=draft.name,
        status=ImageStatus.QUEUED,
        visibility=draft.visibility,
        protected=draft.protected,
        hidden=draft.hidden,
        disk_format=draft.disk_format,
        container_format=draft.container_format,
        min_disk_gb=draft.min_disk_gb,
        min_ram_mb=draft.min_ram_mb,
        size_bytes=UNKNOWN_BYTES,
        virtual_size_bytes=UNKNOWN_BYTES,
        checksum="",
        sha512="",
        tags=sorted(set(draft.tags)),
        properties=dict(draft.properties),
        upload_id="",
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    check_bounds(image)
    if not add_image(tx, image):
        raise Conflict(f"Image ID {image.id} already exists!")
    return image


def check_bounds(image: Image) -> None:
    """Raise Invalid for more tags or properties than an image may have."""
    if len(image.tags) > TAGS_MOST:
        raise Invalid(f"The limit has been exceeded on the number of allowed image tags: at most {TAGS_MOST}.")
    if len(image.properties) > PROPERTIES_MOST:
        raise Invalid(f"The limit has been exceeded on the number of allowed image properties: {PROPERTIES_MOST}.")


def _check_visibility(context: Context, visibility: Visibility) -> None:
    if visibility is Visibility.PUBLIC and not context.may_also("image:publicize_image"):
        raise Forbidden("You are not authorized to complete publicize_image action.")


def list_images(
    tx: Tx, context: Context, page: Page, *, visibility: str = "", member_status: str = MemberStatus.ACCEPTED
) -> list[Image]:
    """A page of the images that a list shows to whoever asks.

    Without ``visibility``: their own, public ones, and shared ones that they have said ``member_status`` to; to an administrator everything
    but other projects' community images. ``all`` adds the community's.
    """
    extra: list[Filter | Where] = [Filter("status", ImageStatus.DELETED.value, Op.NE)]
    own = context.project_id or "-"
    if not context.is_admin:
        shared, params = _shared_with(own, member_status)
        extra.append(
            Where(f"images.owner_id = ? OR images.visibility IN ('public', 'community') OR ({shared})", (own, *params))
        )
    if visibility and visibility != "all":
        extra.append(Filter("visibility", visibility))
    elif not visibility:
        extra.append(Where("images.visibility <> 'community' OR images.owner_id = ?", (own,)))
    return list_page(tx, IMAGES, page.with_filters(*extra))


def _shared_with(project_id: str, member_status: str) -> tuple[str, tuple[str, ...]]:
    condition = "images.visibility = 'shared' AND images.id IN (SELECT image_id FROM image_members WHERE member_id = ?"
    if member_status == "all":
        return condition + ")", (project_id,)
    return condition + " AND status = ?)", (project_id, member_status)


def change_image(tx: Tx, context: Context, image: Image, changes: Mapping[str, Any]) -> Image:
    """Write changed attributes of an image that whoever asks may change. Raises Forbidden, Invalid."""
    changed = msgspec.structs.replace(image, **changes)
    if changed.visibility is not image.visibility:
        _check_visibility(context, changed.visibility)
    if changed.owner_id != image.owner_id and not context.is_admin:
        raise Forbidden("Attribute 'owner' is read-only.")
    for name in ("disk_format", "container_format"):
        if getattr(changed, name) != getattr(image, name) and image.status is not ImageStatus.QUEUED:
            raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
    check_bounds(changed)
    changed = msgspec.structs.replace(changed, updated_at_us=context.now_us)
    replace_image(tx, image, changed)
    return changed


def delete_image(tx: Tx, context: Context, image_id: str) -> None:
    """Take the image out of the API; its bytes go when no host needs them. Raises NotFound, Forbidden for a protected one."""
    image = get_changeable_image(tx, context, image_id)
    if image.protected:
        raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    _bury(tx, image, context.now_us)
    poke_sagas(tx, [upload.id for upload in VOLUME_UPLOADS.list(tx, image_id=image_id)])


def bury_image(tx: Tx, image_id: str, now_us: int) -> None:
    """The image isn't there any more for anybody; its bytes go when no host needs them. Idempotent."""
    image = IMAGES.find(tx, id=image_id)
    if image is not None and image.status is not ImageStatus.DELETED:
        _bury(tx, image, now_us)
        tx.ring(FREE_TOPIC)


def _bury(tx: Tx, image: Image, now_us: int) -> None:
    MEMBERS.delete_where(tx, image_id=image.id)
    buried = msgspec.structs.replace(image, status=ImageStatus.DELETED, tags=[], properties={}, updated_at_us=now_us)
    replace_image(tx, image, buried)


def set_active(tx: Tx, context: Context, image_id: str, *, active: bool) -> None:
    """Deactivate an image, or make it active again; what is so already stays so. Raises Invalid for one without bytes."""
    image = get_changeable_image(tx, context, image_id)
    wanted = ImageStatus.ACTIVE if active else ImageStatus.DEACTIVATED
    if image.status not in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED):
        raise Invalid(f"Image status transition from {image.status} to {wanted} is not allowed")
    if image.status is not wanted:
        change_image(tx, context, image, {"status": wanted})


def get_downloadable_image(tx: Tx, context: Context, image_id: str) -> Image | None:
    """An image whose bytes whoever asks may read, None when there are none yet. Raises NotFound, Forbidden."""
    image = get_image(tx, context, image_id)
    if image.status is ImageStatus.DEACTIVATED and not context.is_admin:
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    return image if image.status in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED) else None
