"""``/v3/auth/tokens``: issue, validate, revoke."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.http.identity.service import IDENTITY
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape
from ostro.model.context import Actor
from ostro.model.errors import Invalid, NotFound, Unauthenticated
from ostro.model.times import iso_micro_z
from ostro.services.identity.auth import FEDERATED, Delegated, DomainRef, NeedsMore, Scope, UserRef
from ostro.services.identity.federated import Admitted
from ostro.services.identity.oauth1 import Signed, parse_authorization, verify_access_token
from ostro.store.database import Tx
from ostro.store.tokens import revoke_audit_id

_DOMAIN = {"type": "object", "properties": {"id": STRING, "name": STRING}}
_REFERENCE = {"id": STRING, "name": STRING, "domain": _DOMAIN}
_NAMED = {"type": "object", "properties": _REFERENCE}
_VOUCHED = {
    "type": "object",
    "properties": {"id": STRING, "identity_provider": STRING, "protocol": STRING},
    "anyOf": [{"required": ["id"]}, {"required": ["identity_provider", "protocol"]}],
}
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
                        "totp": {
                            "type": "object",
                            "required": ["user"],
                            "properties": {
                                "user": {
                                    "type": "object",
                                    "required": ["passcode"],
                                    "properties": {**_REFERENCE, "passcode": {"type": ["string", "integer"]}},
                                }
                            },
                        },
                        "application_credential": {
                            "type": "object",
                            "required": ["secret"],
                            "properties": {
                                "id": STRING,
                                "name": STRING,
                                "secret": {"type": "string", "maxLength": 4096},
                                "user": _NAMED,
                            },
                        },
                        **dict.fromkeys(FEDERATED, _VOUCHED),
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
                                "OS-TRUST:trust": {"type": "object", "required": ["id"], "properties": {"id": STRING}},
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
RECEIPT = shape(
    {
        "receipt": shape({"methods": array(STRING), "user": ANY_OBJECT, "expires_at": STRING, "issued_at": STRING}),
        "required_auth_methods": array(array(STRING)),
    }
)


def token_view(actor: Actor, catalog: list[dict[str, Any]] | None, partners: list[dict[str, Any]]) -> dict[str, Any]:
    """A token as Identity shows it."""
    view: dict[str, Any] = {
        "methods": list(actor.methods),
        "user": {
            "id": actor.user_id,
            "name": actor.user_name,
            "domain": {"id": actor.user_domain_id, "name": actor.user_domain_name},
            "password_expires_at": iso_micro_z(actor.password_expires_at_us) if actor.password_expires_at_us else None,
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
    _show_delegation(view, actor)
    if catalog is not None and actor.role_ids:
        view["catalog"] = catalog
    if partners:
        view["service_providers"] = partners
    return {"token": view}


def _show_delegation(view: dict[str, Any], actor: Actor) -> None:
    """What the token came from, if not from its user."""
    if actor.idp_id:
        view["user"]["OS-FEDERATION"] = {
            "groups": [{"id": id_} for id_ in actor.group_ids],
            "identity_provider": {"id": actor.idp_id},
            "protocol": {"id": actor.protocol_id},
        }
        del view["user"]["password_expires_at"]
    if actor.trust_id:
        view["OS-TRUST:trust"] = {
            "id": actor.trust_id,
            "trustor_user": {"id": actor.trustor_id},
            "trustee_user": {"id": actor.trustee_id},
            "impersonation": actor.trust_impersonates,
        }
    if actor.application_credential_id:
        view["application_credential"] = {
            "id": actor.application_credential_id,
            "restricted": not actor.unrestricted,
        }
        if actor.access_rules is not None:
            view["application_credential"]["access_rules"] = [
                {"service": service, "method": method, "path": path} for service, method, path in actor.access_rules
            ]
    if actor.access_token_id:
        view["OS-OAUTH1"] = {"access_token_id": actor.access_token_id, "consumer_id": actor.consumer_id}


async def token_reply(req: Request, actor: Actor, token: str, *, status: int = 0) -> Reply:
    """The answer that shows a token, with its catalogue unless ``nocatalog`` was asked for."""
    catalog = None if "nocatalog" in req.query else await req.cloud.catalogs.show(actor, req.base_url)
    headers = [("X-Subject-Token", token), ("Vary", "X-Auth-Token")]
    partners = await req.cloud.catalogs.show_service_providers()
    return Reply(token_view(actor, catalog, partners), status, headers=headers)


def parse_scope(auth: dict[str, Any]) -> Scope:
    """The wished scope of an ``auth`` body. Raises Invalid for more than one."""
    scope = auth.get("scope", {})
    if scope == "unscoped" or "unscoped" in scope:
        return Scope(unscoped=True)
    if len(scope) > 1:
        raise Invalid("A token has one scope.")
    if "system" in scope:
        if not scope["system"].get("all"):
            raise Invalid("The scope of the system is all of it.")
        return Scope(system=True)
    if "project" in scope:
        return Scope(project=msgspec.convert(scope["project"], UserRef))
    if "domain" in scope:
        return Scope(domain=msgspec.convert(scope["domain"], DomainRef))
    if "OS-TRUST:trust" in scope:
        return Scope(trust_id=scope["OS-TRUST:trust"]["id"])
    return Scope()


@IDENTITY.route(
    "POST",
    "/v3/auth/tokens",
    policy="identity:authenticate",
    rule=Rule.PUBLIC,
    status=201,
    body=ISSUE,
    response={"anyOf": [TOKEN, RECEIPT]},
    query={"nocatalog": STRING},
    summary="Issue a token",
)
async def issue_token(req: Request) -> Reply:
    auth = req.body["auth"]
    receipt = req.headers.get("Openstack-Auth-Receipt", "")
    delegated = await _delegated(req) if "oauth1" in auth["identity"]["methods"] else None
    admitted = await _admitted(req, auth["identity"])
    try:
        token, actor = await req.cloud.authenticator.authenticate(
            auth["identity"], parse_scope(auth), receipt, delegated, admitted
        )
    except NeedsMore as more:
        return await receipt_reply(req, more)
    return await token_reply(req, actor, token)


async def _delegated(req: Request) -> Delegated:
    """The access token that the request is signed with."""
    fields = parse_authorization(req.headers.get("Authorization", ""))
    signed = Signed(req.raw.method, req.url(req.path), req.raw.query_string.decode(errors="replace"), fields)
    row = await req.cloud.db.run(verify_access_token, signed, req.cloud.sealer, req.context.now_us)
    return Delegated(row.id, row.user_id, row.project_id)


async def _admitted(req: Request, identity: dict[str, Any]) -> Admitted | None:
    """Whom an identity provider vouches for by the access token that the request brings, if its methods say so."""
    for method in identity["methods"]:
        given = identity.get(method, {})
        if method in FEDERATED and "id" not in given and given:
            scheme, _, token = req.headers.get("Authorization", "").partition(" ")
            wanted = given["identity_provider"], given["protocol"]
            return await req.cloud.logins.admit_bearer(
                req.context, *wanted, token if scheme.lower() == "bearer" else ""
            )
    return None


async def receipt_reply(req: Request, more: NeedsMore) -> Reply:
    """The user must show more: what so far was shown is remembered in a receipt."""
    actor, receipt = more.actor, more.receipt
    body = {
        "receipt": {
            "methods": list(receipt.methods),
            "user": {
                "id": actor.user_id,
                "name": actor.user_name,
                "domain": {"id": actor.user_domain_id, "name": actor.user_domain_name},
            },
            "expires_at": iso_micro_z(receipt.expires_at_us),
            "issued_at": iso_micro_z(receipt.issued_at_us),
        },
        "required_auth_methods": more.rules,
    }
    return Reply(body, 401, headers=[("Openstack-Auth-Receipt", await req.cloud.tokens.issue_receipt(receipt))])


async def _subject(req: Request, policy: str) -> tuple[str, Actor]:
    """The token that the request is about. Raises NotFound for one that is worth nothing."""
    token = req.headers.get("X-Subject-Token", "")
    try:
        actor = await req.cloud.tokens.validate(token)
    except Unauthenticated as error:
        req.context.enforce(policy, target__token__user_id=req.context.user_id)
        raise NotFound("token", "", "Could not find token.") from error
    req.context.enforce(policy, target__token__user_id=actor.user_id)
    return token, actor


@IDENTITY.route(
    "GET",
    "/v3/auth/tokens",
    policy="identity:validate_token",
    rule=Rule.POLICY,
    response=TOKEN,
    query={"nocatalog": STRING, "allow_expired": STRING},
    summary="Validate and show a token",
)
async def validate_token(req: Request) -> Reply:
    token, actor = await _subject(req, "identity:validate_token")
    return await token_reply(req, actor, token)


@IDENTITY.route(
    "HEAD",
    "/v3/auth/tokens",
    policy="identity:check_token",
    rule=Rule.POLICY,
    summary="Check a token",
)
async def check_token(req: Request) -> Reply:
    token, _actor = await _subject(req, "identity:check_token")
    return Reply(headers=[("X-Subject-Token", token), ("Vary", "X-Auth-Token")])


@IDENTITY.route(
    "DELETE",
    "/v3/auth/tokens",
    policy="identity:revoke_token",
    rule=Rule.POLICY,
    status=204,
    summary="Revoke a token",
)
async def revoke_token(req: Request) -> Reply:
    _token, actor = await _subject(req, "identity:revoke_token")
    await req.cloud.db.run(_revoke, actor, req.context.now_us)
    return Reply()


def _revoke(tx: Tx, actor: Actor, now_us: int) -> None:
    revoke_audit_id(tx, actor.audit_ids[0], actor.expires_at_us, now_us=now_us)
