"""``/servers/{id}/migrations``: live migrations under way; ``/os-migrations``: all migrations, past ones too."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import BOOKMARK, COMPUTE, ROOT
from ostro.http.paging import cut, link_to, parse_page
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape, strict
from ostro.http.targets import authorize, may
from ostro.http.versions import Version
from ostro.model.errors import Invalid
from ostro.model.times import iso_micro, parse_iso
from ostro.services.compute import live_migration, server_migrations
from ostro.store.paging import Filter, Op, Sort, Where
from ostro.store.server_migrations import Kind, ServerMigration

PATH = "/v2.1/servers/{server_id}/migrations"
POLICY = "os_compute_api:servers:migrations"
LIST_POLICY = "os_compute_api:os-migrations:index"
AMOUNTS = ("memory_total", "memory_processed", "memory_remaining", "disk_total", "disk_processed", "disk_remaining")


def _common(req: Request, migration: ServerMigration, *, hosts: bool) -> dict[str, Any]:
    """What both views have."""
    source, target = (migration.source_host, migration.target_host) if hosts else (None, None)
    view: dict[str, Any] = {
        "id": migration.id,
        "status": migration.status,
        "source_compute": source,
        "source_node": source,
        "dest_compute": target,
        "dest_node": target,
        "dest_host": None,
        "created_at": iso_micro(migration.created_at_us),
        "updated_at": iso_micro(migration.updated_at_us),
    }
    if req.at_least(2, 59):
        view["uuid"] = migration.uuid
    if req.at_least(2, 80):
        view["user_id"] = migration.user_id
        view["project_id"] = migration.project_id
    return view


def _live_view(req: Request, migration: ServerMigration, *, hosts: bool) -> dict[str, Any]:
    """A live migration under way, with how far it has come."""
    amounts = {f"{name}_bytes": getattr(migration, name) or None for name in AMOUNTS}
    return {**_common(req, migration, hosts=hosts), "server_uuid": migration.server_id, **amounts}


def _view(req: Request, migration: ServerMigration, *, hosts: bool) -> dict[str, Any]:
    """Any migration."""
    view = _common(req, migration, hosts=hosts)
    view["instance_uuid"] = migration.server_id
    view["old_instance_type_id"] = migration.old_shape.get("flavor_id")
    view["new_instance_type_id"] = migration.new_shape.get("flavor_id")
    if req.at_least(2, 23):
        view["migration_type"] = migration.kind.value
        if server_migrations.is_live(migration):
            path = f"servers/{migration.server_id}/migrations/{migration.id}"
            view["links"] = [
                {"rel": "self", "href": f"{req.base_url}{ROOT}/{path}"},
                {"rel": "bookmark", "href": f"{req.base_url}{BOOKMARK}/{path}"},
            ]
    return view


@COMPUTE.route(
    "GET",
    PATH,
    policy=f"{POLICY}:index",
    rule=Rule.MANAGER,
    low=Version(2, 23),
    response=shape({"migrations": array(ANY_OBJECT)}),
    also={f"{POLICY}:index:host": Rule.ADMIN},
    summary="List the live migrations of a server that are under way",
)
async def list_server_migrations(req: Request) -> Reply:
    rows = await req.read(server_migrations.list_live_migrations, req.params["server_id"])
    hosts = await may(req, f"{POLICY}:index:host", Rule.ADMIN)
    return Reply({"migrations": [_live_view(req, row, hosts=hosts) for row in rows]})


@COMPUTE.route(
    "GET",
    PATH + "/{migration_id}",
    policy=f"{POLICY}:show",
    rule=Rule.ADMIN,
    low=Version(2, 23),
    response=shape({"migration": ANY_OBJECT}),
    summary="Show a live migration that is under way",
)
async def show_server_migration(req: Request) -> Reply:
    row = await req.read(live_migration.get_live_migration, req.params["server_id"], req.params["migration_id"])
    return Reply({"migration": _live_view(req, row, hosts=True)})


@COMPUTE.route(
    "POST",
    PATH + "/{migration_id}/action",
    policy=f"{POLICY}:force_complete",
    rule=Rule.MANAGER,
    low=Version(2, 22),
    status=202,
    body=strict({"force_complete": {"type": "null"}}, ("force_complete",)),
    summary="Bring a live migration to its end soon",
)
async def force_complete(req: Request) -> Reply:
    await req.run(live_migration.force_completion, req.params["server_id"], req.params["migration_id"])
    return Reply(status=202)


@COMPUTE.route(
    "DELETE",
    PATH + "/{migration_id}",
    policy=f"{POLICY}:delete",
    rule=Rule.MANAGER,
    low=Version(2, 24),
    status=202,
    summary="Break a live migration off",
)
async def abort_migration(req: Request) -> Reply:
    early = req.at_least(2, 65)
    await req.run(live_migration.abort, req.params["server_id"], req.params["migration_id"], early=early)
    return Reply(status=202)


_FILTERS = {
    "hidden": STRING,
    "host": STRING,
    "instance_uuid": STRING,
    "source_compute": STRING,
    "status": STRING,
    "migration_type": STRING,
    "limit": INTEGER,
    "marker": STRING,
    "changes-since": STRING,
    "changes-before": STRING,
    "user_id": STRING,
    "project_id": STRING,
}
_SINCE = {"limit": 59, "marker": 59, "changes-since": 59, "changes-before": 66, "user_id": 80, "project_id": 80}
"""With which minor version each parameter came; before, it was ignored until 2.58 and refused from then on."""


def _check_query(req: Request) -> None:
    if not req.at_least(2, 59):
        return
    known = {name for name in _FILTERS if req.at_least(2, _SINCE.get(name, 1))}
    if unknown := sorted(set(req.query) - known):
        raise Invalid(f"Additional properties are not allowed ({', '.join(map(repr, unknown))} was unexpected)")


def _bound(req: Request, name: str) -> int:
    try:
        return parse_iso(req.query[name].replace(" ", "+"))
    except ValueError as error:
        raise Invalid(f"Invalid {name} value: {req.query[name]}") from error


def _filters(req: Request) -> list[Filter | Where]:
    asked = {name: req.query[name] for name in req.query if req.at_least(2, _SINCE.get(name, 1))}
    out: list[Filter | Where] = []
    if "host" in asked:
        out.append(
            Where("server_migrations.source_host = ? OR server_migrations.target_host = ?", (asked["host"],) * 2)
        )
    for name, column in (("instance_uuid", "server_id"), ("source_compute", "source_host"), ("status", "status")):
        if name in asked:
            out.append(Filter(column, asked[name]))
    out += [Filter(name, asked[name]) for name in ("user_id", "project_id") if name in asked]
    if "migration_type" in asked:
        kinds = [kind.value for kind in Kind]
        if asked["migration_type"] not in kinds:
            raise Invalid(
                f"Invalid input for query parameter migration_type. {asked['migration_type']} is not one of {kinds}"
            )
        out.append(Filter("kind", Kind(asked["migration_type"])))
    for name, op in (("changes-since", Op.GE), ("changes-before", Op.LE)):
        if name in asked:
            out.append(Filter("updated_at_us", _bound(req, name), op))
    return out


@COMPUTE.route(
    "GET",
    "/v2.1/os-migrations",
    policy=LIST_POLICY,
    also={f"{LIST_POLICY}:{part}": Rule.ADMIN for part in ("all_projects", "host")},
    rule=Rule.MANAGER,
    query=_FILTERS,
    response=shape({"migrations": array(ANY_OBJECT)}),
    summary="List migrations",
)
async def list_migrations(req: Request) -> Reply:
    _check_query(req)
    asked, mine = req.query.get("project_id"), req.context.project_id
    if asked != mine:
        await authorize(req, f"{LIST_POLICY}:all_projects", Rule.ADMIN)
    filters = _filters(req) if asked != mine else [*_filters(req), Filter("project_id", mine)]
    page = parse_page(req, sort_keys={}, default_sort=(Sort("created_at_us", True), Sort("id", True)), filters=filters)
    rows, more = cut(await req.read(server_migrations.list_migrations, page), page)
    hosts = await may(req, f"{LIST_POLICY}:host", Rule.ADMIN)
    body: dict[str, Any] = {"migrations": [_view(req, row, hosts=hosts) for row in rows]}
    if more and req.at_least(2, 59):
        body["migrations_links"] = [{"rel": "next", "href": link_to(req, rows[-1].uuid)}]
    return Reply(body)
