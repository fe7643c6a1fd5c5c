"""``/snapshots``: what volumes held at one moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ostro.http.block.schemas import FLAG, METADATA, REFERENCE, TEXT, is_true
from ostro.http.block.service import BLOCK
from ostro.http.paging import cut, link_to, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, NAME, STRING, array, shape, strict, wrapped
from ostro.http.targets import authorize
from ostro.model.errors import Invalid
from ostro.model.times import iso_micro
from ostro.services.block import snapshots as service
from ostro.services.block.snapshots import SnapshotDraft
from ostro.store.paging import Filter, Sort, Where
from ostro.store.snapshots import Snapshot

SNAPSHOT = shape({"id": STRING, "volume_id": STRING, "status": STRING, "size": INTEGER, "metadata": ANY_OBJECT})
SORT_KEYS = {"id": "id", "name": "name", "status": "status", "created_at": "created_at_us", "volume_id": "volume_id"}
SORT_KEYS["display_name"] = "name"
FILTERS = {"name": "name", "display_name": "name", "status": "status", "volume_id": "volume_id"}
ADMIN_FILTERS = {"project_id": "project_id", "tenant_id": "project_id"}
_PAGING = ("limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count")
LIST_QUERY = dict.fromkeys((*_PAGING, *FILTERS, *ADMIN_FILTERS), STRING)
_CREATE = {
    "volume_id": NAME,
    "name": TEXT,
    "description": TEXT,
    "display_name": TEXT,
    "display_description": TEXT,
    "metadata": {"anyOf": [METADATA, {"type": "null"}]},
    "force": {"anyOf": [FLAG, {"type": "null"}]},
    "consumes_quota": FLAG,
    "group_snapshot_id": REFERENCE,
}
CREATE = wrapped("snapshot", strict(_CREATE, ("volume_id",)))
UPDATE = wrapped(
    "snapshot", strict(dict.fromkeys(("name", "description", "display_name", "display_description"), TEXT))
)
FORCED_SINCE = (3, 66)
"""Since then ``force`` isn't asked for any more, and may not be denied."""


def snapshot_view(req: Request, snapshot: Snapshot, *, details: bool = True) -> dict[str, Any]:
    """A snapshot as the API shows it at the request's microversion."""
    view: dict[str, Any] = {
        "id": snapshot.id,
        "name": snapshot.name or None,
        "description": snapshot.description or None,
        "volume_id": snapshot.volume_id,
        "status": snapshot.status.value,
        "size": snapshot.size_gb,
        "metadata": snapshot.metadata,
        "created_at": iso_micro(snapshot.created_at_us),
        "updated_at": iso_micro(snapshot.updated_at_us),
    }
    if details:
        view["os-extended-snapshot-attributes:project_id"] = snapshot.project_id
        view["os-extended-snapshot-attributes:progress"] = "100%" if snapshot.built else "0%"
    if req.at_least(3, 14):
        view["group_snapshot_id"] = None
    if req.at_least(3, 41):
        view["user_id"] = snapshot.user_id
    if req.at_least(3, 65):
        view["consumes_quota"] = True
    return view


@BLOCK.route(
    "POST",
    "/snapshots",
    policy="volume:create_snapshot",
    rule=Rule.MEMBER,
    status=202,
    body=CREATE,
    response=shape({"snapshot": SNAPSHOT}),
    summary="Make a snapshot of a volume",
)
async def create_snapshot(req: Request) -> Reply:
    body = req.body["snapshot"]
    force = body.get("force")
    if req.at_least(*FORCED_SINCE) and force is not None and not is_true(force):
        raise Invalid("Invalid input received: since microversion 3.66 a snapshot is always forced; leave force out.")
    draft = SnapshotDraft(
        volume_id=body["volume_id"],
        name=body.get("name") or body.get("display_name") or "",
        description=body.get("description") or body.get("display_description") or "",
        metadata=body.get("metadata") or {},
        force=is_true(force) or req.at_least(*FORCED_SINCE),
    )
    await req.cloud.placement.fresh()
    snapshot = await req.run(service.create_snapshot, req.cloud.placement, draft)
    return Reply({"snapshot": snapshot_view(req, snapshot, details=False)})


