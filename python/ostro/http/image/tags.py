"""``/v2/images/{id}/tags/{tag}``."""

from __future__ import annotations

from ostro.http.image.schemas import TAG
from ostro.http.image.service import IMAGE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import Validator
from ostro.services.image.tags import add_tag, remove_tag

_TAG = Validator(TAG)


@IMAGE.route(
    "PUT",
    "/v2/images/{image_id}/tags/{tag}",
    policy="image:modify_image",
    rule=Rule.MEMBER,
    status=204,
    summary="Add a tag",
)
async def add_image_tag(req: Request) -> Reply:
    _TAG.check(req.params["tag"])
    await req.run(add_tag, req.params["image_id"], req.params["tag"])
    return Reply()


@IMAGE.route(
    "DELETE",
    "/v2/images/{image_id}/tags/{tag}",
    policy="image:modify_image",
    rule=Rule.MEMBER,
    status=204,
    summary="Remove a tag",
)
async def remove_image_tag(req: Request) -> Reply:
    await req.run(remove_tag, req.params["image_id"], req.params["tag"])
    return Reply()
