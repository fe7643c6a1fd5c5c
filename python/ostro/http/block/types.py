"""``/types``: kinds of volumes."""

from __future__ import annotations

from typing import Any

from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape
from ostro.services.block.types import get_default_type, get_type, list_types
from ostro.store.volume_types import VolumeType

TYPE = shape({"id": STRING, "name": STRING, "is_public": {"type": "boolean"}})


def type_view(req: Request, kind: VolumeType) -> dict[str, Any]:
    """A type as the API shows it; its extra specs are for administrators."""
    view: dict[str, Any] = {
        "id": kind.id,
        "name": kind.name,
        "description": kind.description,
        "is_public": kind.is_public,
        "os-volume-type-access:is_public": kind.is_public,
    }
    if req.context.is_admin:
        view["extra_specs"] = kind.extra_specs
        view["qos_specs_id"] = None
    return view


@BLOCK.route(
    "GET",
    "/types",
    policy="volume_extension:type_get_all",
    rule=Rule.READER,
    response=shape({"volume_types": array(TYPE)}),
    query={"is_public": STRING, "limit": STRING, "marker": STRING, "sort": STRING},
    summary="List volume types",
)
async def list_volume_types(req: Request) -> Reply:
    asked = req.query.get("is_public", "").lower()
    is_public = None if asked in ("", "none") else req.flag("is_public")
    kinds = await req.read(list_types, is_public=is_public)
    return Reply({"volume_types": [type_view(req, kind) for kind in kinds]})


@BLOCK.route(
    "GET",
    "/types/default",
    policy="volume_extension:type_get",
    rule=Rule.READER,
    response=shape({"volume_type": TYPE}),
    summary="Show the default volume type",
)
async def show_default_volume_type(req: Request) -> Reply:
    return Reply({"volume_type": type_view(req, await req.read(get_default_type))})


@BLOCK.route(
    "GET",
    "/types/{type_id}",
    policy="volume_extension:type_get",
    rule=Rule.READER,
    response=shape({"volume_type": TYPE}),
    summary="Show a volume type",
)
async def show_volume_type(req: Request) -> Reply:
    return Reply({"volume_type": type_view(req, await req.read(get_type, req.params["type_id"]))})


@BLOCK.route(
    "GET",
    "/types/{type_id}/extra_specs",
    policy="volume_extension:types_extra_specs:index",
    rule=Rule.READER,
    response=shape({"extra_specs": ANY_OBJECT}),
    summary="Show a volume type's extra specs",
)
async def list_volume_type_specs(req: Request) -> Reply:
    return Reply({"extra_specs": (await req.read(get_type, req.params["type_id"])).extra_specs})


@BLOCK.route(
    "GET",
    "/types/{type_id}/encryption",
    policy="volume_extension:volume_type_encryption",
    rule=Rule.READER,
    response=ANY_OBJECT,
    summary="Show a volume type's encryption; there is none",
)
async def show_volume_type_encryption(req: Request) -> Reply:
    await req.read(get_type, req.params["type_id"])
    return Reply({})