async def _list(req: Request) -> tuple[list[Snapshot], dict[str, Any]]:
    """(the page's snapshots, what the answer says beside them)."""
    known = {**FILTERS, **(ADMIN_FILTERS if req.context.is_admin else {})}
    filters: list[Filter | Where] = [
        Filter(column, req.query[name]) for name, column in known.items() if name in req.query
    ]
    newest_first = (Sort("created_at_us", descending=True),)
    page = parse_page(req, sort_keys=SORT_KEYS, default_sort=newest_first, filters=filters)
    rows, more = cut(await req.read(service.list_snapshots, page, all_tenants=req.flag("all_tenants")), page)
    extra = {"snapshots_links": [{"rel": "next", "href": link_to(req, rows[-1].id)}]} if more and rows else {}
    return rows, extra


@BLOCK.route(
    "GET",
    "/snapshots",
    policy="volume:get_all_snapshots",
    rule=Rule.READER,
    response=shape({"snapshots": array(SNAPSHOT)}),
    query=LIST_QUERY,
    summary="List snapshots",
)
async def list_snapshots(req: Request) -> Reply:
    rows, extra = await _list(req)
    return Reply({"snapshots": [snapshot_view(req, row, details=False) for row in rows], **extra})


@BLOCK.route(
    "GET",
    "/snapshots/detail",
    policy="volume:get_all_snapshots",
    rule=Rule.READER,
    response=shape({"snapshots": array(SNAPSHOT)}),
    query=LIST_QUERY,
    summary="List snapshots with details",
)
async def list_snapshots_detailed(req: Request) -> Reply:
    rows, extra = await _list(req)
    return Reply({"snapshots": [snapshot_view(req, row) for row in rows], **extra})


@BLOCK.route(
    "GET",
    "/snapshots/{snapshot_id}",
    policy="volume:get_snapshot",
    rule=Rule.READER,
    response=shape({"snapshot": SNAPSHOT}),
    summary="Show a snapshot",
)
async def show_snapshot(req: Request) -> Reply:
    snapshot = await req.read(service.get_snapshot, req.params["snapshot_id"])
    return Reply({"snapshot": snapshot_view(req, snapshot)})


@BLOCK.route(
    "PUT",
    "/snapshots/{snapshot_id}",
    policy="volume:update_snapshot",
    rule=Rule.MEMBER,
    body=UPDATE,
    response=shape({"snapshot": SNAPSHOT}),
    summary="Change a snapshot's name or description",
)
async def update_snapshot(req: Request) -> Reply:
    body = req.body["snapshot"]
    changes = {name.removeprefix("display_"): value or "" for name, value in body.items()}
    snapshot = await req.run(service.update_snapshot, req.params["snapshot_id"], changes)
    return Reply({"snapshot": snapshot_view(req, snapshot, details=False)})


@BLOCK.route(
    "DELETE",
    "/snapshots/{snapshot_id}",
    policy="volume:delete_snapshot",
    rule=Rule.MEMBER,
    status=202,
    summary="Delete a snapshot",
)
async def delete_snapshot(req: Request) -> Reply:
    await req.run(service.delete_snapshot, req.params["snapshot_id"])
    return Reply()


async def _reset_status(req: Request, snapshot_id: str, given: Any) -> None:
    await req.run(service.reset_snapshot, snapshot_id, given["status"])


async def _force_delete(req: Request, snapshot_id: str, given: Any) -> None:
    await req.run(service.delete_snapshot, snapshot_id, force=True)


_ADMIN = "volume_extension:snapshot_admin_actions"
_Action = Callable[[Request, str, Any], Awaitable[None]]
_ACTIONS: dict[str, tuple[_Action, str, dict[str, Any]]] = {
    "os-reset_status": (_reset_status, f"{_ADMIN}:reset_status", strict({"status": STRING}, ("status",))),
    "os-force_delete": (_force_delete, f"{_ADMIN}:force_delete", {}),
}


@BLOCK.route(
    "POST",
    "/snapshots/{snapshot_id}/action",
    policy=f"{_ADMIN}:action",
    rule=Rule.READER,
    status=202,
    body={
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {name: schema for name, (_action, _policy, schema) in _ACTIONS.items()},
    },
    actions={name: (policy, Rule.ADMIN) for name, (_action, policy, _schema) in _ACTIONS.items()},
    summary="Do something with a snapshot; each action has a policy of its own",
)
async def act_on_snapshot(req: Request) -> Reply:
    name, given = next(iter(req.body.items()))
    if name not in _ACTIONS:
        raise Invalid(f"There is no such action: {name}")
    action, policy, _schema = _ACTIONS[name]
    await authorize(req, policy, Rule.ADMIN)
    await action(req, req.params["snapshot_id"], given)
    return Reply()
