"""``/v3/OS-FEDERATION``: identity providers, protocols, mappings and service providers."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.resources import Wire, declare_resource
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import DESCRIPTION, ID, LINKS, list_body, list_shape, reference, self_link
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, STRING, array, nullable, shape, strict, wrapped
from ostro.services.identity import federation
from ostro.services.identity.federation import IDENTITY_PROVIDER, MAPPING, SERVICE_PROVIDER
from ostro.store.federation import Protocol

ROOT = "OS-FEDERATION"
URL = {"type": "string", "pattern": "^[a-zA-Z0-9+.-]+:.+", "maxLength": 256}
TTL = nullable({"type": "integer", "minimum": 0, "maximum": 2_147_483_647})
REMOTE_IDS = array({"type": "string", "maxLength": 255}, uniqueItems=True, maxItems=1000)
DOMAIN = strict({"id": STRING, "name": STRING})
GROUP = {"oneOf": [strict({"id": STRING}, ("id",)), strict({"name": STRING, "domain": DOMAIN}, ("name", "domain"))]}
ROLES = array(strict({"name": STRING}, ("name",)), maxItems=100)
LOCAL = strict(
    {
        "user": strict(
            {
                "id": STRING,
                "name": STRING,
                "email": STRING,
                "domain": DOMAIN,
                "type": {"type": "string", "enum": ["ephemeral", "local"]},
            }
        ),
        "projects": array(strict({"name": STRING, "roles": ROLES, "domain": DOMAIN}, ("name", "roles")), maxItems=100),
        "group": GROUP,
        "groups": STRING,
        "group_ids": STRING,
        "domain": DOMAIN,
    }
)
VALUES = array(STRING, maxItems=1000)
REMOTE = {
    "oneOf": [
        strict({"type": STRING}, ("type",)),
        *(
            strict({"type": STRING, name: VALUES, "regex": BOOLEAN}, ("type", name))
            for name in ("any_one_of", "not_any_of", "whitelist", "blacklist")
        ),
    ]
}
RULE = strict(
    {"local": array(LOCAL, maxItems=100), "remote": array(REMOTE, minItems=1, maxItems=100)}, ("local", "remote")
)
RULES = array(RULE, minItems=1, maxItems=1000)

PROVIDERS = Wire(
    IDENTITY_PROVIDER,
    f"{ROOT}/identity_providers",
    {
        "domain_id": nullable(ID),
        "description": DESCRIPTION,
        "enabled": BOOLEAN,
        "remote_ids": nullable(REMOTE_IDS),
        "authorization_ttl": TTL,
    },
    names_itself=True,
    nullable=("description",),
    filters=("id",),
    flags=("enabled",),
)
MAPPINGS = Wire(
    MAPPING,
    f"{ROOT}/mappings",
    {"rules": RULES, "schema_version": nullable(STRING)},
    required=("rules",),
    names_itself=True,
    strict=True,
)
SERVICE_PROVIDERS = Wire(
    SERVICE_PROVIDER,
    f"{ROOT}/service_providers",
    {
        "auth_url": URL,
        "sp_url": URL,
        "description": DESCRIPTION,
        "enabled": BOOLEAN,
        "relay_state_prefix": STRING,
    },
    required=("auth_url", "sp_url"),
    names_itself=True,
    strict=True,
    filters=("id",),
    flags=("enabled",),
)
declare_resource(PROVIDERS, without=("create",))
declare_resource(MAPPINGS)
declare_resource(SERVICE_PROVIDERS)
PROTOCOL = shape({"id": STRING, "mapping_id": STRING, "links": LINKS})
PROTOCOL_GIVEN = {"mapping_id": {"type": "string", "maxLength": 64}, "remote_id_attribute": nullable(STRING)}
PROTOCOLS_PATH = f"/v3/{ROOT}/identity_providers/{{idp_id}}/protocols"
ONE_PROTOCOL = shape({"protocol": PROTOCOL})


@IDENTITY.route(
    "PUT",
    f"/v3/{ROOT}/identity_providers/{{id}}",
    policy="identity:create_identity_provider",
    rule=Rule.POLICY,
    status=201,
    body=PROVIDERS.body(),
    response=shape({"identity_provider": PROVIDERS.schema}),
    summary="Create an identity provider",
)
async def create_identity_provider(req: Request) -> Reply:
    row = await req.run(federation.create_identity_provider, *PROVIDERS.split(req), req.params["id"])
    return Reply({"identity_provider": PROVIDERS.view(req, row)})


def protocol_view(req: Request, row: Protocol) -> dict[str, Any]:
    """A protocol as Identity shows it."""
    links = self_link(req, f"{ROOT}/identity_providers/{row.idp_id}/protocols", row.id)
    links["identity_provider"] = req.url(f"/identity/v3/{ROOT}/identity_providers/{row.idp_id}")
    attribute = {"remote_id_attribute": row.remote_id_attribute} if row.remote_id_attribute else {}
    return {"id": row.id, "mapping_id": row.mapping_id, **attribute, "links": links}


@IDENTITY.route(
    "PUT",
    PROTOCOLS_PATH + "/{id}",
    policy="identity:create_protocol",
    rule=Rule.POLICY,
    status=201,
    body=wrapped("protocol", {**reference(PROTOCOL_GIVEN), "required": ["mapping_id"]}),
    response=ONE_PROTOCOL,
    summary="Create a protocol of an identity provider",
)
async def create_protocol(req: Request) -> Reply:
    args = (req.params["idp_id"], req.params["id"], req.body["protocol"])
    return Reply({"protocol": protocol_view(req, await req.run(federation.create_protocol, *args))})


@IDENTITY.route(
    "GET",
    PROTOCOLS_PATH,
    policy="identity:list_protocols",
    rule=Rule.POLICY,
    response=list_shape("protocols", PROTOCOL),
    summary="List the protocols of an identity provider",
)
async def list_protocols(req: Request) -> Reply:
    rows = await req.read(federation.list_protocols, req.params["idp_id"])
    return Reply(list_body(req, "protocols", [protocol_view(req, row) for row in rows]))


@IDENTITY.route(
    "GET",
    PROTOCOLS_PATH + "/{id}",
    policy="identity:get_protocol",
    rule=Rule.POLICY,
    response=ONE_PROTOCOL,
    summary="Show a protocol of an identity provider",
)
async def show_protocol(req: Request) -> Reply:
    row = await req.read(federation.get_protocol, req.params["idp_id"], req.params["id"])
    return Reply({"protocol": protocol_view(req, row)})


@IDENTITY.route(
    "PATCH",
    PROTOCOLS_PATH + "/{id}",
    policy="identity:update_protocol",
    rule=Rule.POLICY,
    body=wrapped("protocol", reference(PROTOCOL_GIVEN)),
    response=ONE_PROTOCOL,
    summary="Change a protocol of an identity provider",
)
async def update_protocol(req: Request) -> Reply:
    args = (req.params["idp_id"], req.params["id"], req.body["protocol"])
    return Reply({"protocol": protocol_view(req, await req.run(federation.update_protocol, *args))})


@IDENTITY.route(
    "DELETE",
    PROTOCOLS_PATH + "/{id}",
    policy="identity:delete_protocol",
    rule=Rule.POLICY,
    status=204,
    summary="Delete a protocol of an identity provider",
)
async def delete_protocol(req: Request) -> Reply:
    await req.run(federation.delete_protocol, req.params["idp_id"], req.params["id"])
    return Reply()
