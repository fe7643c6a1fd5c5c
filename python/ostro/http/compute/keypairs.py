"""``/os-keypairs``: public keys that servers can be started with."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import COMPUTE, with_links, without
from ostro.http.paging import LIMIT_MOST, link_to
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Handler
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape, strict, wrapped
from ostro.http.versions import Version
from ostro.model.times import iso_micro
from ostro.services.compute import keypairs
from ostro.services.compute.keypairs import POOL, KeyMaterial, KeyType
from ostro.store.keypairs import Keypair

PLAIN_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9 _-]*[a-zA-Z0-9_-][a-zA-Z0-9 _-]*$",
}
WIDE_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9 @._-]*[a-zA-Z0-9@._-][a-zA-Z0-9 @._-]*$",
}
PUBLIC_KEY = {"type": "string", "minLength": 1, "maxLength": 65535}
CREATE: dict[str, Any] = {
    "name": PLAIN_NAME,
    "public_key": PUBLIC_KEY,
    "type": {"enum": ["ssh", "x509"]},
    "user_id": {"type": "string", "minLength": 1, "maxLength": 255},
}
KEYPAIR = shape({"keypair": shape({"name": STRING, "public_key": STRING, "fingerprint": STRING})})
POLICY = "os_compute_api:os-keypairs"


def keypair_view(req: Request, keypair: Keypair) -> dict[str, Any]:
    """A keypair as lists show it."""
    view: dict[str, Any] = {"name": keypair.name, "public_key": keypair.public_key, "fingerprint": keypair.fingerprint}
    if req.at_least(2, 2):
        view["type"] = keypair.type
    return view


def _user(req: Request, user_id: str | None) -> str:
    """Whose keypairs the request is about; naming a user came with 2.10."""
    return keypairs.owner_of(req.context, (user_id or "") if req.at_least(2, 10) else "")


@COMPUTE.route(
    "GET",
    "/v2.1/os-keypairs",
    policy=f"{POLICY}:index",
    rule=Rule.AUTHENTICATED,
    query={"user_id": STRING, "limit": INTEGER, "marker": STRING},
    response=shape({"keypairs": array(KEYPAIR)}),
    summary="List keypairs",
)
async def list_keypairs(req: Request) -> Reply:
    user_id = _user(req, req.query.get("user_id"))
    paged = req.at_least(2, 35)
    limit = min(req.integer("limit", LIMIT_MOST), LIMIT_MOST) if paged else LIMIT_MOST
    marker = req.query.get("marker", "") if paged else ""
    rows = await req.read(keypairs.list_keypairs, user_id, marker, limit + 1)
    more = len(rows) > limit > 0
    rows = rows[:limit]
    found = [{"rel": "next", "href": link_to(req, rows[-1].name)}] if more and paged else []
    return Reply(with_links({"keypairs": [{"keypair": keypair_view(req, k)} for k in rows]}, "keypairs", found))


async def _material(req: Request, kind: KeyType, given: dict[str, Any], user_id: str) -> KeyMaterial:
    threads = req.cloud.world.threads
    if "public_key" in given:
        return keypairs.read_public_key(kind, given["public_key"])
    return await threads.run(POOL, keypairs.generate, kind, user_id, req.context.now_us)


async def create_keypair(req: Request) -> Reply:
    given = req.body["keypair"]
    user_id = _user(req, given.get("user_id"))
    kind = KeyType(given.get("type", "ssh"))
    material = await _material(req, kind, given, user_id)
    keypair = await req.run(keypairs.create_keypair, user_id, given["name"].strip(), kind, material)
    view = {**keypair_view(req, keypair), "user_id": user_id}
    if material.private_key:
        view["private_key"] = material.private_key
    return Reply({"keypair": view})


def _declare_create(low: Version | None, high: Version | None, status: int, schema: dict[str, Any]) -> Handler:
    return COMPUTE.route(
        "POST",
        "/v2.1/os-keypairs",
        policy=f"{POLICY}:create",
        rule=Rule.AUTHENTICATED,
        status=status,
        low=low,
        high=high,
        body=wrapped("keypair", schema),
        response=KEYPAIR,
        summary="Import or make a keypair",
    )(create_keypair)


_declare_create(None, Version(2, 1), 200, strict(without(CREATE, "type", "user_id"), ("name",)))
_declare_create(Version(2, 2), Version(2, 9), 201, strict(without(CREATE, "user_id"), ("name",)))
_declare_create(Version(2, 10), Version(2, 91), 201, strict(CREATE, ("name",)))
_declare_create(Version(2, 92), None, 201, strict({**CREATE, "name": WIDE_NAME}, ("name", "public_key")))


@COMPUTE.route(
    "GET",
    "/v2.1/os-keypairs/{name}",
    policy=f"{POLICY}:show",
    rule=Rule.AUTHENTICATED,
    query={"user_id": STRING},
    response=shape({"keypair": ANY_OBJECT}),
    summary="Show a keypair",
)
async def show_keypair(req: Request) -> Reply:
    user_id = _user(req, req.query.get("user_id"))
    keypair = await req.read(keypairs.get_keypair, user_id, req.params["name"])
    view = keypair_view(req, keypair)
    more = {"id": keypair.id, "user_id": user_id, "created_at": iso_micro(keypair.created_at_us)}
    return Reply({"keypair": {**view, **more, "deleted": False, "deleted_at": None, "updated_at": None}})


async def delete_keypair(req: Request) -> Reply:
    user_id = _user(req, req.query.get("user_id"))
    await req.run(keypairs.delete_keypair, user_id, req.params["name"])
    return Reply()


for _low, _high, _status in ((None, Version(2, 1), 202), (Version(2, 2), None, 204)):
    COMPUTE.route(
        "DELETE",
        "/v2.1/os-keypairs/{name}",
        policy=f"{POLICY}:delete",
        rule=Rule.AUTHENTICATED,
        status=_status,
        low=_low,
        high=_high,
        query={"user_id": STRING},
        summary="Delete a keypair",
    )(delete_keypair)
