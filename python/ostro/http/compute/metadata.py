"""``/servers/{id}/metadata``: the server's own key-value pairs, which its guest can read."""

from __future__ import annotations

from ostro.http.compute.server_schemas import METADATA
from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape, strict
from ostro.model.errors import Invalid
from ostro.services.compute import metadata

PATH = "/v2.1/servers/{server_id}/metadata"
POLICY = "os_compute_api:server-metadata"
ALL = strict({"metadata": METADATA}, ("metadata",))
ONE = strict({"meta": {**METADATA, "minProperties": 1, "maxProperties": 1}}, ("meta",))
SHOWN = shape({"metadata": ANY_OBJECT})
SHOWN_ONE = shape({"meta": ANY_OBJECT})


@COMPUTE.route("GET", PATH, policy=f"{POLICY}:index", rule=Rule.READER, response=SHOWN, summary="List metadata")
async def list_metadata(req: Request) -> Reply:
    return Reply({"metadata": await req.read(metadata.list_metadata, req.params["server_id"])})


@COMPUTE.route(
    "POST", PATH, policy=f"{POLICY}:create", rule=Rule.MEMBER, body=ALL, response=SHOWN, summary="Add metadata"
)
async def create_metadata(req: Request) -> Reply:
    given = req.body["metadata"]
    return Reply({"metadata": await req.run(metadata.set_metadata, req.params["server_id"], given, replace=False)})


@COMPUTE.route(
    "PUT", PATH, policy=f"{POLICY}:update_all", rule=Rule.MEMBER, body=ALL, response=SHOWN, summary="Replace metadata"
)
async def replace_metadata(req: Request) -> Reply:
    given = req.body["metadata"]
    return Reply({"metadata": await req.run(metadata.set_metadata, req.params["server_id"], given, replace=True)})


@COMPUTE.route(
    "GET", PATH + "/{key}", policy=f"{POLICY}:show", rule=Rule.READER, response=SHOWN_ONE, summary="Show one item"
)
async def show_metadata_item(req: Request) -> Reply:
    key = req.params["key"]
    return Reply({"meta": {key: await req.read(metadata.get_metadata_item, req.params["server_id"], key)}})


@COMPUTE.route(
    "PUT",
    PATH + "/{key}",
    policy=f"{POLICY}:update",
    rule=Rule.MEMBER,
    body=ONE,
    response=SHOWN_ONE,
    summary="Set one item",
)
async def update_metadata_item(req: Request) -> Reply:
    key, given = req.params["key"], req.body["meta"]
    if key not in given:
        raise Invalid("Request body and URI mismatch")
    await req.run(metadata.set_metadata, req.params["server_id"], given, replace=False)
    return Reply({"meta": given})


@COMPUTE.route(
    "DELETE", PATH + "/{key}", policy=f"{POLICY}:delete", rule=Rule.MEMBER, status=204, summary="Remove one item"
)
async def delete_metadata_item(req: Request) -> Reply:
    await req.run(metadata.delete_metadata_item, req.params["server_id"], req.params["key"])
    return Reply()
