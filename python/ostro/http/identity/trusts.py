"""``/v3/OS-TRUST/trusts``."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.roles import ROLE
from ostro.http.identity.roles import view as role_view
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    ID,
    LINKS,
    PAGE_QUERY,
    list_body,
    list_shape,
    page_body,
    page_of,
    parse_time,
    reference,
    self_link,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, INTEGER, STRING, array, nullable, shape, wrapped
from ostro.model.errors import NotFound
from ostro.model.times import iso_micro_z
from ostro.services.identity import trusts
from ostro.store.roles import Role
from ostro.store.trusts import Trust

PATH = "/v3/OS-TRUST/trusts"
COUNT = nullable({"type": "integer", "minimum": 0, "maximum": 2_147_483_647})
GIVEN = {
    "trustor_user_id": ID,
    "trustee_user_id": ID,
    "impersonation": BOOLEAN,
    "project_id": nullable(ID),
    "remaining_uses": nullable({"type": "integer", "minimum": 1, "maximum": 2_147_483_647}),
    "expires_at": nullable(STRING),
    "allow_redelegation": nullable(BOOLEAN),
    "redelegation_count": COUNT,
    "roles": array({"type": "object", "anyOf": [{"required": ["id"]}, {"required": ["name"]}]}, maxItems=256),
}
CREATE = wrapped("trust", {**reference(GIVEN), "required": ["trustor_user_id", "trustee_user_id", "impersonation"]})
TRUST = shape(
    {
        "id": STRING,
        "trustor_user_id": STRING,
        "trustee_user_id": STRING,
        "impersonation": BOOLEAN,
        "project_id": nullable(STRING),
        "remaining_uses": nullable(INTEGER),
        "expires_at": nullable(STRING),
        "deleted_at": nullable(STRING),
        "redelegated_trust_id": nullable(STRING),
        "redelegation_count": INTEGER,
        "links": LINKS,
    }
)
FULL = shape({"trust": {**TRUST, "properties": {**TRUST["properties"], "roles": array(ANY_OBJECT)}}})


def view(req: Request, trust: Trust) -> dict[str, Any]:
    """A trust as lists show it."""
    return {
        **trust.extra,
        "id": trust.id,
        "trustor_user_id": trust.trustor_user_id,
        "trustee_user_id": trust.trustee_user_id,
        "impersonation": trust.impersonation,
        "project_id": trust.project_id or None,
        "remaining_uses": trust.remaining_uses,
        "expires_at": iso_micro_z(trust.expires_at_us) if trust.expires_at_us else None,
        "deleted_at": None,
        "redelegated_trust_id": trust.redelegated_trust_id or None,
        "redelegation_count": trust.redelegation_count,
        "links": self_link(req, "OS-TRUST/trusts", trust.id),
    }


def full_view(req: Request, trust: Trust, roles: list[Role]) -> dict[str, Any]:
    """A trust with its roles."""
    links = {"self": req.url(f"/identity{PATH}/{trust.id}/roles"), "next": None, "previous": None}
    return {**view(req, trust), "roles": [role_view(req, role) for role in roles], "roles_links": links}


@IDENTITY.route(
    "POST",
    PATH,
    policy="identity:create_trust",
    rule=Rule.POLICY,
    status=201,
    body=CREATE,
    response=FULL,
    summary="Create a trust",
)
async def create_trust(req: Request) -> Reply:
    given, extra = split_extra(req.body["trust"], tuple(GIVEN))
    expires_at_us = parse_time("expires_at", given.get("expires_at"))
    trust = await req.run(trusts.create_trust, given, extra, expires_at_us)
    _trust, roles = await req.read(trusts.get_trust, trust.id)
    return Reply({"trust": full_view(req, trust, roles)})


@IDENTITY.route(
    "GET",
    PATH,
    policy="identity:list_trusts_for_trustor",
    rule=Rule.POLICY,
    response=list_shape("trusts", TRUST),
    query={**PAGE_QUERY, "trustor_user_id": STRING, "trustee_user_id": STRING},
    summary="List trusts",
)
async def list_trusts(req: Request) -> Reply:
    page = page_of(req, sort="id")
    trustor_id, trustee_id = req.query.get("trustor_user_id", ""), req.query.get("trustee_user_id", "")
    rows = await req.read(trusts.list_trusts, page, trustor_id, trustee_id)
    return Reply(page_body(req, "trusts", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET", PATH + "/{id}", policy="identity:get_trust", rule=Rule.POLICY, response=FULL, summary="Show a trust"
)
async def show_trust(req: Request) -> Reply:
    return Reply({"trust": full_view(req, *await req.read(trusts.get_trust, req.params["id"]))})


@IDENTITY.route(
    "DELETE", PATH + "/{id}", policy="identity:delete_trust", rule=Rule.POLICY, status=204, summary="End a trust"
)
async def delete_trust(req: Request) -> Reply:
    await req.run(trusts.delete_trust, req.params["id"])
    return Reply()


@IDENTITY.route(
    "GET",
    PATH + "/{id}/roles",
    policy="identity:list_roles_for_trust",
    rule=Rule.POLICY,
    response=list_shape("roles", ROLE),
    summary="List the roles of a trust",
)
async def list_trust_roles(req: Request) -> Reply:
    _trust, roles = await req.read(trusts.get_trust, req.params["id"], "identity:list_roles_for_trust")
    return Reply(list_body(req, "roles", [role_view(req, role) for role in roles]))


@IDENTITY.route(
    "GET",
    PATH + "/{id}/roles/{role_id}",
    policy="identity:get_role_for_trust",
    rule=Rule.POLICY,
    response=shape({"role": ROLE}),
    summary="Show a role of a trust",
)
async def show_trust_role(req: Request) -> Reply:
    _trust, roles = await req.read(trusts.get_trust, req.params["id"], "identity:get_role_for_trust")
    for role in roles:
        if role.id == req.params["role_id"]:
            return Reply({"role": role_view(req, role)})
    raise NotFound("role", req.params["role_id"], f"Could not find role: {req.params['role_id']}.")
