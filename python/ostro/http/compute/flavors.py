"""``/flavors``: sizes of servers."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import COMPUTE, LINKS, links, with_links, without
from ostro.http.paging import cut, next_links, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, INTEGER, STRING, array, nullable, shape, strict, wrapped
from ostro.http.versions import Version
from ostro.model.errors import Invalid
from ostro.model.numbers import whole_number
from ostro.services.compute import flavors
from ostro.services.compute.flavors import NewFlavor
from ostro.store.flavors import Flavor
from ostro.store.paging import Filter, Op, Page, Sort

MOST = 2**31 - 1


def number(low: int, most: int = MOST) -> dict[str, Any]:
    """An integer, also as a string of digits, as upstream takes it; the bound on strings is checked by ``_integer``."""
    return {
        "anyOf": [{"type": "integer", "minimum": low, "maximum": most}, {"type": "string", "pattern": "^[0-9]{1,10}$"}]
    }


FLAG = {"enum": [True, False, "true", "false", "True", "False", "TRUE", "FALSE", "1", "0", "yes", "no", "on", "off"]}
FLAVOR_NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^\S(.*\S)?$"}
DESCRIPTION = nullable({"type": "string", "maxLength": 65535})
CREATE_PROPERTIES: dict[str, Any] = {
    "name": FLAVOR_NAME,
    "id": {
        "anyOf": [
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^(?! )[a-zA-Z0-9. _-]+(?<! )$"},
            {"type": "null"},
            {"type": "integer", "minimum": 0},
        ]
    },
    "ram": number(1),
    "vcpus": number(1),
    "disk": number(0),
    "OS-FLV-EXT-DATA:ephemeral": number(0),
    "swap": number(0),
    "rxtx_factor": {
        "type": ["number", "string"],
        "pattern": r"^[0-9]{1,10}(\.[0-9]+)?$",
        "exclusiveMinimum": 0,
        "maximum": 3.40282e38,
    },
    "os-flavor-access:is_public": FLAG,
    "description": DESCRIPTION,
}
REQUIRED = ("name", "ram", "vcpus", "disk")
FLAVOR = shape(
    {
        "id": STRING,
        "name": STRING,
        "ram": INTEGER,
        "disk": INTEGER,
        "vcpus": INTEGER,
        "swap": {"type": ["integer", "string"]},
        "OS-FLV-EXT-DATA:ephemeral": INTEGER,
        "OS-FLV-DISABLED:disabled": BOOLEAN,
        "os-flavor-access:is_public": BOOLEAN,
        "rxtx_factor": {"type": "number"},
        "links": LINKS,
    }
)
LIST_QUERY = {"limit": INTEGER, "marker": STRING, "sort_key": STRING, "sort_dir": STRING, "is_public": STRING}
LIST_QUERY |= {"minRam": INTEGER, "minDisk": INTEGER}
SORT_KEYS = {
    "created_at": "created_at_us",
    "description": "description",
    "disabled": "id",
    "ephemeral_gb": "ephemeral_gb",
    "flavorid": "id",
    "id": "id",
    "is_public": "is_public",
    "memory_mb": "ram_mb",
    "name": "name",
    "root_gb": "disk_gb",
    "rxtx_factor": "rxtx_factor",
    "swap": "swap_mb",
    "updated_at": "updated_at_us",
    "vcpu_weight": "id",
    "vcpus": "vcpus",
}


def flavor_view(req: Request, flavor: Flavor) -> dict[str, Any]:
    """A flavor as Compute shows it."""
    view: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.ram_mb,
        "disk": flavor.disk_gb,
        "swap": flavor.swap_mb or (0 if req.at_least(2, 75) else ""),
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "OS-FLV-DISABLED:disabled": False,
        "vcpus": flavor.vcpus,
        "os-flavor-access:is_public": flavor.is_public,
        "rxtx_factor": flavor.rxtx_factor,
        "links": links(req, "flavors", flavor.id),
    }
    if req.at_least(2, 55):
        view["description"] = flavor.description
    if req.at_least(2, 61):
        view["extra_specs"] = flavor.extra_specs
    return view


def _brief(req: Request, flavor: Flavor) -> dict[str, Any]:
    view: dict[str, Any] = {"id": flavor.id, "name": flavor.name, "links": links(req, "flavors", flavor.id)}
    if req.at_least(2, 55):
        view["description"] = flavor.description
    return view


def _least(req: Request, name: str) -> int:
    text = req.query.get(name, "0")
    least = whole_number(text)
    if least is None:
        raise Invalid(f"Invalid {name} filter [{text}]")
    return least


def _page(req: Request) -> Page:
    filters = [
        Filter(column, _least(req, name), Op.GE) for name, column in (("minRam", "ram_mb"), ("minDisk", "disk_gb"))
    ]
    return parse_page(req, sort_keys=SORT_KEYS, default_sort=[Sort("id")], filters=filters)


def _is_public(req: Request) -> bool | None:
    """``is_public`` of a list: true, false, or ``none`` for both."""
    text = req.query.get("is_public", "true")
    if text.lower() == "none":
        return None
    try:
        return req.flag("is_public", True)
    except Invalid as error:
        raise Invalid(f"Invalid is_public filter [{text}]") from error


async def _list(req: Request) -> tuple[list[Flavor], list[dict[str, str]]]:
    page = _page(req)
    rows = await req.read(flavors.list_flavors, page, _is_public(req))
    rows, more = cut(rows, page)
    return rows, next_links(req, rows, more)


@COMPUTE.route(
    "GET",
    "/v2.1/flavors",
    policy="os_compute_api:flavors:index",
    rule=Rule.AUTHENTICATED,
    query=LIST_QUERY,
    response=shape({"flavors": array(shape({"id": STRING, "name": STRING, "links": LINKS}))}),
    summary="List flavors",
)
async def list_flavors(req: Request) -> Reply:
    rows, more = await _list(req)
    return Reply(with_links({"flavors": [_brief(req, f) for f in rows]}, "flavors", more))


@COMPUTE.route(
    "GET",
    "/v2.1/flavors/detail",
    policy="os_compute_api:flavors:detail",
    rule=Rule.AUTHENTICATED,
    query=LIST_QUERY,
    response=shape({"flavors": array(FLAVOR)}),
    summary="List flavors with details",
)
async def list_flavors_detail(req: Request) -> Reply:
    rows, more = await _list(req)
    return Reply(with_links({"flavors": [flavor_view(req, f) for f in rows]}, "flavors", more))


def _integer(given: dict[str, Any], name: str, low: int) -> int:
    value = int(given.get(name, 0))
    if not low <= value <= MOST:
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {value}. It must be from {low} to {MOST}.")
    return value


def _new_flavor(given: dict[str, Any]) -> NewFlavor:
    id_ = given.get("id")
    public = given.get("os-flavor-access:is_public", True)
    return NewFlavor(
        # The clients' "auto" never arrives here: they send null.
        id="" if id_ is None else str(id_),
        name=given["name"],
        ram_mb=_integer(given, "ram", 1),
        vcpus=_integer(given, "vcpus", 1),
        disk_gb=_integer(given, "disk", 0),
        ephemeral_gb=_integer(given, "OS-FLV-EXT-DATA:ephemeral", 0),
        swap_mb=_integer(given, "swap", 0),
        rxtx_factor=float(given.get("rxtx_factor", 1.0)),
        is_public=str(public).lower() in ("true", "1", "yes", "on"),
        description=given.get("description"),
    )


@COMPUTE.route(
    "POST",
    "/v2.1/flavors",
    policy="os_compute_api:os-flavor-manage:create",
    rule=Rule.ADMIN,
    high=Version(2, 54),
    body=wrapped("flavor", strict(without(CREATE_PROPERTIES, "description"), REQUIRED)),
    response=shape({"flavor": FLAVOR}),
    summary="Create a flavor",
)
@COMPUTE.route(
    "POST",
    "/v2.1/flavors",
    policy="os_compute_api:os-flavor-manage:create",
    rule=Rule.ADMIN,
    low=Version(2, 55),
    body=wrapped("flavor", strict(CREATE_PROPERTIES, REQUIRED)),
    response=shape({"flavor": FLAVOR}),
    summary="Create a flavor",
)
async def create_flavor(req: Request) -> Reply:
    flavor = await req.run(flavors.create_flavor, _new_flavor(req.body["flavor"]))
    return Reply({"flavor": flavor_view(req, flavor)})


@COMPUTE.route(
    "GET",
    "/v2.1/flavors/{flavor_id}",
    policy="os_compute_api:flavors:show",
    rule=Rule.AUTHENTICATED,
    response=shape({"flavor": FLAVOR}),
    summary="Show a flavor",
)
async def show_flavor(req: Request) -> Reply:
    flavor = await req.read(flavors.get_flavor, req.params["flavor_id"])
    return Reply({"flavor": flavor_view(req, flavor)})


@COMPUTE.route(
    "PUT",
    "/v2.1/flavors/{flavor_id}",
    policy="os_compute_api:os-flavor-manage:update",
    rule=Rule.ADMIN,
    low=Version(2, 55),
    body=wrapped("flavor", strict({"description": DESCRIPTION}, ("description",))),
    response=shape({"flavor": FLAVOR}),
    summary="Change a flavor's description",
)
async def update_flavor(req: Request) -> Reply:
    flavor = await req.run(flavors.update_flavor, req.params["flavor_id"], req.body["flavor"]["description"])
    return Reply({"flavor": flavor_view(req, flavor)})


@COMPUTE.route(
    "DELETE",
    "/v2.1/flavors/{flavor_id}",
    policy="os_compute_api:os-flavor-manage:delete",
    rule=Rule.ADMIN,
    status=202,
    summary="Delete a flavor",
)
async def delete_flavor(req: Request) -> Reply:
    await req.run(flavors.delete_flavor, req.params["flavor_id"])
    return Reply()
