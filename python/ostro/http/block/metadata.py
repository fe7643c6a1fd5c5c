"""``/volumes/{id}/metadata``."""

from __future__ import annotations

from ostro.http.block.schemas import METADATA
from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape, wrapped
from ostro.model.errors import Invalid
from ostro.services.block.metadata import change_metadata, get_metadata, get_value, remove_key

_PATH = "/volumes/{volume_id}/metadata"
_RESPONSE = shape({"metadata": ANY_OBJECT})


@BLOCK.route(
    "GET", _PATH, policy="volume:get_volume_metadata", rule=Rule.READER, response=_RESPONSE, summary="Show metadata"
)
async def show_volume_metadata(req: Request) -> Reply:
    return Reply({"metadata": await req.read(get_metadata, req.params["volume_id"])})


@BLOCK.route(
    "POST",
    _PATH,
    policy="volume:create_volume_metadata",
    rule=Rule.MEMBER,
    body=wrapped("metadata", METADATA),
    response=_RESPONSE,
    summary="Add or replace entries",
)
async def add_volume_metadata(req: Request) -> Reply:
    entries = req.body["metadata"]
    return Reply({"metadata": await req.run(change_metadata, req.params["volume_id"], entries, replace=False)})


@BLOCK.route(
    "PUT",
    _PATH,
    policy="volume:update_volume_metadata",
    rule=Rule.MEMBER,
    body=wrapped("metadata", METADATA),
    response=_RESPONSE,
    summary="Replace all entries",
)
async def replace_volume_metadata(req: Request) -> Reply:
    entries = req.body["metadata"]
    return Reply({"metadata": await req.run(change_metadata, req.params["volume_id"], entries, replace=True)})


@BLOCK.route(
    "GET",
    _PATH + "/{key}",
    policy="volume:get_volume_metadata",
    rule=Rule.READER,
    response=shape({"meta": ANY_OBJECT}),
    summary="Show one entry",
)
async def show_volume_metadata_entry(req: Request) -> Reply:
    key = req.params["key"]
    return Reply({"meta": {key: await req.read(get_value, req.params["volume_id"], key)}})


@BLOCK.route(
    "PUT",
    _PATH + "/{key}",
    policy="volume:update_volume_metadata",
    rule=Rule.MEMBER,
    body=wrapped("meta", METADATA),
    response=shape({"meta": ANY_OBJECT}),
    summary="Set one entry",
)
async def set_volume_metadata_entry(req: Request) -> Reply:
    entry = req.body["meta"]
    if list(entry) != [req.params["key"]]:
        raise Invalid("Request body and URI mismatch")
    await req.run(change_metadata, req.params["volume_id"], entry, replace=False)
    return Reply({"meta": entry})


@BLOCK.route(
    "DELETE",
    _PATH + "/{key}",
    policy="volume:delete_volume_metadata",
    rule=Rule.MEMBER,
    summary="Remove one entry",
)
async def remove_volume_metadata_entry(req: Request) -> Reply:
    await req.run(remove_key, req.params["volume_id"], req.params["key"])
    return Reply()
