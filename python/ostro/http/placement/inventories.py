"""``/resource_providers/{uuid}/inventories``."""

from __future__ import annotations

from typing import Any

from ostro.http.placement.service import CLASS_NAME, GENERATION, PLACEMENT, ROOT, fresh_reply
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, shape, strict
from ostro.http.versions import Version
from ostro.services.placement import inventories
from ostro.services.placement.inventories import Offer
from ostro.store.inventories import Inventory

PATH = "/resource_providers/{uuid}/inventories"
POLICY = "placement:resource_providers:inventories"
MOST = 2**31 - 1
OFFER: dict[str, Any] = {
    "total": {"type": "integer", "minimum": 1, "maximum": MOST},
    "reserved": {"type": "integer", "minimum": 0, "maximum": MOST},
    "min_unit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "max_unit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "step_size": {"type": "integer", "minimum": 1, "maximum": MOST},
    "allocation_ratio": {"type": "number", "maximum": 3.40282e38, "exclusiveMinimum": 0},
}
ALL = shape({"resource_provider_generation": INTEGER, "inventories": ANY_OBJECT})
ONE = shape({"resource_provider_generation": INTEGER, "total": INTEGER})
REPLACE = strict(
    {
        "resource_provider_generation": GENERATION,
        "inventories": {
            "type": "object",
            "patternProperties": {"^[A-Z0-9_]+$": strict(OFFER, ("total",))},
            "additionalProperties": False,
        },
    },
    ("resource_provider_generation", "inventories"),
)
ADD = strict(
    {**OFFER, "resource_class": CLASS_NAME, "resource_provider_generation": GENERATION}, ("resource_class", "total")
)
UPDATE = strict({**OFFER, "resource_provider_generation": GENERATION}, ("resource_provider_generation", "total"))


def _fields(inventory: Inventory) -> dict[str, Any]:
    return {name: getattr(inventory, name) for name in OFFER}


def _all_view(generation: int, rows: list[Inventory]) -> dict[str, Any]:
    return {
        "resource_provider_generation": generation,
        "inventories": {row.resource_class: _fields(row) for row in rows},
    }


def _one_view(generation: int, row: Inventory) -> dict[str, Any]:
    return {"resource_provider_generation": generation, **_fields(row)}


def parse_offer(given: dict[str, Any]) -> Offer:
    """An inventory as clients write it."""
    return Offer(**{name: given[name] for name in OFFER if name in given})


@PLACEMENT.route("GET", PATH, policy=f"{POLICY}:list", rule=Rule.SERVICE, response=ALL, summary="List inventories")
async def list_inventories(req: Request) -> Reply:
    generation, rows = await req.read(inventories.get_inventories, req.params["uuid"])
    at_us = max((row.updated_at_us for row in rows), default=None)
    return fresh_reply(req, _all_view(generation, rows), at_us=at_us)


@PLACEMENT.route(
    "PUT",
    PATH,
    policy=f"{POLICY}:update",
    rule=Rule.SERVICE,
    body=REPLACE,
    response=ALL,
    summary="Replace all inventories",
)
async def replace_inventories(req: Request) -> Reply:
    found = await req.run(
        inventories.set_inventories,
        req.cloud.placement,
        req.params["uuid"],
        req.body["resource_provider_generation"],
        {name: parse_offer(given) for name, given in req.body["inventories"].items()},
        full_reserve=req.at_least(1, 26),
    )
    return fresh_reply(req, _all_view(*found))


@PLACEMENT.route(
    "POST",
    PATH,
    policy=f"{POLICY}:create",
    rule=Rule.SERVICE,
    status=201,
    body=ADD,
    response=ONE,
    summary="Add one inventory",
)
async def create_inventory(req: Request) -> Reply:
    uuid, name = req.params["uuid"], req.body["resource_class"]
    found = await req.run(
        inventories.add_inventory,
        req.cloud.placement,
        uuid,
        req.body.get("resource_provider_generation"),
        name,
        parse_offer(req.body),
        full_reserve=req.at_least(1, 26),
    )
    reply = fresh_reply(req, _one_view(*found))
    reply.headers.append(("Location", f"{req.base_url}{ROOT}/resource_providers/{uuid}/inventories/{name}"))
    return reply


@PLACEMENT.route(
    "DELETE",
    PATH,
    policy=f"{POLICY}:delete",
    rule=Rule.SERVICE,
    status=204,
    low=Version(1, 5),
    summary="Remove all inventories",
)
async def delete_inventories(req: Request) -> Reply:
    uuid = req.params["uuid"]
    await req.run(inventories.set_inventories, req.cloud.placement, uuid, None, {}, full_reserve=True)
    return Reply()


@PLACEMENT.route(
    "GET",
    PATH + "/{resource_class}",
    policy=f"{POLICY}:show",
    rule=Rule.SERVICE,
    response=ONE,
    summary="Show one inventory",
)
async def show_inventory(req: Request) -> Reply:
    provider, row = await req.read(inventories.get_inventory, req.params["uuid"], req.params["resource_class"])
    return fresh_reply(req, _one_view(provider.generation, row), at_us=row.updated_at_us)


@PLACEMENT.route(
    "PUT",
    PATH + "/{resource_class}",
    policy=f"{POLICY}:update",
    rule=Rule.SERVICE,
    body=UPDATE,
    response=ONE,
    summary="Change one inventory",
)
async def update_inventory(req: Request) -> Reply:
    found = await req.run(
        inventories.update_inventory,
        req.cloud.placement,
        req.params["uuid"],
        req.body["resource_provider_generation"],
        req.params["resource_class"],
        parse_offer(req.body),
        full_reserve=req.at_least(1, 26),
    )
    return fresh_reply(req, _one_view(*found))


@PLACEMENT.route(
    "DELETE",
    PATH + "/{resource_class}",
    policy=f"{POLICY}:delete",
    rule=Rule.SERVICE,
    status=204,
    summary="Remove one inventory",
)
async def delete_inventory(req: Request) -> Reply:
    uuid, name = req.params["uuid"], req.params["resource_class"]
    await req.run(inventories.delete_inventory, req.cloud.placement, uuid, name)
    return Reply()
