"""``/os-services``, availability zones and pools: which hosts keep volumes."""

from __future__ import annotations

from typing import Any

from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape
from ostro.model.times import iso_micro
from ostro.services.agents.hosts import is_up
from ostro.services.block.pools import Pool, list_pools
from ostro.services.placement.engine import DEFAULT_ZONE


@BLOCK.route(
    "GET",
    "/os-services",
    policy="volume_extension:services:index",
    rule=Rule.ADMIN,
    response=shape({"services": array(ANY_OBJECT)}),
    query={"host": STRING, "binary": STRING},
    summary="List the hosts that keep volumes, and the scheduler",
)
async def list_volume_services(req: Request) -> Reply:
    pools = await req.read(list_pools)
    services = [_scheduler(req), *(_service(req, pool) for pool in pools)]
    for name in ("host", "binary"):
        if name in req.query:
            services = [s for s in services if s[name] == req.query[name]]
    return Reply({"services": services})


def _service(req: Request, pool: Pool) -> dict[str, Any]:
    host = pool.host
    return {
        "binary": "cinder-volume",
        "host": f"{host.name}@local",
        "zone": DEFAULT_ZONE,
        "status": "enabled" if host.enabled else "disabled",
        "state": "up" if is_up(host, req.context.now_us) else "down",
        "updated_at": iso_micro(host.seen_at_us),
        "disabled_reason": host.disabled_reason or None,
        "replication_status": "disabled",
        "active_backend_id": None,
        "frozen": False,
    }


def _scheduler(req: Request) -> dict[str, Any]:
    """Placement decides in the API itself, so this one is up whenever anybody can ask."""
    return {
        "binary": "cinder-scheduler",
        "host": "ostro",
        "zone": DEFAULT_ZONE,
        "status": "enabled",
        "state": "up",
        "updated_at": iso_micro(req.context.now_us),
        "disabled_reason": None,
    }


@BLOCK.route(
    "GET",
    "/os-availability-zone",
    policy="volume:availability_zone_list",
    rule=Rule.READER,
    response=shape({"availabilityZoneInfo": array(ANY_OBJECT)}),
    summary="List availability zones",
)
async def list_volume_zones(req: Request) -> Reply:
    return Reply({"availabilityZoneInfo": [{"zoneName": DEFAULT_ZONE, "zoneState": {"available": True}}]})


@BLOCK.route(
    "GET",
    "/scheduler-stats/get_pools",
    policy="scheduler_extension:scheduler_stats:get_pools",
    rule=Rule.ADMIN,
    response=shape({"pools": array(ANY_OBJECT)}),
    query={"detail": STRING},
    summary="List the hosts' disks",
)
async def list_volume_pools(req: Request) -> Reply:
    pools = await req.read(list_pools)
    detail = req.flag("detail")
    return Reply({"pools": [_pool_view(pool) if detail else {"name": pool.name} for pool in pools]})


def _pool_view(pool: Pool) -> dict[str, Any]:
    capabilities = {
        "pool_name": "local",
        "volume_backend_name": "local",
        "vendor_name": "Ostro",
        "driver_version": "1.0",
        "storage_protocol": "local",
        "total_capacity_gb": pool.total_gb,
        "free_capacity_gb": max(0, pool.total_gb - pool.used_gb),
        "allocated_capacity_gb": pool.used_gb,
        "reserved_percentage": 0,
        "thin_provisioning_support": True,
        "thick_provisioning_support": False,
        "multiattach": False,
        "QoS_support": False,
    }
    return {"name": pool.name, "capabilities": capabilities}
