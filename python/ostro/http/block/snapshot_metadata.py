"""``/snapshots/{id}/metadata``."""

from __future__ import annotations

from ostro.http.block.schemas import METADATA
from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape, wrapped
from ostro.model.errors import Invalid, NotFound
from ostro.services.block.snapshots import change_snapshot_metadata, get_snapshot, remove_snapshot_key

_PATH = "/snapshots/{snapshot_id}/metadata"
_RESPONSE = shape({"metadata": ANY_OBJECT})


@BLOCK.route(
    "GET", _PATH, policy="volume:get_snapshot_metadata", rule=Rule.READER, response=_RESPONSE, summary="Show metadata"
)
async def show_snapshot_metadata(req: Request) -> Reply:
    return Reply({"metadata": (await req.read(get_snapshot, req.params["snapshot_id"])).metadata})


@BLOCK.route(
    "POST",
    _PATH,
    policy="volume:update_snapshot_metadata",
    rule=Rule.MEMBER,
    body=wrapped("metadata", METADATA),
    response=_RESPONSE,
    summary="Add or replace entries",
)
async def add_snapshot_metadata(req: Request) -> Reply:
    entries, id_ = req.body["metadata"], req.params["snapshot_id"]
    return Reply({"metadata": await req.run(change_snapshot_metadata, id_, entries, replace=False)})


@BLOCK.route(
    "PUT",
    _PATH,
    policy="volume:update_snapshot_metadata",
    rule=Rule.MEMBER,
    body=wrapped("metadata", METADATA),
    response=_RESPONSE,
    summary="Replace all entries",
)
async def replace_snapshot_metadata(req: Request) -> Reply:
    entries, id_ = req.body["metadata"], req.params["snapshot_id"]
    return Reply({"metadata": await req.run(change_snapshot_metadata, id_, entries, replace=True)})


@BLOCK.route(
    "GET",
    _PATH + "/{key}",
    policy="volume:get_snapshot_metadata",
    rule=Rule.READER,
    response=shape({"meta": ANY_OBJECT}),
    summary="Show one entry",
)
async def show_snapshot_metadata_entry(req: Request) -> Reply:
    key = req.params["key"]
    entries = (await req.read(get_snapshot, req.params["snapshot_id"])).metadata
    if key not in entries:
        raise NotFound("metadata", key, "Metadata item was not found")
    return Reply({"meta": {key: entries[key]}})


@BLOCK.route(
    "PUT",
    _PATH + "/{key}",
    policy="volume:update_snapshot_metadata",
    rule=Rule.MEMBER,
    body=wrapped("meta", METADATA),
    response=shape({"meta": ANY_OBJECT}),
    summary="Set one entry",
)
async def set_snapshot_metadata_entry(req: Request) -> Reply:
    entry = req.body["meta"]
    if list(entry) != [req.params["key"]]:
        raise Invalid("Request body and URI mismatch")
    await req.run(change_snapshot_metadata, req.params["snapshot_id"], entry, replace=False)
    return Reply({"meta": entry})


@BLOCK.route(
    "DELETE",
    _PATH + "/{key}",
    policy="volume:delete_snapshot_metadata",
    rule=Rule.MEMBER,
    summary="Remove one entry",
)
async def remove_snapshot_metadata_entry(req: Request) -> Reply:
    await req.run(remove_snapshot_key, req.params["snapshot_id"], req.params["key"])
    return Reply()
