"""``/v3/OS-OAUTH1``: requests for access, their authorization, and the access tokens that users gave."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from ostro.http.identity.roles import ROLE
from ostro.http.identity.roles import view as role_view
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import LINKS, list_body, list_shape, self_link
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, array, nullable, shape, strict
from ostro.model.errors import Invalid, NotFound
from ostro.model.times import iso_micro_z
from ostro.services.identity import oauth1
from ostro.services.identity.oauth1 import Signed, parse_authorization
from ostro.store.oauth1 import AccessToken

FORM = "application/x-www-form-urlencoded"
SECRET_BITS = 256
VERIFIER_BITS = 64
OWN = "/v3/users/{user_id}/OS-OAUTH1/access_tokens"
ACCESS_TOKEN = shape(
    {
        "id": STRING,
        "consumer_id": STRING,
        "project_id": STRING,
        "authorizing_user_id": STRING,
        "expires_at": nullable(STRING),
        "links": LINKS,
    }
)


def signed(req: Request) -> Signed:
    """The request as its signature covers it. Raises Unauthenticated without one."""
    fields = parse_authorization(req.headers.get("Authorization", ""))
    query = req.raw.query_string.decode(errors="replace")
    return Signed(req.raw.method, req.url(req.path), query, fields)


def _make_secret(req: Request) -> str:
    return f"{req.cloud.world.random.getrandbits(SECRET_BITS):064x}"


def _form(id_: str, secret: str, expires_at_us: int) -> Reply:
    fields = {"oauth_token": id_, "oauth_token_secret": secret, "oauth_expires_at": iso_micro_z(expires_at_us)}
    return Reply(urlencode(fields).encode(), content_type=FORM)


@IDENTITY.route(
    "POST",
    "/v3/OS-OAUTH1/request_token",
    policy="identity:oauth1_request_token",
    rule=Rule.PUBLIC,
    status=201,
    summary="Ask for access to a project, signed by a consumer",
)
async def create_request_token(req: Request) -> Reply:
    project_id = req.headers.get("Requested-Project-Id", "")
    if not project_id:
        raise Invalid("The header Requested-Project-Id is missing.")
    secret = _make_secret(req)
    args = (signed(req), req.cloud.sealer, project_id, req.cloud.sealer.seal(secret))
    row = await req.run(oauth1.create_request_token, *args)
    return _form(row.id, secret, row.expires_at_us)


@IDENTITY.route(
    "PUT",
    "/v3/OS-OAUTH1/authorize/{id}",
    policy="identity:authorize_request_token",
    rule=Rule.POLICY,
    body=strict({"roles": array({"type": "object"}, minItems=1, maxItems=256)}, ("roles",)),
    response=shape({"token": shape({"oauth_verifier": STRING})}),
    summary="Let a consumer have roles",
)
async def authorize_request_token(req: Request) -> Reply:
    verifier = f"{req.cloud.world.random.getrandbits(VERIFIER_BITS):016x}"
    args = (req.params["id"], req.body["roles"], verifier)
    return Reply({"token": {"oauth_verifier": await req.run(oauth1.authorize_request_token, *args)}})


@IDENTITY.route(
    "POST",
    "/v3/OS-OAUTH1/access_token",
    policy="identity:oauth1_access_token",
    rule=Rule.PUBLIC,
    status=201,
    summary="Exchange an authorized request for an access token, signed by its consumer",
)
async def create_access_token(req: Request) -> Reply:
    secret = _make_secret(req)
    row = await req.run(oauth1.create_access_token, signed(req), req.cloud.sealer, req.cloud.sealer.seal(secret))
    return _form(row.id, secret, row.expires_at_us)


def view(req: Request, row: AccessToken) -> dict[str, Any]:
    """An access token as Identity shows it, without its secret."""
    links = self_link(req, f"users/{row.user_id}/OS-OAUTH1/access_tokens", row.id)
    return {
        "id": row.id,
        "consumer_id": row.consumer_id,
        "project_id": row.project_id,
        "authorizing_user_id": row.user_id,
        "expires_at": iso_micro_z(row.expires_at_us) if row.expires_at_us else None,
        "links": {**links, "roles": links["self"] + "/roles"},
    }


@IDENTITY.route(
    "GET",
    OWN,
    policy="identity:list_access_tokens",
    rule=Rule.POLICY,
    response=list_shape("access_tokens", ACCESS_TOKEN),
    summary="List what one gave to consumers",
)
async def list_access_tokens(req: Request) -> Reply:
    rows = await req.read(oauth1.list_access_tokens, req.params["user_id"])
    return Reply(list_body(req, "access_tokens", [view(req, row) for row in rows]))


@IDENTITY.route(
    "GET",
    OWN + "/{id}",
    policy="identity:get_access_token",
    rule=Rule.POLICY,
    response=shape({"access_token": ACCESS_TOKEN}),
    summary="Show what one gave to a consumer",
)
async def show_access_token(req: Request) -> Reply:
    row, _roles = await req.read(oauth1.get_access_token, req.params["user_id"], req.params["id"])
    return Reply({"access_token": view(req, row)})


@IDENTITY.route(
    "DELETE",
    OWN + "/{id}",
    policy="identity:delete_access_token",
    rule=Rule.POLICY,
    status=204,
    summary="Take back what one gave to a consumer",
)
async def delete_access_token(req: Request) -> Reply:
    await req.run(oauth1.delete_access_token, req.params["user_id"], req.params["id"])
    return Reply()


@IDENTITY.route(
    "GET",
    OWN + "/{id}/roles",
    policy="identity:list_access_token_roles",
    rule=Rule.POLICY,
    response=list_shape("roles", ROLE),
    summary="List the roles that one gave to a consumer",
)
async def list_access_token_roles(req: Request) -> Reply:
    args = (req.params["user_id"], req.params["id"], "identity:list_access_token_roles")
    _row, roles = await req.read(oauth1.get_access_token, *args)
    return Reply(list_body(req, "roles", [role_view(req, role) for role in roles]))


@IDENTITY.route(
    "GET",
    OWN + "/{id}/roles/{role_id}",
    policy="identity:get_access_token_role",
    rule=Rule.POLICY,
    response=shape({"role": ROLE}),
    summary="Show a role that one gave to a consumer",
)
async def show_access_token_role(req: Request) -> Reply:
    args = (req.params["user_id"], req.params["id"], "identity:get_access_token_role")
    _row, roles = await req.read(oauth1.get_access_token, *args)
    for role in roles:
        if role.id == req.params["role_id"]:
            return Reply({"role": role_view(req, role)})
    raise NotFound("role", req.params["role_id"], f"Could not find role: {req.params['role_id']}.")
