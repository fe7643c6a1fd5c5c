"""``/os-services`` and ``/os-availability-zone``: the compute service of each host. Hosts are in one zone."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, STRING, array, shape, strict
from ostro.http.versions import Version
from ostro.model.errors import Invalid
from ostro.model.servers import DEFAULT_ZONE
from ostro.model.times import iso_micro
from ostro.services.agents.hosts import declare_alive, declare_dead, is_up
from ostro.services.agents.removal import remove_host
from ostro.services.compute.hypervisors import find_host, list_host_lives, list_hosts, set_enabled
from ostro.store.hosts import Host, HostLife

POLICY = "os_compute_api:os-services"
BINARY = "nova-compute"
SERVICE = shape({"service": ANY_OBJECT})
REASON = {"type": "string", "minLength": 1, "maxLength": 255}


def _view(req: Request, host: Host | HostLife, number: int) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": host.id if req.at_least(2, 53) else number,
        "binary": BINARY,
        "host": host.name,
        "zone": DEFAULT_ZONE,
        "status": "enabled" if host.enabled else "disabled",
        "state": "up" if is_up(host, req.context.now_us) else "down",
        "updated_at": iso_micro(host.seen_at_us),
        "disabled_reason": host.disabled_reason or None,
    }
    if req.at_least(2, 11):
        view["forced_down"] = host.forced_down
    return view


@COMPUTE.route(
    "GET",
    "/v2.1/os-services",
    policy=f"{POLICY}:list",
    rule=Rule.ADMIN,
    query={"host": STRING, "binary": STRING},
    response=shape({"services": array(ANY_OBJECT)}),
    summary="List compute services",
)
async def list_services(req: Request) -> Reply:
    name, binary = req.query.get("host"), req.query.get("binary", BINARY)
    found = await req.read(list_host_lives) if binary == BINARY else []
    views = [_view(req, host, number) for number, host in enumerate(found, 1) if name in (None, host.name)]
    return Reply({"services": views})


@COMPUTE.route(
    "PUT",
    "/v2.1/os-services/{id}",
    policy=f"{POLICY}:update",
    rule=Rule.ADMIN,
    low=Version(2, 53),
    body=strict({"status": {"enum": ["enabled", "disabled"]}, "disabled_reason": REASON, "forced_down": BOOLEAN}),
    response=SERVICE,
    summary="Enable, disable or force down a host",
)
async def update_service(req: Request) -> Reply:
    status, reason = req.body.get("status"), req.body.get("disabled_reason", "")
    if reason and status != "disabled":
        raise Invalid("Specifying disabled_reason requires that status is disabled.")
    host = await req.read(find_host, host_id=req.params["id"])
    if status is not None:
        host = await req.run(set_enabled, req.cloud.placement, host.id, enabled=status == "enabled", reason=reason)
    if "forced_down" in req.body:
        host = await req.run(declare_dead if req.body["forced_down"] else declare_alive, host.id)
    return Reply({"service": _view(req, host, 0)})


async def _switch(req: Request, *, enabled: bool) -> Reply:
    given = req.body
    host = await req.read(find_host, name=given["host"])
    reason = given.get("disabled_reason", "")
    await req.run(set_enabled, req.cloud.placement, host.id, enabled=enabled, reason=reason)
    view = {"host": host.name, "binary": given["binary"], "status": "enabled" if enabled else "disabled"}
    if reason:
        view["disabled_reason"] = reason
    return Reply({"service": view})


_NAMED = {"host": STRING, "binary": STRING}


@COMPUTE.route(
    "PUT",
    "/v2.1/os-services/enable",
    policy=f"{POLICY}:update",
    rule=Rule.ADMIN,
    high=Version(2, 52),
    body=strict(_NAMED, ("host", "binary")),
    response=SERVICE,
    summary="Enable a host",
)
async def enable_service(req: Request) -> Reply:
    return await _switch(req, enabled=True)


@COMPUTE.route(
    "PUT",
    "/v2.1/os-services/disable",
    policy=f"{POLICY}:update",
    rule=Rule.ADMIN,
    high=Version(2, 52),
    body=strict(_NAMED, ("host", "binary")),
    response=SERVICE,
    summary="Disable a host",
)
async def disable_service(req: Request) -> Reply:
    return await _switch(req, enabled=False)


@COMPUTE.route(
    "PUT",
    "/v2.1/os-services/disable-log-reason",
    policy=f"{POLICY}:update",
    rule=Rule.ADMIN,
    high=Version(2, 52),
    body=strict({**_NAMED, "disabled_reason": REASON}, ("host", "binary", "disabled_reason")),
    response=SERVICE,
    summary="Disable a host and say why",
)
async def disable_service_log_reason(req: Request) -> Reply:
    return await _switch(req, enabled=False)


@COMPUTE.route(
    "PUT",
    "/v2.1/os-services/force-down",
    policy=f"{POLICY}:update",
    rule=Rule.ADMIN,
    low=Version(2, 11),
    high=Version(2, 52),
    body=strict({**_NAMED, "forced_down": BOOLEAN}, ("host", "binary", "forced_down")),
    response=SERVICE,
    summary="Declare a host dead, or alive again",
)
async def force_service_down(req: Request) -> Reply:
    given = req.body
    host = await req.read(find_host, name=given["host"])
    host = await req.run(declare_dead if given["forced_down"] else declare_alive, host.id)
    return Reply({"service": {"host": host.name, "binary": given["binary"], "forced_down": host.forced_down}})


@COMPUTE.route(
    "DELETE",
    "/v2.1/os-services/{id}",
    policy=f"{POLICY}:delete",
    rule=Rule.ADMIN,
    status=204,
    summary="Forget a host that nothing is on",
)
async def delete_service(req: Request) -> Reply:
    given = req.params["id"]
    if not req.at_least(2, 53):
        found = [host.id for number, host in await req.read(list_hosts) if str(number) == given]
        given = found[0] if found else given
    host = await req.read(find_host, host_id=given)
    await req.run(remove_host, req.cloud.placement, host.id)
    return Reply()


ZONES = shape({"availabilityZoneInfo": array(ANY_OBJECT)})


@COMPUTE.route(
    "GET",
    "/v2.1/os-availability-zone",
    policy="os_compute_api:os-availability-zone:list",
    rule=Rule.AUTHENTICATED,
    response=ZONES,
    summary="List availability zones",
)
async def list_zones(req: Request) -> Reply:
    return Reply({"availabilityZoneInfo": [_zone(None)]})


@COMPUTE.route(
    "GET",
    "/v2.1/os-availability-zone/detail",
    policy="os_compute_api:os-availability-zone:detail",
    rule=Rule.ADMIN,
    response=ZONES,
    summary="List availability zones with their hosts",
)
async def list_zones_detail(req: Request) -> Reply:
    hosts = [host for _number, host in await req.read(list_hosts)]
    shown = {
        host.name: {
            BINARY: {
                "available": is_up(host, req.context.now_us),
                "active": host.enabled,
                "updated_at": iso_micro(host.seen_at_us),
            }
        }
        for host in hosts
    }
    return Reply({"availabilityZoneInfo": [_zone(shown)]})


def _zone(hosts: dict[str, Any] | None) -> dict[str, Any]:
    return {"zoneName": DEFAULT_ZONE, "zoneState": {"available": True}, "hosts": hosts}


@COMPUTE.route(
    "GET",
    "/v2.1/os-aggregates",
    policy="os_compute_api:os-aggregates:index",
    rule=Rule.ADMIN,
    response=shape({"aggregates": array(ANY_OBJECT)}),
    summary="List host aggregates; there are none",
)
async def list_aggregates(req: Request) -> Reply:
    return Reply({"aggregates": []})
