"""``/os-volume-transfer`` and, since 3.55, ``/volume-transfers``: volumes offered to other projects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ostro.http.block.schemas import FLAG, TEXT, is_true
from ostro.http.block.service import BLOCK
from ostro.http.paging import cut, link_to, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import NAME, STRING, array, shape, strict, wrapped
from ostro.http.versions import Version
from ostro.model.times import iso_micro
from ostro.services.block import transfers as service
from ostro.store.paging import Sort
from ostro.store.volume_transfers import VolumeTransfer

NEWER = Version(3, 55)
TRANSFER = shape({"id": STRING, "volume_id": STRING, "name": {}})
SORT_KEYS = {"id": "id", "name": "name", "created_at": "created_at_us"}
LIST_QUERY = dict.fromkeys(
    ("limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "is_public"), STRING
)
_CREATE = {"volume_id": NAME, "name": TEXT}
CREATE = wrapped("transfer", strict(_CREATE, ("volume_id",)))
CREATE_NEWER = wrapped("transfer", strict({**_CREATE, "no_snapshots": FLAG}, ("volume_id",)))
ACCEPT = wrapped("accept", strict({"auth_key": STRING}, ("auth_key",)))
Handler = Callable[[Request], Awaitable[Reply]]


def _view(req: Request, transfer: VolumeTransfer, *, details: bool = True, accepted: bool = False) -> dict[str, Any]:
    path = req.path.split("/v3/")[1].split("/")
    collection = next(part for part in path if part in ("os-volume-transfer", "volume-transfers"))
    project_id = req.context.project_id
    view: dict[str, Any] = {
        "id": transfer.id,
        "volume_id": transfer.volume_id,
        "name": transfer.name or None,
        "links": [
            {"rel": "self", "href": req.url(f"/volume/v3/{project_id}/{collection}/{transfer.id}")},
            {"rel": "bookmark", "href": req.url(f"/volume/{project_id}/{collection}/{transfer.id}")},
        ],
    }
    if details:
        view["created_at"] = iso_micro(transfer.created_at_us)
        if req.at_least(3, 55):
            view["no_snapshots"] = transfer.without_snapshots
        if req.at_least(3, 57):
            view["source_project_id"] = transfer.project_id
            view["destination_project_id"] = req.context.project_id if accepted else None
            view["accepted"] = accepted
    return view


async def create_transfer(req: Request) -> Reply:
    given = req.body["transfer"]
    without = is_true(given.get("no_snapshots", False))
    made = service.create_transfer
    transfer, key = await req.run(made, given["volume_id"], given.get("name") or "", without_snapshots=without)
    return Reply({"transfer": {**_view(req, transfer), "auth_key": key}})


async def _list(req: Request, *, details: bool) -> Reply:
    page = parse_page(req, sort_keys=SORT_KEYS, default_sort=(Sort("created_at_us", descending=True),))
    rows = await req.read(service.list_transfers, page, all_tenants=is_true(req.query.get("all_tenants", "0")))
    rows, more = cut(rows, page)
    body: dict[str, Any] = {"transfers": [_view(req, row, details=details) for row in rows]}
    if more:
        body["transfers_links"] = [{"rel": "next", "href": link_to(req, rows[-1].id)}]
    return Reply(body)


async def list_transfers(req: Request) -> Reply:
    return await _list(req, details=False)


async def list_transfers_detailed(req: Request) -> Reply:
    return await _list(req, details=True)


async def show_transfer(req: Request) -> Reply:
    return Reply({"transfer": _view(req, await req.read(service.get_transfer, req.params["transfer_id"]))})


async def delete_transfer(req: Request) -> Reply:
    await req.run(service.delete_transfer, req.params["transfer_id"])
    return Reply()


async def accept_transfer(req: Request) -> Reply:
    transfer = await req.run(service.accept_transfer, req.params["transfer_id"], req.body["accept"]["auth_key"])
    return Reply({"transfer": _view(req, transfer, details=req.at_least(3, 57), accepted=True)})


def _declare(collection: str, low: Version | None, create: dict[str, Any], suffix: str) -> None:
    """Both collections do the same."""
    one = f"{collection}/{{transfer_id}}"
    shown = wrapped("transfer", TRANSFER)
    routes: tuple[tuple[Handler, str, str, str, Rule, dict[str, Any]], ...] = (
        (list_transfers, "GET", collection, "get_all_transfers", Rule.READER, {"query": LIST_QUERY}),
        (
            list_transfers_detailed,
            "GET",
            f"{collection}/detail",
            "get_all_transfers",
            Rule.READER,
            {"query": LIST_QUERY},
        ),
        (show_transfer, "GET", one, "get_transfer", Rule.READER, {"response": shown}),
        (
            create_transfer,
            "POST",
            collection,
            "create_transfer",
            Rule.MEMBER,
            {"body": create, "response": shown, "status": 202},
        ),
        (delete_transfer, "DELETE", one, "delete_transfer", Rule.MEMBER, {"status": 202}),
        (
            accept_transfer,
            "POST",
            f"{one}/accept",
            "accept_transfer",
            Rule.MEMBER,
            {"body": ACCEPT, "response": shown, "status": 202},
        ),
    )
    for handler, method, path, policy, rule, more in routes:
        if "query" in more:
            more = {**more, "response": shape({"transfers": array(TRANSFER)})}

        async def handle(req: Request, handler: Handler = handler) -> Reply:
            return await handler(req)

        handle.__name__ = f"{handler.__name__}{suffix}"
        BLOCK.route(
            method,
            path,
            policy=f"volume:{policy}",
            rule=rule,
            low=low,
            summary=f"{handler.__name__.replace('_', ' ').capitalize()}",
            **more,
        )(handle)


_declare("/os-volume-transfer", None, CREATE, "")
_declare("/volume-transfers", NEWER, CREATE_NEWER, "_newer")
