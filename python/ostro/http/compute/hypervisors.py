"""``/os-hypervisors``: hosts, for administrators."""

from __future__ import annotations

from typing import Any

import orjson

from ostro.http.compute.service import COMPUTE, with_links
from ostro.http.paging import LIMIT_MOST, link_to
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, INTEGER, STRING, array, shape
from ostro.http.versions import Version
from ostro.model.errors import NotFound, Unsupported
from ostro.services.agents.hosts import is_up
from ostro.services.compute.hypervisors import (
    Amounts,
    Hypervisor,
    Numbered,
    describe_hosts,
    get_hypervisor,
    list_host_servers,
    list_hosts,
    list_hosts_behind,
    list_hypervisors,
    sum_hosts,
)
from ostro.store.hosts import Host
from ostro.store.servers import Server

POLICY = "os_compute_api:os-hypervisors"
LIST_QUERY = {"limit": INTEGER, "marker": STRING, "hypervisor_hostname_pattern": STRING, "with_servers": BOOLEAN}
LISTED = shape({"hypervisors": array(ANY_OBJECT)})


def _id(req: Request, hypervisor: Hypervisor) -> str | int:
    return hypervisor.host.id if req.at_least(2, 53) else hypervisor.number


def _brief(req: Request, hypervisor: Hypervisor) -> dict[str, Any]:
    host = hypervisor.host
    return {
        "id": _id(req, hypervisor),
        "hypervisor_hostname": host.name,
        "state": "up" if is_up(host, req.context.now_us) else "down",
        "status": "enabled" if host.enabled else "disabled",
    }


def _full(req: Request, hypervisor: Hypervisor) -> dict[str, Any]:
    host = hypervisor.host
    view: dict[str, Any] = {
        **_brief(req, hypervisor),
        "hypervisor_type": host.inventory.hypervisor_type,
        "hypervisor_version": host.inventory.hypervisor_version,
        "host_ip": host.tunnel_ip,
        "service": {"id": _id(req, hypervisor), "host": host.name, "disabled_reason": host.disabled_reason or None},
    }
    if req.at_least(2, 88):
        view["uptime"] = None
        return view
    info = host.inventory.cpu_info
    view["cpu_info"] = orjson.loads(info or "{}") if req.at_least(2, 28) else info
    return view | _figures(hypervisor.amounts)


def _figures(has: Amounts) -> dict[str, int]:
    ram_used, disk_used = has.ram.used + has.ram.reserved, has.disk.used + has.disk.reserved
    return {
        "vcpus": has.vcpus.total,
        "vcpus_used": has.vcpus.used,
        "memory_mb": has.ram.total,
        "memory_mb_used": ram_used,
        "free_ram_mb": has.ram.total - ram_used,
        "local_gb": has.disk.total,
        "local_gb_used": disk_used,
        "free_disk_gb": has.disk.total - disk_used,
        "disk_available_least": has.disk.total - disk_used,
        "current_workload": 0,
        "running_vms": has.servers,
    }


def _servers(servers: list[Server]) -> list[dict[str, str]]:
    return [{"uuid": server.id, "name": f"instance-{server.id[:8]}"} for server in servers]


async def _list(req: Request, *, full: bool) -> Reply:
    pattern = req.query.get("hypervisor_hostname_pattern", "") if req.at_least(2, 53) else ""
    found: list[dict[str, str]] = []
    if req.at_least(2, 33) and not pattern:
        hosts, found = await _page(req)
    else:
        hosts = [item for item in await req.read(list_hosts) if pattern in item[1].name]
        if pattern and not hosts:
            raise NotFound("hypervisor", pattern, f"No hypervisor matching '{pattern}' could be found.")
    hypervisors = await req.read(describe_hosts, hosts)
    view = _full if full else _brief
    views = [view(req, hypervisor) for hypervisor in hypervisors]
    if req.at_least(2, 53) and req.flag("with_servers"):
        servers = await req.read(list_host_servers, [h.host.id for h in hypervisors])
        for shown, hypervisor in zip(views, hypervisors, strict=True):
            if servers[hypervisor.host.id] or req.at_least(2, 75):
                shown["servers"] = _servers(servers[hypervisor.host.id])
    return Reply(with_links({"hypervisors": views}, "hypervisors", found))


