"""``/v2/images``: create, list, show, change, delete, deactivate and reactivate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ostro.http.image.filters import DEFAULT_LIMIT, SORT_KEYS, parse_filters
from ostro.http.image.patches import PATCH, PATCH_TYPES, apply_patch, read_patch
from ostro.http.image.schemas import PROPERTY, READ_ONLY, TAGS, WRITABLE, check_settable
from ostro.http.image.service import IMAGE
from ostro.http.paging import cut, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import INTEGER, STRING, array, shape
from ostro.model.context import Context
from ostro.model.errors import Invalid
from ostro.model.images import UNKNOWN_BYTES, MemberStatus, Visibility
from ostro.model.times import iso_z
from ostro.services.image import images as service
from ostro.services.image.images import ImageDraft
from ostro.services.image.uploads import free_image
from ostro.store.database import Tx
from ostro.store.images import Image
from ostro.store.paging import Sort

CREATE = {"type": "object", "properties": dict(WRITABLE), "additionalProperties": PROPERTY}
IMAGE_SHAPE = shape({**READ_ONLY, "id": STRING, "visibility": STRING, "tags": TAGS})
MEMBER_STATUSES = ("all", *(s.value for s in MemberStatus))
VISIBILITIES = ("all", *(v.value for v in Visibility))


def image_view(image: Image) -> dict[str, Any]:
    """An image as the API shows it: base attributes and custom properties side by side."""
    path = f"/v2/images/{image.id}"
    has_bytes = image.size_bytes != UNKNOWN_BYTES
    return {
        **image.properties,
        "id": image.id,
        "name": image.name or None,
        "status": image.status.value,
        "visibility": image.visibility.value,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "owner": image.owner_id or None,
        "disk_format": image.disk_format or None,
        "container_format": image.container_format or None,
        "min_disk": image.min_disk_gb,
        "min_ram": image.min_ram_mb,
        "size": image.size_bytes if has_bytes else None,
        "virtual_size": image.virtual_size_bytes if image.virtual_size_bytes != UNKNOWN_BYTES else None,
        "checksum": image.checksum or None,
        "os_hash_algo": "sha512" if has_bytes else None,
        "os_hash_value": image.sha512 or None,
        "tags": image.tags,
        "created_at": iso_z(image.created_at_us),
        "updated_at": iso_z(image.updated_at_us),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }


def parse_draft(body: Mapping[str, Any]) -> ImageDraft:
    """What a client says of a new image. Raises Forbidden for what only we may set."""
    for name in body:
        check_settable(name)
    return ImageDraft(
        id=(body.get("id") or "").lower(),
        name=body.get("name") or "",
        owner_id=body.get("owner") or "",
        visibility=Visibility(body.get("visibility", Visibility.SHARED)),
        protected=body.get("protected", False),
        hidden=body.get("os_hidden", False),
        disk_format=body.get("disk_format") or "",
        container_format=body.get("container_format") or "",
        min_disk_gb=body.get("min_disk", 0),
        min_ram_mb=body.get("min_ram", 0),
        tags=tuple(body.get("tags", ())),
        properties={name: value for name, value in body.items() if name not in WRITABLE},
    )


PUBLICIZE = {"image:publicize_image": Rule.ADMIN}


@IMAGE.route(
    "POST",
    "/v2/images",
    policy="image:add_image",
    also=PUBLICIZE,
    rule=Rule.MEMBER,
    status=201,
    body=CREATE,
    response=IMAGE_SHAPE,
    summary="Create an image",
)
async def create_image(req: Request) -> Reply:
    image = await req.run(service.create_image, parse_draft(req.body))
    return Reply(image_view(image), headers=[("Location", req.url(f"/image/v2/images/{image.id}"))])


@IMAGE.route(
    "GET",
    "/v2/images",
    policy="image:get_images",
    rule=Rule.READER,
    response=shape({"images": array(IMAGE_SHAPE), "first": STRING, "schema": STRING}),
    query={
        "limit": INTEGER,
        "marker": STRING,
        "sort": STRING,
        "sort_key": STRING,
        "sort_dir": STRING,
        "visibility": {"enum": list(VISIBILITIES)},
        "member_status": {"enum": list(MEMBER_STATUSES)},
        "tag": STRING,
        "name": STRING,
        "status": STRING,
        "os_hidden": STRING,
    },
    summary="List images; any other parameter filters by a custom property",
)
async def list_images(req: Request) -> Reply:
    page = parse_page(
        req,
        sort_keys=SORT_KEYS,
        default_sort=(Sort("created_at_us", descending=True),),
        filters=parse_filters(req),
        limit_default=DEFAULT_LIMIT,
    )
    rows = await req.read(
        service.list_images,
        page,
        visibility=_one_of(req, "visibility", VISIBILITIES, ""),
        member_status=_one_of(req, "member_status", MEMBER_STATUSES, MemberStatus.ACCEPTED.value),
    )
    rows, more = cut(rows, page)
    query = [(k, v) for k, v in req.query.items(multi=True) if k != "marker"]
    body: dict[str, Any] = {
        "images": [image_view(row) for row in rows],
        "first": _link(query),
        "schema": "/v2/schemas/images",
    }
    if more and rows:
        body["next"] = _link([*query, ("marker", rows[-1].id)])
    return Reply(body)


def _link(query: list[tuple[str, str]]) -> str:
    """Glance's links have neither host nor prefix; clients put them behind their endpoint."""
    return "/v2/images" + (f"?{urlencode(query)}" if query else "")


