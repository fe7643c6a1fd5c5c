"""``/v3/users/{user_id}/application_credentials`` and ``/v3/users/{user_id}/access_rules``."""

from __future__ import annotations

import base64
from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
    ID,
    LINKS,
    NAME_255,
    NAME_QUERY,
    PAGE_QUERY,
    list_shape,
    name_filters,
    page_body,
    page_of,
    parse_time,
    self_link,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, STRING, array, nullable, shape, strict, wrapped
from ostro.model.times import iso_micro
from ostro.services.identity import application_credentials as service
from ostro.services.identity.application_credentials import Full
from ostro.store.application_credentials import AccessRule

PATH = "/v3/users/{user_id}/application_credentials"
RULES_PATH = "/v3/users/{user_id}/access_rules"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "COPY"]
RULE_GIVEN = {
    "id": ID,
    "service": NAME_255,
    "method": {"type": "string", "enum": METHODS},
    "path": {"type": "string", "pattern": "^/.*", "maxLength": 255},
}
CREATE = wrapped(
    "application_credential",
    strict(
        {
            "name": NAME_255,
            "description": DESCRIPTION,
            "secret": nullable({"type": "string", "maxLength": 4096}),
            "expires_at": nullable(STRING),
            "unrestricted": nullable(BOOLEAN),
            "project_id": nullable(ID),
            "roles": array({"type": "object", "anyOf": [{"required": ["id"]}, {"required": ["name"]}]}, maxItems=256),
            "access_rules": array(strict(RULE_GIVEN), maxItems=256),
        },
        ("name",),
    ),
)
ACCESS_RULE = shape({"id": STRING, "service": STRING, "method": STRING, "path": STRING})
CREDENTIAL = shape(
    {
        "id": STRING,
        "name": STRING,
        "description": nullable(STRING),
        "project_id": STRING,
        "expires_at": nullable(STRING),
        "unrestricted": BOOLEAN,
        "system": nullable(STRING),
        "roles": array(ANY_OBJECT),
        "links": LINKS,
    }
)
SECRET_BYTES = 64


def view(req: Request, full: Full) -> dict[str, Any]:
    """An application credential as Identity shows it."""
    row, roles, rules = full
    out: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "description": row.description or None,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "expires_at": iso_micro(row.expires_at_us) if row.expires_at_us else None,
        "unrestricted": row.unrestricted,
        "system": None,
        "roles": [{"id": role.id, "name": role.name, "domain_id": role.domain_id or None} for role in roles],
        "links": self_link(req, f"users/{row.user_id}/application_credentials", row.id),
    }
    if row.access_rule_ids is not None:
        out["access_rules"] = [_bare(rule) for rule in rules]
    return out


def _bare(rule: AccessRule) -> dict[str, str]:
    return {"id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path}


def rule_view(req: Request, rule: AccessRule) -> dict[str, Any]:
    """An access rule as Identity shows it."""
    return {**_bare(rule), "links": self_link(req, f"users/{rule.user_id}/access_rules", rule.id)}


def _make_secret(req: Request) -> str:
    raw = req.cloud.world.random.getrandbits(SECRET_BYTES * 8).to_bytes(SECRET_BYTES, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@IDENTITY.route(
    "POST",
    PATH,
    policy="identity:create_application_credential",
    rule=Rule.POLICY,
    status=201,
    body=CREATE,
    response=shape({"application_credential": CREDENTIAL}),
    summary="Create an application credential; its secret is shown this once",
)
async def create_application_credential(req: Request) -> Reply:
    given = req.body["application_credential"]
    req.context.enforce("identity:create_application_credential", user_id=req.params["user_id"])
    secret = given.get("secret") or _make_secret(req)
    secret_hash = await req.cloud.passwords.hash(secret)
    expires_at_us = parse_time("expires_at", given.get("expires_at"))
    full = await req.run(
        service.create_application_credential, req.params["user_id"], given, secret_hash, expires_at_us
    )
    return Reply({"application_credential": {**view(req, full), "secret": secret}})


@IDENTITY.route(
    "GET",
    PATH,
    policy="identity:list_application_credentials",
    rule=Rule.POLICY,
    response=list_shape("application_credentials", CREDENTIAL),
    query={**NAME_QUERY, **PAGE_QUERY},
    summary="List a user's application credentials",
)
async def list_application_credentials(req: Request) -> Reply:
    page = page_of(req, *name_filters(req, "application_credentials"))
    rows, full = await req.read(service.list_application_credentials, req.params["user_id"], page)
    views = [view(req, item) for item in cut(full, page)[0]]
    return Reply(page_body(req, "application_credentials", rows, page, views))


@IDENTITY.route(
    "GET",
    PATH + "/{id}",
    policy="identity:get_application_credential",
    rule=Rule.POLICY,
    response=shape({"application_credential": CREDENTIAL}),
    summary="Show an application credential",
)
async def show_application_credential(req: Request) -> Reply:
    full = await req.read(service.get_application_credential, req.params["user_id"], req.params["id"])
    return Reply({"application_credential": view(req, full)})


@IDENTITY.route(
    "DELETE",
    PATH + "/{id}",
    policy="identity:delete_application_credential",
    rule=Rule.POLICY,
    status=204,
    summary="Delete an application credential",
)
async def delete_application_credential(req: Request) -> Reply:
    await req.run(service.delete_application_credential, req.params["user_id"], req.params["id"])
    return Reply()


@IDENTITY.route(
    "GET",
    RULES_PATH,
    policy="identity:list_access_rules",
    rule=Rule.POLICY,
    response=list_shape("access_rules", ACCESS_RULE),
    query=PAGE_QUERY,
    summary="List a user's access rules",
)
async def list_access_rules(req: Request) -> Reply:
    page = page_of(req, sort="id")
    rows = await req.read(service.list_access_rules, req.params["user_id"], page)
    return Reply(page_body(req, "access_rules", rows, page, [rule_view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    RULES_PATH + "/{id}",
    policy="identity:get_access_rule",
    rule=Rule.POLICY,
    response=shape({"access_rule": ACCESS_RULE}),
    summary="Show an access rule",
)
async def show_access_rule(req: Request) -> Reply:
    rule = await req.read(service.get_access_rule, req.params["user_id"], req.params["id"])
    return Reply({"access_rule": rule_view(req, rule)})


@IDENTITY.route(
    "DELETE",
    RULES_PATH + "/{id}",
    policy="identity:delete_access_rule",
    rule=Rule.POLICY,
    status=204,
    summary="Delete an access rule",
)
async def delete_access_rule(req: Request) -> Reply:
    await req.run(service.delete_access_rule, req.params["user_id"], req.params["id"])
    return Reply()