async def _page(req: Request) -> tuple[list[Numbered], list[dict[str, str]]]:
    """The page that was asked for, and where it goes on."""
    limit = min(req.integer("limit", LIMIT_MOST), LIMIT_MOST)
    numbered = not req.at_least(2, 53)
    hosts = await req.read(list_hosts_behind, req.query.get("marker", ""), limit + 1, numbered=numbered)
    more = len(hosts) > limit > 0
    hosts = hosts[:limit]
    return hosts, [{"rel": "next", "href": link_to(req, _shown_id(req, *hosts[-1]))}] if more else []


def _shown_id(req: Request, number: int, host: Host) -> str:
    return host.id if req.at_least(2, 53) else str(number)


@COMPUTE.route(
    "GET",
    "/v2.1/os-hypervisors",
    policy=f"{POLICY}:list",
    rule=Rule.ADMIN,
    query=LIST_QUERY,
    response=LISTED,
    summary="List hypervisors",
)
async def list_all_hypervisors(req: Request) -> Reply:
    return await _list(req, full=False)


@COMPUTE.route(
    "GET",
    "/v2.1/os-hypervisors/detail",
    policy=f"{POLICY}:list-detail",
    rule=Rule.ADMIN,
    query=LIST_QUERY,
    response=LISTED,
    summary="List hypervisors with details",
)
async def list_hypervisors_detail(req: Request) -> Reply:
    return await _list(req, full=True)


@COMPUTE.route(
    "GET",
    "/v2.1/os-hypervisors/statistics",
    policy=f"{POLICY}:statistics",
    rule=Rule.ADMIN,
    high=Version(2, 87),
    response=shape({"hypervisor_statistics": ANY_OBJECT}),
    summary="Sum up all hypervisors",
)
async def sum_hypervisors(req: Request) -> Reply:
    count, amounts = await req.read(sum_hosts)
    return Reply({"hypervisor_statistics": {"count": count, **_figures(amounts)}})


@COMPUTE.route(
    "GET",
    "/v2.1/os-hypervisors/{id}",
    policy=f"{POLICY}:show",
    rule=Rule.ADMIN,
    query={"with_servers": BOOLEAN},
    response=shape({"hypervisor": ANY_OBJECT}),
    summary="Show a hypervisor",
)
async def show_hypervisor(req: Request) -> Reply:
    hypervisor = await req.read(get_hypervisor, req.params["id"])
    view = _full(req, hypervisor)
    if req.at_least(2, 53) and req.flag("with_servers"):
        servers = await req.read(list_host_servers, [hypervisor.host.id])
        view["servers"] = _servers(servers[hypervisor.host.id])
    return Reply({"hypervisor": view})


@COMPUTE.route(
    "GET",
    "/v2.1/os-hypervisors/{id}/uptime",
    policy=f"{POLICY}:uptime",
    rule=Rule.ADMIN,
    high=Version(2, 87),
    response=ANY_OBJECT,
    summary="How long a hypervisor has been up",
)
async def show_hypervisor_uptime(req: Request) -> Reply:
    await req.read(get_hypervisor, req.params["id"])
    raise Unsupported("Hosts do not tell their uptime.")


async def _matching(req: Request) -> list[Hypervisor]:
    pattern = req.params["pattern"]
    found = [h for h in await req.read(list_hypervisors) if pattern in h.host.name]
    if not found:
        raise NotFound("hypervisor", pattern, f"No hypervisor matching '{pattern}' could be found.")
    return found


@COMPUTE.route(
    "GET",
    "/v2.1/os-hypervisors/{pattern}/search",
    policy=f"{POLICY}:search",
    rule=Rule.ADMIN,
    high=Version(2, 52),
    response=LISTED,
    summary="Find hypervisors by name",
)
async def search_hypervisors(req: Request) -> Reply:
    return Reply({"hypervisors": [_brief(req, h) for h in await _matching(req)]})


@COMPUTE.route(
    "GET",
    "/v2.1/os-hypervisors/{pattern}/servers",
    policy=f"{POLICY}:servers",
    rule=Rule.ADMIN,
    high=Version(2, 52),
    response=LISTED,
    summary="List the servers of hypervisors by name",
)
async def list_hypervisor_servers(req: Request) -> Reply:
    hypervisors = await _matching(req)
    servers = await req.read(list_host_servers, [h.host.id for h in hypervisors])
    return Reply({"hypervisors": [{**_brief(req, h), "servers": _servers(servers[h.host.id])} for h in hypervisors]})
