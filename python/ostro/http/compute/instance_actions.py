"""``/servers/{id}/os-instance-actions``: what was asked of a server, and how it ended."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.server_views import host_hash
from ostro.http.compute.service import COMPUTE
from ostro.http.paging import LIMIT_MOST, link_to
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape
from ostro.model.errors import Invalid
from ostro.model.times import iso_micro, parse_iso
from ostro.services.compute import instance_actions
from ostro.store.instance_actions import InstanceAction

PATH = "/v2.1/servers/{server_id}/os-instance-actions"
POLICY = "os_compute_api:os-instance-actions"


def _view(req: Request, action: InstanceAction) -> dict[str, Any]:
    view: dict[str, Any] = {
        "action": action.action,
        "instance_uuid": action.server_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": iso_micro(action.started_at_us),
        "message": "Error" if action.message else None,
    }
    if req.at_least(2, 58):
        view["updated_at"] = iso_micro(action.updated_at_us)
    return view


def _event_view(req: Request, action: InstanceAction) -> dict[str, Any]:
    view: dict[str, Any] = {
        "event": action.event,
        "start_time": iso_micro(action.started_at_us),
        "finish_time": iso_micro(action.finished_at_us) if action.finished_at_us else None,
        "result": action.result or None,
    }
    if req.context.is_admin:
        view["traceback"] = None
    if req.at_least(2, 62):
        view["hostId"] = host_hash(action.project_id, action.host_name)
        if req.context.is_admin:
            view["host"] = action.host_name
    if req.at_least(2, 84):
        view["details"] = action.message
    return view


def _check_query(req: Request) -> None:
    """Raise Invalid for parameters that this version doesn't have; before 2.58 there were none and all were ignored."""
    if not req.at_least(2, 58):
        return
    known = {"limit", "marker", "changes-since", *(("changes-before",) if req.at_least(2, 66) else ())}
    if unknown := sorted(set(req.query) - known):
        raise Invalid(f"Additional properties are not allowed ({', '.join(map(repr, unknown))} was unexpected)")


def _bound(req: Request, name: str, default: int) -> int:
    if name not in req.query or not req.at_least(2, 58):
        return default
    try:
        return parse_iso(req.query[name].replace(" ", "+"))
    except ValueError as error:
        raise Invalid(f"Invalid {name} value: {req.query[name]}") from error


@COMPUTE.route(
    "GET",
    PATH,
    policy=f"{POLICY}:list",
    rule=Rule.READER,
    query={"limit": INTEGER, "marker": STRING, "changes-since": STRING, "changes-before": STRING},
    response=shape({"instanceActions": array(ANY_OBJECT)}),
    summary="List the actions of a server",
)
async def list_actions(req: Request) -> Reply:
    _check_query(req)
    rows = await req.read(instance_actions.list_actions, req.params["server_id"], deleted=req.at_least(2, 21))
    since, before = _bound(req, "changes-since", 0), _bound(req, "changes-before", 2**62)
    rows = [row for row in rows if since <= row.updated_at_us <= before]
    found: list[dict[str, str]] = []
    if req.at_least(2, 58):
        rows, found = _cut(req, rows)
    return Reply({"instanceActions": [_view(req, row) for row in rows]} | _next(found))


def _cut(req: Request, rows: list[InstanceAction]) -> tuple[list[InstanceAction], list[dict[str, str]]]:
    """The page that ``marker`` and ``limit`` mean. A server has few actions, so all of them were read."""
    marker = req.query.get("marker", "")
    if marker:
        ids = [row.request_id for row in rows]
        if marker not in ids:
            raise Invalid(f"marker [{marker}] not found")
        rows = rows[ids.index(marker) + 1 :]
    limit = min(req.integer("limit", LIMIT_MOST), LIMIT_MOST)
    more = len(rows) > limit > 0
    rows = rows[:limit]
    return rows, [{"rel": "next", "href": link_to(req, rows[-1].request_id)}] if more else []


def _next(found: list[dict[str, str]]) -> dict[str, Any]:
    return {"links": found} if found else {}


@COMPUTE.route(
    "GET",
    PATH + "/{request_id}",
    policy=f"{POLICY}:show",
    rule=Rule.READER,
    response=shape({"instanceAction": ANY_OBJECT}),
    summary="Show an action of a server",
)
async def show_action(req: Request) -> Reply:
    action = await req.read(
        instance_actions.get_action,
        req.params["server_id"],
        req.params["request_id"],
        deleted=req.at_least(2, 21),
    )
    view = _view(req, action)
    if req.context.is_admin or req.at_least(2, 51):
        view["events"] = [_event_view(req, action)] if action.event else []
    return Reply({"instanceAction": view})
