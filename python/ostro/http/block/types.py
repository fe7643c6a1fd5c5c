"""``/types``: kinds of volumes, their extra specs, and who may use private ones."""

from __future__ import annotations

from typing import Any

from ostro.http.block.schemas import FLAG, is_true
from ostro.http.block.service import BLOCK
from ostro.http.paging import cut, next_links, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, nullable, shape, strict, wrapped
from ostro.http.targets import authorize
from ostro.model.errors import Invalid
from ostro.services.block import types as service
from ostro.store.paging import Sort
from ostro.store.volume_types import VolumeType

TYPE = shape({"id": STRING, "name": STRING, "is_public": {"type": "boolean"}})
SORT_KEYS = {"id": "id", "name": "name", "created_at": "created_at_us"}
NAME = {"type": "string", "maxLength": 255}
DESCRIPTION = nullable({"type": "string", "maxLength": 255})
SPECS = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": nullable({"type": "string", "maxLength": 255})},
    "additionalProperties": False,
}
_CREATE = {
    "name": NAME,
    "description": DESCRIPTION,
    "extra_specs": nullable(SPECS),
    "os-volume-type-access:is_public": FLAG,
}
_UPDATE = {"name": nullable(NAME), "description": DESCRIPTION, "is_public": FLAG}
_PROJECT = strict({"project": {"type": "string", "minLength": 1, "maxLength": 255}}, ("project",))
ACTION = {
    "oneOf": [
        strict({"addProjectAccess": _PROJECT}, ("addProjectAccess",)),
        strict({"removeProjectAccess": _PROJECT}, ("removeProjectAccess",)),
    ]
}


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
        view["qos_specs_id"] = kind.qos_specs_id or None
    return view


def _texts(specs: dict[str, Any] | None) -> dict[str, str]:
    return {key.strip(): value or "" for key, value in (specs or {}).items()}


@BLOCK.route(
    "GET",
    "/types",
    policy="volume_extension:type_get_all",
    rule=Rule.READER,
    response=shape({"volume_types": array(TYPE)}, ("volume_types",)),
    query={
        "is_public": STRING,
        "limit": STRING,
        "marker": STRING,
        "offset": STRING,
        "sort": STRING,
        "sort_key": STRING,
        "sort_dir": STRING,
        "name": STRING,
        "description": STRING,
        "extra_specs": STRING,
    },
    summary="List volume types",
)
async def list_volume_types(req: Request) -> Reply:
    asked = req.query.get("is_public", "").lower()
    is_public = None if asked in ("", "none") else req.flag("is_public")
    page = parse_page(req, sort_keys=SORT_KEYS, default_sort=(Sort("name"),))
    kinds, more = cut(await req.read(service.list_types, page, is_public=is_public), page)
    links = next_links(req, kinds, more)
    views = [type_view(req, kind) for kind in kinds]
    return Reply({"volume_types": views, **({"volume_type_links": links} if links else {})})


@BLOCK.route(
    "POST",
    "/types",
    policy="volume_extension:type_create",
    rule=Rule.ADMIN,
    body=wrapped("volume_type", strict(_CREATE, ("name",))),
    response=shape({"volume_type": TYPE}),
    summary="Create a volume type",
)
async def create_volume_type(req: Request) -> Reply:
    body = req.body["volume_type"]
    kind = await req.run(
        service.create_type,
        body["name"].strip(),
        body.get("description") or "",
        _texts(body.get("extra_specs")),
        is_public=is_true(body.get("os-volume-type-access:is_public", True)),
    )
    return Reply({"volume_type": type_view(req, kind)})


@BLOCK.route(
    "GET",
    "/types/default",
    policy="volume_extension:type_get",
    rule=Rule.READER,
    response=shape({"volume_type": TYPE}),
    summary="Show the default volume type",
)
async def show_default_volume_type(req: Request) -> Reply:
    return Reply({"volume_type": type_view(req, await req.read(service.get_default_type))})


@BLOCK.route(
    "GET",
    "/types/{type_id}",
    policy="volume_extension:type_get",
    rule=Rule.READER,
    response=shape({"volume_type": TYPE}),
    summary="Show a volume type",
)
async def show_volume_type(req: Request) -> Reply:
    return Reply({"volume_type": type_view(req, await req.read(service.get_type, req.params["type_id"]))})


@BLOCK.route(
    "PUT",
    "/types/{type_id}",
    policy="volume_extension:type_update",
    rule=Rule.ADMIN,
    body=wrapped("volume_type", strict(_UPDATE)),
    response=shape({"volume_type": TYPE}),
    summary="Change a volume type's name, description, or whether it is public",
)
async def update_volume_type(req: Request) -> Reply:
    body = req.body["volume_type"]
    name, public = body.get("name"), body.get("is_public")
    kind = await req.run(
        service.update_type,
        req.params["type_id"],
        name=None if name is None else name.strip(),
        description=body.get("description"),
        is_public=None if public is None else is_true(public),
    )
    return Reply({"volume_type": type_view(req, kind)})


