"""``/servers``: create, list, show, update, delete."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.http.compute.server_requests import parse_query, parse_spec, plain_address, truth
from ostro.http.compute.server_schemas import (
    BRIEF,
    CREATE_STEPS,
    SERVER,
    UPDATE_STEPS,
    create_body,
    ranges,
    update_body,
)
from ostro.http.compute.server_views import EXTENDED, base_view, brief_view, full_view, server_links
from ostro.http.compute.service import COMPUTE, ROOT, with_links
from ostro.http.paging import cut, next_links
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape
from ostro.services.compute.creation import ServerSpec, create_servers
from ostro.services.compute.deletion import delete_server
from ostro.services.compute.listing import get_with_details, list_servers, list_with_details
from ostro.services.compute.updates import ServerUpdate, update_server

LIST_QUERY = {
    "limit": INTEGER,
    "marker": STRING,
    "sort_key": STRING,
    "sort_dir": STRING,
    "name": STRING,
    "status": STRING,
    "image": STRING,
    "flavor": STRING,
    "ip": STRING,
    "ip6": STRING,
    "host": STRING,
    "reservation_id": STRING,
    "changes-since": STRING,
    "changes-before": STRING,
    "all_tenants": STRING,
    "project_id": STRING,
    "deleted": STRING,
    "locked": STRING,
    "tags": STRING,
    "tags-any": STRING,
    "not-tags": STRING,
    "not-tags-any": STRING,
}
PASSWORD_CHARS = 12


def _shows_user_data(req: Request) -> bool:
    return req.at_least(2, 3) and req.context.may_also(EXTENDED)


@COMPUTE.route(
    "GET",
    "/v2.1/servers",
    policy="os_compute_api:servers:index",
    also={"os_compute_api:servers:index:get_all_tenants": Rule.ADMIN},
    rule=Rule.READER,
    query=LIST_QUERY,
    response=shape({"servers": array(BRIEF)}),
    summary="List servers",
)
async def index_servers(req: Request) -> Reply:
    query = parse_query(req)
    rows, more = cut(await req.read(list_servers, query), query.page)
    return Reply(with_links({"servers": [brief_view(req, s) for s in rows]}, "servers", next_links(req, rows, more)))


@COMPUTE.route(
    "GET",
    "/v2.1/servers/detail",
    policy="os_compute_api:servers:detail",
    also={"os_compute_api:servers:detail:get_all_tenants": Rule.ADMIN, EXTENDED: Rule.ADMIN},
    rule=Rule.READER,
    query=LIST_QUERY,
    response=shape({"servers": array(SERVER)}),
    summary="List servers with details",
)
async def detail_servers(req: Request) -> Reply:
    query = parse_query(req)
    rows, details = await req.read(list_with_details, query, user_data=_shows_user_data(req))
    rows, more = cut(rows, query.page)
    views = [full_view(req, server, details, groups=False) for server in rows]
    return Reply(with_links({"servers": views}, "servers", next_links(req, rows, more)))


@COMPUTE.route(
    "GET",
    "/v2.1/servers/{server_id}",
    policy="os_compute_api:servers:show",
    also={EXTENDED: Rule.ADMIN},
    rule=Rule.READER,
    response=shape({"server": SERVER}),
    summary="Show a server",
)
async def show_server(req: Request) -> Reply:
    server, details = await req.read(get_with_details, req.params["server_id"], user_data=_shows_user_data(req))
    return Reply({"server": full_view(req, server, details)})


def _with_keys(req: Request, spec: ServerSpec) -> ServerSpec:
    """With a secret for each volume that is to be made: its type may demand encryption."""
    volumes = [
        msgspec.structs.replace(
            source, draft=msgspec.structs.replace(source.draft, sealed_key=req.cloud.new_sealed_key())
        )
        if source.draft
        else source
        for source in spec.volumes
    ]
    return msgspec.structs.replace(spec, volumes=volumes)


async def create_server(req: Request) -> Reply:
    given = req.body["server"]
    spec = _with_keys(req, parse_spec(req))
    await req.cloud.placement.fresh()
    servers = await req.run(create_servers, req.cloud.placement, req.cloud.world.faults, spec)
    req.cloud.world.faults.hit("server.create.committed")
    if truth(given.get("return_reservation_id")):
        return Reply({"reservation_id": servers[0].reservation_id})
    first = servers[0]
    location = f"{req.base_url}{ROOT}/servers/{first.id}"
    names = spec.security_groups or ["default"]
    view: dict[str, Any] = {
        "id": first.id,
        "links": server_links(req, first.id),
        "OS-DCF:diskConfig": spec.disk_config,
        "security_groups": [{"name": name} for name in names],
        "adminPass": given.get("adminPass") or _password(req),
    }
    return Reply({"server": view}, headers=[("Location", location)])


def _password(req: Request) -> str:
    """A password as upstream hands out; nothing in the guest takes it, as with libvirt upstream."""
    alphabet = string.ascii_letters + string.digits
    rng = req.context.rng
    return "".join(alphabet[rng.randrange(len(alphabet))] for _ in range(PASSWORD_CHARS))


for _low, _high in ranges(CREATE_STEPS):
    COMPUTE.route(
        "POST",
        "/v2.1/servers",
        policy="os_compute_api:servers:create",
        also={f"os_compute_api:servers:create:{part}": Rule.ADMIN for part in ("forced_host", "zero_disk_flavor")},
        rule=Rule.MEMBER,
        status=202,
        low=_low,
        high=_high,
        body=create_body(_low),
        response=ANY_OBJECT,
        summary="Create servers",
    )(create_server)


def _address(given: Mapping[str, Any], name: str) -> str | None:
    return plain_address(given[name]) if name in given else None


async def change_server(req: Request) -> Reply:
    given = req.body["server"]
    change = ServerUpdate(
        name=given.get("name"),
        hostname=given.get("hostname"),
        access_ipv4=_address(given, "accessIPv4"),
        access_ipv6=_address(given, "accessIPv6"),
        disk_config=given.get("OS-DCF:diskConfig"),
        describe="description" in given,
        description=given.get("description"),
    )
    server_id = req.params["server_id"]
    await req.run(update_server, server_id, change)
    server, details = await req.read(get_with_details, server_id, user_data=_shows_user_data(req))
    view = full_view if req.at_least(2, 75) else base_view
    return Reply({"server": view(req, server, details)})


for _low, _high in ranges(UPDATE_STEPS):
    COMPUTE.route(
        "PUT",
        "/v2.1/servers/{server_id}",
        policy="os_compute_api:servers:update",
        rule=Rule.MEMBER,
        low=_low,
        high=_high,
        body=update_body(_low),
        response=shape({"server": SERVER}),
        summary="Change a server",
    )(change_server)


@COMPUTE.route(
    "DELETE",
    "/v2.1/servers/{server_id}",
    policy="os_compute_api:servers:delete",
    rule=Rule.MEMBER,
    status=204,
    summary="Delete a server",
)
async def remove_server(req: Request) -> Reply:
    await req.run(delete_server, req.cloud.placement, req.cloud.world.faults, req.params["server_id"])
    req.cloud.world.faults.hit("server.delete.committed")
    return Reply()
