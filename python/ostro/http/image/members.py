"""``/v2/images/{id}/members``: the projects that an image is shared with."""

from __future__ import annotations

from typing import Any

from ostro.http.image.schemas import MEMBER_DOCUMENT
from ostro.http.image.service import IMAGE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import NAME, STRING, array, shape, strict
from ostro.model.images import MemberStatus
from ostro.model.times import iso_z
from ostro.services.image.members import add_member, get_member, list_members, remove_member, set_member_status
from ostro.store.image_members import ImageMember

MEMBER = shape(MEMBER_DOCUMENT["properties"])
STATUS = {"type": "string", "enum": [s.value for s in MemberStatus]}
_PATH = "/v2/images/{image_id}/members"


def member_view(member: ImageMember) -> dict[str, Any]:
    """A member as the API shows it."""
    return {
        "member_id": member.member_id,
        "image_id": member.image_id,
        "status": member.status.value,
        "created_at": iso_z(member.created_at_us),
        "updated_at": iso_z(member.updated_at_us),
        "schema": "/v2/schemas/member",
    }


@IMAGE.route(
    "POST",
    _PATH,
    policy="image:add_member",
    rule=Rule.MEMBER,
    body=strict({"member": NAME}, ("member",)),
    response=MEMBER,
    summary="Share an image with a project",
)
async def add_image_member(req: Request) -> Reply:
    return Reply(member_view(await req.run(add_member, req.params["image_id"], req.body["member"])))


@IMAGE.route(
    "GET",
    _PATH,
    policy="image:get_members",
    rule=Rule.READER,
    response=shape({"members": array(MEMBER), "schema": STRING}),
    summary="List the projects that an image is shared with",
)
async def list_image_members(req: Request) -> Reply:
    members = await req.read(list_members, req.params["image_id"])
    return Reply({"members": [member_view(m) for m in members], "schema": "/v2/schemas/members"})


@IMAGE.route(
    "GET",
    _PATH + "/{member_id}",
    policy="image:get_member",
    rule=Rule.READER,
    response=MEMBER,
    summary="Show a member",
)
async def show_image_member(req: Request) -> Reply:
    return Reply(member_view(await req.read(get_member, req.params["image_id"], req.params["member_id"])))


@IMAGE.route(
    "PUT",
    _PATH + "/{member_id}",
    policy="image:modify_member",
    rule=Rule.MEMBER,
    body=strict({"status": STATUS}, ("status",)),
    response=MEMBER,
    summary="Accept or reject a shared image",
)
async def update_image_member(req: Request) -> Reply:
    status = MemberStatus(req.body["status"])
    return Reply(member_view(await req.run(set_member_status, req.params["image_id"], req.params["member_id"], status)))


@IMAGE.route(
    "DELETE",
    _PATH + "/{member_id}",
    policy="image:delete_member",
    rule=Rule.MEMBER,
    status=204,
    summary="Stop sharing an image with a project",
)
async def remove_image_member(req: Request) -> Reply:
    await req.run(remove_member, req.params["image_id"], req.params["member_id"])
    return Reply()