def _one_of(req: Request, name: str, allowed: tuple[str, ...], default: str) -> str:
    value = req.query.get(name, default)
    if value not in allowed and value != default:
        raise Invalid(f"Invalid {name} value: {value}")
    return value


@IMAGE.route(
    "GET",
    "/v2/images/{image_id}",
    policy="image:get_image",
    rule=Rule.READER,
    response=IMAGE_SHAPE,
    summary="Show an image",
)
async def show_image(req: Request) -> Reply:
    return Reply(image_view(await req.read(service.get_image, req.params["image_id"])))


@IMAGE.route(
    "PATCH",
    "/v2/images/{image_id}",
    policy="image:modify_image",
    also=PUBLICIZE,
    rule=Rule.MEMBER,
    body=PATCH,
    response=IMAGE_SHAPE,
    consumes=PATCH_TYPES,
    summary="Change an image by a JSON patch",
)
async def update_image(req: Request) -> Reply:
    return Reply(
        image_view(await req.run(_patch_image, req.params["image_id"], read_patch(req.raw.mimetype, req.body)))
    )


def _patch_image(tx: Tx, context: Context, image_id: str, patch: list[dict[str, Any]]) -> Image:
    image = service.get_changeable_image(tx, context, image_id)
    return service.change_image(tx, context, image, apply_patch(image, patch))


@IMAGE.route(
    "DELETE",
    "/v2/images/{image_id}",
    policy="image:delete_image",
    rule=Rule.MEMBER,
    status=204,
    summary="Delete an image",
)
async def delete_image(req: Request) -> Reply:
    image_id = req.params["image_id"]
    await req.run(service.delete_image, image_id)
    await free_image(req.cloud, image_id)
    return Reply()


@IMAGE.route(
    "POST",
    "/v2/images/{image_id}/actions/deactivate",
    policy="image:deactivate",
    rule=Rule.MEMBER,
    status=204,
    summary="Keep everybody but administrators from the image's bytes",
)
async def deactivate_image(req: Request) -> Reply:
    await req.run(service.set_active, req.params["image_id"], active=False)
    return Reply()


@IMAGE.route(
    "POST",
    "/v2/images/{image_id}/actions/reactivate",
    policy="image:reactivate",
    rule=Rule.MEMBER,
    status=204,
    summary="Undo a deactivation",
)
async def reactivate_image(req: Request) -> Reply:
    await req.run(service.set_active, req.params["image_id"], active=True)
    return Reply()