@BLOCK.route(
    "DELETE",
    "/types/{type_id}",
    policy="volume_extension:type_delete",
    rule=Rule.ADMIN,
    status=202,
    summary="Delete a volume type that no volume is of",
)
async def delete_volume_type(req: Request) -> Reply:
    await req.run(service.delete_type, req.params["type_id"])
    return Reply()


# ---- extra specs ---------------------------------------------------------------------------------------------------


@BLOCK.route(
    "GET",
    "/types/{type_id}/extra_specs",
    policy="volume_extension:types_extra_specs:index",
    rule=Rule.READER,
    response=shape({"extra_specs": ANY_OBJECT}),
    summary="Show a volume type's extra specs",
)
async def list_volume_type_specs(req: Request) -> Reply:
    return Reply({"extra_specs": (await req.read(service.get_type, req.params["type_id"])).extra_specs})


@BLOCK.route(
    "POST",
    "/types/{type_id}/extra_specs",
    policy="volume_extension:types_extra_specs:create",
    rule=Rule.ADMIN,
    body=wrapped("extra_specs", {**SPECS, "minProperties": 1}),
    response=shape({"extra_specs": ANY_OBJECT}),
    summary="Set extra specs of a volume type",
)
async def create_volume_type_specs(req: Request) -> Reply:
    given = _texts(req.body["extra_specs"])
    await req.run(service.set_specs, req.params["type_id"], given)
    return Reply({"extra_specs": given})


@BLOCK.route(
    "GET",
    "/types/{type_id}/extra_specs/{key}",
    policy="volume_extension:types_extra_specs:show",
    rule=Rule.READER,
    response=ANY_OBJECT,
    summary="Show one extra spec of a volume type",
)
async def show_volume_type_spec(req: Request) -> Reply:
    key = req.params["key"]
    return Reply({key: await req.read(service.get_spec, req.params["type_id"], key)})


@BLOCK.route(
    "PUT",
    "/types/{type_id}/extra_specs/{key}",
    policy="volume_extension:types_extra_specs:update",
    rule=Rule.ADMIN,
    body={**SPECS, "minProperties": 1, "maxProperties": 1},
    response=ANY_OBJECT,
    summary="Set one extra spec of a volume type",
)
async def update_volume_type_spec(req: Request) -> Reply:
    key, given = req.params["key"], _texts(req.body)
    if key not in given:
        raise Invalid("Request body and URI mismatch")
    await req.run(service.set_specs, req.params["type_id"], given)
    return Reply(given)


@BLOCK.route(
    "DELETE",
    "/types/{type_id}/extra_specs/{key}",
    policy="volume_extension:types_extra_specs:delete",
    rule=Rule.ADMIN,
    status=202,
    summary="Remove one extra spec of a volume type",
)
async def delete_volume_type_spec(req: Request) -> Reply:
    await req.run(service.delete_spec, req.params["type_id"], req.params["key"])
    return Reply()


# ---- who may use a private one -------------------------------------------------------------------------------------


@BLOCK.route(
    "GET",
    "/types/{type_id}/os-volume-type-access",
    policy="volume_extension:volume_type_access:get_all_for_type",
    rule=Rule.ADMIN,
    response=shape({"volume_type_access": array(shape({"volume_type_id": STRING, "project_id": STRING}))}),
    summary="List the projects that may use a volume type that is not public",
)
async def list_volume_type_access(req: Request) -> Reply:
    pairs = await req.read(service.list_type_access, req.params["type_id"])
    return Reply({"volume_type_access": [{"volume_type_id": kind, "project_id": project} for kind, project in pairs]})


ACCESS_POLICIES = {
    action: (f"volume_extension:volume_type_access:{action}", Rule.ADMIN)
    for action in ("addProjectAccess", "removeProjectAccess")
}


@BLOCK.route(
    "POST",
    "/types/{type_id}/action",
    policy="volume_extension:volume_type_access",
    rule=Rule.ADMIN,
    status=202,
    body=ACTION,
    actions=ACCESS_POLICIES,
    summary="Give or take a project's access to a volume type",
)
async def change_volume_type_access(req: Request) -> Reply:
    [(action, given)] = req.body.items()
    await authorize(req, *ACCESS_POLICIES[action])
    change = service.add_type_access if action == "addProjectAccess" else service.remove_type_access
    await req.run(change, req.params["type_id"], given["project"])
    return Reply()
