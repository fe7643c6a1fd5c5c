"""``/v3/users``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostro.http.identity import domains as domain_routes
from ostro.http.identity import projects as project_routes
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
    enabled_filter,
    list_body,
    list_shape,
    page_body,
    page_of,
    reference,
    self_link,
    shown_name_filters,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, STRING, array, nullable, shape, strict, wrapped
from ostro.model.errors import Invalid
from ostro.model.times import iso_micro_z
from ostro.services.identity import users
from ostro.store.federation import FederatedUser
from ostro.store.paging import Filter, Where
from ostro.store.users import User

PASSWORD = {"type": "string", "minLength": 1, "maxLength": 4096}
KNOWN = (
    "name",
    "password",
    "domain_id",
    "default_project_id",
    "email",
    "description",
    "enabled",
    "options",
    "federated",
)
_UNIQUE = {"protocol_id": ID, "unique_id": {"type": "string", "minLength": 1, "maxLength": 1024}}
FEDERATED = strict(
    {"idp_id": ID, "protocols": array(strict(_UNIQUE, tuple(_UNIQUE)), minItems=1, maxItems=20)},
    ("idp_id", "protocols"),
)
GIVEN = {
    "name": NAME_255,
    "password": nullable(PASSWORD),
    "domain_id": nullable(ID),
    "default_project_id": nullable(ID),
    "email": nullable({"type": "string", "maxLength": 255}),
    "description": DESCRIPTION,
    "enabled": BOOLEAN,
    "options": OPTIONS,
    "federated": array(FEDERATED, maxItems=20),
}
CREATE = wrapped("user", {**reference(GIVEN), "required": ["name"]})
UPDATE = wrapped("user", {**reference(GIVEN), "minProperties": 1})
CHANGE_PASSWORD = wrapped(
    "user",
    {**reference({"password": PASSWORD, "original_password": PASSWORD}), "required": ["password", "original_password"]},
)
USER = shape(
    {
        "id": STRING,
        "name": STRING,
        "domain_id": STRING,
        "enabled": BOOLEAN,
        "password_expires_at": nullable(STRING),
        "options": ANY_OBJECT,
        "links": LINKS,
    }
)
ONE = shape({"user": USER})


def view(req: Request, user: User) -> dict[str, Any]:
    """A user as Identity shows it; what was never set is not there."""
    expires_at_us = 0
    if user.password_hash:
        compliance = req.cloud.tokens.compliance
        expires_at_us = compliance.expires_at_us(
            user.password_set_at_us, user.options, first_use=user.password_by_admin
        )
    optional = {"default_project_id": user.default_project_id, "email": user.email, "description": user.description}
    return {
        **user.extra,
        "id": user.id,
        "name": user.display_name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": iso_micro_z(expires_at_us) if expires_at_us else None,
        "options": user.options,
        **{name: value for name, value in optional.items() if value},
        "links": self_link(req, "users", user.id),
    }


def federated_view(rows: Sequence[FederatedUser]) -> list[dict[str, Any]]:
    """Who vouches for a user, as Identity shows it."""
    out: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        out.setdefault(row.idp_id, []).append({"protocol_id": row.protocol_id, "unique_id": row.unique_id})
    return [{"idp_id": idp_id, "protocols": protocols} for idp_id, protocols in out.items()]


FEDERATED_QUERY = {"idp_id": STRING, "protocol_id": STRING, "unique_id": STRING}
_VOUCHED = "users.id IN (SELECT user_id FROM federated_users WHERE {} = ?)"


async def _hash(req: Request, given: dict[str, Any]) -> str:
    password = given.get("password")
    if password:
        req.cloud.tokens.compliance.check_strength(password)
    return await req.cloud.passwords.hash(password) if password else ""


@IDENTITY.route(
    "POST",
    "/v3/users",
    policy="identity:create_user",
    rule=Rule.POLICY,
    status=201,
    body=CREATE,
    response=ONE,
    summary="Create a user",
)
async def create_user(req: Request) -> Reply:
    given, extra = split_extra(req.body["user"], KNOWN)
    user = await req.run(users.create_user, given, extra, await _hash(req, given))
    return Reply({"user": view(req, user)})


@IDENTITY.route(
    "GET",
    "/v3/users",
    policy="identity:list_users",
    rule=Rule.POLICY,
    response=list_shape("users", USER),
    query={
        **NAME_QUERY,
        **PAGE_QUERY,
        **FEDERATED_QUERY,
        "domain_id": STRING,
        "enabled": STRING,
        "password_expires_at": STRING,
    },
    summary="List users",
)
async def list_users(req: Request) -> Reply:
    filters = [*shown_name_filters(req, "users"), *enabled_filter(req)]
    filters += [Where(_VOUCHED.format(n), (req.query[n],)) for n in FEDERATED_QUERY if n in req.query]
    filters += [Filter("domain_id", req.query["domain_id"])] if "domain_id" in req.query else []
    page = page_of(req, *filters)
    await req.cloud.directories.refresh(req.query.get("domain_id") or req.context.actor.domain_id)
    rows = await req.read(users.list_users, page)
    return Reply(page_body(req, "users", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    "/v3/users/{user_id}",
    policy="identity:get_user",
    rule=Rule.POLICY,
    response=ONE,
    summary="Show a user",
)
async def show_user(req: Request) -> Reply:
    await req.cloud.directories.refresh_of(user_id=req.params["user_id"])
    user, vouched = await req.read(users.get_user_and_origin, req.params["user_id"])
    return Reply({"user": view(req, user) | ({"federated": federated_view(vouched)} if vouched else {})})


@IDENTITY.route(
    "PATCH",
    "/v3/users/{user_id}",
    policy="identity:update_user",
    rule=Rule.POLICY,
    body=UPDATE,
    response=ONE,
    summary="Change a user; a new password ends the tokens of the old one",
)
async def update_user(req: Request) -> Reply:
    check_id(req.body["user"], req.params["user_id"])
    given, extra = split_extra(req.body["user"], KNOWN)
    user = await req.run(users.update_user, req.params["user_id"], given, extra, await _hash(req, given))
    return Reply({"user": view(req, user)})


@IDENTITY.route(
    "DELETE",
    "/v3/users/{user_id}",
    policy="identity:delete_user",
    rule=Rule.POLICY,
    status=204,
    summary="Delete a user",
)
async def delete_user(req: Request) -> Reply:
    await req.run(users.delete_user, req.params["user_id"])
    return Reply()


@IDENTITY.route(
    "POST",
    "/v3/users/{user_id}/password",
    policy="identity:change_password",
    rule=Rule.PUBLIC,
    status=204,
    body=CHANGE_PASSWORD,
    summary="Change one's own password by showing the present one",
)
async def change_password(req: Request) -> Reply:
    user_id, given = req.params["user_id"], req.body["user"]
    passwords, compliance = req.cloud.passwords, req.cloud.tokens.compliance
    present = await req.cloud.authenticator.verify_own_password(user_id, given["original_password"])
    change = await req.read(users.find_password_change, user_id, compliance)
    compliance.check_strength(given["password"])
    for past in change.past:
        if await passwords.verify(past, given["password"]):
            count = compliance.unique_last_password_count
            raise Invalid(
                f"The new password cannot be identical to a previous password. The last {count} are remembered."
            )
    await req.run(users.change_password, user_id, present, await passwords.hash(given["password"]), compliance)
    return Reply()


@IDENTITY.route(
    "GET",
    "/v3/users/{user_id}/projects",
    policy="identity:list_user_projects",
    rule=Rule.POLICY,
    response=list_shape("projects", project_routes.PROJECT),
    summary="List the projects on which a user has a role",
)
async def list_user_projects(req: Request) -> Reply:
    found = await req.read(users.list_user_projects, req.params["user_id"])
    return Reply(list_body(req, "projects", [project_routes.view(req, project) for project in found]))


@IDENTITY.route(
    "GET",
    "/v3/users/{user_id}/domains",
    policy="identity:list_user_projects",
    rule=Rule.POLICY,
    response=list_shape("domains", domain_routes.DOMAIN),
    summary="List the domains on which a user has a role",
)
async def list_user_domains(req: Request) -> Reply:
    found = await req.read(users.list_user_domains, req.params["user_id"])
    return Reply(list_body(req, "domains", [domain_routes.view(req, domain) for domain in found]))
