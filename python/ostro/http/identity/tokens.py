"""``/v3/auth/tokens``: issue, validate, revoke."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.http.identity.service import IDENTITY
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape
from ostro.model.context import Actor
from ostro.model.errors import Forbidden, NotFound, Unauthenticated
from ostro.model.times import iso_micro_z
from ostro.services.identity.auth import DomainRef, Scope, UserRef, find_login, grant
from ostro.services.identity.catalog import build_catalog
from ostro.services.identity.tokens import REFUSED, Payload
from ostro.store.database import Tx
from ostro.store.tokens import revoke_audit_id

_DOMAIN = {"type": "object", "properties": {"id": STRING, "name": STRING}}
_REFERENCE = {"id": STRING, "name": STRING, "domain": _DOMAIN}
_NAMED = {"type": "object", "properties": _REFERENCE}
ISSUE = {
    "type": "object",
    "required": ["auth"],
    "properties": {
        "auth": {
            "type": "object",
            "required": ["identity"],
            "properties": {
                "identity": {
                    "type": "object",
                    "required": ["methods"],
                    "properties": {
                        "methods": array(STRING, minItems=1, maxItems=8),
                        "password": {
                            "type": "object",
                            "required": ["user"],
                            "properties": {
                                "user": {
                                    "type": "object",
                                    "properties": {
                                        **_REFERENCE,
                                        "password": {"type": "string", "maxLength": 4096},
                                    },
                                }
                            },
                        },
                        "token": {"type": "object", "required": ["id"], "properties": {"id": STRING}},
                    },
                },
                "scope": {
                    "anyOf": [
                        {"const": "unscoped"},
                        {
                            "type": "object",
                            "properties": {
                                "project": _NAMED,
                                "domain": _DOMAIN,
                                "system": {"type": "object", "properties": {"all": {"type": "boolean"}}},
                                "unscoped": ANY_OBJECT,
                            },
                        },
                    ]
                },
            },
        }
    },
}
TOKEN = shape(
    {
        "token": shape(
            {
                "methods": array(STRING),
                "user": ANY_OBJECT,
                "audit_ids": array(STRING),
                "expires_at": STRING,
                "issued_at": STRING,
            }
        )
    }
)


def token_view(req: Request, actor: Actor, *, catalog: bool) -> dict[str, Any]:
    """A token as Identity shows it."""
    view: dict[str, Any] = {
        "methods": list(actor.methods),
        "user": {
            "id": actor.user_id,
            "name": actor.user_name,
            "domain": {"id": actor.user_domain_id, "name": actor.user_domain_name},
            "password_expires_at": None,
        },
        "audit_ids": list(actor.audit_ids),
        "expires_at": iso_micro_z(actor.expires_at_us),
        "issued_at": iso_micro_z(actor.issued_at_us),
    }
    if actor.project_id:
        view["project"] = {
            "id": actor.project_id,
            "name": actor.project_name,
            "domain": {"id": actor.project_domain_id, "name": actor.project_domain_name},
        }
        view["is_domain"] = False
    elif actor.domain_id:
        view["domain"] = {"id": actor.domain_id, "name": actor.domain_name}
    elif actor.system:
        view["system"] = {"all": True}
    if actor.role_ids:
        view["roles"] = [{"id": id_, "name": name} for id_, name in actor.role_ids]
    if catalog and actor.role_ids:
        view["catalog"] = build_catalog(actor, req.base_url, req.cloud.config.region)
    return {"token": view}


def parse_scope(auth: dict[str, Any]) -> Scope:
    """The wished scope of an ``auth`` body."""
    scope = auth.get("scope", {})
    if scope == "unscoped" or "unscoped" in scope:
        return Scope(unscoped=True)
    if "system" in scope:
        return Scope(system=True)
    if "project" in scope:
        return Scope(project=msgspec.convert(scope["project"], UserRef))
    if "domain" in scope:
        return Scope(domain=msgspec.convert(scope["domain"], DomainRef))
    return Scope()


async def _by_password(req: Request, given: dict[str, Any]) -> str:
    """The id of the user whose password this is. Raises Unauthenticated."""
    user = given.get("user", {})
    login = await req.cloud.db.read(find_login, msgspec.convert(user, UserRef))
    if not await req.cloud.passwords.verify(login.password_hash, user.get("password", "")):
        raise Unauthenticated(REFUSED, detail="wrong user or password")
    return login.user_id


async def _authenticate(req: Request, identity: dict[str, Any]) -> tuple[str, tuple[str, ...], Payload | None]:
    """(user id, methods, parent token). Every named method must agree on the user."""
    user_ids: set[str] = set()
    parent: Payload | None = None
    methods = tuple(dict.fromkeys(identity["methods"]))
    for method in methods:
        given = identity.get(method)
        if method == "password" and given:
            user_ids.add(await _by_password(req, given))
        elif method == "token" and given:
            await req.cloud.tokens.validate(given["id"])
            parent = await req.cloud.tokens.read(given["id"])
            user_ids.add(parent.user_id)
        else:
            raise Unauthenticated(REFUSED, detail=f"method {method}")
    if len(user_ids) != 1:
        raise Unauthenticated(REFUSED, detail="the methods disagree")
    if parent is not None:
        methods = tuple(dict.fromkeys((*methods, *parent.methods)))
    return user_ids.pop(), methods, parent


@IDENTITY.route(
    "POST",
    "/v3/auth/tokens",
    policy="identity:authenticate",
    rule=Rule.PUBLIC,
    status=201,
    body=ISSUE,
    response=TOKEN,
    query={"nocatalog": STRING},
    summary="Issue a token",
)
async def issue_token(req: Request) -> Reply:
    auth = req.body["auth"]
    user_id, methods, parent = await _authenticate(req, auth["identity"])
    payload, actor = await req.cloud.db.read(
        grant,
        user_id,
        parse_scope(auth),
        methods=methods,
        audit_id=req.cloud.tokens.new_audit_id(),
        parent=parent,
        now_us=req.context.now_us,
    )
    token = await req.cloud.tokens.issue(payload)
    return Reply(
        token_view(req, actor, catalog="nocatalog" not in req.query),
        headers=[("X-Subject-Token", token), ("Vary", "X-Auth-Token")],
    )


async def _subject(req: Request) -> tuple[str, Actor]:
    """The token that the request is about. Raises NotFound for one that is worth nothing."""
    token = req.headers.get("X-Subject-Token", "")
    try:
        actor = await req.cloud.tokens.validate(token)
    except Unauthenticated as error:
        raise NotFound("token", "", "Could not find token.") from error
    if actor.user_id != req.context.user_id and not req.context.is_admin and "service" not in req.context.actor.roles:
        raise Forbidden("You are not authorized to perform the requested action: identity:validate_token.")
    return token, actor


@IDENTITY.route(
    "GET",
    "/v3/auth/tokens",
    policy="identity:validate_token",
    rule=Rule.AUTHENTICATED,
    response=TOKEN,
    query={"nocatalog": STRING},
    summary="Validate and show a token",
)
async def validate_token(req: Request) -> Reply:
    token, actor = await _subject(req)
    return Reply(
        token_view(req, actor, catalog="nocatalog" not in req.query),
        headers=[("X-Subject-Token", token), ("Vary", "X-Auth-Token")],
    )


@IDENTITY.route(
    "DELETE",
    "/v3/auth/tokens",
    policy="identity:revoke_token",
    rule=Rule.AUTHENTICATED,
    status=204,
    summary="Revoke a token",
)
async def revoke_token(req: Request) -> Reply:
    _token, actor = await _subject(req)
    await req.cloud.db.run(_revoke, actor)
    return Reply()


def _revoke(tx: Tx, actor: Actor) -> None:
    revoke_audit_id(tx, actor.audit_ids[0], actor.expires_at_us)
