"""``/attachments``: since microversion 3.27, for clients that plug volumes in themselves."""

from __future__ import annotations

from typing import Any

from ostro.http.block.service import BLOCK
from ostro.http.paging import cut, link_to, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, NAME, STRING, array, nullable, shape, strict, wrapped
from ostro.http.versions import Version
from ostro.model.times import iso_micro
from ostro.services.block import attachments as service
from ostro.store.attachments import Attachment
from ostro.store.paging import Filter, Sort, Where

SINCE = Version(3, 27)
MODE = {"enum": ["rw", "ro"]}
CONNECTOR = nullable({"type": "object"})
SUMMARY = shape({"id": STRING, "volume_id": STRING, "instance": {}, "status": STRING})
DETAIL = shape({"id": STRING, "volume_id": STRING, "instance": {}, "status": STRING, "connection_info": ANY_OBJECT})
_CREATE = {"volume_uuid": NAME, "instance_uuid": nullable(NAME), "connector": CONNECTOR, "mode": MODE}
_LIST = dict.fromkeys(("limit", "marker", "sort", "sort_key", "sort_dir", "all_tenants", *_CREATE), STRING)
FILTERS = {"volume_id": "volume_id", "instance_id": "server_id", "instance_uuid": "server_id", "status": "status"}


def summary_view(attachment: Attachment) -> dict[str, Any]:
    """An attachment in a list."""
    return {
        "id": attachment.id,
        "volume_id": attachment.volume_id,
        "instance": attachment.server_id or None,
        "status": attachment.status.value,
    }


def attachment_view(attachment: Attachment) -> dict[str, Any]:
    """An attachment in full."""
    at_us = attachment.attached_at_us
    return {
        **summary_view(attachment),
        "attached_at": iso_micro(at_us) if at_us else "",
        "detached_at": "",
        "attach_mode": attachment.mode,
        "connection_info": dict(attachment.connector),
    }


@BLOCK.route(
    "POST",
    "/attachments",
    policy="volume:attachment_create",
    rule=Rule.MEMBER,
    low=SINCE,
    body=wrapped("attachment", strict(_CREATE, ("volume_uuid",))),
    response=shape({"attachment": DETAIL}),
    summary="Reserve a volume for a server",
)
async def create_attachment(req: Request) -> Reply:
    body = req.body["attachment"]
    mode = body.get("mode", "rw") if req.at_least(3, 54) else "rw"
    attachment = await req.run(service.create_attachment, body["volume_uuid"], body.get("instance_uuid") or "", mode)
    if body.get("connector"):
        attachment = await req.run(service.set_connector, attachment.id, _texts(body["connector"]))
    return Reply({"attachment": attachment_view(attachment)})


def _texts(connector: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in connector.items()}


async def _list(req: Request) -> tuple[list[Attachment], dict[str, Any]]:
    filters: list[Filter | Where] = [
        Filter(column, req.query[name]) for name, column in FILTERS.items() if name in req.query
    ]
    page = parse_page(
        req,
        sort_keys={"id": "id", "created_at": "created_at_us", "status": "status"},
        default_sort=(Sort("created_at_us", descending=True),),
        filters=filters,
    )
    rows, more = cut(await req.read(service.list_attachments, page, all_tenants=req.flag("all_tenants")), page)
    links = {"attachments_links": [{"rel": "next", "href": link_to(req, rows[-1].id)}]} if more and rows else {}
    return rows, links


@BLOCK.route(
    "GET",
    "/attachments",
    policy="volume:attachment_get_all",
    rule=Rule.READER,
    low=SINCE,
    response=shape({"attachments": array(SUMMARY)}),
    query=_LIST,
    summary="List attachments",
)
async def list_attachments(req: Request) -> Reply:
    rows, links = await _list(req)
    return Reply({"attachments": [summary_view(row) for row in rows], **links})


@BLOCK.route(
    "GET",
    "/attachments/detail",
    policy="volume:attachment_get_all",
    rule=Rule.READER,
    low=SINCE,
    response=shape({"attachments": array(DETAIL)}),
    query=_LIST,
    summary="List attachments with details",
)
async def list_attachments_detailed(req: Request) -> Reply:
    rows, links = await _list(req)
    return Reply({"attachments": [attachment_view(row) for row in rows], **links})


@BLOCK.route(
    "GET",
    "/attachments/{attachment_id}",
    policy="volume:attachment_get",
    rule=Rule.READER,
    low=SINCE,
    response=shape({"attachment": DETAIL}),
    summary="Show an attachment",
)
async def show_attachment(req: Request) -> Reply:
    attachment = await req.read(service.get_attachment, req.params["attachment_id"])
    return Reply({"attachment": attachment_view(attachment)})


@BLOCK.route(
    "PUT",
    "/attachments/{attachment_id}",
    policy="volume:attachment_update",
    rule=Rule.MEMBER,
    low=SINCE,
    body=wrapped("attachment", strict({"connector": {"type": "object"}}, ("connector",))),
    response=shape({"attachment": DETAIL}),
    summary="Say where the volume will be plugged in",
)
async def update_attachment(req: Request) -> Reply:
    connector = _texts(req.body["attachment"]["connector"])
    attachment = await req.run(service.set_connector, req.params["attachment_id"], connector)
    return Reply({"attachment": attachment_view(attachment)})


@BLOCK.route(
    "POST",
    "/attachments/{attachment_id}/action",
    policy="volume:attachment_complete",
    rule=Rule.MEMBER,
    status=204,
    low=Version(3, 44),
    body=strict({"os-complete": {}}, ("os-complete",)),
    summary="Say that the volume is plugged in",
)
async def complete_attachment(req: Request) -> Reply:
    await req.run(service.complete_attachment, req.params["attachment_id"])
    return Reply()


@BLOCK.route(
    "DELETE",
    "/attachments/{attachment_id}",
    policy="volume:attachment_delete",
    rule=Rule.MEMBER,
    low=SINCE,
    response=shape({"attachments": array(SUMMARY)}),
    summary="Say that the volume is unplugged",
)
async def delete_attachment(req: Request) -> Reply:
    left = await req.run(service.delete_attachment, req.params["attachment_id"])
    return Reply({"attachments": [summary_view(row) for row in left]})
