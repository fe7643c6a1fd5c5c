"""``/v3/registered_limits`` and ``/v3/limits``."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
    ID,
    LINKS,
    NAME_255,
    PAGE_QUERY,
    list_shape,
    page_body,
    page_of,
    self_link,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import INTEGER, STRING, array, nullable, shape, strict, wrapped
from ostro.model.quotas import DESCRIPTIONS
from ostro.services.identity import limits
from ostro.store.limits import Limit, RegisteredLimit
from ostro.store.paging import Filter

NUMBER = {"type": "integer", "minimum": -1, "maximum": 2_147_483_647}
REGION_ID = nullable({"type": "string", "maxLength": 255})
PLACE = {"service_id": ID, "region_id": REGION_ID, "resource_name": NAME_255}
REGISTERED_GIVEN = {**PLACE, "default_limit": NUMBER, "description": DESCRIPTION}
LIMIT_GIVEN = {
    **PLACE,
    "project_id": nullable(ID),
    "domain_id": nullable(ID),
    "resource_limit": NUMBER,
    "description": DESCRIPTION,
}
CREATE_REGISTERED = strict(
    {
        "registered_limits": array(
            strict(REGISTERED_GIVEN, ("service_id", "resource_name", "default_limit")), minItems=1, maxItems=1000
        )
    },
    ("registered_limits",),
)
UPDATE_REGISTERED = wrapped("registered_limit", strict(REGISTERED_GIVEN))
CREATE_LIMITS = strict(
    {
        "limits": array(
            strict(LIMIT_GIVEN, ("service_id", "resource_name", "resource_limit")), minItems=1, maxItems=1000
        )
    },
    ("limits",),
)
UPDATE_LIMIT = wrapped("limit", strict({"resource_limit": NUMBER, "description": DESCRIPTION}))
_SHOWN = {
    "id": STRING,
    "service_id": STRING,
    "region_id": nullable(STRING),
    "resource_name": STRING,
    "description": nullable(STRING),
    "links": LINKS,
}
REGISTERED = shape({**_SHOWN, "default_limit": INTEGER})
LIMIT = shape({**_SHOWN, "project_id": nullable(STRING), "domain_id": nullable(STRING), "resource_limit": INTEGER})
PLACE_QUERY = {"service_id": STRING, "region_id": STRING, "resource_name": STRING}


def _filters(req: Request, *names: str) -> list[Filter]:
    return [
        Filter(name, req.query[name])
        for name in ("service_id", "region_id", "resource_name", *names)
        if name in req.query
    ]


def registered_view(req: Request, row: RegisteredLimit) -> dict[str, Any]:
    """A registered limit as Identity shows it."""
    return {
        "id": row.id,
        "service_id": row.service_id,
        "region_id": row.region_id or None,
        "resource_name": row.resource_name,
        "default_limit": row.default_limit,
        "description": row.description or None,
        "links": self_link(req, "registered_limits", row.id),
    }


def limit_view(req: Request, row: Limit) -> dict[str, Any]:
    """A limit as Identity shows it."""
    return {
        "id": row.id,
        "project_id": row.project_id or None,
        "domain_id": row.domain_id or None,
        "service_id": row.service_id,
        "region_id": row.region_id or None,
        "resource_name": row.resource_name,
        "resource_limit": row.resource_limit,
        "description": row.description or None,
        "links": self_link(req, "limits", row.id),
    }


@IDENTITY.route(
    "POST",
    "/v3/registered_limits",
    policy="identity:create_registered_limits",
    rule=Rule.POLICY,
    status=201,
    body=CREATE_REGISTERED,
    response=shape({"registered_limits": array(REGISTERED)}),
    summary="Register limits",
)
async def create_registered_limits(req: Request) -> Reply:
    rows = await req.run(limits.create_registered_limits, req.body["registered_limits"])
    return Reply({"registered_limits": [registered_view(req, row) for row in rows]})


@IDENTITY.route(
    "GET",
    "/v3/registered_limits",
    policy="identity:list_registered_limits",
    rule=Rule.POLICY,
    response=list_shape("registered_limits", REGISTERED),
    query={**PLACE_QUERY, **PAGE_QUERY},
    summary="List registered limits",
)
async def list_registered_limits(req: Request) -> Reply:
    page = page_of(req, *_filters(req), sort="id")
    rows = await req.read(limits.list_registered_limits, page)
    views = [registered_view(req, row) for row in cut(rows, page)[0]]
    return Reply(page_body(req, "registered_limits", rows, page, views))


@IDENTITY.route(
    "GET",
    "/v3/registered_limits/{id}",
    policy="identity:get_registered_limit",
    rule=Rule.POLICY,
    response=shape({"registered_limit": REGISTERED}),
    summary="Show a registered limit",
)
async def show_registered_limit(req: Request) -> Reply:
    row = await req.read(limits.get_registered_limit, req.params["id"])
    return Reply({"registered_limit": registered_view(req, row)})


@IDENTITY.route(
    "PATCH",
    "/v3/registered_limits/{id}",
    policy="identity:update_registered_limit",
    rule=Rule.POLICY,
    body=UPDATE_REGISTERED,
    response=shape({"registered_limit": REGISTERED}),
    summary="Change a registered limit",
)
async def update_registered_limit(req: Request) -> Reply:
    row = await req.run(limits.update_registered_limit, req.params["id"], req.body["registered_limit"])
    return Reply({"registered_limit": registered_view(req, row)})


@IDENTITY.route(
    "DELETE",
    "/v3/registered_limits/{id}",
    policy="identity:delete_registered_limit",
    rule=Rule.POLICY,
    status=204,
    summary="Delete a registered limit",
)
async def delete_registered_limit(req: Request) -> Reply:
    await req.run(limits.delete_registered_limit, req.params["id"])
    return Reply()


@IDENTITY.route(
    "GET",
    "/v3/limits/model",
    policy="identity:get_limit_model",
    rule=Rule.POLICY,
    response=shape({"model": shape({"name": STRING, "description": STRING})}),
    summary="Show how limits are enforced",
)
async def show_limit_model(req: Request) -> Reply:
    model = req.context.limits.model
    return Reply({"model": {"name": model.value, "description": DESCRIPTIONS[model]}})


@IDENTITY.route(
    "POST",
    "/v3/limits",
    policy="identity:create_limits",
    rule=Rule.POLICY,
    status=201,
    body=CREATE_LIMITS,
    response=shape({"limits": array(LIMIT)}),
    summary="Create limits of projects and domains",
)
async def create_limits(req: Request) -> Reply:
    rows = await req.run(limits.create_limits, req.body["limits"])
    return Reply({"limits": [limit_view(req, row) for row in rows]})


@IDENTITY.route(
    "GET",
    "/v3/limits",
    policy="identity:list_limits",
    rule=Rule.POLICY,
    response=list_shape("limits", LIMIT),
    query={**PLACE_QUERY, **PAGE_QUERY, "project_id": STRING, "domain_id": STRING},
    summary="List limits",
)
async def list_limits(req: Request) -> Reply:
    page = page_of(req, *_filters(req, "project_id", "domain_id"), sort="id")
    rows = await req.read(limits.list_limits, page)
    return Reply(page_body(req, "limits", rows, page, [limit_view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    "/v3/limits/{id}",
    policy="identity:get_limit",
    rule=Rule.POLICY,
    response=shape({"limit": LIMIT}),
    summary="Show a limit",
)
async def show_limit(req: Request) -> Reply:
    return Reply({"limit": limit_view(req, await req.read(limits.get_limit, req.params["id"]))})


@IDENTITY.route(
    "PATCH",
    "/v3/limits/{id}",
    policy="identity:update_limit",
    rule=Rule.POLICY,
    body=UPDATE_LIMIT,
    response=shape({"limit": LIMIT}),
    summary="Change a limit",
)
async def update_limit(req: Request) -> Reply:
    row = await req.run(limits.update_limit, req.params["id"], req.body["limit"])
    return Reply({"limit": limit_view(req, row)})


@IDENTITY.route(
    "DELETE",
    "/v3/limits/{id}",
    policy="identity:delete_limit",
    rule=Rule.POLICY,
    status=204,
    summary="Delete a limit",
)
async def delete_limit(req: Request) -> Reply:
    await req.run(limits.delete_limit, req.params["id"])
    return Reply()
