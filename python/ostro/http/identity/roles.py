"""``/v3/roles`` and which role implies which."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
    ID,
    LINKS,
    NAME_255,
    NAME_QUERY,
    OPTIONS,
    PAGE_QUERY,
    check_id,
    list_shape,
    name_filters,
    page_body,
    page_of,
    reference,
    self_link,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, nullable, shape, wrapped
from ostro.services.identity import roles
from ostro.store.roles import Role

GIVEN = {"name": NAME_255, "description": DESCRIPTION, "domain_id": nullable(ID), "options": OPTIONS}
CREATE = wrapped("role", {**reference(GIVEN), "required": ["name"]})
UPDATE = wrapped("role", {**reference(GIVEN), "minProperties": 1})
ROLE = shape(
    {
        "id": STRING,
        "name": STRING,
        "domain_id": nullable(STRING),
        "description": nullable(STRING),
        "options": ANY_OBJECT,
        "links": LINKS,
    }
)
ONE = shape({"role": ROLE})
SHORT_ROLE = shape({"id": STRING, "name": STRING, "links": LINKS})
IMPLICATION = {"prior_role": SHORT_ROLE, "implies": SHORT_ROLE}
IMPLICATIONS = {"prior_role": SHORT_ROLE, "implies": array(SHORT_ROLE)}


def view(req: Request, role: Role) -> dict[str, Any]:
    """A role as Identity shows it."""
    return {
        **role.extra,
        "id": role.id,
        "name": role.name,
        "domain_id": role.domain_id or None,
        "description": role.description or None,
        "options": role.options,
        "links": self_link(req, "roles", role.id),
    }


def short(req: Request, role: Role) -> dict[str, Any]:
    """A role inside an implication."""
    return {"id": role.id, "name": role.name, "links": self_link(req, "roles", role.id)}


@IDENTITY.route(
    "POST",
    "/v3/roles",
    policy="identity:create_role",
    rule=Rule.POLICY,
    status=201,
    body=CREATE,
    response=ONE,
    summary="Create a role",
)
async def create_role(req: Request) -> Reply:
    given, extra = split_extra(req.body["role"], tuple(GIVEN))
    return Reply({"role": view(req, await req.run(roles.create_role, given, extra))})


@IDENTITY.route(
    "GET",
    "/v3/roles",
    policy="identity:list_roles",
    rule=Rule.POLICY,
    response=list_shape("roles", ROLE),
    query={**NAME_QUERY, **PAGE_QUERY, "domain_id": STRING},
    summary="List roles: the global ones, or those of a domain",
)
async def list_roles(req: Request) -> Reply:
    page = page_of(req, *name_filters(req, "roles"))
    rows = await req.read(roles.list_roles, page, req.query.get("domain_id", ""))
    return Reply(page_body(req, "roles", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    "/v3/roles/{role_id}",
    policy="identity:get_role",
    rule=Rule.TARGET,
    response=ONE,
    summary="Show a role",
)
async def show_role(req: Request) -> Reply:
    return Reply({"role": view(req, await req.read(roles.get_role, req.params["role_id"]))})


@IDENTITY.route(
    "PATCH",
    "/v3/roles/{role_id}",
    policy="identity:update_role",
    rule=Rule.TARGET,
    body=UPDATE,
    response=ONE,
    summary="Change a role",
)
async def update_role(req: Request) -> Reply:
    check_id(req.body["role"], req.params["role_id"])
    given, extra = split_extra(req.body["role"], tuple(GIVEN))
    return Reply({"role": view(req, await req.run(roles.update_role, req.params["role_id"], given, extra))})


@IDENTITY.route(
    "DELETE",
    "/v3/roles/{role_id}",
    policy="identity:delete_role",
    rule=Rule.TARGET,
    status=204,
    summary="Delete a role",
)
async def delete_role(req: Request) -> Reply:
    await req.run(roles.delete_role, req.params["role_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    "/v3/roles/{prior_id}/implies",
    policy="identity:list_implied_roles",
    rule=Rule.POLICY,
    response=shape({"role_inference": shape(IMPLICATIONS), "links": LINKS}),
    summary="List the roles that a role implies directly",
)
async def list_implied_roles(req: Request) -> Reply:
    prior, implied = await req.read(roles.list_implied, req.params["prior_id"])
    inference = {"prior_role": short(req, prior), "implies": [short(req, role) for role in implied]}
    return Reply({"role_inference": inference, "links": {"self": req.url(req.path)}})


@IDENTITY.route(
    "GET",
    "/v3/roles/{prior_id}/implies/{implied_id}",
    policy="identity:get_implied_role",
    rule=Rule.POLICY,
    response=shape({"role_inference": shape(IMPLICATION), "links": LINKS}),
    summary="Check that a role implies another directly",
)
async def show_implied_role(req: Request) -> Reply:
    prior, implied = await req.read(roles.get_implied, req.params["prior_id"], req.params["implied_id"])
    inference = {"prior_role": short(req, prior), "implies": short(req, implied)}
    return Reply({"role_inference": inference, "links": {"self": req.url(req.path)}})


@IDENTITY.route(
    "HEAD",
    "/v3/roles/{prior_id}/implies/{implied_id}",
    policy="identity:check_implied_role",
    rule=Rule.POLICY,
    status=204,
    summary="Check that a role implies another directly, without an answer's body",
)
async def check_implied_role(req: Request) -> Reply:
    await req.read(roles.get_implied, req.params["prior_id"], req.params["implied_id"])
    return Reply()


@IDENTITY.route(
    "PUT",
    "/v3/roles/{prior_id}/implies/{implied_id}",
    policy="identity:create_implied_role",
    rule=Rule.POLICY,
    status=201,
    response=shape({"role_inference": shape(IMPLICATION), "links": LINKS}),
    summary="Make a role imply another",
)
async def create_implied_role(req: Request) -> Reply:
    prior, implied = await req.run(roles.imply_role, req.params["prior_id"], req.params["implied_id"])
    inference = {"prior_role": short(req, prior), "implies": short(req, implied)}
    return Reply({"role_inference": inference, "links": {"self": req.url(req.path)}})


@IDENTITY.route(
    "DELETE",
    "/v3/roles/{prior_id}/implies/{implied_id}",
    policy="identity:delete_implied_role",
    rule=Rule.POLICY,
    status=204,
    summary="Make a role imply another no more",
)
async def delete_implied_role(req: Request) -> Reply:
    await req.run(roles.stop_implying_role, req.params["prior_id"], req.params["implied_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    "/v3/role_inferences",
    policy="identity:list_role_inference_rules",
    rule=Rule.POLICY,
    response=shape({"role_inferences": array(shape(IMPLICATIONS)), "links": LINKS}),
    summary="List every implication",
)
async def list_role_inferences(req: Request) -> Reply:
    found = await req.read(roles.list_inferences)
    views = [{"prior_role": short(req, p), "implies": [short(req, role) for role in implied]} for p, implied in found]
    return Reply({"role_inferences": views, "links": {"self": req.url(req.path)}})
