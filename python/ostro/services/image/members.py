"""Sharing: the owner adds and removes members, each member says itself whether it accepts."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, NotFound, TooLarge
from ostro.model.images import MemberStatus, Visibility
from ostro.services.image.images import get_image, owns
from ostro.store.database import Tx
from ostro.store.image_members import MEMBERS, ImageMember
from ostro.store.images import Image

MEMBERS_MOST = 128


def _get_shared_image(tx: Tx, context: Context, image_id: str) -> Image:
    image = get_image(tx, context, image_id)
    if image.visibility is not Visibility.SHARED:
        raise Forbidden("Only shared images have members.")
    return image


def _may_manage(context: Context, image: Image) -> bool:
    return context.is_admin or owns(context, image)


def add_member(tx: Tx, context: Context, image_id: str, member_id: str) -> ImageMember:
    """Share an image with a project. Raises Conflict when it is already, TooLarge for one too many."""
    image = _get_shared_image(tx, context, image_id)
    if not _may_manage(context, image):
        raise Forbidden("Not allowed to create members for image.")
    if MEMBERS.count(tx, image_id=image_id) >= MEMBERS_MOST:
        raise TooLarge(f"The limit has been exceeded on the number of allowed image members: {MEMBERS_MOST}.")
    member = ImageMember(image_id, member_id, MemberStatus.PENDING, context.now_us, context.now_us)
    if not MEMBERS.insert_new(tx, member):
        raise Conflict(f"Member {member_id} is duplicated for image {image_id}")
    return member


def list_members(tx: Tx, context: Context, image_id: str) -> list[ImageMember]:
    """All members for the owner, itself alone for a member."""
    image = _get_shared_image(tx, context, image_id)
    if _may_manage(context, image):
        return MEMBERS.list(tx, image_id=image_id, order="created_at_us, member_id")
    return MEMBERS.list(tx, image_id=image_id, member_id=context.project_id)


def get_member(tx: Tx, context: Context, image_id: str, member_id: str) -> ImageMember:
    """One member. Raises NotFound also when it is another one than whoever asks and the image isn't theirs."""
    image = _get_shared_image(tx, context, image_id)
    found = MEMBERS.find(tx, image_id=image_id, member_id=member_id)
    if found is None or not (_may_manage(context, image) or member_id == context.project_id):
        raise NotFound("member", member_id, f"{member_id} not found in the member list of the image {image_id}.")
    return found


def set_member_status(tx: Tx, context: Context, image_id: str, member_id: str, status: MemberStatus) -> ImageMember:
    """A member says what it thinks of an image. Raises Forbidden for anybody else."""
    get_member(tx, context, image_id, member_id)
    if member_id != context.project_id and not context.is_admin:
        raise Forbidden(f"Not allowed to update status of member {member_id}.")
    MEMBERS.update_where(
        tx, {"status": status, "updated_at_us": context.now_us}, image_id=image_id, member_id=member_id
    )
    return get_member(tx, context, image_id, member_id)


def remove_member(tx: Tx, context: Context, image_id: str, member_id: str) -> None:
    """Stop sharing with a project. Raises NotFound, Forbidden for who doesn't own the image."""
    image = _get_shared_image(tx, context, image_id)
    if not _may_manage(context, image):
        raise Forbidden("Not allowed to delete members for image.")
    if not MEMBERS.delete_where(tx, image_id=image_id, member_id=member_id):
        raise NotFound("member", member_id, f"{member_id} not found in the member list of the image {image_id}.")
