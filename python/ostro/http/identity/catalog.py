"""``/v3/regions``, ``/v3/services`` and ``/v3/endpoints``."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.resources import Wire, declare_resource
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import DESCRIPTION, ID, NAME_255, check_id
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, STRING, nullable, shape
from ostro.model.errors import Invalid
from ostro.services.identity.catalog import ENDPOINT, REGION, SERVICE, ensure_region, show_url
from ostro.store.catalog import Endpoint

REGION_ID = {"type": "string", "maxLength": 255}
REGIONS = Wire(
    REGION,
    "regions",
    {"id": nullable(REGION_ID), "description": DESCRIPTION, "parent_region_id": nullable(REGION_ID)},
    shown={"description": STRING, "parent_region_id": nullable(STRING)},
    nullable=("parent_region_id",),
    filters=("parent_region_id",),
)
SERVICES = Wire(
    SERVICE,
    "services",
    {"type": NAME_255, "name": nullable(STRING), "description": DESCRIPTION, "enabled": BOOLEAN},
    required=("type",),
    filters=("type",),
    names=("name",),
)
INTERFACE = {"type": "string", "enum": ["public", "internal", "admin"]}
URL = {"type": "string", "minLength": 1, "maxLength": 2048, "pattern": r"^(/|[a-zA-Z0-9+.-]+:.+)"}


def _decorate(req: Request, row: Endpoint) -> dict[str, Any]:
    """The old name of the region, and the whole URL of a path of ours."""
    return {"region": row.region_id or None, "url": show_url(row.url, req.base_url)}


ENDPOINTS = Wire(
    ENDPOINT,
    "endpoints",
    {
        "service_id": ID,
        "interface": INTERFACE,
        "region_id": nullable(REGION_ID),
        "region": nullable(REGION_ID),
        "url": URL,
        "enabled": BOOLEAN,
        "name": nullable(STRING),
        "description": DESCRIPTION,
    },
    required=("service_id", "interface", "url"),
    shown={name: {} for name in ("service_id", "interface", "region_id", "region", "url", "enabled")},
    nullable=("region_id",),
    filters=("interface", "service_id", "region_id"),
    decorate=_decorate,
)
declare_resource(SERVICES)


async def _split_endpoint(req: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body's fields; the old ``region`` is the region's id, and makes the region when it isn't there."""
    given, extra = ENDPOINTS.split(req)
    old = extra.pop("region", None)
    if old and not given.get("region_id"):
        req.context.enforce("identity:create_endpoint")
        await req.run(ensure_region, old)
        given["region_id"] = old
    return given, extra


ONE_ENDPOINT = shape({"endpoint": ENDPOINTS.schema})
ONE_REGION = shape({"region": REGIONS.schema})


@IDENTITY.route(
    "POST",
    "/v3/endpoints",
    policy="identity:create_endpoint",
    rule=Rule.POLICY,
    status=201,
    body=ENDPOINTS.body(required=list(ENDPOINTS.required)),
    response=ONE_ENDPOINT,
    summary="Create an endpoint",
)
async def create_endpoint(req: Request) -> Reply:
    given, extra = await _split_endpoint(req)
    return Reply({"endpoint": ENDPOINTS.view(req, await req.run(ENDPOINT.create, given, extra))})


@IDENTITY.route(
    "PATCH",
    "/v3/endpoints/{id}",
    policy="identity:update_endpoint",
    rule=Rule.POLICY,
    body=ENDPOINTS.body(minProperties=1),
    response=ONE_ENDPOINT,
    summary="Change an endpoint",
)
async def update_endpoint(req: Request) -> Reply:
    check_id(req.body["endpoint"], req.params["id"])
    given, extra = await _split_endpoint(req)
    return Reply({"endpoint": ENDPOINTS.view(req, await req.run(ENDPOINT.update, req.params["id"], given, extra))})


async def _create_region(req: Request, id_: str) -> Reply:
    given, extra = REGIONS.split(req)
    return Reply({"region": REGIONS.view(req, await req.run(REGION.create, given, extra, id_))})


@IDENTITY.route(
    "POST",
    "/v3/regions",
    policy="identity:create_region",
    rule=Rule.POLICY,
    status=201,
    body=REGIONS.body(),
    response=ONE_REGION,
    summary="Create a region",
)
async def create_region(req: Request) -> Reply:
    return await _create_region(req, req.body["region"].get("id") or "")


@IDENTITY.route(
    "PUT",
    "/v3/regions/{id}",
    policy="identity:create_region",
    rule=Rule.POLICY,
    status=201,
    body=REGIONS.body(),
    response=ONE_REGION,
    summary="Create a region under an id of one's own",
)
async def create_region_with_id(req: Request) -> Reply:
    if req.body["region"].get("id", req.params["id"]) != req.params["id"]:
        raise Invalid("The id in the body is not the one in the path.")
    return await _create_region(req, req.params["id"])


declare_resource(REGIONS, without=("create",))
declare_resource(ENDPOINTS, without=("create", "update"))
