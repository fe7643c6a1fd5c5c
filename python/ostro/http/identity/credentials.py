"""``/v3/credentials`` and ``/v3/users/{user_id}/credentials/OS-EC2``."""

from __future__ import annotations

from typing import Any

import orjson

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    ID,
    LINKS,
    NAME_255,
    PAGE_QUERY,
    check_id,
    list_body,
    list_shape,
    page_body,
    page_of,
    reference,
    self_link,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, nullable, shape, strict, wrapped
from ostro.model.errors import Invalid
from ostro.services.identity import credentials
from ostro.store.credentials import Credential
from ostro.store.paging import Filter

KNOWN = ("blob", "type", "user_id", "project_id")
BLOB = {"type": "string", "maxLength": 65_536}
GIVEN = {"blob": BLOB, "type": NAME_255, "user_id": ID, "project_id": nullable(ID)}
CREATE = wrapped("credential", {**reference(GIVEN), "required": ["blob", "type"]})
UPDATE = wrapped("credential", {**reference(GIVEN), "minProperties": 1})
CREDENTIAL = shape(
    {"id": STRING, "blob": STRING, "type": STRING, "user_id": STRING, "project_id": nullable(STRING), "links": LINKS}
)
ONE = shape({"credential": CREDENTIAL})
EC2 = shape(
    {
        "access": STRING,
        "secret": STRING,
        "user_id": STRING,
        "tenant_id": STRING,
        "trust_id": nullable(STRING),
        "links": LINKS,
    }
)
EC2_PATH = "/v3/users/{user_id}/credentials/OS-EC2"
KEY_BITS = 128


def view(req: Request, row: Credential) -> dict[str, Any]:
    """A credential as Identity shows it."""
    return {
        **row.extra,
        "id": row.id,
        "blob": req.cloud.sealer.open(row.sealed_blob),
        "type": row.type,
        "user_id": row.user_id,
        "project_id": row.project_id or None,
        "links": self_link(req, "credentials", row.id),
    }


def _access_of(given: dict[str, Any]) -> str:
    """The access key in a blob of type ec2. Raises Invalid."""
    if given.get("type") != credentials.EC2:
        return ""
    try:
        blob = orjson.loads(given["blob"])
    except orjson.JSONDecodeError as error:
        raise Invalid("Invalid blob in credential: it isn't JSON.") from error
    if not isinstance(blob, dict) or not isinstance(blob.get("access"), str):
        raise Invalid("Invalid blob in credential: it has no access key.")
    return str(blob["access"])


@IDENTITY.route(
    "POST",
    "/v3/credentials",
    policy="identity:create_credential",
    rule=Rule.POLICY,
    status=201,
    body=CREATE,
    response=ONE,
    summary="Create a credential",
)
async def create_credential(req: Request) -> Reply:
    given, extra = split_extra(req.body["credential"], KNOWN)
    sealed = req.cloud.sealer.seal(given["blob"])
    row = await req.run(credentials.create_credential, given, extra, sealed, _access_of(given))
    return Reply({"credential": view(req, row)})


@IDENTITY.route(
    "GET",
    "/v3/credentials",
    policy="identity:list_credentials",
    rule=Rule.POLICY,
    response=list_shape("credentials", CREDENTIAL),
    query={**PAGE_QUERY, "user_id": STRING, "type": STRING},
    summary="List credentials",
)
async def list_credentials(req: Request) -> Reply:
    filters = [Filter(name, req.query[name]) for name in ("user_id", "type") if name in req.query]
    if not req.context.may("identity:get_credential", target__credential__user_id=None):
        filters.append(Filter("user_id", req.context.user_id))
    page = page_of(req, *filters, sort="id")
    rows = await req.read(credentials.list_credentials, page)
    return Reply(page_body(req, "credentials", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    "/v3/credentials/{id}",
    policy="identity:get_credential",
    rule=Rule.POLICY,
    response=ONE,
    summary="Show a credential",
)
async def show_credential(req: Request) -> Reply:
    return Reply({"credential": view(req, await req.read(credentials.get_credential, req.params["id"]))})


@IDENTITY.route(
    "PATCH",
    "/v3/credentials/{id}",
    policy="identity:update_credential",
    rule=Rule.POLICY,
    body=UPDATE,
    response=ONE,
    summary="Change a credential",
)
async def update_credential(req: Request) -> Reply:
    check_id(req.body["credential"], req.params["id"])
    given, extra = split_extra(req.body["credential"], KNOWN)
    sealed = req.cloud.sealer.seal(given["blob"]) if "blob" in given else ""
    row = await req.run(credentials.update_credential, req.params["id"], given, extra, sealed)
    return Reply({"credential": view(req, row)})


@IDENTITY.route(
    "DELETE",
    "/v3/credentials/{id}",
    policy="identity:delete_credential",
    rule=Rule.POLICY,
    status=204,
    summary="Delete a credential",
)
async def delete_credential(req: Request) -> Reply:
    await req.run(credentials.delete_credential, req.params["id"])
    return Reply()


def ec2_view(req: Request, row: Credential) -> dict[str, Any]:
    """A pair of EC2 keys as Identity shows it."""
    blob = orjson.loads(req.cloud.sealer.open(row.sealed_blob))
    return {
        "access": blob["access"],
        "secret": blob.get("secret", ""),
        "user_id": row.user_id,
        "tenant_id": row.project_id,
        "trust_id": blob.get("trust_id"),
        "links": self_link(req, f"users/{row.user_id}/credentials/OS-EC2", blob["access"]),
    }


@IDENTITY.route(
    "POST",
    EC2_PATH,
    policy="identity:ec2_create_credential",
    rule=Rule.POLICY,
    status=201,
    body=strict({"tenant_id": ID}, ("tenant_id",)),
    response=shape({"credential": EC2}),
    summary="Create a pair of EC2 keys",
)
async def create_ec2(req: Request) -> Reply:
    random = req.cloud.world.random
    access, secret = f"{random.getrandbits(KEY_BITS):032x}", f"{random.getrandbits(KEY_BITS):032x}"
    sealed = req.cloud.sealer.seal(orjson.dumps({"access": access, "secret": secret}).decode())
    row = await req.run(credentials.create_ec2, req.params["user_id"], req.body["tenant_id"], access, sealed)
    return Reply({"credential": ec2_view(req, row)})


@IDENTITY.route(
    "GET",
    EC2_PATH,
    policy="identity:ec2_list_credentials",
    rule=Rule.POLICY,
    response=list_shape("credentials", EC2),
    summary="List a user's EC2 keys",
)
async def list_ec2(req: Request) -> Reply:
    rows = await req.read(credentials.list_ec2, req.params["user_id"])
    return Reply(list_body(req, "credentials", [ec2_view(req, row) for row in rows]))


@IDENTITY.route(
    "GET",
    EC2_PATH + "/{access}",
    policy="identity:ec2_get_credential",
    rule=Rule.TARGET,
    response=shape({"credential": EC2}),
    summary="Show a pair of EC2 keys",
)
async def show_ec2(req: Request) -> Reply:
    row = await req.read(credentials.get_ec2, req.params["user_id"], req.params["access"])
    return Reply({"credential": ec2_view(req, row)})


@IDENTITY.route(
    "DELETE",
    EC2_PATH + "/{access}",
    policy="identity:ec2_delete_credential",
    rule=Rule.TARGET,
    status=204,
    summary="Delete a pair of EC2 keys",
)
async def delete_ec2(req: Request) -> Reply:
    await req.run(credentials.delete_ec2, req.params["user_id"], req.params["access"])
    return Reply()
