"""``/limits`` and ``/os-quota-sets``. Nothing is limited yet: every limit is -1, usage is what there is."""

from __future__ import annotations

from typing import Any

from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape
from ostro.model.errors import Forbidden
from ostro.services.block.volumes import count_project_snapshots, count_project_volumes

RESOURCES = (
    "volumes",
    "volumes_local",
    "gigabytes",
    "gigabytes_local",
    "snapshots",
    "snapshots_local",
    "backups",
    "backup_gigabytes",
    "groups",
    "per_volume_gigabytes",
)


@BLOCK.route(
    "GET",
    "/limits",
    policy="limits_extension:used_limits",
    rule=Rule.READER,
    response=shape({"limits": shape({"rate": array(ANY_OBJECT), "absolute": ANY_OBJECT})}),
    query={"project_id": STRING, "tenant_id": STRING},
    summary="Show limits and what is used of them",
)
async def show_volume_limits(req: Request) -> Reply:
    asked = req.query.get("project_id") or req.query.get("tenant_id")
    project_id = asked if asked and req.context.is_admin else req.context.project_id
    count, size_gb = await req.read(count_project_volumes, project_id)
    snapshots, snapshots_gb = await req.read(count_project_snapshots, project_id)
    absolute = {
        "maxTotalVolumes": -1,
        "maxTotalVolumeGigabytes": -1,
        "maxTotalSnapshots": -1,
        "maxTotalBackups": -1,
        "maxTotalBackupGigabytes": -1,
        "totalVolumesUsed": count,
        "totalGigabytesUsed": size_gb + snapshots_gb,
        "totalSnapshotsUsed": snapshots,
        "totalBackupsUsed": 0,
        "totalBackupGigabytesUsed": 0,
    }
    return Reply({"limits": {"rate": [], "absolute": absolute}})


async def _quota_set(req: Request, project_id: str, *, usage: bool) -> Reply:
    if project_id != req.context.project_id and not req.context.is_admin:
        raise Forbidden("Policy doesn't allow volume_extension:quotas:show to be performed.")
    body: dict[str, Any] = {"id": project_id}
    used: dict[str, int] = {}
    if usage:
        count, size_gb = await req.read(count_project_volumes, project_id)
        snapshots, snapshots_gb = await req.read(count_project_snapshots, project_id)
        used = {"volumes": count, "gigabytes": size_gb + snapshots_gb, "snapshots": snapshots}
    for name in RESOURCES:
        body[name] = {"limit": -1, "in_use": used.get(name, 0), "reserved": 0} if usage else -1
    return Reply({"quota_set": body})


@BLOCK.route(
    "GET",
    "/os-quota-sets/{target_id}",
    policy="volume_extension:quotas:show",
    rule=Rule.READER,
    response=shape({"quota_set": ANY_OBJECT}),
    query={"usage": STRING},
    summary="Show a project's quota",
)
async def show_volume_quota(req: Request) -> Reply:
    return await _quota_set(req, req.params["target_id"], usage=req.flag("usage"))


@BLOCK.route(
    "GET",
    "/os-quota-sets/{target_id}/defaults",
    policy="volume_extension:quotas:show",
    rule=Rule.READER,
    response=shape({"quota_set": ANY_OBJECT}),
    summary="Show a new project's quota",
)
async def show_volume_quota_defaults(req: Request) -> Reply:
    return await _quota_set(req, req.params["target_id"], usage=False)


@BLOCK.route(
    "GET",
    "/os-quota-class-sets/{class_name}",
    policy="volume_extension:quota_classes:get",
    rule=Rule.ADMIN,
    response=shape({"quota_class_set": ANY_OBJECT}),
    summary="Show a class's quota",
)
async def show_volume_quota_class(req: Request) -> Reply:
    return Reply({"quota_class_set": {"id": req.params["class_name"], **dict.fromkeys(RESOURCES, -1)}})
